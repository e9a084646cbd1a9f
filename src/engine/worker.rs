//! The threads of the engine: one event loop each, and one for upkeep.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::listener::{Entrance, accept};
use super::node::Node;
use super::registry::{Registry, SWEEP};

/// How often a stopping thread looks whether all have left.
const STOP_LOOK: Duration = Duration::from_millis(20);
/// How often the upkeep looks at the tenants.
const UPKEEP: Duration = Duration::from_millis(500);

/// What the threads wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Serve,
    /// Wind down until then.
    Stop {
        by: Instant,
    },
}

/// Starts one serving thread.
pub fn spawn_server(
    number: usize,
    entrances: Vec<Entrance>,
    node: Arc<Node>,
    orders: watch::Receiver<Order>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name(format!("engine-{number}"))
        .spawn(move || runtime.block_on(serve(number, entrances, node, orders)))
}

async fn serve(
    number: usize,
    entrances: Vec<Entrance>,
    node: Arc<Node>,
    mut orders: watch::Receiver<Order>,
) {
    let registry = Arc::new(Registry::default());
    let accepting: Vec<_> = entrances
        .into_iter()
        .map(|entrance| {
            let (node, registry) = (Arc::clone(&node), Arc::clone(&registry));
            tokio::spawn(accept(entrance, node, registry, number))
        })
        .collect();
    let by = loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => registry.sweep(&node),
            changed = orders.changed() => {
                let order = *orders.borrow_and_update();
                if let Order::Stop { by } = order {
                    break by;
                }
                if changed.is_err() {
                    break Instant::now();
                }
            }
        }
    };
    for task in accepting {
        task.abort();
    }
    registry.dismiss();
    // Deadlines are counted in sweeps, so these keep their pace.
    let mut sweep_at = Instant::now();
    while !registry.is_empty() && Instant::now() < by {
        if Instant::now() >= sweep_at {
            registry.sweep(&node);
            sweep_at += SWEEP;
        }
        tokio::time::sleep(STOP_LOOK).await;
    }
    // What is left is cut off with the runtime: its deadline has passed.
}

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
