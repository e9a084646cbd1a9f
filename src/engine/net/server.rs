//! Starting and stopping a serving thread.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use super::event_loop::{EventLoop, StopSignal};
use super::listener::BoundSocket;
use crate::engine::state::EngineState;
use crate::engine::storage::monotonic_now;

/// A running serving thread. Dropping it stops the thread at once.
#[derive(Debug)]
pub struct Server {
    stop_signal: Arc<StopSignal>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts serving thread `number`.
    ///
    /// # Errors
    /// When the system gives no epoll instance or no thread.
    pub fn spawn(
        number: usize,
        sockets: Vec<BoundSocket>,
        engine: Arc<EngineState>,
    ) -> io::Result<Server> {
        let event_loop = EventLoop::new(number, sockets, engine)?;
        let stop_signal = event_loop.stop_signal();
        let thread = std::thread::Builder::new()
            .name(format!("engine-{number}"))
            .spawn(move || event_loop.run())?;
        Ok(Server {
            stop_signal,
            thread: Some(thread),
        })
    }

    /// Winds the thread down: it accepts no connection, lets requests finish, and closes at `by` what is left. Only
    /// the first call counts.
    pub fn stop(&self, by: Instant) {
        if self.stop_signal.stop_by.set(by).is_ok() {
            // If waking fails, the thread notices at its next sweep.
            let _ = self.stop_signal.waker.wake();
        }
    }

    /// Waits for the thread to end.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended as well.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(monotonic_now());
    }
}
