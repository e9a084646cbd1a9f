//! The node link: what a node asks of the control plane and what it reports. In one process it is a method call
//! ([`local`]); between machines it is HTTP ([`http`]). Both carry the messages of [`wire`], so neither side knows which it
//! speaks to. Every call may be repeated: a node never knows whether a call that failed was carried out.

pub mod http;
pub mod local;
pub mod wire;

use self::wire::{BadMessage, Changes, ChangesQuery, Introduction, Report, Welcome};
use crate::domain::{BoxFuture, NodeId};

/// Why the node link gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The control plane or its database is away: try again.
    #[error("the control plane does not answer: {0}")]
    Away(String),
    /// It does not believe that we are a node of its own. That may be mended there: try again.
    #[error("the control plane does not admit this node: {0}")]
    NotAdmitted(String),
    /// Trying again would end the same way.
    #[error("the control plane refuses: {0}")]
    Refused(String),
    /// The node was retired, or another process runs it: this process is that node no more.
    #[error("the control plane refuses: {0}")]
    Gone(String),
}

/// A message that cannot be read stays so: the two sides were built apart.
impl From<BadMessage> for LinkError {
    fn from(error: BadMessage) -> LinkError {
        LinkError::Refused(error.to_string())
    }
}

/// The control plane as a node sees it.
pub trait ControlLink: Send + Sync {
    /// Registers the node and gives it its id.
    fn join(&self, node: Introduction) -> BoxFuture<'_, Result<Welcome, LinkError>>;

    /// What has changed since the node stood at `query.known`, at once if there is something, else after at most
    /// `query.wait_ms`.
    fn changes_since<'a>(
        &'a self,
        node: &'a NodeId,
        query: ChangesQuery,
    ) -> BoxFuture<'a, Result<Changes, LinkError>>;

    /// Takes a report. When this returns `Ok` the report is stored.
    fn report<'a>(
        &'a self,
        node: &'a NodeId,
        report: &'a Report,
    ) -> BoxFuture<'a, Result<(), LinkError>>;

    /// Whether anybody reads the figures of caches in reports. Nobody does where the only control process has the node
    /// in itself, and asks it.
    fn takes_figures(&self) -> bool {
        true
    }
}
