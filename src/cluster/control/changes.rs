//! What a node must know: an answer as soon as there is something, else after a while.

use std::time::Duration;

use aws_lc_rs::digest;
use tokio::time::{Instant, sleep};

use super::{Cluster, changed, link_error};
use crate::cluster::link::wire::ChangesQuery;
use crate::cluster::link::{LinkError, wire};
use crate::domain::{CacheId, NodeId, Plans, Revision};
use crate::store::StoreError;
use crate::store::fleet::changes::{CacheChange, Changes, Part};

/// A lost wake-up, or a change made by another process, costs at most this. A waiting node reads one row each time, the
/// newest revision.
const POLL: Duration = Duration::from_millis(250);

impl Cluster {
    /// What has changed for `node` since `query.known`, or the part of it behind `query.after`. The first part comes at
    /// once if there is something, else after at most `query.wait_ms`; the others come at once.
    pub async fn changes_since(
        &self,
        node: &NodeId,
        query: ChangesQuery,
    ) -> Result<wire::Changes, LinkError> {
        let changes = self.next_changes(node, query).await;
        let mark = mark_of(&self.0.plans);
        changes
            .map(|changes| to_wire(changes, mark))
            .map_err(link_error)
    }

    async fn next_changes(
        &self,
        node: &NodeId,
        query: ChangesQuery,
    ) -> Result<Changes, StoreError> {
        let part = Part::behind(CacheId(query.after));
        let known = match query.plans == mark_of(&self.0.plans) {
            true => Revision(query.known),
            false => Revision::default(),
        };
        if part.is_first() && known.0 != query.known {
            // Control processes with different tables behind one address would send whole lists without end.
            sleep(POLL).await;
        } else if part.is_first() {
            let wait = Duration::from_millis(query.wait_ms);
            self.wait_for_change(known, wait).await?;
        }
        let (store, plans) = (&self.0.store, &self.0.plans);
        store.changes_since(node, known, part, plans).await
    }

    /// Returns once the newest revision is another than `known`, or after `wait`.
    async fn wait_for_change(&self, known: Revision, wait: Duration) -> Result<(), StoreError> {
        let begun = Instant::now();
        let mut woken = self.0.woken.subscribe();
        loop {
            let left = wait.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            // Marks the wake-ups so far as seen before the revision is read: one after this ends the wait below.
            woken.borrow_and_update();
            if self.0.store.revision().await? != known {
                return Ok(());
            }
            tokio::select! {
                () = changed(Some(&mut woken)) => {}
                () = sleep(left.min(POLL)) => {}
            }
        }
    }
}

/// The same in each process that has the same plans.
fn mark_of(plans: &Plans) -> u32 {
    let mut sizes = String::new();
    for plan in plans.iter() {
        sizes += &format!(
            "{} {} {}\n",
            plan.slug,
            plan.limit_bytes(),
            plan.connections_max
        );
    }
    let digest = digest::digest(&digest::SHA256, sizes.as_bytes());
    let first = digest.as_ref().iter().take(4);
    first.fold(0, |mark, byte| mark << 8 | u32::from(*byte))
}

fn to_wire(changes: Changes, plans: u32) -> wire::Changes {
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
        more_after: changes.more_after.map(|cache| cache.0),
        plans,
    }
}
