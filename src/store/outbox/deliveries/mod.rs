//! Lines on their way to an app's log. Each attachment has a lane; a lane's lease covers all its lines, so they
//! go out in order whoever sends them. Finished lines move to `deliveries_done`.
//!
//! Lock order: the lane's row first, then its deliveries. Numbers (`seq`) are drawn under that lock, so within a
//! lane their order is the order of commits.
//!
//! | file | holds |
//! |---|---|
//! | `queue` | promising a line |
//! | `lane` | claiming a lane, and recording what came of it |

mod lane;
mod queue;

use super::claims::{Backlog, Served, backlog};
use crate::domain::Timestamp;
use crate::store::db::dialect::{exec, read};
use crate::store::service::tables::{AtEnd, ClockSetBack, TableRules, leased};
use crate::store::{Store, StoreError, Tx};

pub use lane::{LaneClaim, WaitingLine};
pub use queue::{LineRules, NewLine};

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineOutcome {
    Delivered,
    /// The far end will never take it.
    Refused,
    /// Too old, or pushed out of a full queue.
    Expired,
    /// The resource went away first.
    Cancelled,
}

impl LineOutcome {
    const fn as_str(self) -> &'static str {
        match self {
            LineOutcome::Delivered => "delivered",
            LineOutcome::Refused => "refused",
            LineOutcome::Expired => "expired",
            LineOutcome::Cancelled => "cancelled",
        }
    }
}

pub(in crate::store) const TABLES: &[TableRules] = &[
    TableRules {
        table: "lanes",
        at_end: AtEnd::Run(&["DELETE FROM lanes WHERE cache_id = $1"]),
        clock_set_back: ClockSetBack::Run(
            "UPDATE lanes SET next_attempt_at = $1, scheduled_at = $1
             WHERE scheduled_at > $2 AND next_attempt_at IS NOT NULL",
        ),
        leases: leased!("lanes"),
    },
    TableRules {
        table: "deliveries",
        at_end: AtEnd::Run(&[
            "INSERT INTO deliveries_done (id, cache_id, kind, order_key, payload, attempt, outcome, created_at, done_at)
             SELECT id, cache_id, kind, order_key, payload, 0, 'cancelled', created_at, created_at
             FROM deliveries WHERE cache_id = $1",
            "DELETE FROM deliveries WHERE cache_id = $1",
        ]),
        clock_set_back: ClockSetBack::Run(
            "UPDATE deliveries SET not_before = $1 WHERE created_at > $2 AND not_before > $1",
        ),
        leases: None,
    },
    TableRules::of_resource(
        "deliveries_done",
        AtEnd::Stay("support reads what was delivered, until it is pruned"),
    ),
];

impl Tx {
    /// Moves a lane's lines up to and with `last` to the done ones; tells how many there were.
    async fn finish_lines(
        &mut self,
        lane: &str,
        last: i64,
        outcome: LineOutcome,
        error: Option<&str>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        exec!(self, sqlx::query(
                "INSERT INTO deliveries_done (id, cache_id, kind, order_key, payload, attempt, outcome, last_error,
                    created_at, done_at)
                 SELECT d.id, d.cache_id, d.kind, d.order_key, d.payload, l.attempt, $3, COALESCE($4, l.last_error),
                    d.created_at, $5
                 FROM deliveries d JOIN lanes l ON l.order_key = d.order_key
                 WHERE d.order_key = $1 AND d.seq <= $2")
            .bind(lane).bind(last).bind(outcome.as_str()).bind(error).bind(now.micros()))?;
        Ok(exec!(
            self,
            sqlx::query("DELETE FROM deliveries WHERE order_key = $1 AND seq <= $2")
                .bind(lane)
                .bind(last)
        )?)
    }

    async fn count_dropped(&mut self, lane: &str, lost: u64) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("UPDATE lanes SET dropped = dropped + $2 WHERE order_key = $1")
                .bind(lane)
                .bind(i64::try_from(lost).unwrap_or(i64::MAX))
        )?;
        Ok(())
    }

    /// Cancels what waits in one lane, and closes it.
    pub(in crate::store) async fn cancel_lane(&mut self, lane: &str) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("DELETE FROM lanes WHERE order_key = $1").bind(lane)
        )?;
        exec!(self, sqlx::query(
                "INSERT INTO deliveries_done (id, cache_id, kind, order_key, payload, attempt, outcome, created_at,
                    done_at)
                 SELECT id, cache_id, kind, order_key, payload, 0, $2, created_at, created_at
                 FROM deliveries WHERE order_key = $1")
            .bind(lane).bind(LineOutcome::Cancelled.as_str()))?;
        exec!(
            self,
            sqlx::query("DELETE FROM deliveries WHERE order_key = $1").bind(lane)
        )?;
        Ok(())
    }

    /// Forgets lines done before this moment.
    pub async fn prune_deliveries(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(exec!(
            self,
            sqlx::query("DELETE FROM deliveries_done WHERE done_at < $1").bind(before.micros())
        )?)
    }
}

impl Store {
    /// Lanes with lines that are due.
    pub async fn lines_backlog(
        &self,
        served: &Served,
        now: Timestamp,
    ) -> Result<Backlog, StoreError> {
        backlog!(self, served, now => "lanes", open while "next_attempt_at IS NOT NULL")
    }

    /// Lines promised and not yet sent, over all caches.
    pub async fn lines_waiting(&self) -> Result<u64, StoreError> {
        let waiting: i64 =
            read!(self, c => sqlx::query_scalar("SELECT count(*) FROM deliveries").fetch_one(c))?;
        Ok(u64::try_from(waiting).unwrap_or(0))
    }
}
