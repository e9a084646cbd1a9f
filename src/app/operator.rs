//! What `larder admin` works with: the database of a service that may be running in other processes.

use std::sync::Arc;
use std::time::Duration;

use super::{SystemClock, cluster_of, store_settings};
use crate::access::Access;
pub use crate::access::{AccessError, FlushResult};
use crate::config::Config;
use crate::domain::{CacheId, Clock, Timestamp};
use crate::store::{Schema, Store};

/// An operator at the database.
pub struct Operator {
    pub store: Store,
    access: Access,
    clock: Arc<dyn Clock>,
}

impl Operator {
    /// Opens the database as it is: an operator's question neither makes nor migrates one.
    pub async fn open(config: &Config) -> anyhow::Result<Operator> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Store::open(&store_settings(config), Schema::Expect, clock.now()).await?;
        let cluster = cluster_of(config, &store, &clock);
        let plans = Arc::new(config.plans.clone());
        Ok(Operator {
            access: Access::new(store.clone(), cluster, plans, Arc::clone(&clock)),
            store,
            clock,
        })
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Orders a flush and waits so long for the nodes to report it done.
    pub async fn flush(
        &self,
        cache: CacheId,
        reason: &str,
        within: Duration,
    ) -> Result<FlushResult, AccessError> {
        self.access.flush_as_operator(cache, reason, within).await
    }

    /// Lets the push of a cache's config vars be tried at once.
    pub async fn push_again(&self, cache: CacheId) -> Result<(), AccessError> {
        self.access.push_again_as_operator(cache).await
    }

    pub async fn close(self) {
        self.store.close().await;
    }
}
