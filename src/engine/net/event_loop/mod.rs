//! The event loop of a serving thread: one epoll, its listening sockets, its connections and its timers.
//!
//! Each loop pass polls for readiness events and visits the connections they belong to. Two kinds of connections wait
//! in the ready queue instead, and a loop pass visits only the first few of the queue:
//! - those that had more to do than one visit allows;
//! - those with a readiness event whose tenant is over its fair share ([`crate::engine::fairness`]).
//!
//! So a client that asks for little waits for a visit or two of busy tenants, even if those have a thousand
//! connections. Busy tenants share the thread round-robin through the queue.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use super::anonymous::{AnonymousConnections, AnonymousPlace};
use super::connection::Connection;
use super::listener::{Accepted, BoundSocket, Listener};
use super::phase::SWEEP;
use super::visit::{AfterVisit, Scratch, Visit};
use crate::engine::fairness::Epochs;
use crate::engine::protocol::ProtocolError;
use crate::engine::state::EngineState;
use crate::engine::storage::monotonic_now;

/// Readiness events taken from epoll at once.
const EVENTS: usize = 1024;
/// Work (see [`crate::engine::fairness`]) done for the ready queue between two polls. A poll costs about a hundredth
/// of it.
const QUEUE_WORK_MAX: u32 = 256;
/// Pause of a connection whose large value waits for room.
const ROOM_PAUSE: Duration = Duration::from_millis(5);
/// Connections accepted from one listener in one loop pass.
const ACCEPTS_PER_PASS: usize = 32;
/// Token of the event that tells the thread to stop.
const STOP: Token = Token(usize::MAX);
/// Token of the first listener; further listeners count down from it. Tokens of connections count up from 0.
const FIRST_LISTENER: usize = usize::MAX - 1;

/// How other threads stop a serving thread.
#[derive(Debug)]
pub(super) struct StopSignal {
    pub waker: Waker,
    /// The thread winds down until this time. Set once.
    pub stop_by: OnceLock<Instant>,
}

/// A serving thread's state.
pub(super) struct EventLoop {
    poll: Poll,
    stop_signal: Arc<StopSignal>,
    engine: Arc<EngineState>,
    thread: usize,
    listeners: Vec<Listener>,
    connections: Slab<Entry>,
    anonymous: AnonymousConnections,
    /// The ready queue: connections that will be visited without a further readiness event.
    ready: VecDeque<usize>,
    /// Work done for the ready queue in this loop pass.
    queue_work: u32,
    /// Connections to be visited from some time on, earliest first.
    paused: VecDeque<(Instant, usize)>,
    scratch: Scratch,
    epochs: Epochs,
    /// Number of sweeps so far; deadlines of connections count in sweeps.
    sweeps: u32,
    sweep_at: Instant,
    /// The directory's count of revocations at the last sweep.
    revocations_seen: u64,
    stopping: bool,
}

/// A connection in its event loop.
struct Entry {
    /// It is in `ready` or `paused`. A readiness event must not add a second visit.
    is_queued: bool,
    /// Its place among those who have not logged in.
    place: Option<AnonymousPlace>,
    remote: IpAddr,
    connection: Box<Connection>,
}

impl EventLoop {
    /// # Errors
    /// When the system gives no epoll instance.
    pub(super) fn new(
        number: usize,
        sockets: Vec<BoundSocket>,
        engine: Arc<EngineState>,
    ) -> io::Result<EventLoop> {
        let poll = Poll::new()?;
        let anonymous = AnonymousConnections::new(&engine.limits, engine.threads);
        let stop_signal = Arc::new(StopSignal {
            waker: Waker::new(poll.registry(), STOP)?,
            stop_by: OnceLock::new(),
        });
        let mut listeners: Vec<Listener> = sockets.into_iter().map(Listener::new).collect();
        for (number, listener) in listeners.iter_mut().enumerate() {
            let token = Token(FIRST_LISTENER - number);
            let registry = poll.registry();
            registry.register(listener.source(), token, Interest::READABLE)?;
        }
        Ok(EventLoop {
            poll,
            stop_signal,
            engine,
            thread: number,
            listeners,
            connections: Slab::new(),
            anonymous,
            ready: VecDeque::new(),
            queue_work: 0,
            paused: VecDeque::new(),
            scratch: Scratch::default(),
            epochs: Epochs::default(),
            sweeps: 0,
            sweep_at: monotonic_now() + SWEEP,
            revocations_seen: 0,
            stopping: false,
        })
    }

    pub(super) fn stop_signal(&self) -> Arc<StopSignal> {
        Arc::clone(&self.stop_signal)
    }

    /// Serves until the stop signal.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let now = monotonic_now();
            self.run_timers(now);
            // Connections that are left at the deadline are closed by dropping the loop.
            if self.stopping && (self.connections.is_empty() || self.is_past_stop_deadline(now)) {
                return;
            }
            if let Err(error) = self.loop_pass(&mut events, self.poll_timeout(now)) {
                tracing::error!(%error, "an engine thread ends: it cannot poll its sockets");
                return;
            }
        }
    }

    fn loop_pass(&mut self, events: &mut Events, timeout: Duration) -> io::Result<()> {
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &*events {
            self.on_readiness(event);
        }
        self.serve_ready_queue();
        self.accept_pending();
        Ok(())
    }

    /// How long the thread may sleep if no readiness event comes.
    fn poll_timeout(&self, now: Instant) -> Duration {
        if !self.ready.is_empty() || self.listeners.iter().any(Listener::has_pending) {
            return Duration::ZERO;
        }
        let paused = self.paused.front().map(|&(until, _)| until);
        let listeners = self.listeners.iter().filter_map(Listener::paused_until);
        let stop_by = self.stop_signal.stop_by.get().copied();
        let others = listeners.chain(paused).chain(stop_by);
        let first = others.fold(self.sweep_at, Instant::min);
        first.saturating_duration_since(now)
    }

    /// Handles one readiness event.
    #[inline]
    fn on_readiness(&mut self, event: &Event) {
        let Token(number) = event.token();
        let Some(entry) = self.connections.get_mut(number) else {
            let listener = FIRST_LISTENER.checked_sub(number);
            if let Some(listener) = listener.and_then(|number| self.listeners.get_mut(number)) {
                listener.note_ready();
            }
            return;
        };
        let has_ended = event.is_read_closed() || event.is_write_closed() || event.is_error();
        let needs_visit = entry
            .connection
            .note_readiness(event.is_readable(), has_ended);
        if !needs_visit || entry.is_queued {
            return;
        }
        // A tenant over its share waits behind those already in the queue, or for the next pass once this pass has
        // done enough of such work. Everybody else is visited at once.
        let is_over_share = entry.connection.is_over_share(self.epochs.now());
        if is_over_share && (self.queue_work >= QUEUE_WORK_MAX || !self.ready.is_empty()) {
            entry.is_queued = true;
            self.ready.push_back(number);
            return;
        }
        let work = self.visit(number);
        if is_over_share {
            // The queue was empty, so this visit was the queue's first.
            self.queue_work += 1 + work;
        }
    }

    /// Visits the first connections of the ready queue, until the queue has had its work of this loop pass.
    fn serve_ready_queue(&mut self) {
        for _ in 0..self.ready.len() {
            if self.queue_work >= QUEUE_WORK_MAX {
                break;
            }
            let Some(number) = self.ready.pop_front() else {
                break;
            };
            if let Some(entry) = self.connections.get_mut(number) {
                entry.is_queued = false;
                self.queue_work += 1 + self.visit(number);
            }
        }
        self.queue_work = 0;
    }

    /// Visits a connection. Returns the work that its requests cost.
    #[inline]
    fn visit(&mut self, number: usize) -> u32 {
        let Some(entry) = self.connections.get_mut(number) else {
            return 0;
        };
        let mut visit = Visit {
            engine: &self.engine,
            scratch: &mut self.scratch,
            now_sweeps: self.sweeps,
            stopping: self.stopping,
            epoch: self.epochs.now(),
            work: 0,
            anonymous: false,
        };
        // One bad request must not end the process: a visit that panics ends only its connection.
        let driven = catch_unwind(AssertUnwindSafe(|| entry.connection.drive(&mut visit)));
        let after = driven.unwrap_or_else(|_| {
            self.engine.note_panic();
            AfterVisit::Closed
        });
        let Visit {
            epoch,
            work,
            anonymous,
            ..
        } = visit;
        let anonymous = anonymous || entry.place.is_some();
        match after {
            AfterVisit::Idle => {}
            AfterVisit::Again => {
                entry.is_queued = true;
                // A tenant within its share sends large batches only now and then. It goes on before the tenants
                // that always have work.
                if work > 0 && !entry.connection.is_over_share(epoch) {
                    self.ready.push_front(number);
                } else {
                    self.ready.push_back(number);
                }
            }
            AfterVisit::Pause => {
                entry.is_queued = true;
                let until = monotonic_now() + ROOM_PAUSE;
                self.paused.push_back((until, number));
            }
            AfterVisit::Closed => {
                self.close(number);
                // Replies that the closed connection left half-written must not reach the next one.
                self.scratch.clear();
            }
        }
        self.epochs.note(work);
        if anonymous {
            self.follow_anonymous(number);
        }
        work
    }

    /// Follows a connection that has not logged in, or had not before its visit: notes whether it has, and what it holds.
    /// The oldest go where all together hold too much. The password that may have come is wiped (security.md ST-9).
    #[cold]
    fn follow_anonymous(&mut self, number: usize) {
        self.scratch.input.fill(0);
        if let Some(entry) = self.connections.get_mut(number) {
            note_login(&mut self.anonymous, entry, number);
            if let Some(place) = entry.place {
                self.anonymous
                    .note_bytes(place, entry.connection.held_bytes());
            }
        }
        while let Some(oldest) = self.anonymous.one_that_holds_too_much() {
            self.turn_away(oldest);
        }
    }

    /// Accepts connections that wait at the listeners. Few passes find one.
    #[inline]
    fn accept_pending(&mut self) {
        for number in 0..self.listeners.len() {
            if self.listeners[number].has_pending() {
                self.accept_from(number);
            }
        }
    }

    #[inline(never)]
    fn accept_from(&mut self, number: usize) {
        for _ in 0..ACCEPTS_PER_PASS {
            match self.listeners[number].accept() {
                // When this fails the peer has gone, and nobody is left to tell.
                Accepted::Connection(socket, remote) => {
                    let _ = self.admit(number, socket, remote);
                }
                Accepted::None => break,
                Accepted::OutOfDescriptors => {
                    if !self.close_oldest_anonymous() {
                        break;
                    }
                    self.listeners[number].end_pause();
                }
            }
        }
    }

    /// Makes room for another connection. False when everybody has logged in.
    #[cold]
    fn close_oldest_anonymous(&mut self) -> bool {
        let oldest = self.anonymous.oldest();
        oldest.inspect(|&number| self.turn_away(number)).is_some()
    }

    #[cold]
    fn turn_away(&mut self, number: usize) {
        metrics::counter!("larder_engine_anonymous_connections_closed_total").increment(1);
        self.close(number);
    }

    fn close(&mut self, number: usize) {
        let closed = self.connections.try_remove(number);
        if let Some(place) = closed.and_then(|entry| entry.place) {
            self.anonymous.remove(place);
        }
    }

    fn admit(&mut self, listener: usize, mut socket: TcpStream, remote: IpAddr) -> io::Result<()> {
        if let Some(oldest) = self.anonymous.one_too_many(remote) {
            self.turn_away(oldest);
        }
        let mut open = self.engine.open_socket();
        if open.is_none() && self.close_oldest_anonymous() {
            open = self.engine.open_socket();
        }
        let Some(open) = open else {
            metrics::counter!("larder_engine_connections_refused_total", "reason" => "node")
                .increment(1);
            return refuse(&mut socket, ProtocolError::TooManyConnections);
        };
        let kind = &self.listeners[listener].kind;
        let (tls_mode, session) = match kind.begin_session(&self.engine, remote, self.thread) {
            Ok(begun) => begun,
            Err(error) => return refuse(&mut socket, error),
        };
        let vacant = self.connections.vacant_entry();
        let both = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry.register(&mut socket, Token(vacant.key()), both)?;
        let connection = Connection::new(socket, tls_mode, session, open, self.sweeps)?;
        let place = (!connection.is_logged_in()).then(|| self.anonymous.add(vacant.key(), remote));
        let number = vacant.key();
        vacant.insert(Entry {
            is_queued: false,
            place,
            remote,
            connection: Box::new(connection),
        });
        // A TLS session takes memory before a byte has come.
        if place.is_some() {
            self.follow_anonymous(number);
        }
        Ok(())
    }

    fn run_timers(&mut self, now: Instant) {
        while let Some(&(until, number)) = self.paused.front()
            && until <= now
        {
            self.paused.pop_front();
            self.ready.push_back(number);
        }
        for listener in &mut self.listeners {
            listener.resume(now);
        }
        if now >= self.sweep_at {
            self.sweep_at = now + SWEEP;
            self.sweep();
        }
        if !self.stopping && self.stop_signal.stop_by.get().is_some() {
            self.stopping = true;
            self.begin_stop();
        }
    }

    fn is_past_stop_deadline(&self, now: Instant) -> bool {
        let stop_by = self.stop_signal.stop_by.get();
        stop_by.is_some_and(|&by| now >= by)
    }

    /// Closes connections whose deadline has passed or whose credential was revoked.
    fn sweep(&mut self) {
        self.sweeps = self.sweeps.wrapping_add(1);
        let revocations = self.engine.directory.revocations();
        let before = std::mem::replace(&mut self.revocations_seen, revocations);
        let (engine, now) = (&self.engine, self.sweeps);
        let anonymous = &mut self.anonymous;
        self.connections.retain(|_, entry| {
            let connection = &mut entry.connection;
            let stays = !connection.must_close(engine, now, revocations != before);
            match entry.place {
                Some(place) if !stays => anonymous.remove(place),
                _ => connection.settle(),
            }
            stays
        });
    }

    /// Asks every connection to close between two requests. Closing one with requests unread would make the kernel
    /// send a reset, which destroys replies that are still on their way.
    fn begin_stop(&mut self) {
        self.listeners.clear();
        let anonymous = &mut self.anonymous;
        self.connections.retain(|_, entry| {
            let stays = entry.connection.can_close_gracefully();
            if let Some(place) = entry.place.filter(|_| !stays) {
                anonymous.remove(place);
            }
            stays
        });
        let unqueued = self
            .connections
            .iter()
            .filter(|(_, entry)| !entry.is_queued);
        let numbers: Vec<usize> = unqueued.map(|(number, _)| number).collect();
        for number in numbers {
            self.visit(number);
        }
    }
}

/// Notes that a connection has logged in, or has lost its identity by a failed login.
fn note_login(anonymous: &mut AnonymousConnections, entry: &mut Entry, number: usize) {
    match (entry.place, entry.connection.is_logged_in()) {
        (Some(place), true) => {
            entry.place = None;
            anonymous.remove(place);
        }
        (None, false) => entry.place = Some(anonymous.add(number, entry.remote)),
        _ => {}
    }
}

/// Answers a refused peer. Best effort: nobody waits for this peer.
fn refuse(socket: &mut TcpStream, error: ProtocolError) -> io::Result<()> {
    socket.write(error.text()).map(|_| ())
}

#[cfg(test)]
mod tests;
