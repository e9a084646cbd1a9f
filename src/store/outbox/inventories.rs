//! Installs of a marketplace, theirs against ours.

use crate::domain::{CacheId, ExternalId, Marketplace, Timestamp};
use crate::store::db::dialect::{exec, read};
use crate::store::db::row::parse;
use crate::store::service::tables::{ClockSetBack, TableRules};
use crate::store::{Store, StoreError, Tx};

/// One of our resources of a marketplace.
#[derive(Clone, Debug)]
pub struct Install {
    pub cache: CacheId,
    pub external_id: ExternalId,
    pub created_at: Timestamp,
    /// `None` while it lives.
    pub deprovisioned_at: Option<Timestamp>,
}

pub(in crate::store) const TABLES: &[TableRules] = &[TableRules {
    clock_set_back: ClockSetBack::ReaderNotices(
        "an inventory that is scheduled later than any clock of today would schedule one counts as due",
    ),
    ..TableRules::apart("inventories")
}];

impl Tx {
    /// Takes an inventory that is due and schedules the one after it for `next`; false when none is due. One that is
    /// scheduled after `latest` was so by a clock that has been set back since, and is due. `latest` is after `next` by
    /// as much as the clocks of two machines may differ: what another process took a moment ago is not taken again.
    pub async fn take_inventory(
        &mut self,
        marketplace: Marketplace,
        now: Timestamp,
        next: Timestamp,
        latest: Timestamp,
    ) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "INSERT INTO inventories (marketplace, next_at, unknown_installs) VALUES ($1, $3, 0)
                 ON CONFLICT (marketplace) DO UPDATE SET next_at = excluded.next_at
                 WHERE inventories.next_at <= $2 OR inventories.next_at > $4"
            )
            .bind(marketplace.as_str())
            .bind(now.micros())
            .bind(next.micros())
            .bind(latest.micros())
        )?;
        Ok(rows == 1)
    }

    /// Brings the next inventory forward, or puts it off.
    pub async fn schedule_inventory(
        &mut self,
        marketplace: Marketplace,
        next: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("UPDATE inventories SET next_at = $2 WHERE marketplace = $1")
                .bind(marketplace.as_str())
                .bind(next.micros())
        )?;
        Ok(())
    }

    /// Notes how many installs of the marketplace's list we do not know.
    pub async fn record_unknown_installs(
        &mut self,
        marketplace: Marketplace,
        unknown_installs: usize,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("UPDATE inventories SET unknown_installs = $2 WHERE marketplace = $1")
                .bind(marketplace.as_str())
                .bind(i64::try_from(unknown_installs).unwrap_or(i64::MAX))
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

    /// How many installs the last inventories found that we do not know.
    pub async fn unknown_installs(&self) -> Result<u64, StoreError> {
        let count: Option<i64> = read!(self, c => sqlx::query_scalar(
                "SELECT CAST(sum(unknown_installs) AS BIGINT) FROM inventories").fetch_one(c))?;
        Ok(count
            .and_then(|count| u64::try_from(count).ok())
            .unwrap_or(0))
    }
}
