//! An event of a cache, written into its timeline, and as lines into the logs of its apps.

use std::time::Duration;

use crate::domain::{Actor, CacheId, Event, Timestamp};
use crate::store::outbox::deliveries::{LineRules, NewLine};
use crate::store::{StoreError, Tx};

/// How long a line for an app's log is worth sending.
const LINE_KEPT: Duration = Duration::from_secs(15 * 60);
/// Lines that wait per attachment, at most.
const LINES_WAITING_MAX: u32 = 1_000;
/// Flush lines per cache and second; more of them become one line with `repeated=`.
const FLUSH_LINES_PER_SEC: u32 = 10;

/// Writes an event into the cache's timeline, with who is behind it, and promises a log line to each attached app,
/// where the event is one that apps hear of. A flush that is reported twice is written and promised once.
pub async fn announce(
    tx: &mut Tx,
    cache: CacheId,
    label: &str,
    event: &Event,
    actor: &Actor,
    now: Timestamp,
) -> Result<(), StoreError> {
    let at = match event {
        Event::Flushed(flush) => flush.at,
        _ => now,
    };
    if !tx.insert_event(cache, event, actor, at).await? {
        return Ok(());
    }
    let kind = event.kind();
    if !kind.is_logged_to_app() {
        return Ok(());
    }
    let (single, times) = match event {
        Event::Repeated { event, times } => (event.as_ref(), *times),
        _ => (event, 1),
    };
    let new = NewLine {
        kind: kind.as_str(),
        at,
        line: &single.line(label),
        times,
        bounded: kind.is_caused_at_will(),
    };
    let rules = LineRules {
        queue_max: LINES_WAITING_MAX,
        per_second: FLUSH_LINES_PER_SEC,
        expires_at: now.plus(LINE_KEPT),
    };
    tx.insert_line(cache, new, rules, now).await
}
