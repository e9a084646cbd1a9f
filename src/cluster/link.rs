//! The node link: what a node asks of the control plane and what it tells it. In one process it is a method call;
//! between machines it will be HTTP. Both must survive being repeated: a node never knows whether a call that
//! failed was carried out.

use std::time::Duration;

use crate::domain::credential::LastUse;
use crate::domain::ids::EventId;
use crate::domain::{
    BoxFuture, CacheId, ClusterName, Event, FlushEvent, NodeId, Revision, Username,
};
use crate::store::StoreError;
pub use crate::store::changes::{CacheChange, Changes};

/// How a node presents itself when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// The id this node was given before, if it remembers.
    pub known_as: Option<NodeId>,
    pub cluster: ClusterName,
    pub region: String,
    pub proxy_hostname: String,
    pub proxy_port: u16,
    pub memory_bytes: u64,
}

/// What a node has to tell.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Everything up to here is in force on the node.
    pub applied: Revision,
    pub logins: Vec<Login>,
    pub events: Vec<NodeEvent>,
}

/// The latest login of one credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub cache: CacheId,
    pub username: Username,
    pub last: LastUse,
}

/// Something that happened on a node. Each carries an id under which the control plane takes it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    /// The cache was flushed, by a client or by an order of the control plane, whose id the event then bears.
    /// Stands for `times` flushes, with items and bytes summed.
    Flushed { flush: FlushEvent, times: u64 },
    /// Anything else that the owner should read of.
    Noticed {
        id: EventId,
        cache: CacheId,
        event: Event,
    },
}

impl NodeEvent {
    pub fn cache(&self) -> CacheId {
        match self {
            NodeEvent::Flushed { flush, .. } => flush.cache,
            NodeEvent::Noticed { cache, .. } => *cache,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The control plane or its database is away: try again.
    #[error("the control plane does not answer: {0}")]
    Away(String),
    /// Trying again would end the same way.
    #[error("the control plane refuses: {0}")]
    Refused(String),
}

impl From<StoreError> for LinkError {
    fn from(error: StoreError) -> LinkError {
        match error {
            StoreError::Unavailable(_) => LinkError::Away(error.to_string()),
            other => LinkError::Refused(other.to_string()),
        }
    }
}

/// The control plane as a node sees it.
pub trait ControlLink: Send + Sync {
    /// Registers the node and gives it its id.
    fn join(&self, node: Introduction) -> BoxFuture<'_, Result<NodeId, LinkError>>;

    /// What has changed since `known`, at once if there is something, else after at most `wait`.
    fn changes_since<'a>(
        &'a self,
        node: &'a NodeId,
        known: Revision,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Changes, LinkError>>;

    /// Takes a report. When this returns `Ok` the report is stored.
    fn report<'a>(
        &'a self,
        node: &'a NodeId,
        report: &'a Report,
    ) -> BoxFuture<'a, Result<(), LinkError>>;
}
