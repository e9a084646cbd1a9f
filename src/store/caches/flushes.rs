//! Flushes: those the control plane orders, until each node of the cache has reported, and those that clients
//! made. A row stands for one flush, or for the sum of `times` flushes when a node summed up a flood of them.

use crate::domain::{
    Actor, CacheId, Event, FlushEvent, FlushId, FlushOrder, Identity, NodeId, Timestamp,
};
use crate::store::db::dialect::{exec, read, run};
use crate::store::db::json::{identity_from_json, identity_to_json};
use crate::store::db::row::{number, parse, row, stored};
use crate::store::service::tables::{AtEnd, TableRules};
use crate::store::{Store, StoreError, Tx};

row! {
    struct OrderRow {
        done_at: Option<i64>,
        actor: Option<String>,
        actor_remote: Option<String>,
    }
}

impl OrderRow {
    /// An order of a release that did not write down who gave it counts as the service's own.
    fn actor(self) -> Actor {
        Actor {
            identity: self
                .actor
                .as_deref()
                .map_or(Identity::Service, identity_from_json),
            remote: self.actor_remote.and_then(|address| address.parse().ok()),
        }
    }
}

impl Store {
    /// What an ordered flush removed, in items and bytes; `None` while a node has still to report.
    pub async fn flush_result(&self, id: FlushId) -> Result<Option<(u64, u64)>, StoreError> {
        let row: Option<(i64, i64)> = read!(self, c => sqlx::query_as(
            "SELECT items, bytes FROM flushes WHERE id = $1 AND done_at IS NOT NULL")
            .bind(id.to_string()).fetch_optional(c))?;
        row.map(|(items, bytes)| {
            Ok((
                number("flushes.items", items)?,
                number("flushes.bytes", bytes)?,
            ))
        })
        .transpose()
    }

    /// How many flushes of this cache have taken effect, as the history knows them.
    pub async fn flush_count(&self, cache: CacheId) -> Result<u64, StoreError> {
        let count: i64 = read!(self, c => sqlx::query_scalar(
            "SELECT CAST(coalesce(sum(times), 0) AS BIGINT) FROM flushes WHERE cache_id = $1 AND done_at IS NOT NULL")
            .bind(cache.0).fetch_one(c))?;
        number("sum of flushes.times", count)
    }
}

/// Flush orders that no node has carried out are withdrawn.
pub(in crate::store) const TABLES: &[TableRules] = &[
    TableRules::of_resource(
        "flushes",
        AtEnd::Run(&["DELETE FROM flushes WHERE cache_id = $1 AND done_at IS NULL"]),
    ),
    TableRules::of_resource("flush_reports", AtEnd::Stay("they go with their flush")),
];

impl Tx {
    pub async fn order_flush(
        &mut self,
        cache: CacheId,
        order: &FlushOrder,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "INSERT INTO flushes (id, cache_id, origin, reason, times, ordered_at, actor, actor_remote) \
                 VALUES ($1, $2, $3, $4, 1, $5, $6, $7)"
            )
            .bind(order.id.to_string())
            .bind(cache.0)
            .bind(order.origin.as_str())
            .bind(order.reason.as_deref())
            .bind(now.micros())
            .bind(identity_to_json(&actor.identity))
            .bind(actor.remote.map(|address| address.to_string()))
        )?;
        Ok(())
    }

    /// An equal order, by the same way and for the same reason, on which no node has reported.
    pub async fn open_order(
        &mut self,
        cache: CacheId,
        order: &FlushOrder,
    ) -> Result<Option<FlushId>, StoreError> {
        let row: Option<(String,)> = run!(self, c => sqlx::query_as(
            "SELECT id FROM flushes WHERE cache_id = $1 AND origin = $2 AND coalesce(reason, '') = $3 AND done_at IS NULL \
             AND NOT EXISTS (SELECT 1 FROM flush_reports d WHERE d.flush_id = flushes.id) \
             ORDER BY ordered_at LIMIT 1")
            .bind(cache.0).bind(order.origin.as_str()).bind(order.reason.as_deref().unwrap_or_default())
            .fetch_optional(c))?;
        row.map(|(id,)| parse("flushes.id", &id)).transpose()
    }

    /// Notes that a node has carried out a flush that was not a client's. If it was ordered, the event, with the
    /// sums over all nodes of the cache, comes with the last of them, beside who ordered it; `None` before that, and
    /// for a report seen before. A flush that nobody ordered here is taken as it is. The caller holds the resource.
    pub async fn report_order(
        &mut self,
        node: &NodeId,
        done: &FlushEvent,
        now: Timestamp,
    ) -> Result<Option<(FlushEvent, Actor)>, StoreError> {
        let id = done.id.to_string();
        let order: Option<OrderRow> = run!(self, c =>
            sqlx::query_as("SELECT done_at, actor, actor_remote FROM flushes WHERE id = $1 AND cache_id = $2")
            .bind(&id).bind(done.cache.0).fetch_optional(c))?;
        let Some(order) = order else {
            let actor = Event::Flushed(done.clone()).actor_on_node();
            let fresh = self.record_flush(done, 1).await?;
            return Ok(fresh.then(|| (done.clone(), actor)));
        };
        if order.done_at.is_some() {
            return Ok(None);
        }
        exec!(
            self,
            sqlx::query(
                "INSERT INTO flush_reports (flush_id, node_id, items, bytes, done_at) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (flush_id, node_id) DO NOTHING"
            )
            .bind(&id)
            .bind(node.as_str())
            .bind(stored(done.items))
            .bind(stored(done.bytes))
            .bind(now.micros())
        )?;
        let (reports, items, bytes): (i64, i64, i64) = run!(self, c => sqlx::query_as(
            "SELECT count(*), CAST(sum(items) AS BIGINT), CAST(sum(bytes) AS BIGINT) FROM flush_reports \
             WHERE flush_id = $1")
            .bind(&id).fetch_one(c))?;
        if reports < self.count_nodes_of(done.cache).await? {
            return Ok(None);
        }
        exec!(
            self,
            sqlx::query(
                "UPDATE flushes SET proxy = $1, items = $2, bytes = $3, done_at = $4 WHERE id = $5"
            )
            .bind(done.proxy.as_str())
            .bind(items)
            .bind(bytes)
            .bind(now.micros())
            .bind(&id)
        )?;
        let event = FlushEvent {
            items: number("flush_reports.items", items)?,
            bytes: number("flush_reports.bytes", bytes)?,
            at: now,
            ..done.clone()
        };
        Ok(Some((event, order.actor())))
    }

    /// Writes a flush that has happened, standing for `times` of them; false when its id was written before.
    pub async fn record_flush(
        &mut self,
        flush: &FlushEvent,
        times: u64,
    ) -> Result<bool, StoreError> {
        let inserted = exec!(
            self,
            sqlx::query(
                "INSERT INTO flushes (id, cache_id, origin, reason, proxy, credential, remote, items, bytes, times, \
                 ordered_at, done_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11) \
                 ON CONFLICT (id) DO NOTHING"
            )
            .bind(flush.id.to_string())
            .bind(flush.cache.0)
            .bind(flush.origin.as_str())
            .bind(flush.reason.as_deref())
            .bind(flush.proxy.as_str())
            .bind(flush.credential.as_ref().map(|name| name.as_str().to_owned()))
            .bind(flush.remote.map(|address| address.to_string()))
            .bind(stored(flush.items))
            .bind(stored(flush.bytes))
            .bind(stored(times))
            .bind(flush.at.micros())
        )?;
        Ok(inserted == 1)
    }
}
