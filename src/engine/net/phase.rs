//! Deadlines of connections, without a timer for each.
//!
//! A connection notes which phase it is in and since when. Time is counted in sweeps: four times a second the event
//! loop checks all its connections and closes those that are overdue. This costs an idle connection nothing, and a busy
//! one a comparison per visit.

use std::time::Duration;

use crate::engine::protocol::Limits;

/// The time between two sweeps.
pub const SWEEP: Duration = Duration::from_millis(250);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not logged in.
    Login,
    /// Between requests.
    Idle,
    /// In the middle of a request.
    Busy,
    /// Replies wait because the peer does not read them.
    Writing,
    /// Waiting for the peer to read the last reply.
    Closing,
}

/// The phase of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    phase: Phase,
    /// The number of the sweep at which the phase began; of `Busy`, at which the request began.
    since: u32,
    /// The number of the sweep at which the peer last took a part of the replies, while `Writing`.
    taken: u32,
}

impl Progress {
    pub fn new(phase: Phase, now: u32) -> Progress {
        Progress {
            phase,
            since: now,
            taken: now,
        }
    }

    /// Enters a phase. A phase that goes on keeps its start: a byte now and then prolongs nothing.
    #[inline]
    pub fn enter(&mut self, phase: Phase, now: u32) {
        if self.phase != phase {
            *self = Progress::new(phase, now);
        }
    }

    /// Enters a phase after a request was completed. If another one is under way, its deadline begins now.
    #[inline]
    pub fn restart(&mut self, phase: Phase, now: u32) {
        if self.phase != phase || phase == Phase::Busy {
            *self = Progress::new(phase, now);
        }
    }

    /// The peer took a part of the replies that wait.
    pub fn note_taken(&mut self, now: u32) {
        self.taken = now;
    }

    /// Whether the phase has lasted longer than `limits` allow.
    pub fn is_overdue(&self, now: u32, limits: &Limits) -> bool {
        let lasted = SWEEP * now.wrapping_sub(self.since);
        match self.phase {
            Phase::Login => lasted > limits.login_deadline,
            Phase::Idle => false,
            Phase::Busy => lasted > limits.request_deadline,
            Phase::Writing => {
                let untaken = SWEEP * now.wrapping_sub(self.taken);
                untaken > limits.unread_output_deadline || lasted > limits.request_deadline
            }
            Phase::Closing => lasted > limits.linger,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            login_deadline: SWEEP * 4,
            unread_output_deadline: SWEEP * 4,
            request_deadline: SWEEP * 8,
            linger: SWEEP * 4,
            ..Limits::default()
        }
    }

    /// How many sweeps a phase lasts that is entered anew at each.
    fn lasts(phase: Phase, each: impl Fn(&mut Progress, u32)) -> Option<u32> {
        let start = u32::MAX - 1;
        let mut progress = Progress::new(phase, start);
        (1..100).find(|&sweeps| {
            let now = start.wrapping_add(sweeps);
            let overdue = progress.is_overdue(now, &limits());
            each(&mut progress, now);
            overdue
        })
    }

    #[test]
    fn a_phase_that_goes_on_keeps_its_start() {
        for (phase, sweeps) in [(Phase::Login, 5), (Phase::Busy, 9), (Phase::Closing, 5)] {
            let lasted = lasts(phase, |progress, now| progress.enter(phase, now));
            assert_eq!(lasted, Some(sweeps), "{phase:?}");
        }
    }

    #[test]
    fn a_completed_request_begins_the_deadline_of_the_next() {
        let lasted = lasts(Phase::Busy, |progress, now| {
            progress.restart(Phase::Busy, now);
        });
        assert_eq!(lasted, None);
        let login = lasts(Phase::Login, |progress, now| {
            progress.restart(Phase::Login, now);
        });
        assert_eq!(login, Some(5), "requests before a login prolong nothing");
    }

    #[test]
    fn replies_are_waited_for_while_they_are_taken_but_not_for_ever() {
        assert_eq!(lasts(Phase::Writing, |_, _| ()), Some(5));
        let lasted = lasts(Phase::Writing, Progress::note_taken);
        assert_eq!(lasted, Some(9));
    }

    #[test]
    fn an_idle_connection_may_stay_for_ever() {
        let progress = Progress::new(Phase::Idle, 0);
        assert!(!progress.is_overdue(u32::MAX, &Limits::default()));
    }
}
