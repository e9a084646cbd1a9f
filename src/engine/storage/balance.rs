//! How the bytes are shared: between the two chains of a tier, and between the two tiers.
//!
//! Both shares follow the ghosts. Of what was evicted from a queue, the part that comes back soon says what more
//! room for that queue would have been worth.

use super::request::ITEM_BYTES_MAX;
use super::segment::{ChainKind, TierKind};

/// Evictions after which a share is looked at again. A small chain's needs the longer count: a step taken on too little
/// of a drifting trace is taken back too often.
const SMALL_PERIOD: u32 = 2_000;
const LARGE_PERIOD: u32 = 1_000;
/// What is kept of the old counts when new ones begin.
const FADE: f32 = 0.9;

/// The small chain's share at the start, which is also the smallest, and the largest.
const SMALL_START: u32 = 100;
const SMALL_MAX: u32 = 980;
/// By how many thousandths it moves at a time: fast towards a drift, which does not wait, and slowly back.
const SMALL_GROWTH: u32 = 300;
const SMALL_STEP: u32 = 10;
/// The small chain's share grows when this part of what it dropped comes back, and so many times the part of the
/// main chain. Measured: drifting traces show 0.25 and a factor of 20, all others less than 2, or 0.03.
const GROW_FROM: f32 = 0.05;
const GROW_FACTOR: f32 = 3.0;
/// It shrinks when the main chain's part is this near.
const SHRINK_FACTOR: f32 = 2.0;

/// The large tier's share at the start, and its bounds.
const LARGE_START: u32 = 250;
const LARGE_MIN: u32 = 20;
const LARGE_MAX: u32 = 950;
const LARGE_STEP: u32 = 20;

/// What large values may have of `bytes` in any case: two of the largest, else one of them would be gone with the next
/// store into a small cache that is full of small values.
pub(super) fn large_least(bytes: u64) -> u64 {
    (bytes / 4).min(2 * ITEM_BYTES_MAX as u64)
}

/// What was evicted from two rivals and what of it came back, fading.
#[derive(Debug, Default)]
struct Returns {
    evicted: [f32; 2],
    returned: [f32; 2],
    since: u32,
}

impl Returns {
    /// True when it is time to look at the share again.
    fn note_eviction(&mut self, rival: usize, amount: f32, period: u32) -> bool {
        self.evicted[rival] += amount;
        self.since += 1;
        self.since >= period
    }

    /// The part that came back, of both rivals. Old news counts for less from now on.
    fn parts(&mut self) -> [f32; 2] {
        self.since = 0;
        let parts = [0, 1].map(|rival| self.returned[rival] / self.evicted[rival].max(1.0));
        for rival in 0..2 {
            self.returned[rival] *= FADE;
            self.evicted[rival] *= FADE;
        }
        parts
    }
}

/// The small chain's share of a tier. One in ten suits most work. Where popularity drifts, what fills the main chain
/// is soon worthless, and a long small chain, which is then close to LRU, serves better.
#[derive(Debug)]
pub(super) struct SmallShare {
    thousandths: u32,
    returns: Returns,
}

impl Default for SmallShare {
    fn default() -> SmallShare {
        SmallShare {
            thousandths: SMALL_START,
            returns: Returns::default(),
        }
    }
}

impl SmallShare {
    pub(super) fn of(&self, bytes: u64) -> u64 {
        bytes / 1_000 * u64::from(self.thousandths)
    }

    pub(super) fn note_return(&mut self, from: ChainKind) {
        self.returns.returned[from as usize] += 1.0;
    }

    pub(super) fn note_eviction(&mut self, from: ChainKind) {
        if self.returns.note_eviction(from as usize, 1.0, SMALL_PERIOD) {
            let [small, main] = self.returns.parts();
            if small > main * GROW_FACTOR && small > GROW_FROM {
                self.thousandths = (self.thousandths + SMALL_GROWTH).min(SMALL_MAX);
            } else if small < main * SHRINK_FACTOR {
                self.thousandths = (self.thousandths - SMALL_STEP).max(SMALL_START);
            }
        }
    }
}

/// The large tier's share of all bytes: it grows while an evicted byte there is missed more often than a byte of
/// the small values.
#[derive(Debug)]
pub(super) struct LargeShare {
    thousandths: u32,
    returns: Returns,
}

impl Default for LargeShare {
    fn default() -> LargeShare {
        LargeShare {
            thousandths: LARGE_START,
            returns: Returns::default(),
        }
    }
}

impl LargeShare {
    pub(super) fn of(&self, bytes: u64) -> u64 {
        let share = bytes / 1_000 * u64::from(self.thousandths);
        share.max(large_least(bytes))
    }

    pub(super) fn note_return(&mut self, from: TierKind) {
        self.returns.returned[from as usize] += 1.0;
    }

    pub(super) fn note_eviction(&mut self, from: TierKind, bytes: u64) {
        let amount = bytes as f32;
        if self
            .returns
            .note_eviction(from as usize, amount, LARGE_PERIOD)
        {
            let [inline, large] = self.returns.parts();
            if large > inline {
                self.thousandths = (self.thousandths + LARGE_STEP).min(LARGE_MAX);
            } else {
                self.thousandths = (self.thousandths - LARGE_STEP).max(LARGE_MIN);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evict(share: &mut SmallShare, from: ChainKind, times: u32, returning: u32) {
        for turn in 0..times {
            share.note_eviction(from);
            if turn % 100 < returning {
                share.note_return(from);
            }
        }
    }

    #[test]
    fn the_small_chain_grows_only_under_drift() {
        let mut share = SmallShare::default();
        for _ in 0..100 {
            evict(&mut share, ChainKind::Main, 500, 20);
            evict(&mut share, ChainKind::Small, 500, 25);
        }
        assert_eq!(share.of(1_000), 100, "both come back: popularity is steady");
        for _ in 0..40 {
            evict(&mut share, ChainKind::Main, 500, 1);
            evict(&mut share, ChainKind::Small, 500, 25);
        }
        assert_eq!(share.of(1_000), u64::from(SMALL_MAX));
        for _ in 0..200 {
            evict(&mut share, ChainKind::Main, 500, 20);
            evict(&mut share, ChainKind::Small, 500, 25);
        }
        assert_eq!(share.of(1_000), 100);
    }

    #[test]
    fn bytes_go_where_they_are_missed_most() {
        let mut share = LargeShare::default();
        let turn = |share: &mut LargeShare, inline_returns: bool| {
            share.note_eviction(TierKind::Inline, 100);
            share.note_eviction(TierKind::Large, 100_000);
            share.note_return(TierKind::Large);
            if inline_returns {
                share.note_return(TierKind::Inline);
            }
        };
        (0..100_000).for_each(|_| turn(&mut share, true));
        assert_eq!(share.of(1 << 30), (1 << 30) / 1_000 * u64::from(LARGE_MIN));
        assert_eq!(share.of(1 << 20), 1 << 18, "a quarter of next to nothing");
        (0..100_000).for_each(|_| turn(&mut share, false));
        assert_eq!(share.of(1_000), u64::from(LARGE_MAX));
    }
}
