//! Fingerprints of items that were dropped from the small chain without having been used.
//!
//! A key that comes back while its fingerprint is here has been dropped too early and goes to the main chain.
//! Fixed arrays: each line holds the last 31 fingerprints of its part of the hash space, in a ring.

const FINGERPRINTS: usize = 31;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line {
    /// Where the next fingerprint goes.
    next: u16,
    /// 0 means none.
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

    pub(super) fn remember(&mut self, hash: u64) {
        let Some(number) = self.line_of(hash) else {
            return;
        };
        let line = &mut self.lines[number];
        line.fingerprints[line.next as usize] = fingerprint(hash);
        line.next = (line.next + 1) % FINGERPRINTS as u16;
    }

    /// Whether the key was dropped of late; it is forgotten with this.
    pub(super) fn recall(&mut self, hash: u64) -> bool {
        let Some(number) = self.line_of(hash) else {
            return false;
        };
        let wanted = fingerprint(hash);
        let line = &mut self.lines[number].fingerprints;
        match line.iter().position(|&known| known == wanted) {
            Some(at) => {
                line[at] = 0;
                true
            }
            None => false,
        }
    }

    fn line_of(&self, hash: u64) -> Option<usize> {
        let spread = ((hash & 0xffff_ffff) * self.lines.len() as u64) >> 32;
        (!self.lines.is_empty()).then_some(spread as usize)
    }
}

/// Bits of the hash that do not choose the line.
fn fingerprint(hash: u64) -> u16 {
    ((hash >> 32) as u16).max(1)
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
        ghost.remember(hash(1));
        assert!(!ghost.recall(hash(1)), "an empty ghost knows nothing");
        ghost.resize(3_100);
        (0..20_000).for_each(|number| ghost.remember(hash(number)));
        assert!((19_000..20_000).all(|number| ghost.recall(hash(number))));
        let known_twice = (19_000..20_000).filter(|&number| ghost.recall(hash(number)));
        assert!(known_twice.count() < 10);
        assert!(
            (0..1_000)
                .filter(|&number| ghost.recall(hash(number)))
                .count()
                < 10
        );
    }

    #[test]
    fn growing_and_shrinking_keep_what_they_can() {
        let mut ghost = Ghost::default();
        ghost.resize(3_100);
        (0..1_000).for_each(|number| ghost.remember(hash(number)));
        ghost.resize(6_200);
        assert!((0..1_000).all(|number| ghost.recall(hash(number))));
        assert_eq!(ghost.bytes(), Ghost::bytes_for(6_200));
    }
}
