//! Who did what, to which cache, from where.

use super::dialect::{exec, read};
use super::{Store, StoreError, Tx};
use crate::domain::{CacheId, Timestamp};

/// One deed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    pub cache: Option<CacheId>,
    /// A person, a marketplace, or an operator.
    pub actor: String,
    /// Such as `credential.promote`.
    pub action: String,
    /// What it was done to; never a secret.
    pub detail: String,
    pub remote: Option<String>,
}

#[derive(sqlx::FromRow)]
struct AuditRow {
    cache_id: Option<i64>,
    at: i64,
    actor: String,
    action: String,
    detail: String,
    remote: Option<String>,
}

impl Store {
    /// The latest deeds on a cache, newest first.
    pub async fn audit_of(
        &self,
        cache: CacheId,
        most: u32,
    ) -> Result<Vec<(Timestamp, AuditEntry)>, StoreError> {
        let rows: Vec<AuditRow> = read!(self, c => sqlx::query_as(
            "SELECT cache_id, at, actor, action, detail, remote FROM audit WHERE cache_id = $1 \
             ORDER BY seq DESC LIMIT $2")
            .bind(cache.0).bind(i64::from(most)).fetch_all(c))?;
        let into_domain = |row: AuditRow| {
            let entry = AuditEntry {
                cache: row.cache_id.map(CacheId),
                actor: row.actor,
                action: row.action,
                detail: row.detail,
                remote: row.remote,
            };
            (Timestamp::from_micros(row.at), entry)
        };
        Ok(rows.into_iter().map(into_domain).collect())
    }
}

impl Tx {
    pub async fn audit(&mut self, entry: &AuditEntry, now: Timestamp) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "INSERT INTO audit (cache_id, at, actor, action, detail, remote) VALUES ($1, $2, $3, $4, $5, $6)"
            )
            .bind(entry.cache.map(|cache| cache.0))
            .bind(now.micros())
            .bind(entry.actor.as_str())
            .bind(entry.action.as_str())
            .bind(entry.detail.as_str())
            .bind(entry.remote.as_deref())
        )?;
        Ok(())
    }
}
