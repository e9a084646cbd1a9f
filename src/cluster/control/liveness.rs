//! Which nodes are there. What they reported stands in the database; the state follows from it and from the time.

use super::Cluster;
use crate::domain::{CacheId, NodeId, NodeState};
use crate::store::StoreError;
use crate::store::fleet::nodes::{NodeLoad, NodeStatus};
use crate::store::fleet::placements::PlacedNode;

/// A node that was not retired, with its load and its state now.
#[derive(Clone, Debug)]
pub(super) struct LiveNode {
    pub load: NodeLoad,
    pub state: NodeState,
}

impl Cluster {
    /// All nodes that were not retired.
    pub(super) async fn live_nodes(&self) -> Result<Vec<LiveNode>, StoreError> {
        let loads = self.0.store.node_loads().await?;
        let live = loads.into_iter().map(|load| LiveNode {
            state: self.state(&load.id, load.status),
            load,
        });
        Ok(live
            .filter(|node| node.state != NodeState::Retired)
            .collect())
    }

    pub(super) fn state_of(&self, node: &PlacedNode) -> NodeState {
        self.state(&node.id, node.status())
    }

    /// The node of this process is there as long as the process is, whatever a clock that jumped makes of its last
    /// report.
    fn state(&self, node: &NodeId, status: NodeStatus) -> NodeState {
        let now = self.0.clock.now();
        let seen_at = match self.local_node() == Some(node) {
            true => now,
            false => status.seen_at,
        };
        NodeState::of(status.phase, status.standing, seen_at, now)
    }

    pub(super) fn is_away(&self, node: &PlacedNode) -> bool {
        matches!(self.state_of(node), NodeState::Away | NodeState::Retired)
    }

    /// Whether a node of the cache is away, so that waiting for it is in vain.
    pub async fn is_any_away(&self, cache: CacheId) -> Result<bool, StoreError> {
        let nodes = self.0.store.nodes_of(cache).await?;
        Ok(nodes.iter().any(|node| self.is_away(node)))
    }
}
