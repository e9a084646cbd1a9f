//! What all threads of the engine share: settings, clocks, tenants, and the sink for events.

use std::net::IpAddr;
use std::sync::Arc;

use super::auth::{Account, Authenticator, ConnectionSlot, Directory as _};
use super::client_verifier::RefusedCertificate;
use super::directory::MemoryDirectory;
use super::events::{EVENT_WINDOW, EngineEvent, EventSink};
use super::protocol::Limits;
use super::refused_logins::{Presented, RefusedLogins};
use super::storage::{EngineClock, Flushed, Pool, RELATIVE_SECS_MAX, Tenant};
use super::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use super::tenancy::{DelayedFlush, FlushAuthor, Tenancy};
use crate::domain::secret::VerifierKey;
use crate::domain::{
    CacheId, CacheSpec, Clock, Fingerprint, FlushEvent, FlushId, FlushOrder, Origin,
};

/// Segments of background work per shard, each time a housekeeping pass comes to a tenant.
const HOUSEKEEPING_BUDGET: u32 = 64;
/// How often a housekeeping pass continues with one tenant before it goes on to the next.
const CONTINUATIONS_MAX: u32 = 16;

/// The shared state of an engine.
pub struct EngineState {
    pub limits: Limits,
    pub threads: usize,
    pub proxy_hostname: String,
    pub clock: Arc<dyn Clock>,
    pub sink: Arc<dyn EventSink>,
    pub directory: Arc<MemoryDirectory>,
    pub authenticator: Authenticator,
    pub pool: Pool,
    pub engine_clock: EngineClock,
    pub refused_logins: RefusedLogins,
    /// Open connections of all kinds, logged in or not.
    connections: AtomicU32,
    /// Visits that panicked. A panic ends the connection it happened in.
    panics: AtomicU64,
}

impl std::fmt::Debug for EngineState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineState")
            .field("threads", &self.threads)
            .field("proxy_hostname", &self.proxy_hostname)
            .finish_non_exhaustive()
    }
}

/// The cache has all the connections that its plan allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyConnections;

impl EngineState {
    pub fn new(
        settings: super::EngineSettings,
        key: VerifierKey,
        clock: Arc<dyn Clock>,
        sink: Arc<dyn EventSink>,
    ) -> EngineState {
        let directory = Arc::new(MemoryDirectory::default());
        EngineState {
            limits: settings.limits,
            threads: settings.threads.max(1),
            proxy_hostname: settings.proxy_hostname,
            clock,
            sink,
            authenticator: Authenticator::new(Arc::clone(&directory) as Arc<_>, key),
            directory,
            pool: Pool::new(settings.memory_max_bytes),
            engine_clock: settings.engine_clock.unwrap_or_else(EngineClock::system),
            refused_logins: RefusedLogins::default(),
            connections: AtomicU32::new(0),
            panics: AtomicU64::new(0),
        }
    }

    /// Makes this node know `spec`, and carries out those of its flush orders that are new.
    pub fn apply(&self, spec: &CacheSpec) {
        let make = || {
            Tenancy::new(
                spec.cache,
                Tenant::new(spec.limit_bytes, &self.pool, &self.engine_clock),
                spec.connections_max,
                self.threads,
                self.clock.now(),
            )
        };
        let (tenancy, orders) = self.directory.apply(spec, make);
        for order in orders {
            let flushed = self.flush_now(&tenancy);
            self.report_flush(&tenancy, flushed, order, FlushAuthor::default());
        }
    }

    /// Empties a cache and reports the event. `None` when the cache is unknown here.
    pub fn flush(&self, cache: CacheId, origin: Origin, reason: Option<String>) -> Option<Flushed> {
        let tenancy = self.directory.tenancy(cache)?;
        let flushed = self.flush_now(&tenancy);
        let id = FlushId::generate(self.clock.now());
        let order = FlushOrder { id, origin, reason };
        self.report_flush(&tenancy, flushed, order, FlushAuthor::default());
        Some(flushed)
    }

    /// Carries out a client's `flush_all`. A delayed one ends with the account's right to flush, and is reported when it
    /// has taken effect.
    pub fn flush_for_client(&self, account: &Arc<Account>, delay_secs: u32, author: FlushAuthor) {
        let delay_secs = self.relative_delay(delay_secs);
        if delay_secs > 0 {
            self.flush_later(account, delay_secs, author);
            return;
        }
        let flushed = self.flush_now(&account.tenancy);
        self.report_client_flush(&account.tenancy, flushed, author);
    }

    /// Replaces a delayed flush that is pending.
    fn flush_later(&self, account: &Arc<Account>, delay_secs: u32, author: FlushAuthor) {
        let tenancy = &account.tenancy;
        let mut delayed = tenancy.delayed_flush.lock();
        // The right may have gone since the command was permitted. Read under the lock: whoever takes the right away
        // afterwards takes the lock too, and finds this flush.
        if !account.may_flush() {
            return;
        }
        let earlier = tenancy.items.flush_after(delay_secs);
        let account = Arc::downgrade(account);
        let replaced = delayed.replace(DelayedFlush { author, account });
        drop(delayed);
        self.report_delayed_flush(tenancy, earlier, replaced);
    }

    /// An immediate flush also replaces a delayed one that is pending.
    fn flush_now(&self, tenancy: &Tenancy) -> Flushed {
        let mut delayed = tenancy.delayed_flush.lock();
        let flushed = tenancy.items.flush();
        let earlier = tenancy.items.take_flushed();
        let replaced = delayed.take();
        drop(delayed);
        self.report_delayed_flush(tenancy, earlier, replaced);
        flushed
    }

    /// Reports a delayed flush that has taken effect, if one has.
    fn report_due_flush(&self, tenancy: &Tenancy) {
        let mut delayed = tenancy.delayed_flush.lock();
        let Some(flushed) = tenancy.items.take_flushed() else {
            return;
        };
        let flush = delayed.take();
        drop(delayed);
        self.report_delayed_flush(tenancy, Some(flushed), flush);
    }

    fn report_delayed_flush(
        &self,
        tenancy: &Tenancy,
        flushed: Option<Flushed>,
        flush: Option<DelayedFlush>,
    ) {
        if let Some(flushed) = flushed {
            let author = flush.map(|flush| flush.author).unwrap_or_default();
            self.report_client_flush(tenancy, flushed, author);
        }
    }

    /// A delay of more than 30 days is a Unix time, as with exptimes.
    fn relative_delay(&self, delay_secs: u32) -> u32 {
        if delay_secs <= RELATIVE_SECS_MAX {
            return delay_secs;
        }
        let left = u64::from(delay_secs).saturating_sub(self.engine_clock.unix_secs());
        left as u32
    }

    fn report_client_flush(&self, tenancy: &Tenancy, flushed: Flushed, author: FlushAuthor) {
        let order = FlushOrder {
            id: FlushId::generate(self.clock.now()),
            origin: Origin::MemcacheClient,
            reason: None,
        };
        self.report_flush(tenancy, flushed, order, author);
    }

    fn report_flush(
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

    /// One housekeeping pass: moves the clock and does the background work of all tenants. Called twice a second.
    pub fn housekeeping(&self) {
        // Before the clock moves: a delayed flush that becomes due now must not outlive the certificate that asked for it.
        self.directory.retire_expired(self.clock.now());
        self.engine_clock.tick();
        for tenancy in self.directory.tenancies() {
            self.report_due_flush(&tenancy);
            for _ in 0..CONTINUATIONS_MAX {
                if !tenancy.items.maintain(HOUSEKEEPING_BUDGET).unfinished {
                    break;
                }
            }
            self.report_memory_full(&tenancy);
        }
        let refused = self.refused_logins.due(self.clock.now());
        refused
            .into_iter()
            .for_each(|event| self.sink.record(event));
        self.pool.release_unneeded();
    }

    fn report_memory_full(&self, tenancy: &Tenancy) {
        let evictions = tenancy.items.counters().evictions;
        let reported = tenancy
            .evictions_reported
            .swap(evictions, Ordering::Relaxed);
        let new = evictions.saturating_sub(reported);
        if new == 0 {
            return;
        }
        let now = self.clock.now();
        if let Some(evictions) = tenancy.memory_full.note(new, now) {
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

    /// Counts a refused login. `account` is the one that the user name belongs to.
    pub fn login_refused(
        &self,
        account: Option<&Account>,
        username: &[u8],
        remote: Option<IpAddr>,
        thread: usize,
    ) {
        let certificate = None;
        let presented = Presented {
            username,
            certificate,
        };
        self.note_refused(account, presented, remote, thread);
    }

    /// Counts a client certificate that was refused: as a refused login of whom it names, and by its reason.
    pub(super) fn certificate_refused(
        &self,
        refused: &RefusedCertificate,
        remote: Option<IpAddr>,
        thread: usize,
    ) {
        metrics::counter!("larder_engine_certificates_refused_total", "reason" => refused.reason.as_str())
            .increment(1);
        let presented = Presented {
            username: &refused.username,
            certificate: Some(refused.reason),
        };
        let account = self.directory.find(presented.username);
        self.note_refused(account.as_deref(), presented, remote, thread);
    }

    fn note_refused(
        &self,
        account: Option<&Account>,
        presented: Presented<'_>,
        remote: Option<IpAddr>,
        thread: usize,
    ) {
        if let Some(account) = account {
            account.tenancy.traffic(thread).login_failed();
        }
        let now = self.clock.now();
        let told = self.refused_logins.note(account, presented, remote, now);
        told.for_each(|event| self.sink.record(event));
    }

    /// The account of a client certificate. `None` when it is revoked, expired or unknown.
    pub fn certified(&self, fingerprint: &Fingerprint) -> Option<Arc<Account>> {
        self.directory.find_certified(fingerprint, self.clock.now())
    }

    /// Takes a connection slot for a client that has proved who it is.
    ///
    /// # Errors
    /// When all slots of the cache are taken. An event reports this to the owner.
    pub fn take_slot(&self, account: Arc<Account>) -> Result<ConnectionSlot, TooManyConnections> {
        let tenancy = Arc::clone(&account.tenancy);
        ConnectionSlot::take(account).ok_or_else(|| {
            tenancy.note_refused_connection();
            let now = self.clock.now();
            if let Some(refused) = tenancy.over_limit.note(1, now) {
                self.sink.record(EngineEvent::ConnectionsOverLimit {
                    cache: tenancy.cache,
                    limit: tenancy.connections_max(),
                    refused,
                    window_secs: EVENT_WINDOW.as_secs() as u32,
                    at: now,
                });
            }
            TooManyConnections
        })
    }

    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a visit that panicked. The peer only sees its connection end, so the metric tells the operator.
    pub fn note_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("larder_engine_panics_total").increment(1);
    }

    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Counts a socket. `None` when the node has as many connections as [`Limits::connections_max`] allows.
    pub fn open_socket(self: &Arc<EngineState>) -> Option<OpenSocket> {
        let max = self.limits.connections_max;
        // In one atomic step. Counting first and taking the count back would refuse others in between.
        let one_more = |now| (now < max).then_some(now + 1);
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()
            .map(|_| OpenSocket(Arc::clone(self)))
    }
}

/// A counted socket. Dropping it counts it out.
#[derive(Debug)]
pub struct OpenSocket(Arc<EngineState>);

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
