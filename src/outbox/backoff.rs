//! When to try again: pure functions of what failed and how often.

use std::time::Duration;

/// The longest wait that a provider's `Retry-After` can ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// How often a push that is beyond its retries is tried for ever after.
pub const RECONCILE_EVERY: Duration = Duration::from_secs(3600);
/// How long a push is retried before a person is called.
pub const CONFIG_RETRIES: Duration = Duration::from_secs(24 * 3600);

/// A doubling wait: `first`, twice that, … up to `most`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
}

/// Config pushes: 1 s doubling to 5 min.
pub const CONFIG: Backoff = Backoff {
    first: Duration::from_secs(1),
    most: Duration::from_secs(300),
};

/// Grant exchange: 1 s doubling to 30 s, because a code lives five minutes.
pub const EXCHANGE: Backoff = Backoff {
    first: Duration::from_secs(1),
    most: Duration::from_secs(30),
};

/// Reconciles: 5 s doubling to an hour, because nobody waits for them.
pub const RECONCILE: Backoff = Backoff {
    first: Duration::from_secs(5),
    most: Duration::from_secs(3600),
};

/// Between rounds of log lines: 4 s doubling to a minute, because a line lives fifteen minutes.
const LINE_ROUNDS: Backoff = Backoff {
    first: Duration::from_secs(4),
    most: Duration::from_secs(60),
};

/// Tries in one round of log lines, with a pause of so many seconds after each as tries went before.
const LINE_TRIES: u32 = 3;

impl Backoff {
    /// The longest wait after `failed` failures in a row; the first failure is 1.
    pub fn ceiling(&self, failed: u32) -> Duration {
        let doublings = failed.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.most)
    }

    /// The wait with full jitter, from zero up to [`ceiling`](Backoff::ceiling), so that a recovered provider
    /// does not meet everybody at once. `dice` is evenly spread over `u32`.
    pub fn wait(&self, failed: u32, dice: u32) -> Duration {
        jitter(self.ceiling(failed), dice)
    }
}

fn jitter(ceiling: Duration, dice: u32) -> Duration {
    ceiling.mul_f64(f64::from(dice) / f64::from(u32::MAX))
}

/// The wait before the next try of a lane: two quick pauses within a round, then a growing one between rounds.
pub fn line_wait(failed: u32, dice: u32) -> Duration {
    let within = failed % LINE_TRIES;
    if within != 0 {
        return Duration::from_secs(u64::from(within));
    }
    let ceiling = LINE_ROUNDS.ceiling(failed / LINE_TRIES);
    // At least half of it: a round that follows at once would be no pause.
    ceiling / 2 + jitter(ceiling / 2, dice)
}

/// What the provider asked for, within reason.
pub fn obey(retry_after: Duration) -> Duration {
    retry_after.min(RETRY_AFTER_MAX)
}

/// Even dice for the jitter.
pub fn dice() -> u32 {
    u32::from_ne_bytes(crate::domain::secret::random_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIGHEST: u32 = u32::MAX;

    #[test]
    fn config_waits_double_from_a_second_to_five_minutes() {
        let secs: Vec<u64> = (1..=11)
            .map(|failed| CONFIG.wait(failed, HIGHEST).as_secs())
            .collect();
        assert_eq!(secs, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(CONFIG.wait(u32::MAX, HIGHEST).as_secs(), 300);
        assert_eq!(EXCHANGE.wait(9, HIGHEST).as_secs(), 30);
    }

    #[test]
    fn jitter_is_full() {
        assert_eq!(CONFIG.wait(10, 0), Duration::ZERO);
        let middle = CONFIG.wait(10, HIGHEST / 2).as_secs_f64();
        assert!((149.9..150.1).contains(&middle), "{middle}");
    }

    #[test]
    fn lines_get_three_quick_tries_per_round() {
        let secs: Vec<u64> = (1..=9)
            .map(|failed| line_wait(failed, HIGHEST).as_secs())
            .collect();
        assert_eq!(secs, [1, 2, 4, 1, 2, 8, 1, 2, 16]);
        assert_eq!(line_wait(3, 0).as_secs(), 2);
        assert_eq!(line_wait(300, HIGHEST).as_secs(), 60);
    }

    #[test]
    fn a_provider_cannot_ask_for_more_than_an_hour() {
        assert_eq!(obey(Duration::from_secs(7)).as_secs(), 7);
        assert_eq!(obey(Duration::from_secs(86_400)).as_secs(), 3_600);
    }
}
