//! What becomes of a node's report. Logins are noted many at a time: after a restart every customer logs in, and a
//! transaction for each would cost more than the logins themselves. Each event is stored once, with the lines it
//! promises, in one transaction per cache. Caches come in the order of their numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::link::{LinkError, Login, NodeEvent, Report};
use crate::domain::credential::LastUse;
use crate::domain::{CacheId, Event, NodeId, Origin, Timestamp, Username};
use crate::outbox;
use crate::store::uses::Use;
use crate::store::{Store, StoreError, Tx};

/// Logins noted in one transaction. It holds their caches against changes, for milliseconds.
const LOGINS_AT_ONCE: usize = 250;

/// Stores a report. A cache whose part cannot be stored for a reason of its own is logged and passed over, so that
/// it does not hold up the others; when the database is away, the whole report must come again.
pub(super) async fn take(
    store: &Store,
    node: &NodeId,
    report: &Report,
    now: Timestamp,
) -> Result<(), LinkError> {
    match note_logins(store, &report.logins).await {
        Ok(()) => {}
        Err(error @ StoreError::Unavailable(_)) => return Err(error.into()),
        Err(error) => {
            tracing::error!(%node, %error, logins = report.logins.len(), "logins of a report cannot be noted");
        }
    }
    let mut by_cache: BTreeMap<CacheId, Vec<&NodeEvent>> = BTreeMap::new();
    for event in &report.events {
        by_cache.entry(event.cache()).or_default().push(event);
    }
    for (cache, events) in by_cache {
        match take_of_cache(store, node, cache, &events, now).await {
            Ok(()) => {}
            Err(error @ StoreError::Unavailable(_)) => return Err(error.into()),
            Err(error) => {
                tracing::error!(%node, %cache, %error, events = events.len(), "part of a report cannot be stored");
            }
        }
    }
    let mut tx = store.begin().await?;
    tx.record_applied(node, report.applied, now).await?;
    Ok(tx.commit().await?)
}

async fn note_logins(store: &Store, logins: &[Login]) -> Result<(), StoreError> {
    // A report that was not taken may hold an older login of the same credential beside a newer one.
    let mut latest: BTreeMap<(CacheId, &Username), &LastUse> = BTreeMap::new();
    for login in logins {
        let last = latest
            .entry((login.cache, &login.username))
            .or_insert(&login.last);
        if last.at < login.last.at {
            *last = &login.last;
        }
    }
    let uses: Vec<Use<'_>> = latest
        .into_iter()
        .map(|((cache, username), last)| Use {
            cache,
            username,
            last,
        })
        .collect();
    for some in uses.chunks(LOGINS_AT_ONCE) {
        let mut tx = store.begin().await?;
        tx.record_uses(some).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Nothing is written about a cache that is gone: its owner is, too.
async fn take_of_cache(
    store: &Store,
    node: &NodeId,
    cache: CacheId,
    events: &[&NodeEvent],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    let live = tx.lock_resource(cache).await?;
    let Some(resource) = live.filter(|resource| resource.state.is_live()) else {
        return Ok(());
    };
    for (place, event) in (0..).zip(events) {
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
