//! What all threads of the engine share: settings, clocks, tenants, and the way out for events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::auth::{Account, Authenticator, Seat};
use super::directory::MemoryDirectory;
use super::events::{EVENT_WINDOW, EngineEvent, EventSink};
use super::protocol::Limits;
use super::storage::{EngineClock, Flushed, Pool, RELATIVE_SECS_MAX};
use super::tenancy::{FlushAuthor, Tenancy};
use crate::domain::{
    CacheId, CacheSpec, Clock, Fingerprint, FlushEvent, FlushId, FlushOrder, Origin,
};

/// Segments looked into per shard and turn of upkeep.
const UPKEEP_BUDGET: u32 = 64;

/// The engine's shared state.
pub struct Node {
    pub limits: Limits,
    pub threads: usize,
    pub proxy_hostname: String,
    pub clock: Arc<dyn Clock>,
    pub sink: Arc<dyn EventSink>,
    pub directory: Arc<MemoryDirectory>,
    pub authenticator: Authenticator,
    pub pool: Pool,
    pub engine_clock: EngineClock,
    /// Connections of all kinds, logged in or not.
    connections: AtomicU32,
    pub connections_ever: AtomicU64,
    /// Turns that ended in a panic, and with it their connection.
    panics: AtomicU64,
    stopping: AtomicBool,
    started: Instant,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("threads", &self.threads)
            .field("proxy_hostname", &self.proxy_hostname)
            .finish_non_exhaustive()
    }
}

/// Why a connection has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Node {
    pub fn new(
        settings: super::EngineSettings,
        key: crate::domain::secret::VerifierKey,
        clock: Arc<dyn Clock>,
        sink: Arc<dyn EventSink>,
    ) -> Node {
        let directory = Arc::new(MemoryDirectory::default());
        Node {
            limits: settings.limits,
            threads: settings.threads.max(1),
            proxy_hostname: settings.proxy_hostname,
            clock,
            sink,
            authenticator: Authenticator::new(Arc::clone(&directory) as Arc<_>, key),
            directory,
            pool: Pool::new(settings.memory_max_bytes),
            engine_clock: settings.engine_clock.unwrap_or_else(EngineClock::system),
            connections: AtomicU32::new(0),
            connections_ever: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            started: Instant::now(),
        }
    }

    pub fn apply(&self, spec: &CacheSpec) {
        let make = || {
            Tenancy::new(
                spec.cache,
                super::storage::Tenant::new(spec.limit_bytes, &self.pool, &self.engine_clock),
                spec.connections_max,
                self.threads,
                self.clock.now(),
            )
        };
        let (tenancy, orders) = self.directory.apply(spec, make);
        for order in orders {
            self.flush_for_order(&tenancy, order);
        }
    }

    fn flush_for_order(&self, tenancy: &Tenancy, order: FlushOrder) {
        let flushed = self.flush_now(tenancy);
        self.tell_flushed(tenancy, flushed, order, FlushAuthor::default());
    }

    /// An immediate flush replaces one that is still to come.
    fn flush_now(&self, tenancy: &Tenancy) -> Flushed {
        tenancy.delayed_flush.lock().take();
        tenancy.items.flush()
    }

    pub fn flush(&self, cache: CacheId, origin: Origin, reason: Option<String>) -> Option<Flushed> {
        let tenancy = self.directory.tenancy(cache)?;
        let flushed = self.flush_now(&tenancy);
        let id = FlushId::generate(self.clock.now());
        let order = FlushOrder { id, origin, reason };
        self.tell_flushed(&tenancy, flushed, order, FlushAuthor::default());
        Some(flushed)
    }

    /// `flush_all`. A delayed one is told by [`Node::upkeep`] when it has taken effect.
    pub fn flush_for_client(&self, tenancy: &Tenancy, delay_secs: u32, author: FlushAuthor) {
        let delay_secs = self.seconds_ahead(delay_secs);
        if delay_secs > 0 {
            *tenancy.delayed_flush.lock() = Some(author);
            tenancy.items.flush_after(delay_secs);
            return;
        }
        let flushed = self.flush_now(tenancy);
        self.tell_client_flush(tenancy, flushed, author);
    }

    /// A delay past thirty days is a Unix time, as with the lives of items.
    fn seconds_ahead(&self, delay_secs: u32) -> u32 {
        if delay_secs <= RELATIVE_SECS_MAX {
            return delay_secs;
        }
        let left = u64::from(delay_secs).saturating_sub(self.engine_clock.unix_secs());
        left as u32
    }

    fn tell_client_flush(&self, tenancy: &Tenancy, flushed: Flushed, author: FlushAuthor) {
        let order = FlushOrder {
            id: FlushId::generate(self.clock.now()),
            origin: Origin::MemcacheClient,
            reason: None,
        };
        self.tell_flushed(tenancy, flushed, order, author);
    }

    fn tell_flushed(
        &self,
        tenancy: &Tenancy,
        flushed: Flushed,
        order: FlushOrder,
        author: FlushAuthor,
    ) {
        self.sink.record(EngineEvent::Flushed(FlushEvent {
            id: order.id,
            cache: tenancy.cache,
            origin: order.origin,
            proxy: self.proxy_hostname.clone(),
            credential: author.credential,
            remote: author.remote,
            reason: order.reason,
            items: flushed.items,
            bytes: flushed.bytes,
            at: self.clock.now(),
        }));
    }

    /// Background work of all tenants, once a second.
    pub fn upkeep(&self) {
        self.engine_clock.tick();
        self.directory.retire_expired(self.clock.now());
        for tenancy in self.directory.tenancies() {
            let mut turns = 0;
            loop {
                let done = tenancy.items.maintain(UPKEEP_BUDGET);
                if let Some(flushed) = done.flushed {
                    let author = tenancy.delayed_flush.lock().take().unwrap_or_default();
                    self.tell_client_flush(&tenancy, flushed, author);
                }
                turns += 1;
                if !done.unfinished || turns == UPKEEP_TURNS_MAX {
                    break;
                }
            }
            self.tell_memory_full(&tenancy);
        }
        self.pool.give_up_unneeded();
    }

    fn tell_memory_full(&self, tenancy: &Tenancy) {
        let evictions = tenancy.items.counters().evictions;
        let told = tenancy.evictions_told.swap(evictions, Ordering::Relaxed);
        let new = evictions.saturating_sub(told);
        if new == 0 {
            return;
        }
        let now = self.clock.now();
        if let Some(evictions) = tenancy.memory_full.pass(new, now) {
            self.sink.record(EngineEvent::MemoryFull {
                cache: tenancy.cache,
                used: tenancy.items.used_bytes(),
                limit: tenancy.items.limit_bytes(),
                evictions,
                window_secs: EVENT_WINDOW.as_secs() as u32,
                at: now,
            });
        }
    }

    /// Whom a client certificate stands for; `None` when it was revoked, is over, or was never of ours.
    pub fn certified(&self, fingerprint: &Fingerprint) -> Option<Arc<Account>> {
        self.directory.find_certified(fingerprint, self.clock.now())
    }

    /// A place for a verified client.
    ///
    /// # Errors
    /// When the cache has all the connections it may have; the customer is told by an event.
    pub fn seat(&self, account: Arc<Account>) -> Result<Seat, Full> {
        let tenancy = Arc::clone(&account.tenancy);
        Seat::take(account).ok_or_else(|| {
            let now = self.clock.now();
            if let Some(refused) = tenancy.over_limit.pass(1, now) {
                self.sink.record(EngineEvent::ConnectionsOverLimit {
                    cache: tenancy.cache,
                    limit: tenancy.connections_max(),
                    refused,
                    window_secs: EVENT_WINDOW.as_secs() as u32,
                    at: now,
                });
            }
            Full
        })
    }

    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// A turn panicked. To its peer that looks like any other end, so the operator is told in the metrics.
    pub fn note_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("larder_engine_panics_total").increment(1);
    }

    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Counts a socket in. `None` when the node has as many as it may have.
    pub fn open_socket(self: &Arc<Node>) -> Option<OpenSocket> {
        self.connections_ever.fetch_add(1, Ordering::Relaxed);
        let max = self.limits.connections_max;
        // In one step, as in a tenancy: one that is refused must not cost another its place.
        let one_more = |now| (now < max).then_some(now + 1);
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()
            .map(|_| OpenSocket(Arc::clone(self)))
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Time since the engine was made, for deadlines.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

const UPKEEP_TURNS_MAX: u32 = 16;

/// A counted socket; dropping it counts it out.
#[derive(Debug)]
pub struct OpenSocket(Arc<Node>);

impl OpenSocket {
    pub fn node(&self) -> &Arc<Node> {
        &self.0
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
