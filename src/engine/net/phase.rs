//! What a connection is doing and since when: deadlines without a timer for each.
//!
//! Time is counted in sweeps. Four times a second one look at every connection finds those whose time has come; that
//! costs an idle connection nothing, and a busy one a single store per turn.

use std::time::Duration;

use crate::engine::protocol::Limits;

/// Time between two sweeps.
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
    /// The peer does not take its replies.
    Writing,
    /// Waiting for the peer to take the last reply.
    Closing,
}

/// The phase of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    phase: Phase,
    /// The sweep at which it began.
    since: u32,
}

impl Progress {
    pub fn new(phase: Phase, now: u32) -> Progress {
        Progress { phase, since: now }
    }

    /// Enters a phase. One that goes on keeps its beginning, but for those in which each piece moved is progress.
    #[inline]
    pub fn enter(&mut self, phase: Phase, now: u32) {
        if self.phase != phase || matches!(phase, Phase::Writing | Phase::Busy) {
            *self = Progress::new(phase, now);
        }
    }

    /// Whether it has lasted longer than it may.
    pub fn is_overdue(&self, now: u32, limits: &Limits) -> bool {
        let limit = match self.phase {
            Phase::Login => limits.login_deadline,
            Phase::Idle => return false,
            Phase::Busy => limits.stalled_request_deadline,
            Phase::Writing => limits.unread_output_deadline,
            Phase::Closing => limits.linger,
        };
        SWEEP * now.wrapping_sub(self.since) > limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_that_goes_on_keeps_its_beginning_unless_it_made_progress() {
        let limits = Limits {
            login_deadline: SWEEP * 4,
            unread_output_deadline: SWEEP * 4,
            ..Limits::default()
        };
        let start = u32::MAX - 1;
        for (phase, overdue) in [(Phase::Login, true), (Phase::Writing, false)] {
            let mut progress = Progress::new(phase, start);
            progress.enter(phase, start.wrapping_add(3));
            let now = start.wrapping_add(5);
            assert_eq!(progress.is_overdue(now, &limits), overdue, "{phase:?}");
        }
    }

    #[test]
    fn an_idle_connection_may_stay_for_ever() {
        let progress = Progress::new(Phase::Idle, 0);
        assert!(!progress.is_overdue(u32::MAX, &Limits::default()));
    }
}
