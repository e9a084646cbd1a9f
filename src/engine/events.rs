//! What the engine tells the rest of the program.

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::{CacheId, FlushEvent, Timestamp, Username};

/// Takes events on the engine's threads, so it must not block: a full queue is the sink's to deal with.
pub trait EventSink: Send + Sync {
    fn record(&self, event: EngineEvent);
}

/// Something that happened to a cache on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineEvent {
    /// A flush took effect; a delayed one is told then, not when it was asked for.
    Flushed(FlushEvent),
    /// A client asked for a flush without the right to it. Some clients report that as success, so it must show.
    FlushRefused {
        cache: CacheId,
        proxy: String,
        credential: Username,
        remote: Option<IpAddr>,
        at: Timestamp,
    },
    /// At most one per credential and minute.
    LoggedIn {
        cache: CacheId,
        username: Username,
        from: Option<IpAddr>,
        at: Timestamp,
    },
    /// At most one per cache and minute; `refused` counts since the one before.
    ConnectionsOverLimit {
        cache: CacheId,
        limit: u32,
        refused: u64,
        window_secs: u32,
        at: Timestamp,
    },
    /// The cache evicts. At most one per cache and minute; `evictions` counts since the one before.
    MemoryFull {
        cache: CacheId,
        used: u64,
        limit: u64,
        evictions: u64,
        window_secs: u32,
        at: Timestamp,
    },
}

/// The least time between two events of one kind about one thing.
pub const EVENT_WINDOW: Duration = Duration::from_secs(60);

/// Counts occurrences and lets one through in each [`EVENT_WINDOW`].
#[derive(Debug)]
pub struct Gate {
    /// Microseconds; the gate is shut until then.
    shut_until: AtomicI64,
    waiting: AtomicU64,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate {
            shut_until: AtomicI64::new(i64::MIN),
            waiting: AtomicU64::new(0),
        }
    }
}

impl Gate {
    /// Counts `count` occurrences. When the gate is open it shuts, and all that were counted since it last shut are
    /// returned.
    pub fn pass(&self, count: u64, now: Timestamp) -> Option<u64> {
        self.waiting.fetch_add(count, Ordering::Relaxed);
        let until = self.shut_until.load(Ordering::Relaxed);
        if now.micros() < until {
            return None;
        }
        let next = now.plus(EVENT_WINDOW).micros();
        self.shut_until
            .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed)
            .ok()
            .map(|_| self.waiting.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_passes_once_a_minute_and_counts_the_rest() {
        let gate = Gate::default();
        let start = Timestamp::from_secs(1_000);
        assert_eq!(gate.pass(1, start), Some(1));
        for second in 1..60 {
            let now = start.plus(Duration::from_secs(second));
            assert_eq!(gate.pass(2, now), None, "after {second} s");
        }
        assert_eq!(gate.pass(1, start.plus(EVENT_WINDOW)), Some(119));
    }
}
