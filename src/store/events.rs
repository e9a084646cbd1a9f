//! What happened to a cache, as its owner reads it.

use super::dialect::{exec, read};
use super::{Store, StoreError, Tx};
use crate::domain::{CacheId, EventId, Timestamp};

/// An entry of a cache's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    pub id: String,
    pub at: Timestamp,
    pub kind: String,
    pub line: String,
}

impl Tx {
    /// Writes down that something happened.
    pub async fn insert_event(
        &mut self,
        cache: CacheId,
        at: Timestamp,
        kind: &str,
        line: &str,
    ) -> Result<(), StoreError> {
        let id = EventId::generate(at).to_string();
        self.insert_event_once(&id, cache, at, kind, line)
            .await
            .map(|_| ())
    }

    /// The same for an event that may be reported more than once; false when this id is known already.
    pub async fn insert_event_once(
        &mut self,
        id: &str,
        cache: CacheId,
        at: Timestamp,
        kind: &str,
        line: &str,
    ) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "INSERT INTO events (id, cache_id, at, kind, line) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (id) DO NOTHING"
            )
            .bind(id)
            .bind(cache.0)
            .bind(at.micros())
            .bind(kind)
            .bind(line)
        )?;
        Ok(rows == 1)
    }
}

impl Store {
    /// The latest `most` events of a cache, newest first.
    pub async fn events(&self, cache: CacheId, most: u32) -> Result<Vec<EventRow>, StoreError> {
        let rows: Vec<(String, i64, String, String)> = read!(self, c => sqlx::query_as(
                "SELECT id, at, kind, line FROM events WHERE cache_id = $1 ORDER BY at DESC, id DESC LIMIT $2")
            .bind(cache.0).bind(i64::from(most)).fetch_all(c))?;
        let entry = |(id, at, kind, line)| EventRow {
            id,
            at: Timestamp::from_micros(at),
            kind,
            line,
        };
        Ok(rows.into_iter().map(entry).collect())
    }
}
