//! A serving thread: one epoll, the listening sockets and connections that belong to it, and its sense of time.
//!
//! A round asks for news and gives every connection that has any one turn. Those that had more to do than a turn allows
//! stand in a line, and so do those with news whose tenant does more than its share; a round gives the first few of
//! the line their next turn. So whoever asks for little waits for a turn or two of a tenant at full speed, be it on a
//! thousand connections, and those at full speed take turns.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use super::connection::{After, Connection, Scratch, Turn};
use super::listener::{Door, Entrance};
use super::phase::SWEEP;
use crate::engine::node::Node;
use crate::engine::protocol::Fault;
use crate::engine::shares::Epochs;

/// News taken from the system at once.
const EVENTS: usize = 1024;
/// Work for the line (see [`crate::engine::shares`]) between two questions for news. Asking costs a hundredth of it.
const LINE_WORK: u32 = 256;
/// Pause of a value that waits for room.
const ROOM_PAUSE: Duration = Duration::from_millis(5);
/// Connections let in at one door before those that are in get their turns.
const WELCOMED_AT_ONCE: usize = 32;
/// The news that the thread is to stop.
const REINS: Token = Token(usize::MAX);
/// The number of the first door; the others count down from it. Connections count up from 0.
const DOORS_FROM: usize = usize::MAX - 1;

/// A running thread. Dropping it ends the thread at once.
#[derive(Debug)]
pub struct Server {
    reins: Arc<Reins>,
    thread: Option<JoinHandle<()>>,
}

/// How others reach a serving thread.
#[derive(Debug)]
struct Reins {
    waker: Waker,
    /// Wind down until then.
    stop_by: OnceLock<Instant>,
}

impl Server {
    /// Starts the thread with this number.
    ///
    /// # Errors
    /// When the system has no epoll or thread left.
    pub fn spawn(number: usize, entrances: Vec<Entrance>, node: Arc<Node>) -> io::Result<Server> {
        let event_loop = EventLoop::new(number, entrances, node)?;
        let reins = Arc::clone(&event_loop.reins);
        let thread = std::thread::Builder::new()
            .name(format!("engine-{number}"))
            .spawn(move || event_loop.run())?;
        Ok(Server {
            reins,
            thread: Some(thread),
        })
    }

    /// Begins to wind down: accepts nobody, lets requests finish, and cuts off after `by` what is left. The first
    /// call counts.
    pub fn stop(&self, by: Instant) {
        if self.reins.stop_by.set(by).is_ok() {
            // Without it, the thread finds out at its next sweep.
            let _ = self.reins.waker.wake();
        }
    }

    /// Waits for the end.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended as well.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Instant::now());
    }
}

struct EventLoop {
    poll: Poll,
    reins: Arc<Reins>,
    node: Arc<Node>,
    thread: usize,
    doors: Vec<Door>,
    connections: Slab<Seated>,
    /// The line: who has a turn to come without news from the system.
    ready: VecDeque<usize>,
    /// What the line has had of this round.
    line_work: u32,
    /// Who has a turn to come from a moment on, earliest first.
    paused: VecDeque<(Instant, usize)>,
    scratch: Scratch,
    epochs: Epochs,
    /// The time by which connections are judged.
    sweeps: u32,
    sweep_at: Instant,
    /// Revocations that the sweep has looked for.
    revocations_seen: u64,
    stopping: bool,
}

/// A connection in its loop.
struct Seated {
    /// It stands in `ready` or `paused`: news of the socket must not give it a further turn.
    is_listed: bool,
    connection: Box<Connection>,
}

impl EventLoop {
    fn new(number: usize, entrances: Vec<Entrance>, node: Arc<Node>) -> io::Result<EventLoop> {
        let poll = Poll::new()?;
        let reins = Arc::new(Reins {
            waker: Waker::new(poll.registry(), REINS)?,
            stop_by: OnceLock::new(),
        });
        let mut doors: Vec<Door> = entrances.into_iter().map(Door::new).collect();
        for (number, door) in doors.iter_mut().enumerate() {
            let registry = poll.registry();
            registry.register(
                door.source(),
                Token(DOORS_FROM - number),
                Interest::READABLE,
            )?;
        }
        Ok(EventLoop {
            poll,
            reins,
            node,
            thread: number,
            doors,
            connections: Slab::new(),
            ready: VecDeque::new(),
            line_work: 0,
            paused: VecDeque::new(),
            scratch: Scratch::default(),
            epochs: Epochs::default(),
            sweeps: 0,
            sweep_at: Instant::now() + SWEEP,
            revocations_seen: 0,
            stopping: false,
        })
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let now = Instant::now();
            self.keep_time(now);
            // What is left by then is cut off with the loop.
            if self.stopping && (self.connections.is_empty() || self.must_end(now)) {
                return;
            }
            if let Err(error) = self.round(&mut events, self.patience(now)) {
                tracing::error!(%error, "an engine thread ends: it gets no news of its sockets");
                return;
            }
        }
    }

    fn round(&mut self, events: &mut Events, patience: Duration) -> io::Result<()> {
        match self.poll.poll(events, Some(patience)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            asked => asked?,
        }
        for event in &*events {
            self.heed(event);
        }
        self.serve_line();
        self.welcome();
        Ok(())
    }

    /// How long nothing is to be done without news.
    fn patience(&self, now: Instant) -> Duration {
        if !self.ready.is_empty() || self.doors.iter().any(Door::has_guests) {
            return Duration::ZERO;
        }
        let paused = self.paused.front().map(|&(until, _)| until);
        let doors = self.doors.iter().filter_map(Door::closed_until);
        let others = doors.chain(paused).chain(self.reins.stop_by.get().copied());
        let first = others.fold(self.sweep_at, Instant::min);
        first.saturating_duration_since(now)
    }

    /// Takes note of one piece of news.
    #[inline]
    fn heed(&mut self, event: &Event) {
        let Token(number) = event.token();
        let Some(seated) = self.connections.get_mut(number) else {
            let door = DOORS_FROM.checked_sub(number);
            if let Some(door) = door.and_then(|number| self.doors.get_mut(number)) {
                door.knock();
            }
            return;
        };
        let has_ended = event.is_read_closed() || event.is_write_closed() || event.is_error();
        let matters = seated.connection.note_news(event.is_readable(), has_ended);
        if !matters || seated.is_listed {
            return;
        }
        let is_loud = seated.connection.is_loud(self.epochs.now());
        if is_loud && (self.line_work >= LINE_WORK || !self.ready.is_empty()) {
            seated.is_listed = true;
            self.ready.push_back(number);
            return;
        }
        let work = self.drive(number);
        if is_loud {
            // It was the first in an empty line.
            self.line_work += 1 + work;
        }
    }

    /// Gives turns to the first in the line, until it has had enough of this round.
    fn serve_line(&mut self) {
        for _ in 0..self.ready.len() {
            if self.line_work >= LINE_WORK {
                break;
            }
            let Some(number) = self.ready.pop_front() else {
                break;
            };
            if let Some(seated) = self.connections.get_mut(number) {
                seated.is_listed = false;
                self.line_work += 1 + self.drive(number);
            }
        }
        self.line_work = 0;
    }

    /// Gives a turn, and says what its requests cost.
    #[inline]
    fn drive(&mut self, number: usize) -> u32 {
        let Some(seated) = self.connections.get_mut(number) else {
            return 0;
        };
        let mut turn = Turn {
            node: &self.node,
            scratch: &mut self.scratch,
            now: self.sweeps,
            stopping: self.stopping,
            epoch: self.epochs.now(),
            work: 0,
        };
        // One bad request must not end the cache: should a turn ever panic, it ends its connection.
        let driven = catch_unwind(AssertUnwindSafe(|| seated.connection.drive(&mut turn)));
        let after = driven.unwrap_or_else(|_| {
            self.node.note_panic();
            After::Gone
        });
        let Turn { epoch, work, .. } = turn;
        match after {
            After::Rest => {}
            After::Again => {
                seated.is_listed = true;
                // Whoever asks for much, but seldom, goes on before those who always do.
                if work > 0 && !seated.connection.is_loud(epoch) {
                    self.ready.push_front(number);
                } else {
                    self.ready.push_back(number);
                }
            }
            After::Pause => {
                seated.is_listed = true;
                self.paused.push_back((Instant::now() + ROOM_PAUSE, number));
            }
            After::Gone => {
                self.connections.remove(number);
                // Its half-made replies must not reach the next one.
                self.scratch.clear();
            }
        }
        self.epochs.note(work);
        work
    }

    /// Lets in those who stand at the doors.
    fn welcome(&mut self) {
        for number in 0..self.doors.len() {
            for _ in 0..WELCOMED_AT_ONCE {
                let Some((socket, remote)) = self.doors[number].accept() else {
                    break;
                };
                // Nobody is left to tell when this fails.
                let _ = self.seat(number, socket, remote);
            }
        }
    }

    fn seat(&mut self, door: usize, mut socket: TcpStream, remote: IpAddr) -> io::Result<()> {
        let Some(open) = self.node.open_socket() else {
            return refuse(&mut socket, Fault::TooManyConnections);
        };
        let guests = &self.doors[door].guests;
        let (opening, session) = match guests.greet(&self.node, remote, self.thread) {
            Ok(greeted) => greeted,
            Err(fault) => return refuse(&mut socket, fault),
        };
        let seat = self.connections.vacant_entry();
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut socket, Token(seat.key()), both)?;
        seat.insert(Seated {
            is_listed: false,
            connection: Box::new(Connection::new(
                socket,
                opening,
                session,
                open,
                self.sweeps,
            )?),
        });
        Ok(())
    }

    fn keep_time(&mut self, now: Instant) {
        while let Some(&(until, number)) = self.paused.front()
            && until <= now
        {
            self.paused.pop_front();
            self.ready.push_back(number);
        }
        for door in &mut self.doors {
            door.reopen(now);
        }
        if now >= self.sweep_at {
            self.sweep_at = now + SWEEP;
            self.sweep();
        }
        if !self.stopping && self.reins.stop_by.get().is_some() {
            self.stopping = true;
            self.dismiss();
        }
    }

    fn must_end(&self, now: Instant) -> bool {
        self.reins.stop_by.get().is_some_and(|&by| now >= by)
    }

    /// Ends the connections whose time has come.
    fn sweep(&mut self) {
        self.sweeps = self.sweeps.wrapping_add(1);
        let revocations = self.node.directory.revocations();
        let before = std::mem::replace(&mut self.revocations_seen, revocations);
        let (node, now) = (&self.node, self.sweeps);
        self.connections
            .retain(|_, seated| !seated.connection.is_over(node, now, revocations != before));
    }

    /// Asks every connection to end between two requests, in its own good order: one that was cut off with requests
    /// unread would be reset, and with it replies that are still on their way.
    fn dismiss(&mut self) {
        self.doors.clear();
        self.connections
            .retain(|_, seated| seated.connection.is_conversing());
        let unlisted = self
            .connections
            .iter()
            .filter(|(_, seated)| !seated.is_listed);
        let numbers: Vec<usize> = unlisted.map(|(number, _)| number).collect();
        for number in numbers {
            self.drive(number);
        }
    }
}

/// Best effort: nobody waits for this peer.
fn refuse(socket: &mut TcpStream, fault: Fault) -> io::Result<()> {
    socket.write(fault.text()).map(|_| ())
}

#[cfg(test)]
mod tests;
