//! The part of a connection that knows no socket: unfinished input, the session, unsent replies, deadlines, and what the
//! tenant is charged for all of this.
//!
//! Memory is held only between visits, for input that could not be carried out yet and for replies that the peer has not
//! taken. A client that has logged in is charged for it ([`Tenant::hold`](crate::engine::storage::Tenant::hold)), and is
//! refused and closed when there is no room. A client that has not logged in has a small fixed allowance. Most visits leave nothing behind; they
//! neither allocate nor count anything here.

use super::phase::{Phase, Progress};
use crate::engine::protocol::{Limits, Output};
use crate::engine::session::{ClientSession, Fed, Next};
use crate::engine::state::EngineState;
use crate::engine::storage::HeldBytes;

/// Up to here `pending` grows by what is needed. Beyond, a line of keys comes read by read, and growing so would copy it
/// each time.
const EXACT_BYTES_MAX: usize = 128 << 10;
/// An emptier buffer is made smaller once a request of this size has left it.
const KEPT_BYTES: usize = 64 << 10;

/// One connection without its socket.
#[derive(Debug)]
pub struct Exchange {
    session: ClientSession,
    progress: Progress,
    /// Bytes of an unfinished request, and bytes beyond what a visit may execute.
    pending: Vec<u8>,
    /// How many bytes of `pending` are consumed.
    consumed: usize,
    /// Replies that the socket did not take at once. Empty when TLS holds the rest.
    unsent: Option<Box<Output>>,
    held: Option<HeldBytes>,
}

impl Exchange {
    pub fn new(session: ClientSession, now_sweeps: u32) -> Exchange {
        Exchange {
            progress: Progress::new(phase_of(&session, true), now_sweeps),
            session,
            pending: Vec::new(),
            consumed: 0,
            unsent: None,
            held: None,
        }
    }

    pub fn session(&self) -> &ClientSession {
        &self.session
    }

    pub fn session_mut(&mut self) -> &mut ClientSession {
        &mut self.session
    }

    #[inline]
    pub fn is_logged_in(&self) -> bool {
        self.session.account().is_some()
    }

    #[inline]
    pub fn is_between_requests(&self) -> bool {
        self.pending.is_empty() && self.session.is_between_requests()
    }

    /// Executes what is complete with `input`, and keeps the rest.
    #[inline]
    pub fn receive(&mut self, engine: &EngineState, input: &[u8], out: &mut Output) -> Fed {
        if !self.pending.is_empty() {
            self.extend_pending(input);
            return self.resume(engine, out);
        }
        let fed = self.session.feed(engine, input, out);
        if fed.used < input.len() && fed.next != Next::Close {
            self.pending.extend_from_slice(&input[fed.used..]);
        } else if self.held.is_none() {
            return fed;
        }
        self.after_feed(engine, fed, out)
    }

    /// Goes on with the input that is kept.
    pub fn resume(&mut self, engine: &EngineState, out: &mut Output) -> Fed {
        let input = &self.pending[self.consumed..];
        let fed = self.session.feed(engine, input, out);
        self.consumed += fed.used;
        if self.consumed == self.pending.len() {
            self.drop_pending();
        } else if fed.next == Next::Read {
            self.pending.drain(..self.consumed);
            self.consumed = 0;
            if self.pending.capacity() / 4 > self.pending.len().max(KEPT_BYTES) {
                self.pending.shrink_to(KEPT_BYTES);
            }
        }
        self.after_feed(engine, fed, out)
    }

    fn extend_pending(&mut self, input: &[u8]) {
        if self.pending.len() + input.len() <= EXACT_BYTES_MAX {
            self.pending.reserve_exact(input.len());
        }
        self.pending.extend_from_slice(input);
    }

    /// Has what is kept charged. Without room for it, the request ends with an error and the connection closes.
    #[inline(never)]
    fn after_feed(&mut self, engine: &EngineState, fed: Fed, out: &mut Output) -> Fed {
        if fed.next == Next::Close {
            self.drop_pending();
        }
        if self.charge(&engine.limits, 0) {
            return fed;
        }
        self.session
            .refuse_for_memory(&self.pending[self.consumed..], out);
        self.drop_pending();
        self.charge(&engine.limits, 0);
        let next = Next::Close;
        Fed { next, ..fed }
    }

    /// Charges the tenant for what is held, and `more` bytes that the socket's side holds. False when there is no room.
    fn charge(&mut self, limits: &Limits, more: usize) -> bool {
        let unsent = self
            .unsent
            .as_ref()
            .map_or(0, |unsent| unsent.buffer_bytes());
        let (input, output) = (self.pending.capacity(), unsent + more);
        match self.session.tenant() {
            Some(tenant) => tenant.hold(&mut self.held, input, output).is_ok(),
            None => {
                self.held = None;
                input + output <= limits.anonymous_bytes_max
            }
        }
    }

    fn drop_pending(&mut self) {
        self.pending = Vec::new();
        self.consumed = 0;
    }

    /// Keeps replies that the socket has not taken, and is charged for `more` bytes of them that TLS holds. False when there
    /// is no room: the connection has to close.
    #[must_use]
    pub fn keep_unsent(
        &mut self,
        limits: &Limits,
        out: &mut Output,
        more: usize,
        now_sweeps: u32,
    ) -> bool {
        self.unsent = Some(Box::new(out.take_unsent()));
        // The deadline of a login goes on, whatever the client reads.
        if self.is_logged_in() {
            self.progress.enter(Phase::Writing, now_sweeps);
        }
        self.charge(limits, more)
    }

    /// Keeps a reply for the next visit.
    pub fn push_unsent(&mut self, reply: &[u8]) {
        let unsent = self.unsent.get_or_insert_default();
        unsent.push(reply);
    }

    #[inline]
    pub fn has_unsent(&self) -> bool {
        self.unsent.is_some()
    }

    pub fn unsent(&mut self) -> Option<&mut Output> {
        self.unsent.as_deref_mut()
    }

    pub fn all_sent(&mut self) {
        self.unsent = None;
    }

    /// The peer took some of the unsent replies.
    pub fn note_taken(&mut self, now_sweeps: u32) {
        self.progress.note_taken(now_sweeps);
    }

    /// Ends a visit whose replies are all sent. `completed` tells whether it completed a request.
    #[inline]
    pub fn end_visit(&mut self, completed: bool, now_sweeps: u32) {
        let phase = phase_of(&self.session, self.is_between_requests());
        if completed {
            self.progress.restart(phase, now_sweeps);
        } else {
            self.progress.enter(phase, now_sweeps);
        }
    }

    /// Nothing more is read or sent, but for what the peer has to take.
    #[cold]
    pub fn begin_close(&mut self, now_sweeps: u32) {
        self.progress.enter(Phase::Closing, now_sweeps);
        self.drop_pending();
        self.unsent = None;
        self.held = None;
    }

    #[inline]
    pub fn is_overdue(&self, now_sweeps: u32, limits: &Limits) -> bool {
        self.progress.is_overdue(now_sweeps, limits)
    }

    /// Gives back what a connection at rest is still charged. Each sweep asks.
    #[inline]
    pub fn settle(&mut self) {
        if self.held.is_some() && self.pending.is_empty() && self.unsent.is_none() {
            self.held = None;
        }
    }

    /// Bytes of memory held now, beside the connection itself.
    pub fn held_bytes(&self) -> usize {
        let unsent = self
            .unsent
            .as_ref()
            .map_or(0, |unsent| unsent.buffer_bytes());
        self.pending.capacity() + unsent
    }

    /// What the tenant is charged for them.
    pub fn charged_bytes(&self) -> u64 {
        self.held.as_ref().map_or(0, HeldBytes::charged)
    }
}

#[inline]
fn phase_of(session: &ClientSession, is_between_requests: bool) -> Phase {
    match (session.account().is_some(), is_between_requests) {
        (false, _) => Phase::Login,
        (true, true) => Phase::Idle,
        (true, false) => Phase::Busy,
    }
}

#[cfg(test)]
mod tests;
