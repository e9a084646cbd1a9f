//! The link inside one process: the node calls the control plane directly.

use super::wire::{Changes, ChangesQuery, Introduction, Report, Welcome};
use super::{ControlLink, LinkError};
use crate::cluster::control::Cluster;
use crate::domain::{BoxFuture, NodeId};

/// For a node in the control plane's own process.
pub struct LocalLink(pub Cluster);

impl ControlLink for LocalLink {
    fn join(&self, node: Introduction) -> BoxFuture<'_, Result<Welcome, LinkError>> {
        Box::pin(self.0.join(node))
    }

    fn changes_since<'a>(
        &'a self,
        node: &'a NodeId,
        query: ChangesQuery,
    ) -> BoxFuture<'a, Result<Changes, LinkError>> {
        Box::pin(self.0.changes_since(node, query))
    }

    fn report<'a>(
        &'a self,
        node: &'a NodeId,
        report: &'a Report,
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(self.0.take_report(node, report))
    }

    fn takes_figures(&self) -> bool {
        self.0.is_shared()
    }
}
