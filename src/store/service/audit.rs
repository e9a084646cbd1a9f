//! Who did what, to which cache, from where.

use std::time::Duration;

use crate::domain::{Actor, CacheId, Timestamp, network_of};
use crate::store::db::dialect::{exec, read};
use crate::store::db::json::{identity_from_json, identity_to_json};
use crate::store::db::row::{number, row};
use crate::store::service::tables::{AtEnd, TableRules};
use crate::store::{Store, StoreError, Tx};

/// Repetitions within so long are one row.
const ONE_ROW_FOR: Duration = Duration::from_secs(60);

/// One deed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    pub cache: Option<CacheId>,
    pub actor: Actor,
    /// Such as `credential.promote`.
    pub action: String,
    /// What it was done to; never a secret.
    pub detail: String,
}

/// A row of the audit: a deed, and how often it was done from `at` on within a minute, from the address that the deed has or
/// another one of the same network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    pub at: Timestamp,
    pub times: u64,
    pub entry: AuditEntry,
}

row! {
    struct AuditRow {
        cache_id: Option<i64>,
        at: i64,
        actor: String,
        action: String,
        detail: String,
        remote: Option<String>,
        times: i64,
    }
}

impl AuditRow {
    fn into_domain(self) -> Result<AuditRecord, StoreError> {
        let entry = AuditEntry {
            cache: self.cache_id.map(CacheId),
            actor: Actor {
                identity: identity_from_json(&self.actor),
                remote: self.remote.and_then(|address| address.parse().ok()),
            },
            action: self.action,
            detail: self.detail,
        };
        Ok(AuditRecord {
            at: Timestamp::from_micros(self.at),
            times: number("audit.times", self.times)?,
            entry,
        })
    }
}

impl Store {
    /// The latest deeds that concern no one cache, newest first.
    pub async fn audit_of_none(&self, most: u32) -> Result<Vec<AuditRecord>, StoreError> {
        let rows: Vec<AuditRow> = read!(self, c => sqlx::query_as(
            "SELECT cache_id, at, actor, action, detail, remote, times FROM audit WHERE cache_id IS NULL \
             ORDER BY seq DESC LIMIT $1")
            .bind(i64::from(most)).fetch_all(c))?;
        rows.into_iter().map(AuditRow::into_domain).collect()
    }

    /// The latest deeds on a cache, newest first.
    pub async fn audit_of(
        &self,
        cache: CacheId,
        most: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let rows: Vec<AuditRow> = read!(self, c => sqlx::query_as(
            "SELECT cache_id, at, actor, action, detail, remote, times FROM audit WHERE cache_id = $1 \
             ORDER BY seq DESC LIMIT $2")
            .bind(cache.0).bind(i64::from(most)).fetch_all(c))?;
        rows.into_iter().map(AuditRow::into_domain).collect()
    }
}

/// Counts a deed in the row of the same deed, if there is one. It looks the row up in the index `audit_by_deed`, so that
/// its cost does not grow with what others did in the same minute.
pub const COUNT_ONCE_MORE: &str = "UPDATE audit SET times = times + $8 WHERE seq = \
     (SELECT max(seq) FROM audit WHERE at > $1 AND at <= $2 AND coalesce(cache_id, 0) = $3 AND actor = $4 \
     AND action = $5 AND detail = $6 AND coalesce(network, '') = $7)";

pub(in crate::store) const TABLES: &[TableRules] = &[TableRules::of_resource(
    "audit",
    AtEnd::Stay("who did what outlives the cache"),
)];

impl Tx {
    /// Writes a deed down. What the same actor does again from the same network within a minute is counted in one
    /// row, so that nobody can fill the table by repeating it. An IPv6 network of 64 bits is one, as [`network_of`] has it.
    pub async fn audit(&mut self, entry: &AuditEntry, now: Timestamp) -> Result<(), StoreError> {
        self.audit_times(entry, 1, now).await
    }

    /// The same for a deed that was done `times` times.
    pub async fn audit_times(
        &mut self,
        entry: &AuditEntry,
        times: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let times = i64::try_from(times).unwrap_or(i64::MAX);
        let actor = identity_to_json(&entry.actor.identity);
        let network = network(entry);
        let counted = exec!(
            self,
            sqlx::query(COUNT_ONCE_MORE)
                .bind(now.minus(ONE_ROW_FOR).micros())
                .bind(now.micros())
                .bind(entry.cache.map_or(0, |cache| cache.0))
                .bind(actor.as_str())
                .bind(entry.action.as_str())
                .bind(entry.detail.as_str())
                .bind(network.as_deref().unwrap_or(""))
                .bind(times)
        )?;
        if counted > 0 {
            return Ok(());
        }
        self.insert_audit(entry, times, now).await
    }

    /// The same for a deed that made its cache: there is no row yet that could count it.
    pub async fn audit_first(
        &mut self,
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.insert_audit(entry, 1, now).await
    }

    async fn insert_audit(
        &mut self,
        entry: &AuditEntry,
        times: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "INSERT INTO audit (cache_id, at, actor, action, detail, remote, times, network) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
            )
            .bind(entry.cache.map(|cache| cache.0))
            .bind(now.micros())
            .bind(identity_to_json(&entry.actor.identity))
            .bind(entry.action.as_str())
            .bind(entry.detail.as_str())
            .bind(entry.actor.remote.map(|address| address.to_string()))
            .bind(times)
            .bind(network(entry))
        )?;
        Ok(())
    }

    /// Forgets deeds from before a time, and with them the names and addresses of people.
    pub async fn prune_audit(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(exec!(
            self,
            sqlx::query("DELETE FROM audit WHERE at < $1").bind(before.micros())
        )?)
    }
}

/// Where a deed came from, as far as it counts for what is one row.
fn network(entry: &AuditEntry) -> Option<String> {
    let remote = entry.actor.remote?;
    Some(network_of(remote).to_string())
}
