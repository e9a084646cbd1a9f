//! The end of a resource, over all tables.

use crate::domain::{CacheId, Timestamp};
use crate::store::db::dialect::exec;
use crate::store::service::tables::{AtEnd, tables};
use crate::store::{StoreError, Tx};

impl Tx {
    /// Ends a resource for good: a tombstone stays, without secrets, sessions, or anything on its way in or out.
    /// Lock the resource's row first. Telling the nodes is the caller's.
    pub async fn end_resource(&mut self, cache: CacheId, now: Timestamp) -> Result<(), StoreError> {
        for rules in tables() {
            match rules.at_end {
                AtEnd::NotOfAResource | AtEnd::Stay(_) => {}
                AtEnd::Run(statements) => {
                    for sql in statements {
                        exec!(self, sqlx::query(*sql).bind(cache.0))?;
                    }
                }
                AtEnd::RunAt(statements) => {
                    for sql in statements {
                        exec!(self, sqlx::query(*sql).bind(cache.0).bind(now.micros()))?;
                    }
                }
            }
        }
        Ok(())
    }
}
