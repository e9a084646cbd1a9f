//! Fingerprints of items that were evicted of late, with the queue they were evicted from.
//!
//! A key that comes back while its fingerprint is here has been evicted too early, and goes to the main chain. How
//! often that happens to either chain tells which of them should be longer.
//! Fixed arrays: each line holds the last 31 fingerprints of its part of the hash space, in a ring.

use super::segment::Queue;

const FINGERPRINTS: usize = 31;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line {
    /// Where the next fingerprint goes.
    next: u16,
    /// Fourteen bits of the hash, and on top the queue. 0 means none.
    fingerprints: [u16; FINGERPRINTS],
}

const EMPTY: Line = Line {
    next: 0,
    fingerprints: [0; FINGERPRINTS],
};

#[derive(Debug, Default)]
pub(super) struct Ghost {
    lines: Box<[Line]>,
}

impl Ghost {
    pub(super) fn bytes(&self) -> u64 {
        size_of_val(&*self.lines) as u64
    }

    /// How many fingerprints fit.
    pub(super) fn capacity(&self) -> usize {
        self.lines.len() * FINGERPRINTS
    }

    /// Bytes of a ghost for `items` fingerprints.
    pub(super) fn bytes_for(items: usize) -> u64 {
        (items.div_ceil(FINGERPRINTS) * size_of::<Line>()) as u64
    }

    /// Makes room for `items` fingerprints. What was known is kept as far as the new lines hold it.
    pub(super) fn resize(&mut self, items: usize) {
        let old = std::mem::take(&mut self.lines);
        let count = items.div_ceil(FINGERPRINTS);
        if count == 0 {
            return;
        }
        // Lines keep their part of the hash space, so a line's content goes to all lines cut from that part.
        self.lines = (0..count)
            .map(|line| match old.len() {
                0 => EMPTY,
                before => old[line * before / count],
            })
            .collect();
    }

    pub(super) fn remember(&mut self, hash: u64, from: Queue) {
        let Some(number) = self.line_of(hash) else {
            return;
        };
        let line = &mut self.lines[number];
        line.fingerprints[line.next as usize] = fingerprint(hash) | origin_bits(from);
        line.next = (line.next + 1) % FINGERPRINTS as u16;
    }

    /// The chain from which the key was evicted of late; it is forgotten with this.
    pub(super) fn recall(&mut self, hash: u64) -> Option<Queue> {
        let number = self.line_of(hash)?;
        let wanted = fingerprint(hash);
        let line = &mut self.lines[number].fingerprints;
        let at = line.iter().position(|&known| known & HASH_BITS == wanted)?;
        let known = std::mem::take(&mut line[at]);
        Some(Queue::ALL[(known >> HASH_WIDTH) as usize])
    }

    fn line_of(&self, hash: u64) -> Option<usize> {
        let spread = ((hash & 0xffff_ffff) * self.lines.len() as u64) >> 32;
        (!self.lines.is_empty()).then_some(spread as usize)
    }
}

const HASH_WIDTH: u32 = 14;
const HASH_BITS: u16 = (1 << HASH_WIDTH) - 1;

/// The queue by its place in [`Queue::ALL`].
fn origin_bits(queue: Queue) -> u16 {
    ((queue.tier as u16) << 1 | queue.chain as u16) << HASH_WIDTH
}

/// Bits of the hash that do not choose the line.
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
