//! How long a connection may keep us waiting: for the head of a request, and between two requests.
//!
//! hyper has one time for both. They need different ones: a head that comes slowly is an attack (security.md PA-8),
//! while an idle connection is most often a load balancer's, which closes it by its own clock. If we close it first, a
//! request may be on its way at that moment, and it is lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::closing::Closing;

/// From the first byte of a head to its last. A new connection begins with a head.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// Between two requests. Most load balancers close idle connections after 60 s at most.
const IDLE_MAX: Duration = Duration::from_secs(75);

/// What one connection is waiting for. Its stream, its service and the task that closes it share this value.
#[derive(Clone, Debug)]
pub(super) struct ReadTimer(Arc<watch::Sender<Waiting>>);

/// Who is waiting for whom.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    /// We wait for the rest of a head.
    ForHead { until: Instant },
    /// The client waits for its answer. Other limits bound this time.
    ForAnswer,
    /// Nobody waits: the connection is idle between two requests.
    Idle { until: Instant },
}

impl ReadTimer {
    pub fn new() -> ReadTimer {
        let until = Instant::now() + HEAD_MAX;
        ReadTimer(Arc::new(watch::Sender::new(Waiting::ForHead { until })))
    }

    /// A head is complete.
    pub fn head_read(&self) {
        self.0.send_replace(Waiting::ForAnswer);
    }

    /// The answer is on its way. What still comes of a body that was refused counts as the next head.
    pub fn answered(&self) {
        let until = Instant::now() + IDLE_MAX;
        self.0.send_replace(Waiting::Idle { until });
    }

    /// Bytes came.
    pub fn bytes_read(&self) {
        self.0.send_if_modified(|waiting| {
            let was_idle = matches!(waiting, Waiting::Idle { .. });
            if was_idle {
                let until = Instant::now() + HEAD_MAX;
                *waiting = Waiting::ForHead { until };
            }
            was_idle
        });
    }

    /// Ends when the connection has kept us waiting for too long; answers for what.
    pub async fn expired(&self) -> Closing {
        let mut states = self.0.subscribe();
        loop {
            let waiting = *states.borrow_and_update();
            // `changed` never fails: we hold the sender.
            let (until, why) = match waiting {
                Waiting::ForAnswer => {
                    _ = states.changed().await;
                    continue;
                }
                Waiting::ForHead { until } => (until, Closing::SlowHead),
                Waiting::Idle { until } => (until, Closing::Idle),
            };
            if timeout_at(until, states.changed()).await.is_err() {
                return why;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_says_what_was_waited_for() {
        let timer = ReadTimer::new();
        assert_eq!(timer.expired().await, Closing::SlowHead);
        timer.head_read();
        timer.answered();
        assert_eq!(timer.expired().await, Closing::Idle);
        timer.bytes_read();
        assert_eq!(
            timer.expired().await,
            Closing::SlowHead,
            "of the next request"
        );
    }
}
