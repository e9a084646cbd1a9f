//! Events that the engine reports to the rest of the program.

use std::net::IpAddr;
use std::time::Duration;

use super::refused_logins::CertificateRefusal;
use super::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use crate::domain::{CacheId, FlushEvent, Timestamp, Username};

/// Receives events on the engine's threads. It must not block: when its queue is full, the sink decides what to drop.
pub trait EventSink: Send + Sync {
    fn record(&self, event: EngineEvent);
}

/// Something that happened to a cache on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineEvent {
    /// A flush took effect. A delayed flush is reported when it takes effect, not when the client asked for it.
    Flushed(FlushEvent),
    /// A client without the flush capability asked for a flush. Some client libraries report the refusal as success,
    /// so the owner must be able to see it.
    FlushRefused {
        cache: CacheId,
        proxy: String,
        credential: Username,
        remote: Option<IpAddr>,
        at: Timestamp,
    },
    /// At most one event per credential and minute.
    LoggedIn {
        cache: CacheId,
        username: Username,
        from: Option<IpAddr>,
        at: Timestamp,
    },
    /// Clients used a wrong password for this credential, its user name on a connection of another cache, or a certificate
    /// with its name that does not hold. `refused` counts them since the event before; credential and address are those of
    /// the latest.
    LoginsRefused {
        cache: CacheId,
        credential: Username,
        remote: Option<IpAddr>,
        refused: u64,
        window_secs: u32,
        at: Timestamp,
    },
    /// Clients used a user name that no credential of this node has. The control plane may know whose it is or was.
    UnknownUserRefused {
        username: Username,
        remote: Option<IpAddr>,
        refused: u64,
        window_secs: u32,
        at: Timestamp,
    },
    /// Logins from this address were refused, whatever they named. For the operator. `remote` is `None` when it stands for
    /// more addresses than are told apart.
    AddressRefused {
        remote: Option<IpAddr>,
        /// Of the latest: as it was presented, escaped and bounded.
        username: String,
        /// Why its client certificate was refused, if it presented one instead of a password.
        certificate: Option<CertificateRefusal>,
        cache: Option<CacheId>,
        refused: u64,
        window_secs: u32,
        at: Timestamp,
    },
    /// At most one event per cache and minute; `refused` counts connections since the event before.
    ConnectionsOverLimit {
        cache: CacheId,
        limit: u32,
        refused: u64,
        window_secs: u32,
        at: Timestamp,
    },
    /// The cache evicts items. At most one event per cache and minute; `evictions` counts items since the event before.
    MemoryFull {
        cache: CacheId,
        used: u64,
        limit: u64,
        evictions: u64,
        window_secs: u32,
        at: Timestamp,
    },
}

/// The least time between two events of one kind about one cache or credential.
pub const EVENT_WINDOW: Duration = Duration::from_secs(60);

/// Limits events to one per [`EVENT_WINDOW`], and counts the occurrences between them.
#[derive(Debug)]
pub struct EventThrottle {
    /// Microseconds since the epoch; no event passes before.
    next_at: AtomicI64,
    /// Occurrences since the last event.
    unreported: AtomicU64,
}

impl Default for EventThrottle {
    fn default() -> EventThrottle {
        EventThrottle {
            next_at: AtomicI64::new(i64::MIN),
            unreported: AtomicU64::new(0),
        }
    }
}

impl EventThrottle {
    /// Counts `count` occurrences. When an event may be reported now, returns all occurrences since the last one.
    pub fn note(&self, count: u64, now: Timestamp) -> Option<u64> {
        self.unreported.fetch_add(count, Ordering::Relaxed);
        let next_at = self.next_at.load(Ordering::Relaxed);
        if now.micros() < next_at {
            return None;
        }
        // Of several threads that come at once, the one whose exchange succeeds reports for all.
        let after = now.plus(EVENT_WINDOW).micros();
        self.next_at
            .compare_exchange(next_at, after, Ordering::Relaxed, Ordering::Relaxed)
            .ok()
            .map(|_| self.unreported.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttle_passes_once_a_minute_and_counts_the_rest() {
        let throttle = EventThrottle::default();
        let start = Timestamp::from_secs(1_000);
        assert_eq!(throttle.note(1, start), Some(1));
        for second in 1..60 {
            let now = start.plus(Duration::from_secs(second));
            assert_eq!(throttle.note(2, now), None, "after {second} s");
        }
        assert_eq!(throttle.note(1, start.plus(EVENT_WINDOW)), Some(119));
    }
}
