//! What happened to a cache, as its owner reads it: the timeline.

use crate::domain::{Actor, CacheId, Event, EventId, FlushId, RecordedEvent, Timestamp};
use crate::store::db::dialect::{exec, read};
use crate::store::db::json::{
    fields_from_json, fields_to_json, identity_from_json, identity_to_json,
};
use crate::store::db::row::row;
use crate::store::service::tables::{AtEnd, TableRules};
use crate::store::{Recorded, Store, StoreError, Tx};

row! {
    /// Rows of before events had fields have `line` and nothing else; all others have `fields` and `actor`.
    struct EventRow {
        id: String,
        at: i64,
        kind: String,
        fields: Option<String>,
        line: Option<String>,
        actor: Option<String>,
        remote: Option<String>,
    }
}

impl EventRow {
    fn into_domain(self) -> RecordedEvent {
        let remote = self.remote.and_then(|address| address.parse().ok());
        RecordedEvent {
            id: self.id,
            at: Timestamp::from_micros(self.at),
            kind: self.kind,
            fields: self
                .fields
                .as_deref()
                .map(fields_from_json)
                .unwrap_or_default(),
            line: self.line,
            actor: self.actor.as_deref().map(|written| Actor {
                identity: identity_from_json(written),
                remote,
            }),
        }
    }
}

pub(in crate::store) const TABLES: &[TableRules] = &[TableRules::of_resource(
    "events",
    AtEnd::Stay("support reads the history, until it is pruned"),
)];

impl Tx {
    /// Writes down that something happened. A flush is written once per id, however often a node reports it, and so is
    /// the sum of many: false when it is known already.
    pub async fn insert_event(
        &mut self,
        cache: CacheId,
        event: &Event,
        actor: &Actor,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let id = match flush_of(event) {
            Some(flush) => flush.to_string(),
            None => EventId::generate(at).to_string(),
        };
        let rows = exec!(
            self,
            sqlx::query(
                "INSERT INTO events (id, cache_id, at, kind, fields, actor, remote) VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (id) DO NOTHING"
            )
            .bind(id)
            .bind(cache.0)
            .bind(at.micros())
            .bind(event.kind().as_str())
            .bind(fields_to_json(&event.fields()))
            .bind(identity_to_json(&actor.identity))
            .bind(actor.remote.map(|address| address.to_string()))
        )?;
        if rows == 1 {
            self.recorded.push(Recorded {
                cache,
                kind: event.kind(),
                by: actor.identity.to_string(),
                fields: fields_to_json(&event.fields()),
            });
        }
        Ok(rows == 1)
    }
}

/// The flush, or the sum of flushes, that an event tells of.
fn flush_of(event: &Event) -> Option<FlushId> {
    match event {
        Event::Flushed(flush) => Some(flush.id),
        Event::Repeated { event, .. } => flush_of(event),
        _ => None,
    }
}

impl Store {
    /// The latest `most` events of a cache, newest first. Those of one instant stand in the order of their writing.
    pub async fn events(
        &self,
        cache: CacheId,
        most: u32,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let rows: Vec<EventRow> = read!(self, c => sqlx::query_as(
                "SELECT id, at, kind, fields, line, actor, remote FROM events WHERE cache_id = $1
                 ORDER BY at DESC, seq DESC LIMIT $2")
            .bind(cache.0).bind(i64::from(most)).fetch_all(c))?;
        Ok(rows.into_iter().map(EventRow::into_domain).collect())
    }
}
