//! Rank 1: the memcached server. It knows `domain`, and nothing of SQL, HTTP or marketplaces.
//!
//! # Life of a request
//!
//! ```text
//!   socket            thread's buffers                        tenant
//!  ┌──────┐ one read ┌─────────┐ parse  ┌─────────┐ permit   ┌──────────────┐
//!  │ peer │────────▶ │ 64 KiB  │──────▶ │ Command │────────▶ │ shard, under │
//!  │      │          └─────────┘ Form   └─────────┘ execute  │ its lock     │
//!  │      │ one write┌─────────┐ write  ┌─────────┐ borrowed └──────┬───────┘
//!  │      │ ◀────────│ output  │◀────── │  Reply  │◀────────────────┘
//!  └──────┘          └─────────┘        └─────────┘
//!         net                           session, protocol   execute.rs, storage
//! ```
//!
//! There is one serving thread per core, each with its own event loop and its own listening sockets. A connection
//! stays on the thread that accepted it; a request is never handed to another thread. An idle connection holds no
//! buffer. A thread executes all whole commands of a read, then sends all replies with one write.
//!
//! | file | contents |
//! |---|---|
//! | [`protocol`] | the dialects: bytes to commands, replies to bytes |
//! | [`session`] | one connection without its socket: detect the dialect, log in, serve, close |
//! | [`net`], [`tls`] | sockets, serving threads, deadlines |
//! | `housekeeping` | the thread that moves the clock and does the tenants' background work |
//! | `client_verifier` | which client certificates a TLS handshake accepts |
//! | [`auth`], [`directory`] | who may log in |
//! | [`execute`] | what a client may do; `session::upload` checks it earlier for a large value |
//! | [`storage`] | items |
//! | `fairness` | which tenants use more of a thread than others |
//! | [`state`] | what all threads share |
//! | [`refused_logins`] | which refused logins are told, and to whom |
//! | [`tenancy`], `figures`, [`stats`], [`events`] | what is counted and reported |
//!
//! # Lock order
//!
//! 1. `directory.caches`, then `forgotten` within it (changes and figures; no request takes it)
//! 2. a tenancy's `delayed_flush`, then the storage's own locks: a tenant's flush, a shard
//! 3. the pool's list of free segments, innermost
//! 4. apart from these: the engine's `running`, then `authorities`, then the `parts` of its certificates (start, stop, reload, a new CA)
//!
//! A thread holds at most one shard lock, for the commands of one visit, and never while it waits.
//!
//! # Memory
//!
//! The storage charges a tenant for everything it stores, including values that are still arriving and large values in
//! unsent replies, and for what its connections hold: unfinished requests, and replies that were not sent. A client that
//! has not logged in may make a connection hold a fixed small amount, which nobody is charged for.
//!
//! What must never happen: a byte of one tenant in a reply to another; a command executed under an identity that has
//! been revoked; a reply out of order; output that grows while the peer does not read.

pub mod auth;
mod client_verifier;
mod decimal;
pub mod directory;
pub mod events;
pub mod execute;
mod fairness;
mod figures;
mod housekeeping;
#[cfg(all(test, feature = "shuttle"))]
mod interleavings;
pub mod net;
pub mod protocol;
pub mod refused_logins;
pub mod session;
pub mod state;
pub mod stats;
pub mod storage;
mod sync;
pub mod tenancy;
#[cfg(test)]
mod testing;
pub mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::domain::secret::VerifierKey;
use crate::domain::{Authority, CacheId, CacheSpec, Clock, Origin, Username};
use housekeeping::{HousekeepingStop, spawn_housekeeping};
use net::{BoundSocket, ListenerKind, Server, bind};
use state::EngineState;
use storage::monotonic_now;
use sync::Mutex;
use tls::{Certificates, TlsError};

pub use directory::EngineTotals;
pub use events::{EngineEvent, EventSink};
pub use figures::{CredentialFigures, EngineFigures};
pub use net::{Addresses, Listeners, OpenListener, TlsListener};
pub use protocol::Limits;
pub use refused_logins::CertificateRefusal;
pub use storage::{Counters, EngineClock, Flushed};
pub use tenancy::TrafficSum;

/// How an engine is made.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Number of serving threads.
    pub threads: usize,
    /// Ceiling over all tenants together.
    pub memory_max_bytes: u64,
    /// This node's name in flush events.
    pub proxy_hostname: String,
    pub limits: Limits,
    /// A clock that a test moves by hand; `None` for the machine's clock.
    pub engine_clock: Option<EngineClock>,
}

/// Why the engine does not start or change.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("cannot listen on {addr}")]
    Listen {
        addr: SocketAddr,
        source: std::io::Error,
    },
    #[error("the open listener must stay on a loopback address, not {0}")]
    OpenToTheWorld(SocketAddr),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot start an engine thread")]
    Thread(#[source] std::io::Error),
    #[error("the engine was started before")]
    Started,
}

/// The memcached server of this process. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Engine {
    state: Arc<EngineState>,
    running: Arc<Mutex<Option<Running>>>,
    /// The CAs whose client certificates are accepted. Locked after `running`.
    authorities: Arc<Mutex<Vec<Authority>>>,
}

#[derive(Debug)]
struct Running {
    servers: Vec<Server>,
    housekeeping: JoinHandle<()>,
    housekeeping_stop: Arc<HousekeepingStop>,
    certificates: Option<Arc<Certificates>>,
}

/// Listeners that are bound, before a thread serves them.
struct BoundListeners {
    /// For each serving thread, one socket per listener.
    by_thread: Vec<Vec<BoundSocket>>,
    addresses: Addresses,
    certificates: Option<Arc<Certificates>>,
}

impl Engine {
    pub fn new(
        settings: EngineSettings,
        key: VerifierKey,
        clock: Arc<dyn Clock>,
        sink: Arc<dyn EventSink>,
    ) -> Engine {
        Engine {
            state: Arc::new(EngineState::new(settings, key, clock, sink)),
            running: Arc::default(),
            authorities: Arc::default(),
        }
    }

    /// Binds the listeners and starts the threads.
    ///
    /// # Errors
    /// When an address cannot be bound, a certificate cannot be read, or the open listener would not be on loopback.
    /// No thread runs then.
    pub fn start(&self, listeners: Listeners) -> Result<Addresses, EngineError> {
        let mut running = self.running.lock();
        if running.is_some() {
            return Err(EngineError::Started);
        }
        let bound = self.bind_listeners(listeners)?;
        let mut servers = Vec::new();
        for (number, sockets) in bound.by_thread.into_iter().enumerate() {
            let server = Server::spawn(number, sockets, Arc::clone(&self.state));
            servers.push(server.map_err(EngineError::Thread)?);
        }
        let stop = Arc::new(HousekeepingStop::default());
        let housekeeping = spawn_housekeeping(Arc::clone(&self.state), Arc::clone(&stop))
            .map_err(EngineError::Thread)?;
        *running = Some(Running {
            servers,
            housekeeping,
            housekeeping_stop: stop,
            certificates: bound.certificates,
        });
        Ok(bound.addresses)
    }

    fn bind_listeners(&self, listeners: Listeners) -> Result<BoundListeners, EngineError> {
        let threads = self.state.threads;
        let mut by_thread: Vec<Vec<BoundSocket>> = (0..threads).map(|_| Vec::new()).collect();
        let mut bind_all = |addr: SocketAddr, kind: ListenerKind| {
            let sockets = bind(addr, threads, self.state.limits.keepalive)?;
            let bound = sockets[0].local_addr();
            for (of_thread, socket) in by_thread.iter_mut().zip(sockets) {
                let kind = kind.clone();
                of_thread.push(BoundSocket { socket, kind });
            }
            bound.map_err(|source| EngineError::Listen { addr, source })
        };
        let mut addresses = Addresses::default();
        let mut certificates = None;
        if let Some(tls) = listeners.tls {
            let (authorities, state) = (self.authorities.lock().clone(), Arc::clone(&self.state));
            let loaded = Certificates::load(tls.cert, tls.key, authorities, state)?;
            let loaded = Arc::new(loaded);
            addresses.tls = Some(bind_all(tls.addr, ListenerKind::Tls(Arc::clone(&loaded)))?);
            certificates = Some(loaded);
        }
        if let Some(addr) = listeners.plain {
            let kind = match &certificates {
                Some(loaded) if listeners.tls_on_plain => {
                    ListenerKind::PlainOrTls(Arc::clone(loaded))
                }
                _ => ListenerKind::Plain,
            };
            addresses.plain = Some(bind_all(addr, kind)?);
        }
        if let Some(OpenListener { addr, cache }) = listeners.open {
            if !addr.ip().is_loopback() {
                return Err(EngineError::OpenToTheWorld(addr));
            }
            addresses.open = Some(bind_all(addr, ListenerKind::Open(cache))?);
        }
        Ok(BoundListeners {
            by_thread,
            addresses,
            certificates,
        })
    }

    /// Makes this node know `spec`. Applying the same spec twice changes nothing; the caller must not apply an older
    /// spec over a newer one. Each flush order in it is carried out once. Events go to the sink.
    pub fn apply(&self, spec: &CacheSpec) {
        self.state.apply(spec);
    }

    /// Makes this node know user names, so that a client that is logged in and sends one with a password does not store it.
    /// Names of caches that this node does not serve and of removed credentials belong here; those of [`Engine::apply`] are
    /// known without.
    pub fn know_usernames(&self, names: &[Username]) {
        let known = self.state.directory.names();
        names.iter().for_each(|name| known.add(name));
    }

    /// Accepts client certificates that these CAs issued, and no others. May be called before [`Engine::start`] and
    /// while listeners are open. Calling it again with the same CAs changes nothing.
    ///
    /// # Errors
    /// When one of the CAs cannot be used. The CAs of before then stay in force.
    pub fn trust(&self, authorities: &[Authority]) -> Result<(), TlsError> {
        let running = self.running.lock();
        let mut known = self.authorities.lock();
        if *known == authorities {
            return Ok(());
        }
        if let Some(certificates) = running
            .as_ref()
            .and_then(|running| running.certificates.as_ref())
        {
            certificates.trust(authorities.to_vec())?;
        }
        *known = authorities.to_vec();
        Ok(())
    }

    /// Removes a cache: logins are refused at once, and its connections close within a second. False when it was
    /// unknown here.
    pub fn forget(&self, cache: CacheId) -> bool {
        self.state.directory.forget(cache)
    }

    /// Empties a cache and reports the event. `None` when the cache is unknown here.
    pub fn flush(&self, cache: CacheId, origin: Origin, reason: Option<String>) -> Option<Flushed> {
        self.state.flush(cache, origin, reason)
    }

    /// Figures of a cache. `None` when the cache is unknown here.
    pub fn figures(&self, cache: CacheId) -> Option<EngineFigures> {
        let tenancy = self.state.directory.tenancy(cache)?;
        let accounts = self.state.directory.accounts(cache);
        Some(EngineFigures::of(&tenancy, &accounts))
    }

    /// Sockets that are open now, logged in or not.
    pub fn open_connections(&self) -> u32 {
        self.state.connections()
    }

    /// Visits of connections that ended in a panic. Anything but 0 is a bug of the engine.
    pub fn panics(&self) -> u64 {
        self.state.panics()
    }

    /// Bytes held by all tenants together.
    pub fn memory_used_bytes(&self) -> u64 {
        self.state.pool.used_bytes()
    }

    /// What all tenants together did and hold, for whoever watches the process.
    pub fn totals(&self) -> EngineTotals {
        let mut totals = self.state.directory.totals();
        // Attempts that no cache counts: their user names are unknown.
        let unnamed = self.state.refused_logins.unnamed();
        totals.traffic.auth_cmds += unnamed;
        totals.traffic.auth_errors += unnamed;
        totals
    }

    /// The certificate that clients of the TLS listener are shown now, as DER. `None` without such a listener.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        let running = self.running.lock();
        let certificates = running.as_ref()?.certificates.as_ref()?;
        Some(certificates.leaf())
    }

    /// Reads the certificate files again, if there is a TLS listener.
    ///
    /// # Errors
    /// When they cannot be used. The old certificate then stays.
    pub fn reload_tls(&self) -> Result<(), TlsError> {
        let running = self.running.lock();
        match running
            .as_ref()
            .and_then(|running| running.certificates.as_ref())
        {
            Some(certificates) => certificates.reload(),
            None => Ok(()),
        }
    }

    /// Winds down: accepts no connection, lets requests finish, closes between requests, and closes after `deadline`
    /// what is left. Blocks until the threads have ended.
    pub fn stop(&self, deadline: Duration) {
        let Some(running) = self.running.lock().take() else {
            return;
        };
        let by = monotonic_now() + deadline;
        for server in &running.servers {
            server.stop(by);
        }
        for server in running.servers {
            server.join();
        }
        running.housekeeping_stop.stop();
        let _ = running.housekeeping.join();
    }
}
