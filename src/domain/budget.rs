//! How often something may happen for one source before it is left out.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// So many occurrences per key and window. The number of keys is bounded: what comes from more of them shares one budget.
#[derive(Debug)]
pub struct Budget<K> {
    most: u32,
    window: Duration,
    keys_max: usize,
    spent: HashMap<K, Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    since: Duration,
    times: u32,
    /// Of all windows since it was told.
    left_out: u64,
}

/// What becomes of one occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is within the budget. So many were left out since the one before.
    Within {
        left_out: u64,
    },
    Beyond,
}

impl<K: Eq + Hash> Budget<K> {
    pub fn new(most: u32, window: Duration, keys_max: usize) -> Budget<K> {
        Budget {
            most,
            window,
            keys_max,
            spent: HashMap::new(),
        }
    }

    /// Counts one occurrence at `now`, the time since any instant. It is one of `others` when there are too many keys.
    pub fn spend(&mut self, key: K, others: K, now: Duration) -> Verdict {
        let window = self.window;
        if self.spent.len() >= self.keys_max && !self.spent.contains_key(&key) {
            let is_current = |spent: &Spent| now.saturating_sub(spent.since) < window;
            self.spent.retain(|_, spent| is_current(spent));
        }
        let is_full = self.spent.len() >= self.keys_max && !self.spent.contains_key(&key);
        let spent = self
            .spent
            .entry(if is_full { others } else { key })
            .or_default();
        if spent.times == 0 || now.saturating_sub(spent.since) >= window {
            (spent.since, spent.times) = (now, 0);
        }
        spent.times = spent.times.saturating_add(1);
        if spent.times > self.most {
            spent.left_out += 1;
            return Verdict::Beyond;
        }
        Verdict::Within {
            left_out: std::mem::take(&mut spent.left_out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Verdict = Verdict::Within { left_out: 0 };

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn each_key_has_its_own_and_a_new_one_with_each_window() {
        let mut budget = Budget::new(2, at(10), 10);
        for key in ['a', 'b'] {
            assert_eq!(budget.spend(key, '-', at(3)), WITHIN);
            assert_eq!(budget.spend(key, '-', at(12)), WITHIN);
            assert_eq!(budget.spend(key, '-', at(12)), Verdict::Beyond);
            assert_eq!(budget.spend(key, '-', at(12)), Verdict::Beyond);
        }
        assert_eq!(
            budget.spend('a', '-', at(13)),
            Verdict::Within { left_out: 2 }
        );
        assert_eq!(budget.spend('a', '-', at(13)), WITHIN);
        assert_eq!(budget.spend('a', '-', at(13)), Verdict::Beyond);
    }

    #[test]
    fn keys_beyond_the_bound_share_one() {
        let mut budget = Budget::new(2, at(10), 100);
        let mut within = 0;
        for key in 0..10_000_u32 {
            within += u32::from(budget.spend(key, u32::MAX, at(1)) == WITHIN);
        }
        assert_eq!(within, 100 + 2);
        assert!(budget.spent.len() <= 101);
        assert_eq!(
            budget.spend(5_000, u32::MAX, at(11)),
            WITHIN,
            "a new window has room"
        );
        assert_eq!(budget.spent.len(), 1);
    }
}
