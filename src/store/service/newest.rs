//! How much one cache keeps of what its clients can cause at will: of its timeline, with the flushes that it tells of, and of
//! its finished log lines, only the newest stay. A client that flushes in a loop makes eleven of each a second, and they would
//! be kept for a year and for a month.
//!
//! Only caches that have written something lately are looked at, so a pass with nothing to do reads what little that is.

use crate::domain::{CacheId, Timestamp};
use crate::store::db::dialect::{exec, read, run};
use crate::store::{Store, StoreError, Tx};

/// Events that a cache keeps, and finished lines: a year of one that is flushed every hour.
pub const ROWS_MAX: u32 = 10_000;
/// Rows dropped in one transaction, so that others have their turn between two of them.
pub const DROPPED_AT_ONCE: u32 = 1_000;

/// `+ 0`, since SQLite would read the whole index by cache for the distinct numbers instead of what was written lately.
pub const CACHES_WITH_EVENTS: &str =
    "SELECT lately.cache_id FROM (SELECT DISTINCT cache_id + 0 AS cache_id FROM events WHERE at >= $1) AS lately
     WHERE (SELECT e.seq FROM events e WHERE e.cache_id = lately.cache_id
        ORDER BY e.at DESC LIMIT 1 OFFSET $2) IS NOT NULL
     ORDER BY lately.cache_id";
pub const CACHES_WITH_LINES: &str =
    "SELECT lately.cache_id
     FROM (SELECT DISTINCT cache_id + 0 AS cache_id FROM deliveries_done WHERE done_at >= $1) AS lately
     WHERE (SELECT d.done_at FROM deliveries_done d WHERE d.cache_id = lately.cache_id
        ORDER BY d.done_at DESC LIMIT 1 OFFSET $2) IS NOT NULL
     ORDER BY lately.cache_id";

const NEWEST_EVENT_TO_GO: &str =
    "SELECT at, seq FROM events WHERE cache_id = $1 ORDER BY at DESC, seq DESC LIMIT 1 OFFSET $2";
/// A flush has the id of its event.
const OLDEST_FLUSHES: &str = "DELETE FROM flushes WHERE done_at IS NOT NULL AND id IN
     (SELECT id FROM events WHERE cache_id = $1 AND (at, seq) <= ($2, $3) ORDER BY at, seq LIMIT $4)";
const OLDEST_EVENTS: &str = "DELETE FROM events WHERE seq IN
     (SELECT seq FROM events WHERE cache_id = $1 AND (at, seq) <= ($2, $3) ORDER BY at, seq LIMIT $4)";

const NEWEST_LINE_TO_GO: &str = "SELECT done_at, id FROM deliveries_done WHERE cache_id = $1 ORDER BY done_at DESC, id DESC LIMIT 1 OFFSET $2";
const OLDEST_LINES: &str = "DELETE FROM deliveries_done WHERE id IN
     (SELECT id FROM deliveries_done WHERE cache_id = $1 AND (done_at, id) <= ($2, $3) ORDER BY done_at, id LIMIT $4)";

impl Store {
    /// The caches that have more than [`ROWS_MAX`] events, of those that had one since a time.
    pub async fn caches_with_too_many_events(
        &self,
        since: Timestamp,
    ) -> Result<Vec<CacheId>, StoreError> {
        let caches: Vec<i64> = read!(self, c => sqlx::query_scalar(CACHES_WITH_EVENTS)
            .bind(since.micros()).bind(i64::from(ROWS_MAX)).fetch_all(c))?;
        Ok(caches.into_iter().map(CacheId).collect())
    }

    /// The caches that have more than [`ROWS_MAX`] finished lines, of those that had one finished since a time.
    pub async fn caches_with_too_many_lines(
        &self,
        since: Timestamp,
    ) -> Result<Vec<CacheId>, StoreError> {
        let caches: Vec<i64> = read!(self, c => sqlx::query_scalar(CACHES_WITH_LINES)
            .bind(since.micros()).bind(i64::from(ROWS_MAX)).fetch_all(c))?;
        Ok(caches.into_iter().map(CacheId).collect())
    }
}

impl Tx {
    /// Drops a cache's oldest events beyond [`ROWS_MAX`], with the flushes that they tell of; at most [`DROPPED_AT_ONCE`].
    /// Tells whether there may be more.
    pub async fn drop_oldest_events(&mut self, cache: CacheId) -> Result<bool, StoreError> {
        let newest: Option<(i64, i64)> = run!(self, c => sqlx::query_as(NEWEST_EVENT_TO_GO)
            .bind(cache.0).bind(i64::from(ROWS_MAX)).fetch_optional(c))?;
        let Some((at, seq)) = newest else {
            return Ok(false);
        };
        let most = i64::from(DROPPED_AT_ONCE);
        exec!(
            self,
            sqlx::query(OLDEST_FLUSHES)
                .bind(cache.0)
                .bind(at)
                .bind(seq)
                .bind(most)
        )?;
        let dropped = exec!(
            self,
            sqlx::query(OLDEST_EVENTS)
                .bind(cache.0)
                .bind(at)
                .bind(seq)
                .bind(most)
        )?;
        Ok(dropped == u64::from(DROPPED_AT_ONCE))
    }

    /// The same with a cache's oldest finished lines.
    pub async fn drop_oldest_lines(&mut self, cache: CacheId) -> Result<bool, StoreError> {
        let newest: Option<(i64, String)> = run!(self, c => sqlx::query_as(NEWEST_LINE_TO_GO)
            .bind(cache.0).bind(i64::from(ROWS_MAX)).fetch_optional(c))?;
        let Some((done_at, id)) = newest else {
            return Ok(false);
        };
        let dropped = exec!(
            self,
            sqlx::query(OLDEST_LINES)
                .bind(cache.0)
                .bind(done_at)
                .bind(&id)
                .bind(i64::from(DROPPED_AT_ONCE))
        )?;
        Ok(dropped == u64::from(DROPPED_AT_ONCE))
    }
}
