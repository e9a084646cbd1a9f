//! Looks at what the provider knows of a resource, and the news that asks for one.
//!
//! One row per live resource. `wanted` counts what asked for a look: a look that began before the last of them
//! leaves the row due.

use super::claims::{Backlog, Caps, claim};
use super::dialect::{exec, read, run};
use super::{Store, StoreError, Tx};
use crate::domain::{CacheId, ExternalId, Marketplace, Timestamp};

/// The right to look at one resource, until the lease ends.
#[derive(Clone, Debug)]
pub struct WatchClaim {
    pub cache: CacheId,
    pub marketplace: Marketplace,
    pub external_id: ExternalId,
    pub fence: i64,
    pub wanted: i64,
    /// Looks that failed in a row before this one.
    pub attempt: u32,
    /// The URL that news was asked for under, whether granted or refused.
    pub news_url: Option<String>,
    pub missed_at: Option<Timestamp>,
}

/// What asking for news came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewsAsked<'a> {
    pub url: &'a str,
    pub refused: bool,
}

#[derive(sqlx::FromRow)]
struct ClaimRow {
    cache_id: i64,
    fence: i64,
    wanted: i64,
    attempt: i64,
    news_url: Option<String>,
    missed_at: Option<i64>,
}

impl Tx {
    /// Starts a resource's row, due at `first`.
    pub async fn insert_watch(
        &mut self,
        cache: CacheId,
        first: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "INSERT INTO watches (cache_id, wanted, attempt, next_attempt_at, scheduled_at, fence, news_refused)
                 VALUES ($1, 1, 0, $2, $3, 0, 0)"
            )
            .bind(cache.0)
            .bind(first.micros())
            .bind(now.micros())
        )?;
        Ok(())
    }

    /// Asks for a look now.
    pub async fn want_look(&mut self, cache: CacheId, now: Timestamp) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "UPDATE watches SET wanted = wanted + 1, attempt = 0, next_attempt_at = $2, scheduled_at = $2
                 WHERE cache_id = $1"
            )
            .bind(cache.0)
            .bind(now.micros())
        )?;
        self.promises = true;
        Ok(())
    }

    /// Takes due rows under a lease.
    pub async fn claim_watches(
        &mut self,
        now: Timestamp,
        lease_until: Timestamp,
        caps: Caps,
    ) -> Result<Vec<WatchClaim>, StoreError> {
        let rows: Vec<ClaimRow> = claim!(self, now, lease_until, caps => "watches" of "cache_id" per marketplace,
            open while "TRUE", returning "cache_id, fence, wanted, attempt, news_url, missed_at")?;
        let mut claims = Vec::with_capacity(rows.len());
        for row in rows {
            let bad = |what: &str| StoreError::BadRow(format!("{what} of cache {}", row.cache_id));
            let (marketplace, external_id): (String, String) = run!(self, c => sqlx::query_as(
                    "SELECT marketplace, external_id FROM resources WHERE cache_id = $1")
                .bind(row.cache_id).fetch_one(c))?;
            claims.push(WatchClaim {
                cache: CacheId(row.cache_id),
                marketplace: marketplace.parse().map_err(|_| bad("marketplace"))?,
                external_id: external_id.parse().map_err(|_| bad("external id"))?,
                fence: row.fence,
                wanted: row.wanted,
                attempt: u32::try_from(row.attempt).unwrap_or(0),
                news_url: row.news_url,
                missed_at: row.missed_at.map(Timestamp::from_micros),
            });
        }
        Ok(claims)
    }

    /// Records a look that worked, and what asking for news came to if it was asked. False when the lease was
    /// lost: then nothing that was seen may be written.
    pub async fn record_look(
        &mut self,
        claim: &WatchClaim,
        asked: Option<NewsAsked<'_>>,
        next: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "UPDATE watches SET attempt = 0, lease_until = NULL, last_error = NULL, seen_at = $4, scheduled_at = $4,
                    missed_at = NULL, candidate_at = NULL, news_url = COALESCE($6, news_url),
                    news_refused = CASE WHEN $6 IS NULL THEN news_refused ELSE $7 END,
                    next_attempt_at = CASE WHEN wanted > $3 THEN $4 ELSE $5 END
                 WHERE cache_id = $1 AND fence = $2"
            )
            .bind(claim.cache.0)
            .bind(claim.fence)
            .bind(claim.wanted)
            .bind(now.micros())
            .bind(next.micros())
            .bind(asked.as_ref().map(|asked| asked.url))
            .bind(i64::from(asked.as_ref().is_some_and(|asked| asked.refused)))
        )?;
        Ok(rows == 1)
    }

    /// Records a look that failed.
    pub async fn record_look_failed(
        &mut self,
        claim: &WatchClaim,
        error: &str,
        next: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "UPDATE watches SET attempt = attempt + 1, lease_until = NULL, last_error = $4, scheduled_at = $5,
                    next_attempt_at = CASE WHEN wanted > $3 THEN $5 ELSE $6 END
                 WHERE cache_id = $1 AND fence = $2"
            )
            .bind(claim.cache.0)
            .bind(claim.fence)
            .bind(claim.wanted)
            .bind(error)
            .bind(now.micros())
            .bind(next.micros())
        )?;
        Ok(rows == 1)
    }

    /// Notes that the provider does not know a resource. True when this is the second time, the first one being
    /// from before `since`: a case for a person.
    pub async fn record_miss(
        &mut self,
        cache: CacheId,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "UPDATE watches SET candidate_at = $3 WHERE cache_id = $1 AND missed_at <= $2 AND candidate_at IS NULL"
            )
            .bind(cache.0)
            .bind(since.micros())
            .bind(now.micros())
        )?;
        exec!(
            self,
            sqlx::query(
                "UPDATE watches SET missed_at = COALESCE(missed_at, $2) WHERE cache_id = $1"
            )
            .bind(cache.0)
            .bind(now.micros())
        )?;
        Ok(rows == 1)
    }

    /// True the first time a webhook event is heard of.
    pub async fn first_news(&mut self, id: &str, now: Timestamp) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "INSERT INTO news (id, seen_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING"
            )
            .bind(id)
            .bind(now.micros())
        )?;
        Ok(rows == 1)
    }

    pub async fn prune_news(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(exec!(
            self,
            sqlx::query("DELETE FROM news WHERE seen_at < $1").bind(before.micros())
        )?)
    }
}

impl Store {
    /// Looks that are due.
    pub async fn watches_backlog(&self, now: Timestamp) -> Result<Backlog, StoreError> {
        let (due, oldest): (i64, Option<i64>) = read!(self, c => sqlx::query_as(
                "SELECT count(*), min(next_attempt_at) FROM watches WHERE next_attempt_at <= $1")
            .bind(now.micros()).fetch_one(c))?;
        Ok(Backlog {
            due: u64::try_from(due).unwrap_or(0),
            oldest_due: oldest.map(Timestamp::from_micros),
        })
    }

    /// Live resources that the provider has not known for a day or more.
    pub async fn candidates(&self) -> Result<u64, StoreError> {
        let count: i64 = read!(self, c => sqlx::query_scalar(
                "SELECT count(*) FROM watches WHERE candidate_at IS NOT NULL").fetch_one(c))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}
