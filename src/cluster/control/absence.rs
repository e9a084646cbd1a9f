//! Telling owners that the node of their cache is away, and that it is back. Each is told once, whichever process does it
//! and whenever it is killed.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Cluster;
use super::liveness::LiveNode;
use crate::domain::{Actor, CacheId, Event, Identity, NodeId, NodeState, Timestamp};
use crate::outbox;
use crate::store::StoreError;

/// From when an absence is told. A restart takes less.
const TELL_AFTER: Duration = Duration::from_secs(30);
/// Owners told of one node in one pass; the others come with the next.
const AT_A_TIME: u32 = 500;

/// How long nodes have been silent by this process's own watch: a clock that jumps makes nobody absent.
#[derive(Debug, Default)]
pub struct Absences(HashMap<NodeId, (Timestamp, Instant)>);

impl Absences {
    /// How long the node has not been heard of, as far as this process has seen.
    fn lasting(&mut self, node: &LiveNode) -> Duration {
        let (id, seen_at) = (&node.load.id, node.load.status.seen_at);
        let since = self
            .0
            .entry(id.clone())
            .or_insert((seen_at, Instant::now()));
        if since.0 != seen_at {
            *since = (seen_at, Instant::now());
        }
        since.1.elapsed()
    }
}

impl Cluster {
    /// Tells whoever is to be told now. Call it every few seconds.
    pub async fn tell_absences(&self, absences: &mut Absences) -> Result<(), StoreError> {
        let told = self.0.store.nodes_told_away().await?;
        for node in self.live_nodes().await? {
            let id = &node.load.id;
            match node.state {
                NodeState::Away => {
                    if absences.lasting(&node) >= TELL_AFTER {
                        self.tell_owners(&node, true).await?;
                    }
                }
                NodeState::Serving | NodeState::Draining => {
                    absences.0.remove(id);
                    if told.contains(id) {
                        self.tell_owners(&node, false).await?;
                    }
                }
                NodeState::Joining | NodeState::Retired => {}
            }
        }
        Ok(())
    }

    async fn tell_owners(&self, node: &LiveNode, away: bool) -> Result<(), StoreError> {
        let (id, address) = (&node.load.id, &node.load.address);
        let caches = self.0.store.caches_told_away(id, !away, AT_A_TIME).await?;
        if caches.is_empty() {
            return Ok(());
        }
        let number = caches.len();
        match away {
            true => tracing::warn!(
                node = %id, %address, caches = number, since = %node.load.status.seen_at,
                "a node is away and its caches cannot be reached: start it again, or give it up with \
                 `larder admin nodes retire`"
            ),
            false => tracing::info!(node = %id, %address, caches = number, "a node is back"),
        }
        for cache in caches {
            self.tell_owner(cache, node, away).await?;
        }
        Ok(())
    }

    async fn tell_owner(
        &self,
        cache: CacheId,
        node: &LiveNode,
        away: bool,
    ) -> Result<(), StoreError> {
        let mut tx = self.0.store.begin().await?;
        let locked = tx.lock_resource(cache).await?;
        let Some(resource) = locked.filter(|resource| resource.state.is_live()) else {
            return Ok(());
        };
        if !tx.set_told_away(cache, &node.load.id, away).await? {
            return Ok(());
        }
        let address = node.load.address.clone();
        let event = match away {
            true => Event::NodeAway {
                node: address,
                since: node.load.status.seen_at,
            },
            false => Event::NodeBack { node: address },
        };
        let now = self.0.clock.now();
        let service = Actor::local(Identity::Service);
        outbox::announce(&mut tx, cache, &resource.label, &event, &service, now).await?;
        tx.commit().await
    }
}
