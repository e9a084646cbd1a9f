//! The ghost: fingerprints of items that were evicted recently, each with the queue it was evicted from.
//!
//! If a key is stored again while its fingerprint is here, it was evicted too early, and it goes to the main chain. How
//! often this happens to each queue tells which of them should get more room (`adaptive_shares.rs`).
//!
//! The hash of a key chooses a ring of the last 31 fingerprints; a ring fills one cache line. A fingerprint has 14 bits of
//! the hash, so now and then a key is mistaken for another. That only puts an item into the wrong chain.

use super::segment::Queue;

const FINGERPRINTS: usize = 31;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Ring {
    /// The position of the next fingerprint. The oldest one is overwritten.
    next: u16,
    /// Fourteen bits of the hash, and above them two for the queue. 0 means none.
    fingerprints: [u16; FINGERPRINTS],
}

const EMPTY: Ring = Ring {
    next: 0,
    fingerprints: [0; FINGERPRINTS],
};

#[derive(Debug, Default)]
pub(super) struct Ghost {
    rings: Box<[Ring]>,
}

impl Ghost {
    pub(super) fn bytes(&self) -> u64 {
        size_of_val(&*self.rings) as u64
    }

    /// How many fingerprints fit.
    pub(super) fn capacity(&self) -> usize {
        self.rings.len() * FINGERPRINTS
    }

    /// Bytes of a ghost for `items` fingerprints.
    pub(super) fn bytes_for(items: usize) -> u64 {
        (items.div_ceil(FINGERPRINTS) * size_of::<Ring>()) as u64
    }

    /// Changes the size to `items` fingerprints. Keeps the known ones as far as they fit.
    pub(super) fn resize(&mut self, items: usize) {
        let old = std::mem::take(&mut self.rings);
        let count = items.div_ceil(FINGERPRINTS);
        if count == 0 {
            return;
        }
        // A ring has the fingerprints of one part of the hash space. When rings are added, all new rings of that part start
        // with the old ring's content.
        self.rings = (0..count)
            .map(|ring| match old.len() {
                0 => EMPTY,
                before => old[ring * before / count],
            })
            .collect();
    }

    /// Notes that a key was evicted from a queue.
    pub(super) fn remember(&mut self, hash: u64, from: Queue) {
        let Some(number) = self.ring_of(hash) else {
            return;
        };
        let ring = &mut self.rings[number];
        ring.fingerprints[ring.next as usize] = fingerprint(hash) | origin_bits(from);
        ring.next = (ring.next + 1) % FINGERPRINTS as u16;
    }

    /// The queue from which the key was evicted recently. Its fingerprint is removed.
    pub(super) fn recall(&mut self, hash: u64) -> Option<Queue> {
        let number = self.ring_of(hash)?;
        let wanted = fingerprint(hash);
        let ring = &mut self.rings[number].fingerprints;
        let at = ring.iter().position(|&known| known & HASH_BITS == wanted)?;
        let known = std::mem::take(&mut ring[at]);
        Some(Queue::ALL[(known >> HASH_WIDTH) as usize])
    }

    fn ring_of(&self, hash: u64) -> Option<usize> {
        let spread = ((hash & 0xffff_ffff) * self.rings.len() as u64) >> 32;
        (!self.rings.is_empty()).then_some(spread as usize)
    }
}

const HASH_WIDTH: u32 = 14;
const HASH_BITS: u16 = (1 << HASH_WIDTH) - 1;

/// The queue, as its position in [`Queue::ALL`].
fn origin_bits(queue: Queue) -> u16 {
    ((queue.tier as u16) << 1 | queue.chain as u16) << HASH_WIDTH
}

/// Fourteen bits of the hash, other than those that choose the ring. Never 0.
fn fingerprint(hash: u64) -> u16 {
    ((hash >> 32) as u16 & HASH_BITS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
    }

    #[test]
    fn the_latest_are_known_once() {
        let mut ghost = Ghost::default();
        let origin = |number: u64| Queue::ALL[number as usize % 4];
        ghost.remember(hash(1), Queue::ALL[0]);
        assert_eq!(ghost.recall(hash(1)), None, "an empty ghost knows nothing");
        ghost.resize(3_100);
        (0..20_000).for_each(|number| ghost.remember(hash(number), origin(number)));
        for number in 19_000..20_000 {
            assert_eq!(ghost.recall(hash(number)), Some(origin(number)));
        }
        let mut known = |from: u64| {
            (from..from + 1_000)
                .filter(|&number| ghost.recall(hash(number)).is_some())
                .count()
        };
        assert!(known(19_000) < 20, "known twice");
        assert!(known(0) < 20, "known for ever");
    }

    #[test]
    fn growing_keeps_what_is_known() {
        let mut ghost = Ghost::default();
        ghost.resize(3_100);
        (0..1_000).for_each(|number| ghost.remember(hash(number), Queue::ALL[0]));
        ghost.resize(6_200);
        assert!((0..1_000).all(|number| ghost.recall(hash(number)).is_some()));
        assert_eq!(ghost.bytes(), Ghost::bytes_for(6_200));
    }
}
