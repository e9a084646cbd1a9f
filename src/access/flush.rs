//! Flushing: an order written in the database, which nodes carry out once and report. The nodes may be those of other
//! processes.

use std::time::Duration;

use super::{Access, AccessError, FlushResult, Owner};
use crate::domain::{CacheId, FlushId, FlushOrder};

/// How long a page waits for the nodes' report.
pub const DONE_WAIT: Duration = Duration::from_secs(2);

impl Access {
    /// Empties the cache, and waits at most `within` for the nodes to report it done. The `reason` stands in the
    /// app's log. An equal order that no node has reported on is joined instead of given twice: a double click makes
    /// one flush, one event and one line.
    pub async fn flush(
        &self,
        owner: &Owner,
        reason: Option<&str>,
        within: Duration,
    ) -> Result<FlushResult, AccessError> {
        let mut change = self.begin(owner).await?;
        let (cache, now) = (change.cache(), change.now);
        let order = FlushOrder {
            id: FlushId::generate(now),
            origin: owner.flush_origin(),
            reason: reason.map(str::to_owned),
        };
        if let Some(id) = change.tx.open_order(cache, &order).await? {
            drop(change);
            return Ok(self.see_it_done(cache, id, within).await);
        }
        let actor = change.actor().clone();
        change.tx.order_flush(cache, &order, &actor, now).await?;
        change.audit("cache.flush", reason.unwrap_or("")).await?;
        change.bump().await?;
        change.commit().await?;
        Ok(self.see_it_done(cache, order.id, within).await)
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
