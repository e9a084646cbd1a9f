//! What is kept for a while only, and the ids of node reports already dealt with.

use crate::domain::Timestamp;
use crate::domain::ids::EventId;
use crate::store::db::dialect::{Db, exec, run};
use crate::store::service::tables::TableRules;
use crate::store::{Store, StoreError, Tx};

pub(in crate::store) const TABLES: &[TableRules] = &[TableRules::apart("node_reports")];

impl Store {
    /// Empties SQLite's log of changes (`larder.db-wal`) into the database: what was deleted stands there as it was, until
    /// later changes happen to take its place, while the pages of the database are overwritten. A log that somebody reads
    /// just then is left for the next time. PostgreSQL keeps its own.
    pub async fn empty_wal(&self) -> Result<(), StoreError> {
        let Db::Lite { write, .. } = self.db() else {
            return Ok(());
        };
        let (busy, frames, moved): (i64, i64, i64) =
            sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
                .fetch_one(write)
                .await?;
        if busy != 0 {
            tracing::debug!(
                frames,
                moved,
                "the log of changes is in use and stays for now"
            );
        }
        Ok(())
    }
}

impl Tx {
    /// True the first time an id is seen: what a node reports at least once is acted on once.
    pub async fn first_report(&mut self, id: EventId, now: Timestamp) -> Result<bool, StoreError> {
        let inserted = exec!(
            self,
            sqlx::query(
                "INSERT INTO node_reports (id, seen_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING"
            )
            .bind(id.to_string())
            .bind(now.micros())
        )?;
        Ok(inserted == 1)
    }

    pub async fn prune_reports(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(exec!(
            self,
            sqlx::query("DELETE FROM node_reports WHERE seen_at < $1").bind(before.micros())
        )?)
    }

    /// Drops the history from before a time: events, and flushes that are done.
    pub async fn prune_history(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        let events = exec!(
            self,
            sqlx::query("DELETE FROM events WHERE at < $1").bind(before.micros())
        )?;
        let flushes = exec!(
            self,
            sqlx::query("DELETE FROM flushes WHERE ordered_at < $1 AND done_at IS NOT NULL")
                .bind(before.micros())
        )?;
        Ok(events + flushes)
    }

    /// Drops the sessions opened before `opened` or not seen since `seen`.
    pub async fn prune_sessions(
        &mut self,
        opened: Timestamp,
        seen: Timestamp,
    ) -> Result<u64, StoreError> {
        Ok(exec!(
            self,
            sqlx::query("DELETE FROM sessions WHERE created_at < $1 OR seen_at < $2")
                .bind(opened.micros())
                .bind(seen.micros())
        )?)
    }

    /// Forgets sign-on proofs that are too old to be presented again.
    pub async fn prune_proofs(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(exec!(
            self,
            sqlx::query("DELETE FROM sso_uses WHERE used_at < $1").bind(before.micros())
        )?)
    }

    /// Drops what stands only to make nodes forget a dead cache, once every node has done so that was heard of since
    /// `heard_since`. A node that comes back later gets the whole list instead of changes: it finds its revision
    /// below the one that is noted here.
    pub async fn prune_forgotten(&mut self, heard_since: Timestamp) -> Result<u64, StoreError> {
        let known: i64 = run!(self, c => sqlx::query_scalar(
            "SELECT COALESCE((SELECT min(applied_revision) FROM nodes \
             WHERE seen_at > $1 AND phase <> 'stopped' AND standing <> 'retired'), \
             (SELECT value FROM revision))")
            .bind(heard_since.micros()).fetch_one(c))?;
        let newest: Option<i64> = run!(self, c => sqlx::query_scalar(
            "SELECT max(h.revision) FROM changes h JOIN resources r ON r.cache_id = h.cache_id \
             WHERE r.state = 'deprovisioned' AND h.revision <= $1")
            .bind(known).fetch_one(c))?;
        let Some(newest) = newest else {
            return Ok(0);
        };
        const PLACEMENTS: &str = "DELETE FROM placements WHERE cache_id IN \
             (SELECT h.cache_id FROM changes h JOIN resources r ON r.cache_id = h.cache_id \
             WHERE r.state = 'deprovisioned' AND h.revision <= $1)";
        const CHANGES: &str = "DELETE FROM changes WHERE revision <= $1 AND cache_id IN \
             (SELECT cache_id FROM resources WHERE state = 'deprovisioned')";
        const NOTED: &str = "UPDATE revision SET pruned = $1 WHERE one = 1 AND pruned < $1";
        exec!(self, sqlx::query(PLACEMENTS).bind(newest))?;
        let dropped = exec!(self, sqlx::query(CHANGES).bind(newest))?;
        exec!(self, sqlx::query(NOTED).bind(newest))?;
        Ok(dropped)
    }
}
