//! Waiting until the nodes of a cache have a change in force, or have carried out a flush.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Cluster, changed};
use crate::domain::{BoxFuture, CacheId, FlushId, NodeId, Revision};
use crate::outbox::ports::Nodes;
use crate::store::StoreError;
use crate::store::fleet::placements::PlacedNode;

/// A lost wake-up of a node in this process costs at most this.
const POLL: Duration = Duration::from_secs(1);
/// How often nodes of other processes are read while somebody waits for them.
const REMOTE_POLL: Duration = Duration::from_millis(50);

/// How far the nodes of a cache are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaughtUp {
    pub applied: usize,
    pub nodes: usize,
}

impl CaughtUp {
    pub fn everywhere(self) -> bool {
        self.applied == self.nodes
    }
}

impl Cluster {
    /// Waits until every node of the cache has applied `revision`; false when the deadline comes first.
    pub async fn wait_applied(
        &self,
        cache: CacheId,
        revision: Revision,
        deadline: Duration,
    ) -> bool {
        match self.caught_up(cache, revision, deadline).await {
            Ok(reach) => reach.everywhere(),
            Err(error) => {
                tracing::warn!(%cache, %error, "cannot tell whether the nodes follow");
                false
            }
        }
    }

    /// Waits likewise and tells how far the nodes came.
    pub async fn caught_up(
        &self,
        cache: CacheId,
        revision: Revision,
        deadline: Duration,
    ) -> Result<CaughtUp, StoreError> {
        let end = Instant::now() + deadline;
        let local = self.0.local.get();
        let mut watched = local.map(|node| node.applied.clone());
        let mut reported = self.0.reported.subscribe();
        let mut nodes = self.0.store.nodes_of(cache).await?;
        loop {
            // Marks the present value as seen before it is counted: a change after this wakes the wait below.
            let here = watched.as_mut().map(|applied| *applied.borrow_and_update());
            let is_local = |node: &PlacedNode| local.is_some_and(|local| local.id == node.id);
            let has_applied = |node: &&PlacedNode| match here {
                Some(here) if is_local(node) => here >= revision,
                _ => node.applied >= revision,
            };
            let reach = CaughtUp {
                applied: nodes.iter().filter(has_applied).count(),
                nodes: nodes.len(),
            };
            if reach.everywhere() || Instant::now() >= end {
                return Ok(reach);
            }
            let remote = nodes.iter().any(|node| !is_local(node));
            let pause = if remote { REMOTE_POLL } else { POLL };
            tokio::select! {
                () = changed(watched.as_mut()) => {}
                // A node of another process has reported here. What it tells another control process is read below.
                () = changed(Some(&mut reported)), if remote => {}
                () = sleep_until(end.min(Instant::now() + pause)) => {}
            }
            if remote {
                // Marked as seen before the nodes are read: a report after this wakes the wait above.
                reported.borrow_and_update();
                nodes = self.0.store.nodes_of(cache).await?;
            }
        }
    }

    /// The nodes of the cache that are away or have not applied its latest change.
    pub async fn behind(&self, cache: CacheId) -> Result<Vec<NodeId>, StoreError> {
        let revision = self.0.store.last_change(cache).await?;
        let local = self.0.local.get();
        let here = local.map(|node| (&node.id, *node.applied.borrow()));
        let is_behind = |node: &PlacedNode| match here {
            Some((id, applied)) if *id == node.id => applied < revision,
            _ => node.applied < revision || self.is_away(node),
        };
        let nodes = self.0.store.nodes_of(cache).await?.into_iter();
        Ok(nodes.filter(is_behind).map(|node| node.id).collect())
    }

    /// Waits until an ordered flush is done and gives the items and bytes it removed; `None` at the deadline.
    pub async fn wait_flush(
        &self,
        id: FlushId,
        deadline: Duration,
    ) -> Result<Option<(u64, u64)>, StoreError> {
        let end = Instant::now() + deadline;
        let mut reported = self.0.reported.subscribe();
        loop {
            reported.borrow_and_update();
            let result = self.0.store.flush_result(id).await?;
            if result.is_some() || Instant::now() >= end {
                return Ok(result);
            }
            tokio::select! {
                () = changed(Some(&mut reported)) => {}
                () = sleep_until(end.min(Instant::now() + REMOTE_POLL)) => {}
            }
        }
    }
}

/// What the outbox asks before it pushes a credential, or tells that a cache is ready.
impl Nodes for Cluster {
    fn wait_applied(
        &self,
        cache: CacheId,
        revision: Revision,
        within: Duration,
    ) -> BoxFuture<'_, bool> {
        Box::pin(Cluster::wait_applied(self, cache, revision, within))
    }

    fn find_room(&self, cache: CacheId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(Cluster::find_room(self, cache))
    }
}
