//! How many lines of the log one address may cause (security.md OP-3).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::domain::budget::{Budget, Verdict};

/// A marketplace's busiest minute stays below it.
const LINES_MAX: u32 = 600;
const WINDOW: Duration = Duration::from_secs(10);
/// Addresses told apart within a window.
const ADDRESSES_MAX: usize = 1_024;

/// Shared by all requests of a process's public port.
#[derive(Clone, Debug)]
pub struct LineBudget {
    begun: Instant,
    budget: Arc<Mutex<Budget<Option<IpAddr>>>>,
}

impl Default for LineBudget {
    fn default() -> LineBudget {
        LineBudget {
            begun: Instant::now(),
            budget: Arc::new(Mutex::new(Budget::new(LINES_MAX, WINDOW, ADDRESSES_MAX))),
        }
    }
}

impl LineBudget {
    /// Whether a request of this address has a line of its own. How many had none before is told here.
    pub fn has_line(&self, remote: Option<IpAddr>) -> bool {
        let verdict = self.budget.lock().spend(remote, None, self.begun.elapsed());
        match verdict {
            Verdict::Beyond => false,
            Verdict::Within { left_out } => {
                if left_out > 0 {
                    let remote = remote.map(tracing::field::display);
                    tracing::warn!(
                        remote,
                        left_out,
                        "requests of one address had no lines of their own"
                    );
                }
                true
            }
        }
    }
}
