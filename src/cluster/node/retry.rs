//! Calls of the link that fail: when to try again, and which failures to log.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;

use crate::outbox::backoff::dice;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);
/// A failure that goes on is logged this often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Pauses that double from [`RETRY_FIRST`] to [`RETRY_LAST`].
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff(RETRY_FIRST)
    }
}

impl Backoff {
    /// The pause before the next try. It is up to a tenth shorter than its step, so that the nodes of a control plane
    /// that was away do not come all at once.
    pub(super) fn pause(&mut self) -> Duration {
        let step = self.0;
        self.0 = (step * 2).min(RETRY_LAST);
        step - (step / 10).mul_f64(f64::from(dice()) / f64::from(u32::MAX))
    }
}

/// One kind of call that may fail for hours. Says which failures are worth a line, so that a log stays short.
#[derive(Default)]
pub(super) struct Outage(Option<Failing>);

struct Failing {
    since: Instant,
    told_at: Instant,
    reason: String,
}

impl Outage {
    /// Whether to log this failure: it is the first one, has another reason than the one before, or a minute has passed.
    pub(super) fn is_worth_a_line(&mut self, failure: &impl Display) -> bool {
        let (now, reason) = (Instant::now(), failure.to_string());
        let since = match &self.0 {
            Some(failing) if failing.reason == reason && now - failing.told_at < TELL_EVERY => {
                return false;
            }
            Some(failing) => failing.since,
            None => now,
        };
        self.0 = Some(Failing {
            since,
            told_at: now,
            reason,
        });
        true
    }

    /// The call has succeeded: for how long it failed before, if it did.
    pub(super) fn end(&mut self) -> Option<Duration> {
        self.0.take().map(|failing| failing.since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_seconds_and_are_a_little_shorter_than_that() {
        let mut backoff = Backoff::default();
        for step in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            let (step, pause) = (Duration::from_millis(step), backoff.pause());
            assert!(
                pause <= step && pause >= step.mul_f64(0.89),
                "{pause:?} of {step:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_told_when_it_begins_when_its_reason_changes_and_once_a_minute() {
        let mut outage = Outage::default();
        let mut told = Vec::new();
        for second in 0..150 {
            let reason = if second < 10 { "refused" } else { "no route" };
            if outage.is_worth_a_line(&reason) {
                told.push(second);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(told, [0, 10, 70, 130]);
        assert_eq!(outage.end().map(|lasted| lasted.as_secs()), Some(150));
        assert_eq!(outage.end(), None, "it is over once");
        assert!(outage.is_worth_a_line(&"no route"), "the next one begins");
    }
}
