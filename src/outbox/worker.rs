//! The worker: the list of all kinds of promises, and the loops that attempt them.
//!
//! Each kind has its own loop and its own slots. Claims count the open leases of a destination, so a provider that
//! hangs holds up nobody but itself. A destination is the host of a log input, or a marketplace.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::async_provision::AsyncProvision;
use super::config_sync::ConfigSync;
use super::grant_exchange::GrantExchange;
use super::heartbeat::{self, Others};
use super::inventory;
use super::log_lines::LogLines;
use super::ports::{self, Nodes, Providers};
use super::promise::{CLOCKS_DIFFER, Context, OutboxSettings, Promise};
use super::reconcile::Reconcile;
use crate::domain::{AbilityTable, Clock, WorkerId};
use crate::store::outbox::claims::Backlog;
use crate::store::{Store, StoreError};

/// How long finished deliveries are kept, for support to read.
const DONE_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Caches that finished a line within so long are looked at for more than they may keep.
const FINISHED_LATELY: Duration = Duration::from_secs(15 * 60);
/// Providers repeat what they could not deliver for seven days.
const WEBHOOK_EVENTS_KEPT: Duration = Duration::from_secs(8 * 86_400);
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// The outbox of this process. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    context: Arc<Context>,
    others: Arc<Mutex<Others>>,
}

impl Outbox {
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        nodes: Arc<dyn Nodes>,
        providers: Providers,
        settings: OutboxSettings,
    ) -> Outbox {
        let worker = WorkerId::generate(clock.now());
        let context = Context {
            store,
            clock,
            nodes,
            providers,
            settings,
            worker,
        };
        Outbox {
            context: Arc::new(context),
            others: Arc::default(),
        }
    }

    /// What the marketplaces of this installation can do.
    pub fn abilities(&self) -> AbilityTable {
        ports::ability_table(&self.context.providers)
    }

    /// Polls now instead of at the next interval. Commits in this process do it by themselves.
    pub fn wake(&self) {
        self.context.wake();
    }

    /// Works until `stop`, then lets the attempts under way end and records them.
    pub async fn run(&self, stop: CancellationToken) {
        let (context, attempts) = (&self.context, TaskTracker::new());
        while let Err(error) = heartbeat::enter(context).await {
            tracing::warn!(%error, "the outbox cannot begin yet");
            let wait = tokio::time::sleep(context.settings.poll);
            if stop.run_until_cancelled(wait).await.is_none() {
                return;
            }
        }
        tokio::join!(
            run_loop::<GrantExchange>(context, &stop, &attempts),
            run_loop::<ConfigSync>(context, &stop, &attempts),
            run_loop::<AsyncProvision>(context, &stop, &attempts),
            run_loop::<LogLines>(context, &stop, &attempts),
            run_loop::<Reconcile>(context, &stop, &attempts),
            heartbeat::run(context, &self.others, &stop),
            tidy(context, &stop),
            take_inventories(context, &stop),
        );
        attempts.close();
        attempts.wait().await;
        if let Err(error) = heartbeat::leave(context).await {
            tracing::warn!(%error, "the outbox could not take its leave; others notice by themselves");
        }
    }

    /// Tells the other processes that this one lives, and ends the leases of those that are gone. The worker does it
    /// every two seconds.
    pub async fn beat(&self) -> Result<(), StoreError> {
        heartbeat::beat(&self.context, &self.others).await
    }

    /// Attempts everything that is due at this moment, once, but for reconciles. Tells how many attempts there were.
    pub async fn run_due(&self) -> Result<usize, StoreError> {
        let done = run_once::<GrantExchange>(&self.context).await?
            + run_once::<ConfigSync>(&self.context).await?
            + run_once::<AsyncProvision>(&self.context).await?
            + run_once::<LogLines>(&self.context).await?;
        Ok(done)
    }

    /// Reconciles every resource that is due at this moment, once, and tells how many there were.
    pub async fn reconcile_due(&self) -> Result<usize, StoreError> {
        run_once::<Reconcile>(&self.context).await
    }

    /// Compares the marketplaces' lists of installs with ours, where that is due.
    pub async fn take_inventory_due(&self) -> Result<(), StoreError> {
        inventory::take_due(&self.context).await
    }

    /// What the worker does every minute besides.
    pub async fn tidy(&self) -> Result<(), StoreError> {
        tidy_once(&self.context).await
    }
}

/// What one loop attempts at once.
struct Slots {
    permits: Arc<Semaphore>,
    /// Wakes this loop alone: other kinds have slots of their own, and what an attempt promises wakes them when it is
    /// committed.
    freed: Notify,
}

impl Slots {
    fn new(at_once: u32) -> Slots {
        Slots {
            permits: Arc::new(Semaphore::new(at_once as usize)),
            freed: Notify::new(),
        }
    }
}

/// The loop of one kind.
async fn run_loop<P: Promise>(
    context: &Arc<Context>,
    stop: &CancellationToken,
    attempts: &TaskTracker,
) {
    let slots = Arc::new(Slots::new(context.settings.at_once));
    while !stop.is_cancelled() {
        // Registered before the poll: what is committed during it wakes the loop all the same.
        let woken = context.store.promised().next(P::KIND);
        if let Err(error) = start_due::<P>(context, &slots, attempts).await {
            tracing::warn!(kind = P::NAME, %error, "could not claim what is due");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = woken => {}
            () = slots.freed.notified() => {}
            () = tokio::time::sleep(context.settings.poll) => {}
        }
    }
}

/// Claims as much as there are slots for, and starts an attempt for each claim.
async fn start_due<P: Promise>(
    context: &Arc<Context>,
    slots: &Arc<Slots>,
    attempts: &TaskTracker,
) -> Result<(), StoreError> {
    if measure::<P>(context).await?.due == 0 {
        return Ok(());
    }
    let free = u32::try_from(slots.permits.available_permits()).unwrap_or(0);
    for claim in context.claim::<P>(free).await? {
        // Only this loop takes permits, so as many as were free are still there.
        let slot = Arc::clone(&slots.permits).try_acquire_owned().ok();
        let (context, slots) = (Arc::clone(context), Arc::clone(slots));
        attempts.spawn(async move {
            attempt::<P>(&context, claim).await;
            drop(slot);
            slots.freed.notify_one();
        });
    }
    Ok(())
}

async fn attempt<P: Promise>(context: &Context, claim: P::Claim) {
    if let Err(error) = P::attempt(context, claim).await {
        // The lease ends by itself and the attempt is made again.
        tracing::warn!(kind = P::NAME, %error, "could not record an attempt");
    }
}

async fn run_once<P: Promise>(context: &Arc<Context>) -> Result<usize, StoreError> {
    let mut attempts = JoinSet::new();
    for claim in context.claim::<P>(context.settings.at_once).await? {
        let context = Arc::clone(context);
        attempts.spawn(async move { attempt::<P>(&context, claim).await });
    }
    Ok(attempts.join_all().await.len())
}

async fn measure<P: Promise>(context: &Context) -> Result<Backlog, StoreError> {
    let now = context.now();
    let backlog = P::backlog(&context.store, &context.served::<P>(), now).await?;
    let age = backlog
        .oldest_due
        .map_or(Duration::ZERO, |oldest| now.since(oldest));
    metrics::gauge!("larder_outbox_due_attempts", "kind" => P::NAME).set(backlog.due as f64);
    metrics::gauge!("larder_outbox_oldest_due_seconds", "kind" => P::NAME).set(age.as_secs_f64());
    Ok(backlog)
}

/// Every minute: what a clock that was set back would hold up, and what is too old to keep.
async fn tidy(context: &Context, stop: &CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(TIDY_EVERY))
        .await
        .is_some()
    {
        if let Err(error) = tidy_once(context).await {
            tracing::warn!(%error, "the outbox could not be tidied");
        }
    }
}

/// Takes the inventories that are due, every minute.
async fn take_inventories(context: &Context, stop: &CancellationToken) {
    loop {
        let taken = stop.run_until_cancelled(inventory::take_due(context)).await;
        if let Some(Err(error)) = &taken {
            tracing::warn!(%error, "an inventory could not be taken");
        }
        let wait = tokio::time::sleep(TIDY_EVERY.min(context.settings.reconcile_every));
        if taken.is_none() || stop.run_until_cancelled(wait).await.is_none() {
            return;
        }
    }
}

async fn tidy_once(context: &Context) -> Result<(), StoreError> {
    let now = context.now();
    let future = now.plus(CLOCKS_DIFFER);
    let leases_end = now.plus(context.settings.lease + TIDY_EVERY);
    let mut tx = context.store.begin().await?;
    tx.undo_clock_jump(now, future, leases_end).await?;
    tx.expire_waiting_lines(now).await?;
    tx.prune_deliveries(now.minus(DONE_KEPT)).await?;
    tx.prune_webhook_events(now.minus(WEBHOOK_EVENTS_KEPT))
        .await?;
    tx.commit().await?;
    drop_oldest_lines(context).await?;
    let missing = context.store.candidates().await?;
    metrics::gauge!("larder_inventory_mismatched_installs", "known_to" => "us").set(missing as f64);
    let unknown = context.store.unknown_installs().await?;
    metrics::gauge!("larder_inventory_mismatched_installs", "known_to" => "marketplace")
        .set(unknown as f64);
    Ok(())
}

/// Of a cache whose clients make lines without end only the newest stay; each transaction drops a few of the others.
async fn drop_oldest_lines(context: &Context) -> Result<(), StoreError> {
    let since = context.now().minus(FINISHED_LATELY);
    for cache in context.store.caches_with_too_many_lines(since).await? {
        let mut is_over = true;
        while is_over {
            let mut tx = context.store.begin().await?;
            // Two workers that tidy at the same time come one after the other.
            tx.lock_resource(cache).await?;
            is_over = tx.drop_oldest_lines(cache).await?;
            tx.commit().await?;
        }
    }
    Ok(())
}
