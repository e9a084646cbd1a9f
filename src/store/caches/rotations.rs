//! The schedule by which primaries are replaced, and the former primaries that go by themselves.

use crate::domain::{
    CacheId, Credential, CredentialId, NodeId, RotationPeriod, Timestamp, Username,
};
use crate::store::caches::credentials::going_credentials;
use crate::store::caches::scope::Scope;
use crate::store::db::dialect::{exec, read, run};
use crate::store::db::row::{number, parse};
use crate::store::service::tables::{AtEnd, ClockSetBack, TableRules};
use crate::store::{Store, StoreError, Tx};

/// A cache's schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    pub period: RotationPeriod,
    pub next_at: Timestamp,
    /// Why the last step was put off.
    pub last_error: Option<String>,
}

/// A live cache with an old primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldPrimary {
    pub cache: CacheId,
    /// The cache's name at its marketplace.
    pub name: String,
    /// Credentials beside the primary: they are as old as they are.
    pub others: u64,
}

type Row = (i64, i64, Option<String>);

fn rotation((days, next_at, last_error): Row) -> Result<Rotation, StoreError> {
    let bad = || StoreError::BadRow(format!("rotations.every_days: {days}"));
    let period = RotationPeriod::from_days(number("rotations.every_days", days)?);
    Ok(Rotation {
        period: period.map_err(|_| bad())?,
        next_at: Timestamp::from_micros(next_at),
        last_error,
    })
}

pub(in crate::store) const TABLES: &[TableRules] = &[TableRules {
    table: "rotations",
    at_end: AtEnd::Run(&["DELETE FROM rotations WHERE cache_id = $1"]),
    // Not due at once: a clock that was set back is no reason to rotate everything.
    clock_set_back: ClockSetBack::Run(
        "UPDATE rotations SET next_at = $1 + (next_at - scheduled_at), scheduled_at = $1 WHERE scheduled_at > $2",
    ),
    leases: None,
}];

impl Store {
    /// `None` when the cache is not rotated by itself.
    pub async fn rotation(&self, cache: CacheId) -> Result<Option<Rotation>, StoreError> {
        let row: Option<Row> = read!(self, c => sqlx::query_as(
                "SELECT every_days, next_at, last_error FROM rotations WHERE cache_id = $1")
            .bind(cache.0).fetch_optional(c))?;
        row.map(rotation).transpose()
    }

    /// Caches whose rotation step is due, the longest due first.
    pub async fn due_rotations(
        &self,
        now: Timestamp,
        most: u32,
    ) -> Result<Vec<CacheId>, StoreError> {
        let rows: Vec<(i64,)> = read!(self, c => sqlx::query_as(
                "SELECT cache_id FROM rotations WHERE next_at <= $1 ORDER BY next_at, cache_id LIMIT $2")
            .bind(now.micros()).bind(i64::from(most)).fetch_all(c))?;
        Ok(rows.into_iter().map(|(cache,)| CacheId(cache)).collect())
    }

    /// Live caches in `scope` behind `after` whose primary was made before `before`, in the order of their numbers.
    pub async fn old_primaries(
        &self,
        scope: &Scope,
        before: Timestamp,
        after: CacheId,
        most: u32,
    ) -> Result<Vec<OldPrimary>, StoreError> {
        let (marketplace, cluster, cache) = scope.columns();
        let rows: Vec<(i64, String, i64)> = read!(self, c => sqlx::query_as(
                "SELECT r.cache_id, r.name, (SELECT count(*) FROM credentials o WHERE o.cache_id = r.cache_id
                   AND o.is_primary = 0 AND o.removed_at IS NULL)
                 FROM resources r JOIN credentials k ON k.cache_id = r.cache_id AND k.is_primary = 1
                 WHERE r.state <> 'deprovisioned' AND k.created_at < $1 AND r.cache_id > $2
                   AND ($3 = '' OR r.marketplace = $3) AND ($4 = '' OR r.cluster = $4) AND ($5 = 0 OR r.cache_id = $5)
                 ORDER BY r.cache_id LIMIT $6")
            .bind(before.micros()).bind(after.0).bind(marketplace).bind(cluster).bind(cache)
            .bind(i64::from(most)).fetch_all(c))?;
        rows.into_iter()
            .map(|(cache, name, others)| {
                Ok(OldPrimary {
                    cache: CacheId(cache),
                    name,
                    others: number("count of credentials", others)?,
                })
            })
            .collect()
    }

    /// Former primaries of caches on this node alone that the schedule replaced before `before` and that nobody has
    /// logged in with since; the provider has everything that was promised to it. One with a client certificate stays.
    pub async fn going_credentials(
        &self,
        node: &NodeId,
        before: Timestamp,
    ) -> Result<Vec<(CacheId, Username)>, StoreError> {
        let rows: Vec<(i64, String)> = read!(self, c => sqlx::query_as(
                "SELECT k.cache_id, k.username FROM credentials k
                 JOIN config_sync s ON s.cache_id = k.cache_id AND s.applied >= s.desired
                 WHERE k.goes_unused = 1 AND k.retired_at <= $1 AND (k.last_used_at IS NULL OR k.last_used_at <= $1)
                   AND NOT EXISTS (SELECT 1 FROM certificates f WHERE f.credential_id = k.id)
                   AND EXISTS (SELECT 1 FROM placements p WHERE p.cache_id = k.cache_id AND p.node_id = $2)
                   AND NOT EXISTS (SELECT 1 FROM placements p WHERE p.cache_id = k.cache_id AND p.node_id <> $2)
                 ORDER BY k.retired_at, k.id")
            .bind(before.micros()).bind(node.as_str()).fetch_all(c))?;
        rows.into_iter()
            .map(|(cache, name)| Ok((CacheId(cache), parse("credentials.username", &name)?)))
            .collect()
    }
}

impl Tx {
    /// Switches the schedule on, or off with `None`. The first step is a whole period away.
    pub async fn set_rotation(
        &mut self,
        cache: CacheId,
        period: Option<RotationPeriod>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(period) = period else {
            exec!(
                self,
                sqlx::query("DELETE FROM rotations WHERE cache_id = $1").bind(cache.0)
            )?;
            return Ok(());
        };
        exec!(
            self,
            sqlx::query(
                "INSERT INTO rotations (cache_id, every_days, next_at, scheduled_at) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (cache_id) DO UPDATE SET every_days = excluded.every_days, next_at = excluded.next_at,
                    scheduled_at = excluded.scheduled_at, last_error = NULL"
            )
            .bind(cache.0)
            .bind(i64::from(period.days()))
            .bind(now.plus(period.duration()).micros())
            .bind(now.micros())
        )?;
        Ok(())
    }

    /// The cache's schedule if a step is due. Call it behind the resource's lock: then only one of several processes
    /// finds it due.
    pub async fn due_rotation(
        &mut self,
        cache: CacheId,
        now: Timestamp,
    ) -> Result<Option<Rotation>, StoreError> {
        let row: Option<Row> = run!(self, c => sqlx::query_as(
                "SELECT every_days, next_at, last_error FROM rotations WHERE cache_id = $1 AND next_at <= $2")
            .bind(cache.0).bind(now.micros()).fetch_optional(c))?;
        row.map(rotation).transpose()
    }

    /// Sets the time of the next step, and why this one was put off, if it was.
    pub async fn reschedule_rotation(
        &mut self,
        cache: CacheId,
        next_at: Timestamp,
        error: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "UPDATE rotations SET next_at = $2, last_error = $3, scheduled_at = $4 WHERE cache_id = $1"
            )
            .bind(cache.0)
            .bind(next_at.micros())
            .bind(error)
            .bind(now.micros())
        )?;
        Ok(())
    }

    /// Lets a credential go by itself once nobody uses it any more.
    pub async fn let_go_unused(&mut self, id: CredentialId) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("UPDATE credentials SET goes_unused = 1 WHERE id = $1")
                .bind(id.to_string())
        )?;
        Ok(())
    }

    /// The former primaries of a cache that may go, as this transaction sees them.
    pub async fn going_of(&mut self, cache: CacheId) -> Result<Vec<Credential>, StoreError> {
        going_credentials(self, cache).await
    }
}
