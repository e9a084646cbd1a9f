//! Flushing from the dashboard: an order written in the database, which nodes carry out once and report.

use std::time::Duration;

use super::{Access, AccessError, FlushResult, Owner};
use crate::domain::{FlushId, FlushOrder, Origin};

const DONE_WAIT: Duration = Duration::from_secs(2);

impl Access {
    /// Empties the cache. An order that no node has reported on is joined instead of given twice: a double click makes
    /// one flush, one event and one line.
    pub async fn flush(&self, owner: &Owner) -> Result<FlushResult, AccessError> {
        let (mut tx, resource) = self.begin(owner).await?;
        let now = self.clock.now();
        let id = match tx.open_order(resource.cache, Origin::WebInterface).await? {
            Some(id) => {
                drop(tx);
                id
            }
            None => {
                let order = FlushOrder {
                    id: FlushId::generate(now),
                    origin: Origin::WebInterface,
                    reason: None,
                };
                tx.order_flush(resource.cache, &order, now).await?;
                let entry = owner.audit("cache.flush", order.id.to_string());
                tx.audit(&entry, now).await?;
                tx.bump(resource.cache).await?;
                tx.commit().await?;
                order.id
            }
        };
        self.cluster.wake();
        match self.cluster.wait_flush(id, DONE_WAIT).await {
            Ok(Some((items, bytes))) => Ok(FlushResult::Done { items, bytes }),
            Ok(None) => Ok(FlushResult::Ordered),
            Err(error) => {
                tracing::warn!(cache = %resource.cache, %error, "cannot tell whether a flush is done");
                Ok(FlushResult::Ordered)
            }
        }
    }
}
