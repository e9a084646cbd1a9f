//! Rank 2: everything promised to the outside, at least once, in order per destination.
//!
//! A promise is a row written in the transaction of its cause ([`want_config`], [`announce`]); a worker keeps it:
//! claims with a lease and a fence, calls the provider outside any transaction, records what came of it.

pub mod backoff;
mod census;
mod config_sync;
mod grants;
mod lines;
mod looks;
pub mod ports;
mod setups;
mod worker;

pub use worker::{Outbox, OutboxSettings};

use std::time::Duration;

use crate::domain::{CacheId, Event, Revision, Timestamp};
use crate::store::deliveries::{LineRules, NewLine};
use crate::store::{StoreError, Tx};

/// How long a line for an app's log is worth sending.
const LINE_KEPT: Duration = Duration::from_secs(15 * 60);
/// Lines that wait per attachment, at most.
const LINES_WAITING_MAX: u32 = 1_000;
/// Flush lines per cache and second; more of them become one line with `repeated=`.
const FLUSH_LINES_PER_SEC: u32 = 10;

/// Notes, in the transaction of the cause, that the provider's config vars must follow the current primary
/// once every node of the cache has applied `needs`.
pub async fn want_config(
    tx: &mut Tx,
    cache: CacheId,
    needs: Revision,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.want_config_sync(cache, needs, now).await
}

/// Writes an event into the cache's history and promises a log line to each attached app, where the event is
/// one that apps hear of. A flush that is reported twice is written and promised once.
pub async fn announce(
    tx: &mut Tx,
    cache: CacheId,
    label: &str,
    event: &Event,
    now: Timestamp,
) -> Result<(), StoreError> {
    let line = event.line(label);
    let at = match event {
        Event::Flushed(flush) => {
            let id = flush.id.to_string();
            if !tx
                .insert_event_once(&id, cache, flush.at, event.kind(), &line)
                .await?
            {
                return Ok(());
            }
            flush.at
        }
        _ => {
            tx.insert_event(cache, now, event.kind(), &line).await?;
            now
        }
    };
    if !event.is_logged_to_app() {
        return Ok(());
    }
    let new = NewLine {
        kind: event.kind(),
        at,
        line: &line,
        bounded: matches!(event.kind(), "flush" | "flush_refused"),
    };
    let rules = LineRules {
        queue_max: LINES_WAITING_MAX,
        per_second: FLUSH_LINES_PER_SEC,
        expires_at: now.plus(LINE_KEPT),
    };
    tx.insert_line(cache, new, rules, now).await
}
