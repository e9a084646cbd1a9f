//! What becomes of a node's report: each event is stored once, with the lines it promises, in one transaction per
//! cache. Caches come in the order of their numbers, and each transaction locks one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::link::{LinkError, Login, NodeEvent, Report};
use crate::domain::{CacheId, Event, NodeId, Origin, Timestamp};
use crate::outbox;
use crate::store::{Store, StoreError, Tx};

#[derive(Default)]
struct OfCache<'a> {
    logins: Vec<&'a Login>,
    events: Vec<&'a NodeEvent>,
}

/// Stores a report. A cache whose part cannot be stored for a reason of its own is logged and passed over, so that
/// it does not hold up the others; when the database is away, the whole report must come again.
pub(super) async fn take(
    store: &Store,
    node: &NodeId,
    report: &Report,
    now: Timestamp,
) -> Result<(), LinkError> {
    let mut by_cache: BTreeMap<CacheId, OfCache<'_>> = BTreeMap::new();
    for login in &report.logins {
        by_cache.entry(login.cache).or_default().logins.push(login);
    }
    for event in &report.events {
        by_cache
            .entry(event.cache())
            .or_default()
            .events
            .push(event);
    }
    for (cache, part) in by_cache {
        match take_of_cache(store, node, cache, &part, now).await {
            Ok(()) => {}
            Err(error @ StoreError::Unavailable(_)) => return Err(error.into()),
            Err(error) => {
                tracing::error!(%node, %cache, %error, events = part.events.len(), "part of a report cannot be stored");
            }
        }
    }
    let mut tx = store.begin().await?;
    tx.record_applied(node, report.applied, now).await?;
    Ok(tx.commit().await?)
}

/// Nothing is written about a cache that is gone: its owner is, too.
async fn take_of_cache(
    store: &Store,
    node: &NodeId,
    cache: CacheId,
    part: &OfCache<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    let live = tx.lock_resource(cache).await?;
    let Some(resource) = live.filter(|resource| resource.state.is_live()) else {
        return Ok(());
    };
    for login in &part.logins {
        tx.record_use(cache, &login.username, &login.last).await?;
    }
    for (place, event) in (0..).zip(&part.events) {
        // A microsecond apart, so that the history keeps the order in which the node told them.
        let at = now.plus(Duration::from_micros(place));
        if let Some(event) = settle(&mut tx, node, event, at).await? {
            outbox::announce(&mut tx, cache, &resource.label, &event, at).await?;
        }
    }
    tx.commit().await
}

/// Writes down what a node tells, and gives what is to be announced: nothing for an event seen before, nor for an
/// order that other nodes have still to carry out.
async fn settle(
    tx: &mut Tx,
    node: &NodeId,
    event: &NodeEvent,
    now: Timestamp,
) -> Result<Option<Event>, StoreError> {
    match event {
        NodeEvent::Flushed { flush, times: 1 } if flush.origin != Origin::MemcacheClient => {
            let done = tx.report_order(node, flush, now).await?;
            Ok(done.map(Event::Flushed))
        }
        NodeEvent::Flushed { flush, times } => {
            let fresh = tx.record_flush(flush, *times).await?;
            let event = Event::Flushed(flush.clone());
            Ok(fresh.then(|| match times {
                1 => event,
                _ => Event::Repeated {
                    event: Box::new(event),
                    times: *times,
                },
            }))
        }
        NodeEvent::Noticed { id, event, .. } => {
            let fresh = tx.first_report(*id, now).await?;
            Ok(fresh.then(|| event.clone()))
        }
    }
}
