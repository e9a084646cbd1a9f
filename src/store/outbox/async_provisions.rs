//! Resources that were accepted and are not ready yet: what is still to be told to their provider, and when.
//!
//! One row per provisioning resource. `wanted` counts what asked for an attempt: one that began before the last of
//! them leaves the row due.

use crate::domain::{CacheId, CompletionGoal, ExternalId, Marketplace, PlanSlug, Timestamp};
use crate::store::db::dialect::{exec, run};
use crate::store::db::row::parse;
use crate::store::outbox::claims::{Backlog, Served, Terms, backlog, claim};
use crate::store::outbox::promised::PromiseKind;
use crate::store::service::tables::{TableRules, promises};
use crate::store::{Store, StoreError, Tx};

/// The right to tell the provider of one resource, until the lease ends.
#[derive(Clone, Debug)]
pub struct AsyncProvisionClaim {
    pub cache: CacheId,
    pub marketplace: Marketplace,
    pub external_id: ExternalId,
    /// When the provider's request came.
    pub created_at: Timestamp,
    pub goal: CompletionGoal,
    pub fence: i64,
    pub wanted: i64,
    /// Attempts that failed in a row before this one.
    pub attempt: u32,
}

/// What a failed attempt leaves behind.
#[derive(Clone, Debug)]
pub struct CompletionFailure<'a> {
    pub error: &'a str,
    /// What is to be reached from now on.
    pub goal: CompletionGoal,
    pub next_attempt_at: Timestamp,
}

fn goal(text: &str) -> Result<CompletionGoal, StoreError> {
    match text {
        "finish" => Ok(CompletionGoal::Finish),
        "give_up" => Ok(CompletionGoal::GiveUp),
        other => Err(StoreError::BadRow(format!(
            "async_provisions.goal: {other}"
        ))),
    }
}

const fn goal_text(goal: CompletionGoal) -> &'static str {
    match goal {
        CompletionGoal::Finish => "finish",
        CompletionGoal::GiveUp => "give_up",
    }
}

pub(in crate::store) const TABLES: &[TableRules] = &[promises!("async_provisions")];

impl Tx {
    /// Starts a resource's row, due at `first`.
    pub async fn insert_async_provision(
        &mut self,
        cache: CacheId,
        first: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "INSERT INTO async_provisions (cache_id, goal, wanted, attempt, next_attempt_at, scheduled_at, fence)
                 VALUES ($1, $2, 1, 0, $3, $4, 0)"
            )
            .bind(cache.0)
            .bind(goal_text(CompletionGoal::Finish))
            .bind(first.micros())
            .bind(now.micros())
        )?;
        Ok(())
    }

    /// Asks for an attempt now; without effect on a resource that is ready.
    pub(in crate::store) async fn hasten_async_provision(
        &mut self,
        cache: CacheId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "UPDATE async_provisions SET wanted = wanted + 1, next_attempt_at = $2, scheduled_at = $2 WHERE cache_id = $1"
            )
            .bind(cache.0)
            .bind(now.micros())
        )?;
        if rows > 0 {
            self.promises.add(PromiseKind::AsyncProvisions);
        }
        Ok(())
    }

    /// Takes due rows under a lease.
    pub async fn claim_async_provisions(
        &mut self,
        terms: &Terms,
    ) -> Result<Vec<AsyncProvisionClaim>, StoreError> {
        let rows: Vec<(i64, String, i64, i64, i64)> = claim!(self, terms => "async_provisions" of "cache_id" per marketplace,
            open while "TRUE", returning "cache_id, goal, fence, wanted, attempt")?;
        let mut claims = Vec::with_capacity(rows.len());
        for (cache, aim, fence, wanted, attempt) in rows {
            let (marketplace, external_id, created_at): (String, String, i64) = run!(self, c => sqlx::query_as(
                    "SELECT marketplace, external_id, created_at FROM resources WHERE cache_id = $1")
                .bind(cache).fetch_one(c))?;
            claims.push(AsyncProvisionClaim {
                cache: CacheId(cache),
                marketplace: parse("resources.marketplace", &marketplace)?,
                external_id: parse("resources.external_id", &external_id)?,
                created_at: Timestamp::from_micros(created_at),
                goal: goal(&aim)?,
                fence,
                wanted,
                attempt: u32::try_from(attempt).unwrap_or(0),
            });
        }
        Ok(claims)
    }

    /// Records a failed attempt and gives the lease back. False when it was lost to another worker.
    pub async fn record_async_provision_failed(
        &mut self,
        claim: &AsyncProvisionClaim,
        failure: &CompletionFailure<'_>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "UPDATE async_provisions SET attempt = attempt + 1, lease_until = NULL, last_error = $4, goal = $5,
                    scheduled_at = $6, next_attempt_at = CASE WHEN wanted > $3 THEN $6 ELSE $7 END
                 WHERE cache_id = $1 AND fence = $2"
            )
            .bind(claim.cache.0)
            .bind(claim.fence)
            .bind(claim.wanted)
            .bind(failure.error)
            .bind(goal_text(failure.goal))
            .bind(now.micros())
            .bind(failure.next_attempt_at.micros())
        )?;
        Ok(rows == 1)
    }

    /// The provider knows the resource as ready, so it is. Who found out does not matter, nor whose the lease is.
    /// The plan it is on, `None` when it was not being set up any more.
    pub async fn finish_async_provision(
        &mut self,
        cache: CacheId,
    ) -> Result<Option<PlanSlug>, StoreError> {
        exec!(
            self,
            sqlx::query("DELETE FROM async_provisions WHERE cache_id = $1").bind(cache.0)
        )?;
        let plan: Option<String> = run!(self, c => sqlx::query_scalar(
                "UPDATE resources SET state = 'provisioned' WHERE cache_id = $1 AND state = 'provisioning' RETURNING plan")
            .bind(cache.0).fetch_optional(c))?;
        plan.map(|plan| parse("resources.plan", &plan)).transpose()
    }
}

impl Store {
    /// Attempts that are due.
    pub async fn async_provisions_backlog(
        &self,
        served: &Served,
        now: Timestamp,
    ) -> Result<Backlog, StoreError> {
        backlog!(self, served, now => "async_provisions", open while "TRUE")
    }
}
