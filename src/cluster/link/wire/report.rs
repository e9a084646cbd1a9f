use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{BadMessage, Figures, parse};
use crate::domain::credential::LastUse;
use crate::domain::ids::EventId;
use crate::domain::{CacheId, Event, FlushEvent, NodePhase, Timestamp, Username};

/// What a node has to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ArrivedReport")]
pub struct Report {
    /// The id of the data folder that the node runs from.
    pub home: String,
    pub phase: Phase,
    /// Everything up to this revision is in force on the node.
    pub applied: i64,
    /// The node serves what its snapshot had, and has not heard the control plane since it started.
    pub snapshot: bool,
    pub logins: Vec<Login>,
    /// Refused logins with user names that the node does not know.
    pub unknown_users: Vec<UnknownUser>,
    pub events: Vec<NodeEvent>,
    /// Of some of the node's caches: those that changed, and those that were not told for a while.
    pub figures: Vec<Figures>,
    /// How many events came beside these that this release cannot read.
    #[serde(skip)]
    pub unknown_events: usize,
}

/// A report as it arrives. A newer node may tell of kinds of events that this release does not know. The rest of its
/// report counts all the same.
#[derive(Deserialize)]
struct ArrivedReport {
    home: String,
    phase: Phase,
    applied: i64,
    #[serde(default)]
    snapshot: bool,
    logins: Vec<Login>,
    #[serde(default)]
    unknown_users: Vec<UnknownUser>,
    events: Vec<serde_json::Value>,
    #[serde(default)]
    figures: Vec<Figures>,
}

impl From<ArrivedReport> for Report {
    fn from(arrived: ArrivedReport) -> Report {
        let sent = arrived.events.len();
        let known = |event| serde_json::from_value(event).ok();
        let events: Vec<NodeEvent> = arrived.events.into_iter().filter_map(known).collect();
        Report {
            home: arrived.home,
            phase: arrived.phase,
            applied: arrived.applied,
            snapshot: arrived.snapshot,
            logins: arrived.logins,
            unknown_users: arrived.unknown_users,
            unknown_events: sent - events.len(),
            events,
            figures: arrived.figures,
        }
    }
}

/// What the node is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    #[default]
    Joining,
    Serving,
    Stopped,
}

/// The latest login of one credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    pub cache: i64,
    pub username: String,
    /// Microseconds since the Unix epoch.
    pub at: i64,
    pub from: String,
}

/// Refused logins with one user name, which is of no cache of the node: it may be that of a credential that was removed, or
/// of a cache on another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownUser {
    /// The control plane takes it once.
    pub id: String,
    pub username: String,
    pub remote: Option<IpAddr>,
    pub refused: u64,
    pub window_secs: u32,
}

/// Something that happened on a node. Each carries an id under which the control plane takes it once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeEvent {
    /// The cache was flushed, by a client or by an order of the control plane, whose id the event then bears.
    /// Stands for `times` flushes, with items and bytes summed.
    Flushed { flush: Flush, times: u64 },
    /// Anything else that the owner should read of. Stands for `times` notices, of which this is the last.
    Noticed {
        id: String,
        cache: i64,
        notice: Notice,
        times: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flush {
    pub id: String,
    pub cache: i64,
    pub origin: String,
    pub proxy: String,
    pub credential: Option<String>,
    pub remote: Option<IpAddr>,
    pub reason: Option<String>,
    pub items: u64,
    pub bytes: u64,
    pub at: i64,
}

/// What else a node notices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    FlushRefused {
        proxy: String,
        credential: String,
        remote: Option<IpAddr>,
    },
    LoginsRefused {
        credential: String,
        remote: Option<IpAddr>,
        refused: u64,
        window_secs: u32,
    },
    ConnectionsOverLimit {
        limit: u32,
        refused: u64,
        window_secs: u32,
    },
    MemoryFull {
        used: u64,
        limit: u64,
        evictions: u64,
        window_secs: u32,
    },
}

/// A node's event as the control plane takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    Flushed { flush: FlushEvent, times: u64 },
    Noticed { id: EventId, event: Event },
}

impl From<NodePhase> for Phase {
    fn from(phase: NodePhase) -> Phase {
        match phase {
            NodePhase::Joining => Phase::Joining,
            NodePhase::Serving => Phase::Serving,
            NodePhase::Stopped => Phase::Stopped,
        }
    }
}

impl From<Phase> for NodePhase {
    fn from(phase: Phase) -> NodePhase {
        match phase {
            Phase::Joining => NodePhase::Joining,
            Phase::Serving => NodePhase::Serving,
            Phase::Stopped => NodePhase::Stopped,
        }
    }
}

impl Login {
    pub fn new(cache: CacheId, username: &Username, last: LastUse) -> Login {
        Login {
            cache: cache.0,
            username: username.to_string(),
            at: last.at.micros(),
            from: last.from,
        }
    }

    pub fn taken(&self) -> Result<(CacheId, Username, LastUse), BadMessage> {
        let last = LastUse {
            at: Timestamp::from_micros(self.at),
            from: self.from.clone(),
        };
        Ok((
            CacheId(self.cache),
            parse("user name", &self.username)?,
            last,
        ))
    }
}

impl UnknownUser {
    /// What it means for the owner of the cache that the name belongs to.
    pub fn of_cache(&self, cache: CacheId) -> NodeEvent {
        NodeEvent::Noticed {
            id: self.id.clone(),
            cache: cache.0,
            notice: Notice::LoginsRefused {
                credential: self.username.clone(),
                remote: self.remote,
                refused: self.refused,
                window_secs: self.window_secs,
            },
            times: 1,
        }
    }
}

impl NodeEvent {
    pub fn flushed(flush: &FlushEvent, times: u64) -> NodeEvent {
        let flush = Flush {
            id: flush.id.to_string(),
            cache: flush.cache.0,
            origin: flush.origin.to_string(),
            proxy: flush.proxy.clone(),
            credential: flush.credential.as_ref().map(Username::to_string),
            remote: flush.remote,
            reason: flush.reason.clone(),
            items: flush.items,
            bytes: flush.bytes,
            at: flush.at.micros(),
        };
        NodeEvent::Flushed { flush, times }
    }

    pub fn noticed(cache: CacheId, notice: Notice, times: u64, at: Timestamp) -> NodeEvent {
        NodeEvent::Noticed {
            id: EventId::generate(at).to_string(),
            cache: cache.0,
            notice,
            times,
        }
    }

    pub fn cache(&self) -> CacheId {
        match self {
            NodeEvent::Flushed { flush, .. } => CacheId(flush.cache),
            NodeEvent::Noticed { cache, .. } => CacheId(*cache),
        }
    }

    pub fn taken(&self) -> Result<Taken, BadMessage> {
        match self {
            NodeEvent::Flushed { flush, times } => Ok(Taken::Flushed {
                flush: flush.taken()?,
                times: *times,
            }),
            NodeEvent::Noticed {
                id, notice, times, ..
            } => {
                let event = notice.taken()?;
                let event = match times {
                    0 | 1 => event,
                    times => Event::Repeated {
                        event: Box::new(event),
                        times: *times,
                    },
                };
                let id = parse("event id", id)?;
                Ok(Taken::Noticed { id, event })
            }
        }
    }
}

impl Flush {
    fn taken(&self) -> Result<FlushEvent, BadMessage> {
        let credential = self.credential.as_deref();
        Ok(FlushEvent {
            id: parse("flush id", &self.id)?,
            cache: CacheId(self.cache),
            origin: parse("flush origin", &self.origin)?,
            proxy: self.proxy.clone(),
            credential: credential
                .map(|name| parse("user name", name))
                .transpose()?,
            remote: self.remote,
            reason: self.reason.clone(),
            items: self.items,
            bytes: self.bytes,
            at: Timestamp::from_micros(self.at),
        })
    }
}

impl Notice {
    fn taken(&self) -> Result<Event, BadMessage> {
        Ok(match self {
            Notice::FlushRefused {
                proxy,
                credential,
                remote,
            } => Event::FlushRefused {
                proxy: proxy.clone(),
                credential: parse("user name", credential)?,
                remote: *remote,
            },
            Notice::LoginsRefused {
                credential,
                remote,
                refused,
                window_secs,
            } => Event::LoginsRefused {
                credential: parse("user name", credential)?,
                remote: *remote,
                refused: *refused,
                window_secs: *window_secs,
            },
            Notice::ConnectionsOverLimit {
                limit,
                refused,
                window_secs,
            } => Event::ConnectionsOverLimit {
                limit: *limit,
                refused: *refused,
                window_secs: *window_secs,
            },
            Notice::MemoryFull {
                used,
                limit,
                evictions,
                window_secs,
            } => Event::MemoryFull {
                used: *used,
                limit: *limit,
                evictions: *evictions,
                window_secs: *window_secs,
            },
        })
    }
}
