//! The connections of one engine thread, and the sweep that ends those whose time has come.
//!
//! Deadlines, revoked credentials and a graceful stop are all found by one look at each connection four times a
//! second. That costs an idle connection nothing and needs no timer or notification for each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
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
    /// The address of `account`, 0 without one: to spare the lock while it stays the same.
    held: AtomicUsize,
    /// The engine stops: say goodbye between two requests.
    leaving: AtomicBool,
    /// Of the connection's task, once it converses.
    waker: OnceLock<Waker>,
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
        let address = Arc::as_ptr(account).addr();
        if self.held.load(Ordering::Relaxed) == address {
            return true;
        }
        *self.account.lock() = Some(Arc::clone(account));
        self.held.store(address, Ordering::SeqCst);
        !account.is_revoked()
    }

    pub fn forget_account(&self) {
        if self.held.swap(0, Ordering::Relaxed) != 0 {
            *self.account.lock() = None;
        }
    }

    /// Whom to wake when the engine stops. A task has one waker for life, so the first is kept.
    pub fn remember(&self, waker: &Waker) {
        let _ = self.waker.set(waker.clone());
    }

    /// Whether the connection should end when it is between requests.
    #[inline]
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    fn dismiss(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    fn phase(&self) -> (u32, u32) {
        let word = self.phase.load(Ordering::Relaxed);
        (word >> PHASE_SHIFT, word & SWEEP_MASK)
    }

    fn is_revoked(&self) -> bool {
        self.held.load(Ordering::SeqCst) != 0
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
            held: AtomicUsize::new(0),
            leaving: AtomicBool::new(false),
            waker: OnceLock::new(),
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

    /// Asks every connection to end between two requests, in its own good order: one that was cut off with
    /// requests unread would be reset, and with it replies that are still on their way.
    pub fn dismiss(&self) {
        for entry in self.entries.lock().values() {
            entry.control.dismiss();
        }
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
            phase if phase == Phase::Login as u32 => {
                // who has not begun to converse cannot be asked to end
                age > limits.login_deadline || (self.stopping && control.waker.get().is_none())
            }
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
