//! Reports of what anybody can cause at will: one per subject and window, with a count of what came between.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use super::time::Timestamp;

/// Counts occurrences per key. The first one is reported at once, and the rest of a window when it is over. The number of
/// keys is bounded, so that nobody fills the memory by making up more of them.
#[derive(Debug)]
pub struct Throttle<K, V> {
    window: Duration,
    keys_max: usize,
    entries: HashMap<K, Entry<V>>,
}

#[derive(Debug)]
struct Entry<V> {
    next_at: Timestamp,
    unreported: u64,
    latest: V,
}

/// What happened to one key since the report before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burst<K, V> {
    pub key: K,
    pub times: u64,
    /// The latest of them.
    pub latest: V,
}

impl<K: Clone + Eq + Hash, V: Clone> Throttle<K, V> {
    pub fn new(window: Duration, keys_max: usize) -> Throttle<K, V> {
        Throttle {
            window,
            keys_max,
            entries: HashMap::new(),
        }
    }

    /// Counts one occurrence. It is counted for `others` when there are too many keys already.
    pub fn note(&mut self, key: K, others: K, what: V, now: Timestamp) -> Option<Burst<K, V>> {
        let is_full = self.entries.len() >= self.keys_max && !self.entries.contains_key(&key);
        let key = if is_full { others } else { key };
        let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry {
            next_at: now,
            unreported: 0,
            latest: what.clone(),
        });
        entry.unreported += 1;
        entry.latest = what;
        entry.burst(&key, self.window, now)
    }

    /// What became due by the passing of time. Forgets the keys of which nothing more was heard.
    pub fn due(&mut self, now: Timestamp) -> Vec<Burst<K, V>> {
        let window = self.window;
        let entries = self.entries.iter_mut();
        let due = entries.filter_map(|(key, entry)| entry.burst(key, window, now));
        let due = due.collect();
        // A clock that was set back keeps no key for longer than a window.
        self.entries
            .retain(|_, entry| now < entry.next_at && entry.next_at <= now.plus(window));
        due
    }

    /// All that was not reported yet.
    pub fn rest(&mut self) -> Vec<Burst<K, V>> {
        let entries = self
            .entries
            .drain()
            .filter(|(_, entry)| entry.unreported > 0);
        let burst = |(key, entry): (K, Entry<V>)| Burst {
            key,
            times: entry.unreported,
            latest: entry.latest,
        };
        entries.map(burst).collect()
    }
}

impl<V: Clone> Entry<V> {
    fn burst<K: Clone>(
        &mut self,
        key: &K,
        window: Duration,
        now: Timestamp,
    ) -> Option<Burst<K, V>> {
        if self.unreported == 0 || now < self.next_at {
            return None;
        }
        self.next_at = now.plus(window);
        Some(Burst {
            key: key.clone(),
            times: std::mem::take(&mut self.unreported),
            latest: self.latest.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + secs)
    }

    #[test]
    fn the_first_is_told_at_once_and_the_rest_as_one_when_the_window_is_over() {
        let mut throttle = Throttle::new(MINUTE, 10);
        let burst = |times, latest| {
            let key = 'a';
            Burst { key, times, latest }
        };
        assert_eq!(throttle.note('a', '-', 0, at(0)), Some(burst(1, 0)));
        for second in 1..50 {
            assert_eq!(throttle.note('a', '-', second, at(second)), None);
        }
        assert_eq!(throttle.due(at(59)), []);
        assert_eq!(throttle.due(at(60)), [burst(49, 49)]);
        assert_eq!(throttle.due(at(120)), []);
        assert_eq!(throttle.entries.len(), 0, "nothing is kept of a quiet key");
        assert_eq!(throttle.note('a', '-', 7, at(130)), Some(burst(1, 7)));
    }

    #[test]
    fn keys_beyond_the_bound_are_counted_together() {
        let mut throttle = Throttle::new(MINUTE, 3);
        let mut told = 0;
        for key in 1..=1_000 {
            told += throttle
                .note(key, 0, (), at(0))
                .map_or(0, |burst| burst.times);
        }
        assert_eq!(throttle.entries.len(), 4);
        let rest: u64 = throttle.due(at(60)).iter().map(|burst| burst.times).sum();
        assert_eq!(told + rest, 1_000);
    }

    #[test]
    fn what_is_left_at_the_end_is_told() {
        let mut throttle = Throttle::new(MINUTE, 3);
        for _ in 0..5 {
            throttle.note("a", "", (), at(0));
        }
        throttle.note("b", "", (), at(0));
        let rest = throttle.rest();
        assert_eq!((rest.len(), rest[0].times), (1, 4));
    }

    #[test]
    fn a_clock_that_is_set_back_silences_nobody() {
        let mut throttle = Throttle::new(MINUTE, 3);
        throttle.note('a', '-', (), at(10_000));
        throttle.note('a', '-', (), at(10_000));
        throttle.due(at(0));
        assert!(throttle.note('a', '-', (), at(1)).is_some());
    }
}
