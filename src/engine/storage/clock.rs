//! Coarse monotonic time for items: whole seconds, read with one atomic load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::exptime::Exptime;

/// What the clock reads when it is made. Leaves 0 for "never expires" and 1 for "expired at once".
const START_SECS: u32 = 16;

/// Seconds since the process began, shared by all tenants. Somebody must call [`EngineClock::tick`] about once a
/// second; between ticks time stands still, so that a read costs no system call.
///
/// Wall time is looked at once, when the clock is made. A later jump of the wall clock changes no item's life.
#[derive(Clone, Debug)]
pub struct EngineClock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    now: AtomicU32,
    /// Unix seconds when `now` was [`START_SECS`].
    wall_start: u64,
    /// Absent for a clock that tests move by hand.
    started: Option<Instant>,
}

/// When an item dies, in seconds of the engine clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Expiry(u32);

impl Expiry {
    pub(super) const NEVER: Expiry = Expiry(0);
    const AT_ONCE: Expiry = Expiry(1);

    pub(super) const fn from_raw(raw: u32) -> Expiry {
        Expiry(raw)
    }

    pub(super) const fn raw(self) -> u32 {
        self.0
    }

    pub(super) const fn is_never(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn is_over(self, now: u32) -> bool {
        self.0 != 0 && self.0 <= now
    }

    /// Seconds left, or `None` for ever.
    pub(super) const fn remaining(self, now: u32) -> Option<u32> {
        if self.0 == 0 {
            None
        } else {
            Some(self.0.saturating_sub(now))
        }
    }
}

impl EngineClock {
    /// The machine's monotonic clock, at its state of the last tick.
    pub fn system() -> EngineClock {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        EngineClock::build(wall, Some(Instant::now()))
    }

    /// A clock for tests that moves only by [`EngineClock::advance`].
    pub fn manual(unix_secs: u64) -> EngineClock {
        EngineClock::build(unix_secs, None)
    }

    fn build(wall_start: u64, started: Option<Instant>) -> EngineClock {
        EngineClock {
            shared: Arc::new(Shared {
                now: AtomicU32::new(START_SECS),
                wall_start,
                started,
            }),
        }
    }

    /// Takes over the time that has passed. Does nothing to a manual clock.
    pub fn tick(&self) {
        if let Some(started) = self.shared.started {
            let passed = u32::try_from(started.elapsed().as_secs()).unwrap_or(u32::MAX);
            self.shared
                .now
                .store(START_SECS.saturating_add(passed), Ordering::Relaxed);
        }
    }

    /// Moves a manual clock forward.
    pub fn advance(&self, secs: u32) {
        if self.shared.started.is_none() {
            self.shared.now.fetch_add(secs, Ordering::Relaxed);
        }
    }

    /// Seconds of the engine clock, never 0.
    #[inline]
    pub fn now(&self) -> u32 {
        self.shared.now.load(Ordering::Relaxed)
    }

    /// Unix time as this clock sees it.
    pub fn unix_secs(&self) -> u64 {
        self.shared.wall_start + u64::from(self.now() - START_SECS)
    }

    pub(super) fn expiry(&self, exptime: Exptime) -> Expiry {
        let now = self.now();
        match exptime {
            Exptime::Never => Expiry::NEVER,
            Exptime::Expired | Exptime::Relative(0) => Expiry::AT_ONCE,
            Exptime::Relative(secs) => Expiry(now.saturating_add(secs)),
            Exptime::Absolute(unix) => {
                let from_start = unix.saturating_sub(self.shared.wall_start);
                let at = from_start.saturating_add(u64::from(START_SECS));
                let at = u32::try_from(at).unwrap_or(u32::MAX);
                if at <= now {
                    Expiry::AT_ONCE
                } else {
                    Expiry(at)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_counted_from_now() {
        let clock = EngineClock::manual(1_800_000_000);
        clock.advance(100);
        let expiry = clock.expiry(Exptime::Relative(10));
        assert_eq!(expiry.remaining(clock.now()), Some(10));
        assert!(!expiry.is_over(clock.now() + 9));
        assert!(expiry.is_over(clock.now() + 10));
        assert_eq!(clock.expiry(Exptime::Never).remaining(clock.now()), None);
    }

    #[test]
    fn absolute_times_follow_the_wall_clock_of_the_start() {
        let clock = EngineClock::manual(1_800_000_000);
        clock.advance(100);
        let expiry = clock.expiry(Exptime::Absolute(1_800_000_160));
        assert_eq!(expiry.remaining(clock.now()), Some(60));
        for past in [0, 1_799_999_999, 1_800_000_100] {
            assert!(clock.expiry(Exptime::Absolute(past)).is_over(clock.now()));
        }
    }
}
