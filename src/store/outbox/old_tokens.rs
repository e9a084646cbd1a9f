//! Access tokens that an operator has renewed, as after a leak.

use crate::domain::{CacheId, Timestamp};
use crate::store::caches::scope::Scope;
use crate::store::db::dialect::{exec, read};
use crate::store::db::row::number;
use crate::store::{Store, StoreError, Tx};

impl Store {
    /// Live caches in `scope` behind `after` whose token was obtained before `before`, in the order of their numbers.
    pub async fn old_tokens(
        &self,
        scope: &Scope,
        before: Timestamp,
        after: CacheId,
        most: u32,
    ) -> Result<Vec<CacheId>, StoreError> {
        let (marketplace, cluster, cache) = scope.columns();
        let caches: Vec<i64> = read!(self, c => sqlx::query_scalar(
                "SELECT g.cache_id FROM grants g JOIN resources r ON r.cache_id = g.cache_id
                 WHERE g.state = 'active' AND g.updated_at < $1 AND g.cache_id > $2 AND r.state <> 'deprovisioned'
                   AND ($3 = '' OR r.marketplace = $3) AND ($4 = '' OR r.cluster = $4) AND ($5 = 0 OR r.cache_id = $5)
                 ORDER BY g.cache_id LIMIT $6")
            .bind(before.micros()).bind(after.0).bind(marketplace).bind(cluster).bind(cache)
            .bind(i64::from(most)).fetch_all(c))?;
        Ok(caches.into_iter().map(CacheId).collect())
    }

    /// How many [`Store::old_tokens`] there are.
    pub async fn count_old_tokens(
        &self,
        scope: &Scope,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        let (marketplace, cluster, cache) = scope.columns();
        let count: i64 = read!(self, c => sqlx::query_scalar(
                "SELECT count(*) FROM grants g JOIN resources r ON r.cache_id = g.cache_id
                 WHERE g.state = 'active' AND g.updated_at < $1 AND r.state <> 'deprovisioned'
                   AND ($2 = '' OR r.marketplace = $2) AND ($3 = '' OR r.cluster = $3) AND ($4 = 0 OR r.cache_id = $4)")
            .bind(before.micros()).bind(marketplace).bind(cluster).bind(cache).fetch_one(c))?;
        number("count of tokens", count)
    }
}

impl Tx {
    /// Ends the access token of a cache now, if it was obtained before `before`, so that it is renewed before the next
    /// call. False when there is no such token.
    pub async fn end_token(
        &mut self,
        cache: CacheId,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "UPDATE grants SET access_expires_at = $3
                 WHERE cache_id = $1 AND state = 'active' AND updated_at < $2"
            )
            .bind(cache.0)
            .bind(before.micros())
            .bind(now.micros())
        )?;
        Ok(rows == 1)
    }
}
