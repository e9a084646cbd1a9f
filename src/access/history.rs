//! How far back a cache's timeline goes: as long as is set, and no further than its newest events.

use std::time::Duration;

use super::{Access, AccessError};

/// Caches that wrote something within so long are looked at: three passes of the tidying.
const WRITTEN_LATELY: Duration = Duration::from_secs(15 * 60);

impl Access {
    /// Drops the oldest events of caches that have too many, with the flushes that they tell of. Each transaction drops a
    /// few, so that on SQLite nobody waits for long.
    pub(super) async fn drop_oldest_events(&self) -> Result<(), AccessError> {
        let since = self.clock.now().minus(WRITTEN_LATELY);
        for cache in self.store.caches_with_too_many_events(since).await? {
            let mut is_over = true;
            while is_over {
                let mut tx = self.store.begin().await?;
                // Two processes that tidy at the same time come one after the other.
                tx.lock_resource(cache).await?;
                is_over = tx.drop_oldest_events(cache).await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }
}
