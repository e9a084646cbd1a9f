//! One cache on this node, with its items, its connections and its traffic.

use std::net::IpAddr;
use std::ops::AddAssign;
use std::sync::{OnceLock, Weak};

use super::auth::Account;
use super::events::EventThrottle;
use super::fairness::RecentWork;
use super::storage::{Counters, Tenant};
use super::sync::Mutex;
use super::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::domain::{CacheId, Timestamp, Username};

/// One cache on this node. The fields that each request reads come first, to touch few cache lines.
#[derive(Debug)]
#[repr(C)]
pub struct Tenancy {
    /// One per serving thread, so that threads share no cache line when they count. Allocated by the first login.
    traffic: OnceLock<Box<[Traffic]>>,
    pub items: Tenant,
    pub cache: CacheId,
    pub since: Timestamp,
    connections: AtomicU32,
    connections_max: AtomicU32,
    threads: usize,
    /// The counters at the last `stats reset`. The counters themselves are never reset, because billing reads them.
    baseline: Mutex<Baseline>,
    /// The delayed flush that is pending, or that took effect and was not reported yet.
    pub(super) delayed_flush: Mutex<Option<DelayedFlush>>,
    pub(super) over_limit: EventThrottle,
    /// Connections beyond the plan's limit. Of no thread: a refusal costs a login, so that they meet here seldom.
    connections_refused: AtomicU64,
    pub(super) memory_full: EventThrottle,
    pub(super) evictions_reported: AtomicU64,
}

/// Who asked for a delayed flush. It takes effect only while the account may flush.
#[derive(Debug)]
pub(super) struct DelayedFlush {
    pub author: FlushAuthor,
    /// Weak, because the account holds the tenancy.
    pub account: Weak<Account>,
}

impl DelayedFlush {
    fn is_permitted(&self) -> bool {
        self.account
            .upgrade()
            .is_some_and(|account| account.may_flush())
    }
}

/// The client that asked for a flush. Empty when the control plane did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlushAuthor {
    pub credential: Option<Username>,
    pub remote: Option<IpAddr>,
}

/// What one serving thread counts for one tenant. Only that thread writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Traffic {
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    connections: AtomicU64,
    auth_cmds: AtomicU64,
    auth_errors: AtomicU64,
    /// How much of the thread's work was for this tenant.
    pub(super) recent_work: RecentWork,
}

/// A sum of [`Traffic`] over the threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficSum {
    pub bytes_read: u64,
    pub bytes_written: u64,
    /// All connections that ever logged in.
    pub connections: u64,
    pub auth_cmds: u64,
    pub auth_errors: u64,
    /// Connections that the plan's limit refused.
    pub connections_refused: u64,
}

impl AddAssign for TrafficSum {
    fn add_assign(&mut self, other: TrafficSum) {
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
        self.connections += other.connections;
        self.auth_cmds += other.auth_cmds;
        self.auth_errors += other.auth_errors;
        self.connections_refused += other.connections_refused;
    }
}

/// Counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Baseline {
    pub counters: Counters,
    pub traffic: TrafficSum,
}

/// Adds to a counter that only one thread writes. A load and a store are enough then, and cheaper than an atomic
/// addition.
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
}

impl Traffic {
    /// Counts bytes read from and written to clients.
    pub fn moved(&self, read: usize, written: usize) {
        add(&self.bytes_read, read as u64);
        add(&self.bytes_written, written as u64);
    }

    /// Counts a login.
    pub fn logged_in(&self) {
        add(&self.connections, 1);
        add(&self.auth_cmds, 1);
    }

    /// Counts a connection of the open listener, which needs no login.
    pub fn admitted(&self) {
        add(&self.connections, 1);
    }

    pub fn login_failed(&self) {
        add(&self.auth_cmds, 1);
        add(&self.auth_errors, 1);
    }
}

impl Tenancy {
    pub fn new(
        cache: CacheId,
        items: Tenant,
        connections_max: u32,
        threads: usize,
        since: Timestamp,
    ) -> Tenancy {
        Tenancy {
            cache,
            items,
            since,
            connections: AtomicU32::new(0),
            connections_max: AtomicU32::new(connections_max),
            traffic: OnceLock::new(),
            threads: threads.max(1),
            baseline: Mutex::default(),
            delayed_flush: Mutex::default(),
            over_limit: EventThrottle::default(),
            connections_refused: AtomicU64::new(0),
            memory_full: EventThrottle::default(),
            evictions_reported: AtomicU64::new(0),
        }
    }

    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    pub fn connections_max(&self) -> u32 {
        self.connections_max.load(Ordering::Relaxed)
    }

    /// Changes the limit. A lower one closes no connection; it applies to new ones.
    pub fn set_connections_max(&self, connections: u32) {
        self.connections_max.store(connections, Ordering::Relaxed);
    }

    /// Counts a new connection. False when the cache has as many as its limit allows.
    pub(super) fn add_connection(&self) -> bool {
        let max = self.connections_max();
        // In one atomic step. Counting first and taking the count back would refuse others in between.
        let one_more = |now| (now < max).then_some(now + 1);
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
    }

    /// Counts a connection that was refused because the cache has as many as its limit allows.
    pub(super) fn note_refused_connection(&self) {
        self.connections_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove_connection(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Drops the pending delayed flush if the account that asked for it may not flush any more. Called after each change
    /// that can take the right away.
    pub(super) fn end_forbidden_flush(&self) {
        let mut delayed = self.delayed_flush.lock();
        let forbidden = delayed.as_ref().is_some_and(|flush| !flush.is_permitted());
        // One that has taken effect already keeps its author until it is reported.
        if forbidden && self.items.drop_delayed() {
            *delayed = None;
        }
    }

    /// What serving thread `thread` counts.
    pub fn traffic(&self, thread: usize) -> &Traffic {
        let stripes = self
            .traffic
            .get_or_init(|| (0..self.threads).map(|_| Traffic::default()).collect());
        &stripes[thread.min(stripes.len() - 1)]
    }

    pub fn traffic_sum(&self) -> TrafficSum {
        let mut sum = TrafficSum {
            connections_refused: self.connections_refused.load(Ordering::Relaxed),
            ..TrafficSum::default()
        };
        let stripes = self.traffic.get().map_or(&[][..], |stripes| stripes);
        for traffic in stripes {
            sum.bytes_read += traffic.bytes_read.load(Ordering::Relaxed);
            sum.bytes_written += traffic.bytes_written.load(Ordering::Relaxed);
            sum.connections += traffic.connections.load(Ordering::Relaxed);
            sum.auth_cmds += traffic.auth_cmds.load(Ordering::Relaxed);
            sum.auth_errors += traffic.auth_errors.load(Ordering::Relaxed);
        }
        sum
    }

    /// The counters at the last `stats reset`.
    pub fn baseline(&self) -> Baseline {
        *self.baseline.lock()
    }

    /// `stats reset`: `stats` counts from zero again.
    pub fn reset_stats(&self) {
        let now = Baseline {
            counters: self.items.counters(),
            traffic: self.traffic_sum(),
        };
        *self.baseline.lock() = now;
    }
}
