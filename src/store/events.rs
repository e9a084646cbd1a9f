//! The history of a cache, as its owner reads it, and the ids of node reports already dealt with.

use super::dialect::{exec, read};
use super::{Store, StoreError, Tx};
use crate::domain::ids::EventId;
use crate::domain::{CacheId, Event, Timestamp};

/// An entry of a cache's history.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct HistoryRow {
    at: i64,
    kind: String,
    line: String,
}

impl HistoryRow {
    pub fn at(&self) -> Timestamp {
        Timestamp::from_micros(self.at)
    }

    pub fn into_kind_and_line(self) -> (String, String) {
        (self.kind, self.line)
    }
}

impl Store {
    /// The latest entries of a cache's history, newest first.
    pub async fn history(&self, cache: CacheId, most: u32) -> Result<Vec<HistoryRow>, StoreError> {
        Ok(read!(self, c => sqlx::query_as(
            "SELECT at, kind, line FROM events WHERE cache_id = $1 ORDER BY at DESC, id DESC LIMIT $2")
            .bind(cache.0).bind(i64::from(most)).fetch_all(c))?)
    }
}

impl Tx {
    /// Adds to a cache's history. To tell the cache's apps as well, go through `outbox::announce`.
    pub async fn insert_event(
        &mut self,
        cache: CacheId,
        label: &str,
        event: &Event,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "INSERT INTO events (id, cache_id, at, kind, line) VALUES ($1, $2, $3, $4, $5)"
            )
            .bind(EventId::generate(now).to_string())
            .bind(cache.0)
            .bind(now.micros())
            .bind(event.kind())
            .bind(event.line(label))
        )?;
        Ok(())
    }

    pub async fn prune_events(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(exec!(
            self,
            sqlx::query("DELETE FROM events WHERE at < $1").bind(before.micros())
        )?)
    }

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
}
