//! The thread that moves the clock and looks after the tenants.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::node::Node;

/// How often the upkeep looks at the tenants.
const UPKEEP: Duration = Duration::from_millis(500);

/// Stops the upkeep.
#[derive(Debug, Default)]
pub struct UpkeepStop {
    stopped: Mutex<bool>,
    wake: Condvar,
}

impl UpkeepStop {
    pub fn stop(&self) {
        *self.stopped.lock() = true;
        self.wake.notify_all();
    }

    /// Waits one interval; true when it is over.
    fn wait(&self) -> bool {
        let mut stopped = self.stopped.lock();
        if !*stopped {
            let _ = self.wake.wait_for(&mut stopped, UPKEEP);
        }
        *stopped
    }
}

/// Starts the thread that moves the clock and looks after the tenants. It is a thread of its own because the
/// others may be busy, and time must go on.
pub fn spawn_upkeep(node: Arc<Node>, stop: Arc<UpkeepStop>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("engine-upkeep".to_owned())
        .spawn(move || {
            while !stop.wait() {
                node.upkeep();
            }
        })
}
