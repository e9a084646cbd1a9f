//! Rank 1: the memcached server. Knows domain; nothing of SQL, HTTP or marketplaces.
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
//! One thread per core, each with its own event loop and its own listening sockets. A connection stays on the
//! thread that accepted it; nothing is handed between threads on the way of a request. An idle connection holds no
//! buffer. All whole commands of a read are executed, then all replies are sent with one write.
//!
//! | file | knows |
//! |---|---|
//! | [`protocol`] | dialects: bytes to commands, replies to bytes |
//! | [`session`] | one connection without its socket: detect, log in, serve, close |
//! | [`net`], [`tls`] | sockets, serving threads, deadlines |
//! | `upkeep` | the clock, and what tenants need done in the background |
//! | `known_clients` | which client certificates a handshake accepts |
//! | [`auth`], [`directory`] | who may come in |
//! | [`execute`] | what they may do; the only check of capabilities |
//! | [`storage`] | items |
//! | `shares` | which tenants do more than others on a thread |
//! | [`tenancy`], [`stats`], [`events`] | what is counted and told |
//!
//! # Lock order
//!
//! 1. `directory.caches` (changes and figures; never on the way of a request)
//! 2. a tenancy's `delayed_flush`, then the storage's own locks: a tenant's flush, a shard
//! 3. the engine's `running`, then `authorities`, then the `parts` of its certificates (start, stop, reload, a new CA)
//!
//! A thread holds at most one shard lock, for the run of commands of one turn, and never while it waits.
//!
//! # Memory
//!
//! What a tenant stores is charged to the tenant by the storage, values on their way in and large values in unsent
//! replies included. A connection holds at most a cut-off request (a line, or a block below the size of an upload)
//! and one turn's replies. What must never happen: a byte of one tenant in a reply to another; a command executed
//! under an identity that has gone; a reply out of order; output that grows while the peer does not read.
#![forbid(unsafe_code)]

pub mod auth;
mod decimal;
pub mod directory;
pub mod events;
pub mod execute;
#[cfg(all(test, feature = "shuttle"))]
mod interleavings;
mod known_clients;
pub mod net;
pub mod node;
pub mod protocol;
pub mod session;
mod shares;
pub mod stats;
pub mod storage;
mod sync;
pub mod tenancy;
#[cfg(test)]
mod testing;
pub mod tls;
mod upkeep;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::domain::credential::LastUse;
use crate::domain::secret::VerifierKey;
use crate::domain::{Authority, CacheId, CacheSpec, Clock, Fingerprint, Origin, Username};
use auth::Account;
use net::{Entrance, Guests, Server, bind};
use node::Node;
use tls::{Certificates, TlsError};
use upkeep::{UpkeepStop, spawn_upkeep};

pub use events::{EngineEvent, EventSink};
pub use net::{Addresses, Listeners, OpenListener, TlsListener};
pub use protocol::Limits;
pub use storage::{Counters, EngineClock, Flushed};
pub use tenancy::TrafficSum;

/// How an engine is made.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Serving threads.
    pub threads: usize,
    /// Ceiling over all tenants together.
    pub memory_max_bytes: u64,
    /// This node's name in flush events.
    pub proxy_hostname: String,
    pub limits: Limits,
    /// A clock moved by hand, for tests; `None` for the machine's.
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
    node: Arc<Node>,
    running: Arc<Mutex<Option<Running>>>,
    /// What client certificates are believed by. Locked after `running`.
    authorities: Arc<Mutex<Vec<Authority>>>,
}

#[derive(Debug)]
struct Running {
    servers: Vec<Server>,
    upkeep: JoinHandle<()>,
    upkeep_stop: Arc<UpkeepStop>,
    certificates: Option<Arc<Certificates>>,
}

/// What is known of one cache on this node. Counters go on rising; `stats reset` does not touch them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    pub counters: Counters,
    pub traffic: TrafficSum,
    pub used_bytes: u64,
    pub limit_bytes: u64,
    pub connections: u32,
    pub connections_max: u32,
    pub credentials: Vec<CredentialFigures>,
    /// Connections made by each client certificate; those of its credential count them too.
    pub certificates: Vec<(Fingerprint, u32)>,
}

/// The same of one credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFigures {
    pub username: Username,
    pub connections: u32,
    pub last_login: Option<LastUse>,
}

impl Engine {
    pub fn new(
        settings: EngineSettings,
        key: VerifierKey,
        clock: Arc<dyn Clock>,
        sink: Arc<dyn EventSink>,
    ) -> Engine {
        Engine {
            node: Arc::new(Node::new(settings, key, clock, sink)),
            running: Arc::default(),
            authorities: Arc::default(),
        }
    }

    /// Binds the listeners and starts the threads.
    ///
    /// # Errors
    /// When an address cannot be bound, a certificate cannot be read, or the open listener would not be on
    /// loopback. Nothing runs then.
    pub fn start(&self, listeners: Listeners) -> Result<Addresses, EngineError> {
        let mut running = self.running.lock();
        if running.is_some() {
            return Err(EngineError::Started);
        }
        let (entrances, addresses, certificates) = self.open_doors(listeners)?;
        let mut servers = Vec::new();
        for (number, entrances) in entrances.into_iter().enumerate() {
            let node = Arc::clone(&self.node);
            let server = Server::spawn(number, entrances, node);
            servers.push(server.map_err(EngineError::Thread)?);
        }
        let upkeep_stop = Arc::new(UpkeepStop::default());
        let upkeep = spawn_upkeep(Arc::clone(&self.node), Arc::clone(&upkeep_stop))
            .map_err(EngineError::Thread)?;
        *running = Some(Running {
            servers,
            upkeep,
            upkeep_stop,
            certificates,
        });
        Ok(addresses)
    }

    #[expect(
        clippy::type_complexity,
        reason = "the three results of one step of `start`"
    )]
    fn open_doors(
        &self,
        listeners: Listeners,
    ) -> Result<(Vec<Vec<Entrance>>, Addresses, Option<Arc<Certificates>>), EngineError> {
        let threads = self.node.threads;
        let mut entrances: Vec<Vec<Entrance>> = (0..threads).map(|_| Vec::new()).collect();
        let mut open = |addr: SocketAddr, guests: Guests| {
            let sockets = bind(addr, threads, self.node.limits.keepalive)?;
            let bound = sockets[0].local_addr();
            for (doors, socket) in entrances.iter_mut().zip(sockets) {
                let guests = guests.clone();
                doors.push(Entrance { socket, guests });
            }
            bound.map_err(|source| EngineError::Listen { addr, source })
        };
        let mut addresses = Addresses::default();
        let mut certificates = None;
        if let Some(tls) = listeners.tls {
            let (authorities, node) = (self.authorities.lock().clone(), Arc::clone(&self.node));
            let loaded = Certificates::load(tls.cert, tls.key, authorities, node)?;
            let loaded = Arc::new(loaded);
            addresses.tls = Some(open(tls.addr, Guests::Tls(Arc::clone(&loaded)))?);
            certificates = Some(loaded);
        }
        if let Some(addr) = listeners.plain {
            let guests = match &certificates {
                Some(loaded) if listeners.tls_on_plain => Guests::Either(Arc::clone(loaded)),
                _ => Guests::Plain,
            };
            addresses.plain = Some(open(addr, guests)?);
        }
        if let Some(OpenListener { addr, cache }) = listeners.open {
            if !addr.ip().is_loopback() {
                return Err(EngineError::OpenToTheWorld(addr));
            }
            addresses.open = Some(open(addr, Guests::Open(cache))?);
        }
        Ok((entrances, addresses, certificates))
    }

    /// Makes this node know `spec`. Applying an older state over a newer one is the caller's to avoid; applying the
    /// same twice changes nothing. Flush orders in it are carried out, each once; events go to the sink.
    pub fn apply(&self, spec: &CacheSpec) {
        self.node.apply(spec);
    }

    /// Believes client certificates that these CAs issued, and no others. The doors need not be open yet, and stay
    /// open; doing it again with the same changes nothing.
    ///
    /// # Errors
    /// When one of them cannot be used; those before then stay.
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

    /// Drops a cache: logins are refused at once, connections close within a second. False when it was unknown.
    pub fn forget(&self, cache: CacheId) -> bool {
        self.node.directory.forget(cache)
    }

    /// Empties a cache and records the event. `None` when the cache is unknown here.
    pub fn flush(&self, cache: CacheId, origin: Origin, reason: Option<String>) -> Option<Flushed> {
        self.node.flush(cache, origin, reason)
    }

    pub fn figures(&self, cache: CacheId) -> Option<Figures> {
        let tenancy = self.node.directory.tenancy(cache)?;
        let accounts = self.node.directory.accounts(cache);
        Some(Figures {
            counters: tenancy.items.counters(),
            traffic: tenancy.traffic_sum(),
            used_bytes: tenancy.items.used_bytes(),
            limit_bytes: tenancy.items.limit_bytes(),
            connections: tenancy.connections(),
            connections_max: tenancy.connections_max(),
            credentials: by_credential(&accounts),
            certificates: accounts
                .iter()
                .filter_map(|account| Some((account.fingerprint()?, account.connections())))
                .collect(),
        })
    }

    /// Sockets now open, logged in or not.
    pub fn open_connections(&self) -> u32 {
        self.node.connections()
    }

    /// Turns of connections that ended in a panic. Any but 0 is a fault of the engine.
    pub fn panics(&self) -> u64 {
        self.node.panics()
    }

    /// Bytes held by all tenants together.
    pub fn memory_used_bytes(&self) -> u64 {
        self.node.pool.used_bytes()
    }

    /// Reads the certificate files again, if there is a TLS listener.
    ///
    /// # Errors
    /// When they cannot be used; the old certificate then stays.
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

    /// Winds down: accepts nobody, lets requests finish, closes between requests, and cuts off after `deadline`
    /// what is left. Blocks until the threads have ended.
    pub fn stop(&self, deadline: Duration) {
        let Some(running) = self.running.lock().take() else {
            return;
        };
        self.node.begin_stop();
        let by = Instant::now() + deadline;
        for server in &running.servers {
            server.stop(by);
        }
        for server in running.servers {
            server.join();
        }
        running.upkeep_stop.stop();
        let _ = running.upkeep.join();
    }
}

/// A credential's accounts summed up: the one of its password and those of its certificates.
fn by_credential(accounts: &[Arc<Account>]) -> Vec<CredentialFigures> {
    let mut credentials: Vec<CredentialFigures> = Vec::new();
    for account in accounts {
        let Some(username) = &account.username else {
            continue;
        };
        let (connections, last_login) = (account.connections(), account.last_login());
        match credentials
            .iter_mut()
            .find(|credential| credential.username == *username)
        {
            Some(credential) => {
                credential.connections += connections;
                let later = credential.last_login.take().into_iter().chain(last_login);
                credential.last_login = later.max_by_key(|login| login.at);
            }
            None => credentials.push(CredentialFigures {
                username: username.clone(),
                connections,
                last_login,
            }),
        }
    }
    credentials
}
