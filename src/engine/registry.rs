//! The connections of one engine thread, and the sweep that ends those whose time has come.
//!
//! Deadlines, revoked credentials and a graceful stop are all found by one look at each connection four times a
//! second. That costs an idle connection nothing and needs no timer or notification for each.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::auth::Account;
use super::node::Node;

/// Time between two sweeps.
pub const SWEEP: Duration = Duration::from_millis(250);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
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

/// What the sweep sees of a connection. Written by the connection, read by the sweep of the same thread.
#[derive(Debug)]
pub struct Control {
    registry: Arc<Registry>,
    /// The phase in the top 3 bits, below it the sweep at which it began.
    phase: AtomicU32,
    account: Mutex<Option<Arc<Account>>>,
    /// Whether `account` is set, to spare the lock.
    has_account: AtomicBool,
}

const PHASE_SHIFT: u32 = 29;
const SWEEP_MASK: u32 = (1 << PHASE_SHIFT) - 1;

impl Control {
    /// Enters a phase. One that goes on keeps its beginning, but for those in which each piece moved is progress.
    #[inline]
    pub fn enter(&self, phase: Phase) {
        let now = self.registry.sweeps.load(Ordering::Relaxed) & SWEEP_MASK;
        let before = self.phase.load(Ordering::Relaxed) >> PHASE_SHIFT;
        if before != phase as u32 || matches!(phase, Phase::Writing | Phase::Busy) {
            self.phase
                .store((phase as u32) << PHASE_SHIFT | now, Ordering::Relaxed);
        }
    }

    /// The connection acts under `account` from now on. False when it is revoked already.
    #[inline]
    pub fn hold_account(&self, account: &Arc<Account>) -> bool {
        if self.has_account.load(Ordering::Relaxed) {
            return true;
        }
        *self.account.lock() = Some(Arc::clone(account));
        self.has_account.store(true, Ordering::SeqCst);
        !account.is_revoked()
    }

    pub fn forget_account(&self) {
        if self.has_account.swap(false, Ordering::Relaxed) {
            *self.account.lock() = None;
        }
    }

    fn phase(&self) -> (u32, u32) {
        let word = self.phase.load(Ordering::Relaxed);
        (word >> PHASE_SHIFT, word & SWEEP_MASK)
    }

    fn is_revoked(&self) -> bool {
        self.has_account.load(Ordering::SeqCst)
            && self
                .account
                .lock()
                .as_ref()
                .is_some_and(|account| account.is_revoked())
    }
}

/// All connections of one thread.
#[derive(Debug, Default)]
pub struct Registry {
    sweeps: AtomicU32,
    next: AtomicU64,
    /// Revocations that the sweep has looked for.
    revocations_seen: AtomicU64,
    entries: Mutex<HashMap<u64, Entry, ahash::RandomState>>,
}

#[derive(Debug)]
struct Entry {
    control: Arc<Control>,
    task: Option<AbortHandle>,
}

/// A connection's place in the registry; dropping it leaves.
#[derive(Debug)]
pub struct Registered {
    registry: Arc<Registry>,
    number: u64,
    pub control: Arc<Control>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.entries.lock().remove(&self.number);
    }
}

impl Registry {
    /// Enters a connection; [`Registry::bind`] must follow when its task exists.
    pub fn enter(self: &Arc<Registry>) -> Registered {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let sweeps = self.sweeps.load(Ordering::Relaxed) & SWEEP_MASK;
        let control = Arc::new(Control {
            registry: Arc::clone(self),
            phase: AtomicU32::new((Phase::Login as u32) << PHASE_SHIFT | sweeps),
            account: Mutex::new(None),
            has_account: AtomicBool::new(false),
        });
        let entry = Entry {
            control: Arc::clone(&control),
            task: None,
        };
        self.entries.lock().insert(number, entry);
        Registered {
            registry: Arc::clone(self),
            number,
            control,
        }
    }

    /// Names the task of a connection. One that is gone already is no longer here.
    pub fn bind(&self, number: u64, task: AbortHandle) {
        if let Some(entry) = self.entries.lock().get_mut(&number) {
            entry.task = Some(task);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.lock().is_empty()
    }

    /// Ends the connections whose time has come.
    pub fn sweep(&self, node: &Node) {
        let now = self.sweeps.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & SWEEP_MASK;
        let revocations = node.directory.revocations();
        let before = self.revocations_seen.swap(revocations, Ordering::Relaxed);
        let judge = Judge {
            node,
            now,
            look_for_revoked: revocations != before,
            stopping: node.is_stopping(),
        };
        let entries = self.entries.lock();
        let over: Vec<AbortHandle> = entries
            .values()
            .filter(|entry| judge.is_over(&entry.control))
            .filter_map(|entry| entry.task.clone())
            .collect();
        drop(entries);
        for task in over {
            task.abort();
        }
    }
}

struct Judge<'n> {
    node: &'n Node,
    now: u32,
    look_for_revoked: bool,
    stopping: bool,
}

impl Judge<'_> {
    fn is_over(&self, control: &Control) -> bool {
        let (phase, since) = control.phase();
        let age = SWEEP * (self.now.wrapping_sub(since) & SWEEP_MASK);
        let limits = &self.node.limits;
        let over = match phase {
            phase if phase == Phase::Login as u32 => age > limits.login_deadline || self.stopping,
            phase if phase == Phase::Idle as u32 => self.stopping,
            phase if phase == Phase::Busy as u32 => age > limits.stalled_request_deadline,
            phase if phase == Phase::Writing as u32 => age > limits.unread_output_deadline,
            phase if phase == Phase::Closing as u32 => age > limits.linger,
            _ => false,
        };
        over || (self.look_for_revoked && control.is_revoked())
    }
}

impl Registered {
    pub fn number(&self) -> u64 {
        self.number
    }
}
