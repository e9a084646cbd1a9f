//! Reconciles with what the provider knows of a resource, and the webhook events that ask for one.
//!
//! One row per live resource. `wanted` counts the requests for a reconcile: one that began before the last of them
//! leaves the row due.

use crate::domain::{CacheId, ExternalId, Marketplace, Timestamp};
use crate::store::db::dialect::{exec, read, run};
use crate::store::db::row::row;
use crate::store::outbox::claims::{Backlog, Served, Terms, backlog, claim};
use crate::store::outbox::promised::PromiseKind;
use crate::store::service::tables::{TableRules, promises};
use crate::store::{Store, StoreError, Tx};

/// The right to reconcile one resource, until the lease ends.
#[derive(Clone, Debug)]
pub struct ReconcileClaim {
    pub cache: CacheId,
    pub marketplace: Marketplace,
    pub external_id: ExternalId,
    pub fence: i64,
    pub wanted: i64,
    /// Reconciles that failed in a row before this one.
    pub attempt: u32,
    /// The URL of the last subscription to webhook events, whether granted or refused.
    pub webhook_url: Option<String>,
    pub missed_at: Option<Timestamp>,
}

/// What became of a subscription to webhook events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribedAt<'a> {
    pub url: &'a str,
    pub refused: bool,
}

row! {
    struct ClaimRow {
        cache_id: i64,
        fence: i64,
        wanted: i64,
        attempt: i64,
        webhook_url: Option<String>,
        missed_at: Option<i64>,
    }
}

pub(in crate::store) const TABLES: &[TableRules] =
    &[promises!("reconciles"), TableRules::apart("webhook_events")];

impl Tx {
    /// Starts a resource's row, due at `first`.
    pub async fn insert_reconcile(
        &mut self,
        cache: CacheId,
        first: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "INSERT INTO reconciles (cache_id, wanted, attempt, next_attempt_at, scheduled_at, fence, subscription_refused)
                 VALUES ($1, 1, 0, $2, $3, 0, 0)"
            )
            .bind(cache.0)
            .bind(first.micros())
            .bind(now.micros())
        )?;
        Ok(())
    }

    /// Asks for a reconcile now.
    pub async fn request_reconcile(
        &mut self,
        cache: CacheId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "UPDATE reconciles SET wanted = wanted + 1, attempt = 0, next_attempt_at = $2, scheduled_at = $2
                 WHERE cache_id = $1"
            )
            .bind(cache.0)
            .bind(now.micros())
        )?;
        self.promises.add(PromiseKind::Reconciles);
        Ok(())
    }

    /// Takes due rows under a lease.
    pub async fn claim_reconciles(
        &mut self,
        terms: &Terms,
    ) -> Result<Vec<ReconcileClaim>, StoreError> {
        let rows: Vec<ClaimRow> = claim!(self, terms => "reconciles" of "cache_id" per marketplace,
            open while "TRUE", returning "cache_id, fence, wanted, attempt, webhook_url, missed_at")?;
        let mut claims = Vec::with_capacity(rows.len());
        for row in rows {
            let bad = |what: &str| StoreError::BadRow(format!("{what} of cache {}", row.cache_id));
            let (marketplace, external_id): (String, String) = run!(self, c => sqlx::query_as(
                    "SELECT marketplace, external_id FROM resources WHERE cache_id = $1")
                .bind(row.cache_id).fetch_one(c))?;
            claims.push(ReconcileClaim {
                cache: CacheId(row.cache_id),
                marketplace: marketplace.parse().map_err(|_| bad("marketplace"))?,
                external_id: external_id.parse().map_err(|_| bad("external id"))?,
                fence: row.fence,
                wanted: row.wanted,
                attempt: u32::try_from(row.attempt).unwrap_or(0),
                webhook_url: row.webhook_url,
                missed_at: row.missed_at.map(Timestamp::from_micros),
            });
        }
        Ok(claims)
    }

    /// Records a reconcile that worked, and what became of the subscription if one was tried. False when the lease was
    /// lost: then nothing that was seen may be written.
    pub async fn record_reconciled(
        &mut self,
        claim: &ReconcileClaim,
        asked: Option<SubscribedAt<'_>>,
        next: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "UPDATE reconciles SET attempt = 0, lease_until = NULL, last_error = NULL, seen_at = $4, scheduled_at = $4,
                    missed_at = NULL, candidate_at = NULL, webhook_url = COALESCE($6, webhook_url),
                    subscription_refused = CASE WHEN $6 IS NULL THEN subscription_refused ELSE $7 END,
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

    /// Records a reconcile that failed.
    pub async fn record_reconcile_failed(
        &mut self,
        claim: &ReconcileClaim,
        error: &str,
        next: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "UPDATE reconciles SET attempt = attempt + 1, lease_until = NULL, last_error = $4, scheduled_at = $5,
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
                "UPDATE reconciles SET candidate_at = $3 WHERE cache_id = $1 AND missed_at <= $2 AND candidate_at IS NULL"
            )
            .bind(cache.0)
            .bind(since.micros())
            .bind(now.micros())
        )?;
        exec!(
            self,
            sqlx::query(
                "UPDATE reconciles SET missed_at = COALESCE(missed_at, $2) WHERE cache_id = $1"
            )
            .bind(cache.0)
            .bind(now.micros())
        )?;
        Ok(rows == 1)
    }

    /// True the first time a webhook event is heard of.
    pub async fn is_new_event(&mut self, id: &str, now: Timestamp) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "INSERT INTO webhook_events (id, seen_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING"
            )
            .bind(id)
            .bind(now.micros())
        )?;
        Ok(rows == 1)
    }

    pub async fn prune_webhook_events(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(exec!(
            self,
            sqlx::query("DELETE FROM webhook_events WHERE seen_at < $1").bind(before.micros())
        )?)
    }
}

impl Store {
    /// Reconciles that are due.
    pub async fn reconciles_backlog(
        &self,
        served: &Served,
        now: Timestamp,
    ) -> Result<Backlog, StoreError> {
        backlog!(self, served, now => "reconciles", open while "TRUE")
    }

    /// Live resources that the provider has not known for a day or more.
    pub async fn candidates(&self) -> Result<u64, StoreError> {
        let count: i64 = read!(self, c => sqlx::query_scalar(
                "SELECT count(*) FROM reconciles WHERE candidate_at IS NOT NULL").fetch_one(c))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}
