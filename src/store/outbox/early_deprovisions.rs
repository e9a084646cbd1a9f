//! Ids that a marketplace ended before it had told us of them.
//!
//! The end of an id and its beginning may arrive at the same moment. The unique id of this table settles which of them
//! was first: both write it, so that the later one waits for the earlier one's commit and sees what came of it.

use crate::domain::{ExternalId, Marketplace, Timestamp};
use crate::store::db::dialect::exec;
use crate::store::service::tables::TableRules;
use crate::store::{StoreError, Tx};

pub(in crate::store) const TABLES: &[TableRules] = &[TableRules::apart("early_deprovisions")];

impl Tx {
    /// Notes the end of an id that stands for nothing here. Look for it again after the commit: what was written under
    /// it meanwhile is there by then, and nothing new can come.
    pub async fn note_early_deprovision(
        &mut self,
        marketplace: Marketplace,
        id: &ExternalId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "INSERT INTO early_deprovisions (marketplace, external_id, ended_at) VALUES ($1, $2, $3)
                 ON CONFLICT (marketplace, external_id) DO UPDATE SET ended_at = excluded.ended_at"
            )
            .bind(marketplace.as_str())
            .bind(id.as_str())
            .bind(now.micros())
        )?;
        Ok(())
    }

    /// Whether an id may begin; false when its end came before. Until this transaction ends nobody can note one.
    pub async fn may_begin(
        &mut self,
        marketplace: Marketplace,
        id: &ExternalId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let inserted = exec!(
            self,
            sqlx::query(
                "INSERT INTO early_deprovisions (marketplace, external_id, ended_at) VALUES ($1, $2, $3)
                 ON CONFLICT (marketplace, external_id) DO NOTHING"
            )
            .bind(marketplace.as_str())
            .bind(id.as_str())
            .bind(now.micros())
        )?;
        if inserted == 0 {
            return Ok(false);
        }
        // Its work was to make others wait, which it does on PostgreSQL until the commit all the same.
        exec!(
            self,
            sqlx::query(
                "DELETE FROM early_deprovisions WHERE marketplace = $1 AND external_id = $2"
            )
            .bind(marketplace.as_str())
            .bind(id.as_str())
        )?;
        Ok(true)
    }

    pub async fn prune_early_deprovisions(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(exec!(
            self,
            sqlx::query("DELETE FROM early_deprovisions WHERE ended_at < $1").bind(before.micros())
        )?)
    }
}
