//! The worker: claims what is due, keeps each promise in a task of its own, and sleeps until woken or polled.
//!
//! Each kind of promise has its own loop and its own slots, and claims count open leases per destination, so a
//! provider that hangs holds up nobody but itself. A destination is the host of a log input, or a marketplace.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ports::{Nodes, Providers};
use super::{census, config_sync, grants, lines, looks, setups};
use crate::domain::{Clock, Timestamp};
use crate::store::claims::{Backlog, Caps};
use crate::store::{Store, StoreError};

/// How long finished deliveries are kept for a look back.
const DONE_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Providers repeat what they could not deliver for seven days.
const NEWS_KEPT: Duration = Duration::from_secs(8 * 86_400);
/// The clocks of two machines may be this far apart.
const CLOCKS_DIFFER: Duration = Duration::from_secs(30);
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// How eager the worker is.
#[derive(Clone, Copy, Debug)]
pub struct OutboxSettings {
    /// The slow look behind the wake-ups.
    pub poll: Duration,
    /// How long a claim lasts. An attempt ends well before.
    pub lease: Duration,
    /// How long one attempt waits for the nodes of a cache.
    pub nodes_wait: Duration,
    /// Attempts under way at once, per kind.
    pub at_once: u32,
    /// The same per host of log inputs, over all processes (security.md OB-9).
    pub per_log_host: u32,
    /// The same per marketplace. More than two: it is the destination of all its customers, and an attempt waits for
    /// nodes as well, so two caches of a dead node would hold up everybody's pushes.
    pub per_marketplace: u32,
    /// How often a provider is asked what it knows of a resource, when nothing else gives cause.
    pub look_every: Duration,
    /// How long an install that we do not know may be on its way to us before it is told of.
    pub strangers_wait: Duration,
}

impl Default for OutboxSettings {
    fn default() -> OutboxSettings {
        OutboxSettings {
            poll: Duration::from_secs(1),
            lease: Duration::from_secs(60),
            nodes_wait: Duration::from_secs(5),
            at_once: 32,
            per_log_host: 2,
            per_marketplace: 8,
            look_every: Duration::from_secs(86_400),
            strangers_wait: Duration::from_secs(60),
        }
    }
}

/// The outbox of this process. Cheap to clone.
#[derive(Clone)]
pub struct Outbox(Arc<Inner>);

pub(super) struct Inner {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub nodes: Arc<dyn Nodes>,
    pub providers: Providers,
    pub settings: OutboxSettings,
}

/// One kind of promise.
pub(super) trait Kind: Send + Sync + 'static {
    type Claim: Send + 'static;
    /// For metrics and logs.
    const NAME: &'static str;

    /// Claims that may be open for one destination.
    fn per_destination(settings: &OutboxSettings) -> u32 {
        settings.per_marketplace
    }
    fn backlog(
        outbox: &Inner,
        now: Timestamp,
    ) -> impl Future<Output = Result<Backlog, StoreError>> + Send;
    fn claim(
        outbox: &Inner,
        caps: Caps,
    ) -> impl Future<Output = Result<Vec<Self::Claim>, StoreError>> + Send;
    /// One attempt, recorded.
    fn keep(
        outbox: &Inner,
        claim: Self::Claim,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl Outbox {
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        nodes: Arc<dyn Nodes>,
        providers: Providers,
        settings: OutboxSettings,
    ) -> Outbox {
        Outbox(Arc::new(Inner {
            store,
            clock,
            nodes,
            providers,
            settings,
        }))
    }

    /// Looks now instead of at the next poll. Commits in this process do it by themselves.
    pub fn wake(&self) {
        self.0.wake();
    }

    /// Works until `stop`, then lets the attempts under way end and records them.
    pub async fn run(&self, stop: CancellationToken) {
        let attempts = TaskTracker::new();
        tokio::join!(
            tend::<config_sync::Pushes>(&self.0, &stop, &attempts),
            tend::<grants::Codes>(&self.0, &stop, &attempts),
            tend::<setups::Setups>(&self.0, &stop, &attempts),
            tend::<lines::Lines>(&self.0, &stop, &attempts),
            tend::<looks::Looks>(&self.0, &stop, &attempts),
            tidy(&self.0, &stop),
            census(&self.0, &stop),
        );
        attempts.close();
        attempts.wait().await;
    }

    /// Keeps everything that is due at this moment, once, and tells how many attempts that took.
    pub async fn run_due(&self) -> Result<usize, StoreError> {
        let done = pass::<grants::Codes>(&self.0).await?
            + pass::<config_sync::Pushes>(&self.0).await?
            + pass::<setups::Setups>(&self.0).await?
            + pass::<lines::Lines>(&self.0).await?;
        Ok(done)
    }

    /// Takes every look that is due at this moment, once, and tells how many there were.
    pub async fn look_due(&self) -> Result<usize, StoreError> {
        pass::<looks::Looks>(&self.0).await
    }

    /// Compares the marketplaces' lists of installs with ours, where that is due.
    pub async fn census_due(&self) -> Result<(), StoreError> {
        census::take_due(&self.0).await
    }

    /// What the worker does every minute besides.
    pub async fn tidy(&self) -> Result<(), StoreError> {
        tidy_once(&self.0).await
    }
}

impl Inner {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn lease_until(&self) -> Timestamp {
        self.now().plus(self.settings.lease)
    }

    /// No push begins later than this after its claim, so that it ends inside the lease.
    pub fn push_by(&self) -> Duration {
        self.settings.lease.mul_f64(0.6)
    }

    pub fn wake(&self) {
        self.store.promised().notify_waiters();
    }
}

/// The loop of one kind.
async fn tend<K: Kind>(outbox: &Arc<Inner>, stop: &CancellationToken, attempts: &TaskTracker) {
    let slots = Arc::new(Semaphore::new(outbox.settings.at_once as usize));
    while !stop.is_cancelled() {
        // Registered before looking: what is committed while we look wakes us all the same.
        let woken = outbox.store.promised().notified();
        if let Err(error) = look::<K>(outbox, &slots, attempts).await {
            tracing::warn!(kind = K::NAME, %error, "could not look for due work");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = woken => {}
            () = tokio::time::sleep(outbox.settings.poll) => {}
        }
    }
}

/// Claims as much as there are slots for, and starts an attempt for each claim.
async fn look<K: Kind>(
    outbox: &Arc<Inner>,
    slots: &Arc<Semaphore>,
    attempts: &TaskTracker,
) -> Result<(), StoreError> {
    if measure::<K>(outbox).await?.due == 0 {
        return Ok(());
    }
    let free = u32::try_from(slots.available_permits()).unwrap_or(0);
    for claim in K::claim(outbox, caps::<K>(outbox, free)).await? {
        // Only this loop takes permits, so as many as were free are still there.
        let slot = Arc::clone(slots).try_acquire_owned().ok();
        let outbox = Arc::clone(outbox);
        attempts.spawn(async move {
            attempt::<K>(&outbox, claim).await;
            drop(slot);
            outbox.wake();
        });
    }
    Ok(())
}

fn caps<K: Kind>(outbox: &Inner, take: u32) -> Caps {
    Caps {
        take,
        per_destination: K::per_destination(&outbox.settings),
    }
}

async fn attempt<K: Kind>(outbox: &Inner, claim: K::Claim) {
    if let Err(error) = K::keep(outbox, claim).await {
        // The lease ends by itself and the attempt is made again.
        tracing::warn!(kind = K::NAME, %error, "could not record an attempt");
    }
}

async fn pass<K: Kind>(outbox: &Arc<Inner>) -> Result<usize, StoreError> {
    let mut attempts = JoinSet::new();
    for claim in K::claim(outbox, caps::<K>(outbox, outbox.settings.at_once)).await? {
        let outbox = Arc::clone(outbox);
        attempts.spawn(async move { attempt::<K>(&outbox, claim).await });
    }
    Ok(attempts.join_all().await.len())
}

async fn measure<K: Kind>(outbox: &Inner) -> Result<Backlog, StoreError> {
    let now = outbox.now();
    let backlog = K::backlog(outbox, now).await?;
    let age = backlog
        .oldest_due
        .map_or(Duration::ZERO, |oldest| now.since(oldest));
    metrics::gauge!("larder_outbox_due", "kind" => K::NAME).set(backlog.due as f64);
    metrics::gauge!("larder_outbox_oldest_due_seconds", "kind" => K::NAME).set(age.as_secs_f64());
    Ok(backlog)
}

/// Counts an attempt by how it ended.
pub(super) fn count(kind: &'static str, outcome: &'static str) {
    metrics::counter!("larder_outbox_attempts_total", "kind" => kind, "outcome" => outcome)
        .increment(1);
}

/// Every minute: what a clock that was set back would hold up, and what is too old to keep.
async fn tidy(outbox: &Inner, stop: &CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(TIDY_EVERY))
        .await
        .is_some()
    {
        if let Err(error) = tidy_once(outbox).await {
            tracing::warn!(%error, "the outbox could not be tidied");
        }
    }
}

/// Looks every minute whether a census is due.
async fn census(outbox: &Inner, stop: &CancellationToken) {
    loop {
        let taken = stop.run_until_cancelled(census::take_due(outbox)).await;
        if let Some(Err(error)) = &taken {
            tracing::warn!(%error, "a census did not work");
        }
        let wait = tokio::time::sleep(TIDY_EVERY.min(outbox.settings.look_every));
        if taken.is_none() || stop.run_until_cancelled(wait).await.is_none() {
            return;
        }
    }
}

async fn tidy_once(outbox: &Inner) -> Result<(), StoreError> {
    let now = outbox.now();
    let future = now.plus(CLOCKS_DIFFER);
    let leases_end = now.plus(outbox.settings.lease + TIDY_EVERY);
    let mut tx = outbox.store.begin().await?;
    tx.undo_clock_jump(now, future, leases_end).await?;
    tx.prune_deliveries(now.minus(DONE_KEPT)).await?;
    tx.prune_news(now.minus(NEWS_KEPT)).await?;
    tx.commit().await?;
    let candidates = outbox.store.candidates().await?;
    metrics::gauge!("larder_installs_one_sided", "known_to" => "us").set(candidates as f64);
    let strangers = outbox.store.strangers().await?;
    metrics::gauge!("larder_installs_one_sided", "known_to" => "marketplace").set(strangers as f64);
    Ok(())
}
