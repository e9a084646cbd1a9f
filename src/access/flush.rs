//! Flushing from the dashboard or by an operator: an order written in the database, which nodes carry out once and
//! report.

use std::time::Duration;

use super::{Access, AccessError, FlushResult, Owner};
use crate::domain::{CacheId, FlushId, FlushOrder, Origin};
use crate::store::audit::AuditEntry;
use crate::store::{StoreError, Tx};

const DONE_WAIT: Duration = Duration::from_secs(2);

impl Access {
    /// Empties the cache. An order that no node has reported on is joined instead of given twice: a double click makes
    /// one flush, one event and one line.
    pub async fn flush(&self, owner: &Owner) -> Result<FlushResult, AccessError> {
        let (mut tx, resource) = self.begin(owner).await?;
        let cache = resource.cache;
        let id = match tx.open_order(cache, Origin::WebInterface).await? {
            Some(id) => {
                drop(tx);
                id
            }
            None => {
                let entry = |id: FlushId| owner.audit("cache.flush", id.to_string());
                self.order(tx, cache, Origin::WebInterface, None, entry)
                    .await?
            }
        };
        Ok(self.see_it_done(cache, id, DONE_WAIT).await)
    }

    /// Empties a cache on an operator's word, who says why: the owner reads the reason in the app's log. The nodes
    /// may be those of other processes.
    pub async fn flush_as_operator(
        &self,
        cache: CacheId,
        reason: &str,
        within: Duration,
    ) -> Result<FlushResult, AccessError> {
        let (tx, _) = self.begin_on(cache).await?;
        let entry = |id: FlushId| AuditEntry {
            cache: Some(cache),
            actor: "operator".to_owned(),
            action: "cache.flush".to_owned(),
            detail: format!("{id} {reason}"),
            remote: None,
        };
        let id = self
            .order(tx, cache, Origin::AdminOperation, Some(reason), entry)
            .await?;
        Ok(self.see_it_done(cache, id, within).await)
    }

    async fn order(
        &self,
        mut tx: Tx,
        cache: CacheId,
        origin: Origin,
        reason: Option<&str>,
        entry: impl FnOnce(FlushId) -> AuditEntry,
    ) -> Result<FlushId, StoreError> {
        let now = self.clock.now();
        let order = FlushOrder {
            id: FlushId::generate(now),
            origin,
            reason: reason.map(str::to_owned),
        };
        tx.order_flush(cache, &order, now).await?;
        tx.audit(&entry(order.id), now).await?;
        tx.bump(cache).await?;
        tx.commit().await?;
        Ok(order.id)
    }

    /// The order is given, whatever comes of looking after it.
    async fn see_it_done(&self, cache: CacheId, id: FlushId, within: Duration) -> FlushResult {
        self.cluster.wake();
        match self.cluster.wait_flush(id, within).await {
            Ok(Some((items, bytes))) => FlushResult::Done { items, bytes },
            Ok(None) => FlushResult::Ordered,
            Err(error) => {
                tracing::warn!(%cache, %error, "cannot tell whether a flush is done");
                FlushResult::Ordered
            }
        }
    }
}
