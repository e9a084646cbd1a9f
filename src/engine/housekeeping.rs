//! The housekeeping thread: it moves the engine clock and does the background work of all tenants.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::state::EngineState;
use super::sync::parking::{Condvar, Mutex};

/// Time between two housekeeping passes.
const INTERVAL: Duration = Duration::from_millis(500);

/// Stops the housekeeping thread.
#[derive(Debug, Default)]
pub struct HousekeepingStop {
    stopped: Mutex<bool>,
    wake: Condvar,
}

impl HousekeepingStop {
    pub fn stop(&self) {
        *self.stopped.lock() = true;
        self.wake.notify_all();
    }

    /// Waits one interval. True when the thread is to stop.
    fn wait(&self) -> bool {
        let mut stopped = self.stopped.lock();
        if !*stopped {
            let _ = self.wake.wait_for(&mut stopped, INTERVAL);
        }
        *stopped
    }
}

/// Starts the housekeeping thread. It is a thread of its own because serving threads may be busy, and the clock must
/// move all the same.
pub fn spawn_housekeeping(
    engine: Arc<EngineState>,
    stop: Arc<HousekeepingStop>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("engine-tidy".to_owned())
        .spawn(move || {
            while !stop.wait() {
                engine.housekeeping();
            }
        })
}
