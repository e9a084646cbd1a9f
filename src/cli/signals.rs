//! What the operator's signals ask for.

use std::future::Future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals we answer to. Made before anything is started: a service that listens is already asked to
/// end, and a signal that nobody waits for ends the process in the middle of what it does.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Until SIGTERM or SIGINT. SIGHUP asks for what changed on disk to be read again.
    pub async fn wait(&mut self, on_hang_up: impl Fn()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => on_hang_up(),
            }
        }
    }

    /// What `start` made, or `None` when it was asked to end before that: a database that does not answer is no
    /// reason to stay.
    pub async fn unless_ended<T>(&mut self, start: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            started = start => Some(started),
            () = self.wait(|| {}) => None,
        }
    }
}
