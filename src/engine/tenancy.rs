//! A tenant as connections see it: its items, its connections, its traffic.

use std::net::IpAddr;
use std::sync::OnceLock;

use super::events::Gate;
use super::shares::Share;
use super::storage::{Counters, Tenant};
use super::sync::Mutex;
use super::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::domain::{CacheId, Timestamp, Username};

/// One cache on this node. What each request touches comes first.
#[derive(Debug)]
#[repr(C)]
pub struct Tenancy {
    /// One per engine thread, so that counting shares no cache line. Made by the first login.
    traffic: OnceLock<Box<[Traffic]>>,
    pub items: Tenant,
    pub cache: CacheId,
    pub since: Timestamp,
    connections: AtomicU32,
    connections_max: AtomicU32,
    threads: usize,
    /// Where the counters stood at the last `stats reset`. The meters themselves are never reset.
    baseline: Mutex<Baseline>,
    /// Who asked for the flush that is still to come.
    pub(super) delayed_flush: Mutex<Option<FlushAuthor>>,
    pub(super) over_limit: Gate,
    pub(super) memory_full: Gate,
    pub(super) evictions_told: AtomicU64,
}

/// A client that asked for a flush.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlushAuthor {
    pub credential: Option<Username>,
    pub remote: Option<IpAddr>,
}

/// Counters that one thread keeps of one tenant's connections. Only that thread writes them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Traffic {
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    connections: AtomicU64,
    auth_cmds: AtomicU64,
    auth_errors: AtomicU64,
    /// How much of the thread's work is for it.
    pub(super) share: Share,
}

/// A sum of [`Traffic`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficSum {
    pub bytes_read: u64,
    pub bytes_written: u64,
    /// Logged-in connections ever.
    pub connections: u64,
    pub auth_cmds: u64,
    pub auth_errors: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Baseline {
    pub counters: Counters,
    pub traffic: TrafficSum,
}

/// A counter with a single writer needs no locked addition.
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
}

impl Traffic {
    pub fn moved(&self, read: usize, written: usize) {
        add(&self.bytes_read, read as u64);
        add(&self.bytes_written, written as u64);
    }

    pub fn logged_in(&self) {
        add(&self.connections, 1);
        add(&self.auth_cmds, 1);
    }

    /// A connection that needed no login.
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
            over_limit: Gate::default(),
            memory_full: Gate::default(),
            evictions_told: AtomicU64::new(0),
        }
    }

    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    pub fn connections_max(&self) -> u32 {
        self.connections_max.load(Ordering::Relaxed)
    }

    /// A lowered limit closes nobody; it holds for new connections.
    pub fn set_connections_max(&self, connections: u32) {
        self.connections_max.store(connections, Ordering::Relaxed);
    }

    /// Counts a connection in; false when the cache has as many as it may have.
    pub(super) fn enter(&self) -> bool {
        let max = self.connections_max();
        // In one step: a count that is taken back would turn away whoever comes meanwhile.
        let one_more = |now| (now < max).then_some(now + 1);
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
    }

    pub(super) fn leave(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// The counters of engine thread `thread`.
    pub fn traffic(&self, thread: usize) -> &Traffic {
        let stripes = self
            .traffic
            .get_or_init(|| (0..self.threads).map(|_| Traffic::default()).collect());
        &stripes[thread.min(stripes.len() - 1)]
    }

    pub fn traffic_sum(&self) -> TrafficSum {
        let mut sum = TrafficSum::default();
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

    pub fn baseline(&self) -> Baseline {
        *self.baseline.lock()
    }

    /// What `stats` counts starts again from here.
    pub fn reset_stats(&self) {
        let now = Baseline {
            counters: self.items.counters(),
            traffic: self.traffic_sum(),
        };
        *self.baseline.lock() = now;
    }
}
