//! The processes that hold leases, and what becomes of the leases of one that is gone.

use crate::domain::{Timestamp, WorkerId};
use crate::store::db::dialect::{exec, read, run};
use crate::store::db::row::parse;
use crate::store::service::tables::{TableRules, tables};
use crate::store::{Store, StoreError, Tx};

pub(in crate::store) const TABLES: &[TableRules] = &[TableRules::apart("outbox_workers")];

/// A worker as another one sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    pub worker: WorkerId,
    /// Raised by the worker while it lives.
    pub count: i64,
}

impl Tx {
    /// Enters a worker, or raises its beat.
    pub async fn beat(
        &mut self,
        worker: WorkerId,
        place: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "INSERT INTO outbox_workers (id, place, beat, started_at) VALUES ($1, $2, 0, $3)
                 ON CONFLICT (id) DO UPDATE SET beat = outbox_workers.beat + 1"
            )
            .bind(worker.to_string())
            .bind(place)
            .bind(now.micros())
        )?;
        Ok(())
    }

    /// Workers that were in a place before this one.
    pub async fn predecessors(
        &mut self,
        worker: WorkerId,
        place: &str,
    ) -> Result<Vec<WorkerId>, StoreError> {
        let ids: Vec<String> = run!(self, c => sqlx::query_scalar(
                "SELECT id FROM outbox_workers WHERE place = $1 AND id <> $2")
            .bind(place).bind(worker.to_string()).fetch_all(c))?;
        ids.iter()
            .map(|id| parse("outbox_workers.id", id))
            .collect()
    }

    /// Forgets a worker that is gone. Its leases count against no cap from now on, and end at `calls_end` at the
    /// latest, when no call of it can be under way any more. Tells how many there were.
    pub async fn forget_worker(
        &mut self,
        worker: WorkerId,
        calls_end: Timestamp,
    ) -> Result<u64, StoreError> {
        let id = worker.to_string();
        let mut leases = 0;
        for sql in tables().filter_map(|rules| Some(rules.leases?.orphaned)) {
            leases += exec!(self, sqlx::query(sql).bind(&id).bind(calls_end.micros()))?;
        }
        exec!(
            self,
            sqlx::query("DELETE FROM outbox_workers WHERE id = $1").bind(&id)
        )?;
        if leases > 0 {
            self.promises.add_all();
        }
        Ok(leases)
    }
}

impl Store {
    /// Every worker that is not known to be gone.
    pub async fn worker_beats(&self) -> Result<Vec<Beat>, StoreError> {
        let rows: Vec<(String, i64)> = read!(self, c => sqlx::query_as(
                "SELECT id, beat FROM outbox_workers ORDER BY id").fetch_all(c))?;
        let beat = |(id, count): (String, i64)| {
            Ok(Beat {
                worker: parse("outbox_workers.id", &id)?,
                count,
            })
        };
        rows.into_iter().map(beat).collect()
    }
}
