//! Adaptive shares: how the bytes are divided between the two chains of a tier, and between the two tiers.
//!
//! Both divisions follow the ghost. Of two rivals, the one whose evicted items come back more often would gain more hits
//! from more room, so it gets more. The shares therefore follow what each cache is used for.

use super::request::ITEM_BYTES_MAX;
use super::segment::{ChainKind, TierKind};

/// Evictions between two decisions about a share. The small chain's share needs more of them: on a trace whose popularity
/// drifts, decisions from fewer evictions were often reversed by the next one.
const SMALL_PERIOD: u32 = 2_000;
const LARGE_PERIOD: u32 = 1_000;
/// What remains of the counts after each decision, so that recent evictions weigh more.
const FADE: f32 = 0.9;

/// The small chain's share in thousandths of its tier: at the start (which is also the smallest), and the largest.
const SMALL_START: u32 = 100;
const SMALL_MAX: u32 = 980;
/// How far one decision moves it: fast up, because a drift costs hits until the share is right, and slowly down.
const SMALL_GROWTH: u32 = 300;
const SMALL_STEP: u32 = 10;
/// The small chain's share grows when more than this part of its evicted items comes back, and that is more than
/// [`GROW_FACTOR`] times the main chain's part. Measured: traces that drift show a part of 0.25 and a factor of 20; all
/// others show a factor below 2, or a part of 0.03.
const GROW_FROM: f32 = 0.05;
const GROW_FACTOR: f32 = 3.0;
/// It shrinks when its part is less than this many times the main chain's.
const SHRINK_FACTOR: f32 = 2.0;

/// The large tier's share in thousandths of all bytes: at the start, its bounds, and the step of one decision.
const LARGE_START: u32 = 250;
const LARGE_MIN: u32 = 20;
const LARGE_MAX: u32 = 950;
const LARGE_STEP: u32 = 20;

/// What large values may always have of `bytes`: two of the largest values. With less, a small cache full of small values
/// would evict a large value with the next store.
pub(super) fn large_min(bytes: u64) -> u64 {
    (bytes / 4).min(2 * ITEM_BYTES_MAX as u64)
}

/// What was evicted from two rivals, and how much of it came back. Old counts fade.
#[derive(Debug, Default)]
struct Returns {
    evicted: [f32; 2],
    returned: [f32; 2],
    since: u32,
}

impl Returns {
    /// Counts an eviction. True when it is time for a decision.
    fn note_eviction(&mut self, rival: usize, amount: f32, period: u32) -> bool {
        self.evicted[rival] += amount;
        self.since += 1;
        self.since >= period
    }

    /// For each rival, the part of its evicted items that came back. Fades the counts.
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

/// The small chain's share of its tier. A tenth suits most caches. Where popularity drifts, items of the main chain soon
/// become worthless; then a long small chain serves better, which behaves almost like LRU.
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
    /// The share in bytes.
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

/// The large tier's share of all bytes. It grows while bytes evicted there come back more often than bytes of small values,
/// and shrinks otherwise.
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
    /// The share in bytes.
    pub(super) fn of(&self, bytes: u64) -> u64 {
        let share = bytes / 1_000 * u64::from(self.thousandths);
        share.max(large_min(bytes))
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
        for number in 0..times {
            share.note_eviction(from);
            if number % 100 < returning {
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
        let evict_both = |share: &mut LargeShare, inline_returns: bool| {
            share.note_eviction(TierKind::Inline, 100);
            share.note_eviction(TierKind::Large, 100_000);
            share.note_return(TierKind::Large);
            if inline_returns {
                share.note_return(TierKind::Inline);
            }
        };
        (0..100_000).for_each(|_| evict_both(&mut share, true));
        assert_eq!(share.of(1 << 30), (1 << 30) / 1_000 * u64::from(LARGE_MIN));
        assert_eq!(
            share.of(1 << 20),
            1 << 18,
            "the smallest share of a small cache"
        );
        (0..100_000).for_each(|_| evict_both(&mut share, false));
        assert_eq!(share.of(1_000), u64::from(LARGE_MAX));
    }
}
