//! The clocks of the engine. No other file of the engine reads a clock of the machine.
//!
//! Items use a coarse monotonic clock: whole seconds, read with one atomic load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::exptime::Exptime;

/// The time of a new clock. It leaves 0 for "never expires" and 1 for "expired at once".
const START_SECS: u32 = 16;

/// Monotonic time, for deadlines within the process.
#[expect(clippy::disallowed_methods, reason = "the home of the engine's clock")]
pub fn monotonic_now() -> Instant {
    Instant::now()
}

/// Seconds since the process began, shared by all tenants. The housekeeping thread calls [`EngineClock::tick`] at
/// least once a second; the clock stands still between ticks, so reading it costs no system call.
///
/// The wall clock is read once, when the clock is made. A later jump of the wall clock does not change when an item
/// expires.
#[derive(Clone, Debug)]
pub struct EngineClock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    now: AtomicU32,
    /// Unix time in seconds when `now` was [`START_SECS`].
    wall_start: u64,
    /// `None` for a clock that tests move by hand.
    started: Option<Instant>,
}

/// When an item expires, in seconds of the engine clock. 0 is never; see [`Exptime`] for what clients send.
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

    pub(super) const fn has_passed(self, now: u32) -> bool {
        self.0 != 0 && self.0 <= now
    }

    /// The remaining TTL in seconds; `None` when the item never expires.
    pub(super) const fn remaining(self, now: u32) -> Option<u32> {
        if self.0 == 0 {
            None
        } else {
            Some(self.0.saturating_sub(now))
        }
    }
}

impl EngineClock {
    /// The machine's monotonic clock as of the last tick.
    #[expect(clippy::disallowed_methods, reason = "the home of the engine's clock")]
    pub fn system() -> EngineClock {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        EngineClock::build(wall, Some(monotonic_now()))
    }

    /// A clock for tests that moves only by [`EngineClock::advance`].
    pub fn manual(unix_secs: u64) -> EngineClock {
        EngineClock::build(unix_secs, None)
    }

    /// Whether only [`EngineClock::advance`] moves it.
    pub(super) fn is_manual(&self) -> bool {
        self.shared.started.is_none()
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

    /// Moves the clock to the present. Does nothing to a manual clock.
    pub fn tick(&self) {
        if let Some(started) = self.shared.started {
            let passed = u32::try_from((monotonic_now() - started).as_secs()).unwrap_or(u32::MAX);
            self.shared
                .now
                .store(START_SECS.saturating_add(passed), Ordering::Relaxed);
        }
    }

    /// Moves a manual clock forward.
    pub fn advance(&self, secs: u32) {
        if self.is_manual() {
            self.shared.now.fetch_add(secs, Ordering::Relaxed);
        }
    }

    /// Seconds of the engine clock, never 0.
    #[inline]
    pub fn now(&self) -> u32 {
        self.shared.now.load(Ordering::Relaxed)
    }

    /// Unix time in seconds, by this clock.
    pub fn unix_secs(&self) -> u64 {
        self.shared.wall_start + u64::from(self.now() - START_SECS)
    }

    /// When an item with this exptime expires if it is stored now.
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
    fn a_relative_exptime_counts_from_now() {
        let clock = EngineClock::manual(1_800_000_000);
        clock.advance(100);
        let expiry = clock.expiry(Exptime::Relative(10));
        assert_eq!(expiry.remaining(clock.now()), Some(10));
        assert!(!expiry.has_passed(clock.now() + 9));
        assert!(expiry.has_passed(clock.now() + 10));
        assert_eq!(clock.expiry(Exptime::Never).remaining(clock.now()), None);
    }

    #[test]
    fn absolute_times_follow_the_wall_clock_of_the_start() {
        let clock = EngineClock::manual(1_800_000_000);
        clock.advance(100);
        let expiry = clock.expiry(Exptime::Absolute(1_800_000_160));
        assert_eq!(expiry.remaining(clock.now()), Some(60));
        for past in [0, 1_799_999_999, 1_800_000_100] {
            assert!(
                clock
                    .expiry(Exptime::Absolute(past))
                    .has_passed(clock.now())
            );
        }
    }
}
