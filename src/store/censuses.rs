//! Installs of a marketplace, theirs against ours.

use super::dialect::{exec, read};
use super::row::parse;
use super::{Store, StoreError, Tx};
use crate::domain::{CacheId, ExternalId, Marketplace, Timestamp};

/// One of our resources of a marketplace.
#[derive(Clone, Debug)]
pub struct Install {
    pub cache: CacheId,
    pub external_id: ExternalId,
    pub created_at: Timestamp,
    /// `None` while it lives.
    pub deprovisioned_at: Option<Timestamp>,
}

impl Tx {
    /// Takes a census that is due and schedules the one after it for `next`; false when none is due. One that is
    /// scheduled beyond `next` was so by a clock that has been set back since, and is due.
    pub async fn take_census(
        &mut self,
        marketplace: Marketplace,
        now: Timestamp,
        next: Timestamp,
    ) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "INSERT INTO censuses (marketplace, next_at, strangers) VALUES ($1, $3, 0)
                 ON CONFLICT (marketplace) DO UPDATE SET next_at = excluded.next_at
                 WHERE censuses.next_at <= $2 OR censuses.next_at > excluded.next_at"
            )
            .bind(marketplace.as_str())
            .bind(now.micros())
            .bind(next.micros())
        )?;
        Ok(rows == 1)
    }

    /// Brings the next census forward, or puts it off.
    pub async fn schedule_census(
        &mut self,
        marketplace: Marketplace,
        next: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("UPDATE censuses SET next_at = $2 WHERE marketplace = $1")
                .bind(marketplace.as_str())
                .bind(next.micros())
        )?;
        Ok(())
    }

    /// Notes how many installs of the marketplace's list we do not know.
    pub async fn record_strangers(
        &mut self,
        marketplace: Marketplace,
        strangers: usize,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("UPDATE censuses SET strangers = $2 WHERE marketplace = $1")
                .bind(marketplace.as_str())
                .bind(i64::try_from(strangers).unwrap_or(i64::MAX))
        )?;
        Ok(())
    }
}

impl Store {
    /// Our resources of a marketplace, dead ones included.
    pub async fn installs(&self, marketplace: Marketplace) -> Result<Vec<Install>, StoreError> {
        let rows: Vec<(i64, String, i64, Option<i64>)> = read!(self, c => sqlx::query_as(
                "SELECT cache_id, external_id, created_at, deprovisioned_at FROM resources WHERE marketplace = $1")
            .bind(marketplace.as_str()).fetch_all(c))?;
        let install = |(cache, external_id, created_at, deprovisioned_at): (
            i64,
            String,
            i64,
            Option<i64>,
        )| {
            Ok(Install {
                cache: CacheId(cache),
                external_id: parse("resources.external_id", &external_id)?,
                created_at: Timestamp::from_micros(created_at),
                deprovisioned_at: deprovisioned_at.map(Timestamp::from_micros),
            })
        };
        rows.into_iter().map(install).collect()
    }

    /// How many installs the last censuses found that we do not know.
    pub async fn strangers(&self) -> Result<u64, StoreError> {
        let count: Option<i64> = read!(self, c => sqlx::query_scalar(
                "SELECT CAST(sum(strangers) AS BIGINT) FROM censuses").fetch_one(c))?;
        Ok(count
            .and_then(|count| u64::try_from(count).ok())
            .unwrap_or(0))
    }
}
