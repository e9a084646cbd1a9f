//! The heartbeat: the leases of a process that is gone hold nobody up.
//!
//! Each process raises a counter in its row, and watches those of the others. No clock is compared with another: a
//! process counts as gone when its counter stands still over several beats of the observer's own. One that starts in
//! the place of another (same data folder, and the same lock in it) knows at once that the other is gone.
//!
//! A process that was only asleep may wake up later. Nothing breaks: its row comes back with its next beat, and the
//! fence of a row that somebody else has claimed meanwhile keeps it from recording.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::promise::Context;
use crate::domain::WorkerId;
use crate::http::outbound::CALL_MAX;
use crate::store::{StoreError, Tx};

const BEAT_EVERY: Duration = Duration::from_secs(2);
/// Beats of ours without one of another process until that one counts as gone: ten seconds.
const MISSED_MAX: u32 = 5;

/// What is known of the other processes: the last counter of each, and how many beats of ours ago it moved.
#[derive(Debug, Default)]
pub(super) struct Others(HashMap<WorkerId, (i64, u32)>);

/// Beats until `stop`.
pub(super) async fn run(context: &Context, others: &Mutex<Others>, stop: &CancellationToken) {
    loop {
        if let Err(error) = beat(context, others).await {
            tracing::warn!(%error, "the outbox's heartbeat was not written");
        }
        let wait = tokio::time::sleep(BEAT_EVERY);
        if stop.run_until_cancelled(wait).await.is_none() {
            return;
        }
    }
}

/// Enters this process, before it claims anything.
pub(super) async fn enter(context: &Context) -> Result<(), StoreError> {
    let (worker, place) = (context.worker, context.settings.place.as_deref());
    let mut tx = context.store.begin().await?;
    tx.beat(worker, place, context.now()).await?;
    if let Some(place) = place {
        for gone in tx.predecessors(worker, place).await? {
            forget(context, &mut tx, gone).await?;
        }
    }
    tx.commit().await
}

/// Takes this process out again, once all its attempts have ended.
pub(super) async fn leave(context: &Context) -> Result<(), StoreError> {
    let mut tx = context.store.begin().await?;
    tx.forget_worker(context.worker, context.now()).await?;
    tx.commit().await
}

/// One beat: raises our counter, and forgets who has not raised its own for long.
pub(super) async fn beat(context: &Context, others: &Mutex<Others>) -> Result<(), StoreError> {
    let beats = context.store.worker_beats().await?;
    let gone: Vec<WorkerId> = {
        let mut others = others.lock();
        let known = std::mem::take(&mut others.0);
        for beat in beats.iter().filter(|beat| beat.worker != context.worker) {
            let missed = match known.get(&beat.worker) {
                Some((count, missed)) if *count == beat.count => missed + 1,
                _ => 0,
            };
            others.0.insert(beat.worker, (beat.count, missed));
        }
        let late = others.0.iter().filter(|(_, seen)| seen.1 >= MISSED_MAX);
        late.map(|(worker, _)| *worker).collect()
    };
    let mut tx = context.store.begin().await?;
    let place = context.settings.place.as_deref();
    tx.beat(context.worker, place, context.now()).await?;
    for worker in gone {
        forget(context, &mut tx, worker).await?;
    }
    tx.commit().await
}

async fn forget(context: &Context, tx: &mut Tx, worker: WorkerId) -> Result<(), StoreError> {
    let leases = tx
        .forget_worker(worker, context.now().plus(CALL_MAX))
        .await?;
    tracing::warn!(%worker, leases, "a process of the outbox is gone; what it had under way is attempted again");
    Ok(())
}
