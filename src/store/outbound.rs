//! What concerns everything on its way out at once: the end of a resource, and clocks that jumped.

use super::dialect::exec;
use super::{StoreError, Tx};
use crate::domain::{CacheId, Timestamp};

impl Tx {
    /// Ends a resource for good: a tombstone stays, without secrets, sessions, or anything on its way in or out.
    /// Telling the nodes is the caller's.
    pub async fn end_resource(&mut self, cache: CacheId, now: Timestamp) -> Result<(), StoreError> {
        self.bury_resource(cache, now).await?;
        self.remove_all_credentials(cache, now).await?;
        self.delete_sessions_of(cache, None).await?;
        self.cancel_orders(cache).await?;
        self.drop_outbound(cache).await
    }

    /// Ends everything on its way for a resource that is being deprovisioned, and destroys its tokens and log
    /// inputs.
    pub async fn drop_outbound(&mut self, cache: CacheId) -> Result<(), StoreError> {
        self.cancel_deliveries(cache).await?;
        for sql in [
            "DELETE FROM grants WHERE cache_id = $1",
            "DELETE FROM config_sync WHERE cache_id = $1",
            "DELETE FROM watches WHERE cache_id = $1",
            "DELETE FROM setups WHERE cache_id = $1",
            "DELETE FROM rotations WHERE cache_id = $1",
            "UPDATE attachments SET log_url_sealed = NULL WHERE cache_id = $1",
        ] {
            exec!(self, sqlx::query(sql).bind(cache.0))?;
        }
        Ok(())
    }

    /// Makes due what was scheduled after `future`, a moment somewhat ahead of now: the clock was set back since,
    /// and nothing may wait for the old time to come again. The same for leases that end after `leases_end`.
    pub async fn undo_clock_jump(
        &mut self,
        now: Timestamp,
        future: Timestamp,
        leases_end: Timestamp,
    ) -> Result<(), StoreError> {
        for sql in [
            "UPDATE config_sync SET next_attempt_at = $1, scheduled_at = $1 WHERE scheduled_at > $2",
            "UPDATE lanes SET next_attempt_at = $1, scheduled_at = $1
             WHERE scheduled_at > $2 AND next_attempt_at IS NOT NULL",
            "UPDATE deliveries SET not_before = $1 WHERE created_at > $2 AND not_before > $1",
            "UPDATE watches SET next_attempt_at = $1, scheduled_at = $1 WHERE scheduled_at > $2",
            "UPDATE setups SET next_attempt_at = $1, scheduled_at = $1 WHERE scheduled_at > $2",
            // Not due at once: a clock that was set back is no reason to rotate everything.
            "UPDATE rotations SET next_at = $1 + (next_at - scheduled_at), scheduled_at = $1 WHERE scheduled_at > $2",
            "UPDATE grants SET next_attempt_at = $1, updated_at = $1 WHERE state = 'pending' AND updated_at > $2",
        ] {
            let (now, future) = (now.micros(), future.micros());
            exec!(self, sqlx::query(sql).bind(now).bind(future))?;
        }
        for sql in [
            "UPDATE config_sync SET lease_until = NULL WHERE lease_until > $1",
            "UPDATE lanes SET lease_until = NULL WHERE lease_until > $1",
            "UPDATE grants SET lease_until = NULL WHERE lease_until > $1",
            "UPDATE watches SET lease_until = NULL WHERE lease_until > $1",
            "UPDATE setups SET lease_until = NULL WHERE lease_until > $1",
        ] {
            exec!(self, sqlx::query(sql).bind(leases_end.micros()))?;
        }
        Ok(())
    }
}
