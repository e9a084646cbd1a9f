//! What a node must know: an answer as soon as there is something, else after a while.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Cluster, changed, link_error};
use crate::cluster::link::{LinkError, wire};
use crate::domain::{NodeId, Revision};
use crate::store::StoreError;
use crate::store::fleet::changes::{CacheChange, Changes};

/// A lost wake-up, or a change made by another process, costs at most this.
const POLL: Duration = Duration::from_secs(1);

impl Cluster {
    /// What has changed for `node` since `known`, at once if there is something, else after at most `wait`.
    pub async fn changes_since(
        &self,
        node: &NodeId,
        known: Revision,
        wait: Duration,
    ) -> Result<wire::Changes, LinkError> {
        let changes = self.next_changes(node, known, wait).await;
        changes.map(to_wire).map_err(link_error)
    }

    async fn next_changes(
        &self,
        node: &NodeId,
        known: Revision,
        wait: Duration,
    ) -> Result<Changes, StoreError> {
        let end = Instant::now() + wait;
        let mut woken = self.0.woken.subscribe();
        let (store, plans) = (&self.0.store, &self.0.plans);
        loop {
            woken.borrow_and_update();
            let changes = store.changes_since(node, known, plans).await?;
            if changes.revision != known || Instant::now() >= end {
                return Ok(changes);
            }
            tokio::select! {
                () = changed(Some(&mut woken)) => {}
                () = sleep_until(end.min(Instant::now() + POLL)) => {}
            }
        }
    }
}

fn to_wire(changes: Changes) -> wire::Changes {
    let change = |change: &CacheChange| match change {
        CacheChange::Serve(spec) => wire::CacheChange::Serve(spec.into()),
        CacheChange::Forget(cache) => wire::CacheChange::Forget { cache: cache.0 },
    };
    wire::Changes {
        revision: changes.revision.0,
        complete: changes.complete,
        caches: changes.caches.iter().map(change).collect(),
        authorities: changes.authorities.iter().map(Into::into).collect(),
        usernames: changes.usernames,
    }
}
