//! A clock that was set back, over all tables.

use crate::domain::Timestamp;
use crate::store::db::dialect::exec;
use crate::store::service::tables::{ClockSetBack, tables};
use crate::store::{StoreError, Tx};

impl Tx {
    /// Makes due what was scheduled after `future`, a moment somewhat ahead of now: the clock was set back since,
    /// and nothing may wait for the old time to come again. The same for leases that end after `leases_end`.
    pub async fn undo_clock_jump(
        &mut self,
        now: Timestamp,
        future: Timestamp,
        leases_end: Timestamp,
    ) -> Result<(), StoreError> {
        for rules in tables() {
            if let ClockSetBack::Run(sql) = rules.clock_set_back {
                exec!(
                    self,
                    sqlx::query(sql).bind(now.micros()).bind(future.micros())
                )?;
            }
            if let Some(leases) = rules.leases {
                exec!(self, sqlx::query(leases.too_long).bind(leases_end.micros()))?;
            }
        }
        Ok(())
    }
}
