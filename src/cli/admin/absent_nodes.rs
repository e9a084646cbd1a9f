//! Nodes that are not there, for the list of caches: whoever looks a customer's cache up reads why it cannot be reached,
//! and what to do.

use std::collections::HashMap;

use super::nodes;
use crate::app::operator::Operator;
use crate::domain::{CacheId, NodeState};
use crate::format;
use crate::store::StoreError;
use crate::store::service::overview::NodeOverview;

/// A node that is away or was retired, with how many of the listed caches stand on it.
struct AbsentNode {
    node: NodeOverview,
    state: NodeState,
    caches: u64,
}

pub(super) struct AbsentNodes {
    nodes: Vec<AbsentNode>,
    /// Caches of the page that is listed now, each with the place of its node in `nodes`.
    placed: HashMap<CacheId, usize>,
}

impl AbsentNodes {
    pub(super) async fn read(operator: &Operator) -> Result<AbsentNodes, StoreError> {
        let nodes = operator.store.node_overviews().await?;
        let absent = nodes.into_iter().filter_map(|node| {
            let state = nodes::state(operator, &node);
            let caches = 0;
            matches!(state, NodeState::Away | NodeState::Retired).then_some(AbsentNode {
                node,
                state,
                caches,
            })
        });
        Ok(AbsentNodes {
            nodes: absent.collect(),
            placed: HashMap::new(),
        })
    }

    /// Goes on to the caches behind `after` up to `last`.
    pub(super) async fn turn_to(
        &mut self,
        operator: &Operator,
        after: CacheId,
        last: CacheId,
    ) -> Result<(), StoreError> {
        self.placed.clear();
        if self.nodes.is_empty() {
            return Ok(());
        }
        for (cache, node) in operator.store.placed_between(after, last).await? {
            if let Some(at) = self.nodes.iter().position(|absent| absent.node.id == node) {
                self.placed.insert(cache, at);
            }
        }
        Ok(())
    }

    /// Counts a cache that is listed, and tells the state of its node if that is not there.
    pub(super) fn count(&mut self, cache: CacheId) -> Option<NodeState> {
        let absent = self.nodes.get_mut(*self.placed.get(&cache)?)?;
        absent.caches += 1;
        Some(absent.state)
    }

    /// One for each node that a listed cache stands on.
    pub(super) fn remarks(&self) -> impl Iterator<Item = String> {
        let met = self.nodes.iter().filter(|absent| absent.caches > 0);
        met.map(AbsentNode::remark)
    }
}

impl AbsentNode {
    fn remark(&self) -> String {
        let (id, address) = (&self.node.id, &self.node.address);
        let caches = format::counted(self.caches, "cache listed here", "caches listed here");
        if self.state == NodeState::Retired {
            return format!(
                "{id} ({address}): retired, with {caches} waiting until another node of their region has room"
            );
        }
        let since = format::instant(self.node.status.seen_at);
        format!(
            "{id} ({address}): not heard of since {since}; {caches} cannot be reached on it. Start it again as {address} \
             with its own LARDER_DATA_DIR; if it never comes back, `larder admin nodes retire {id}` places its caches on \
             other nodes, where they begin empty"
        )
    }
}
