//! The base of all promises: what they work with, how they are claimed, counted, and how an attempt may fail. It
//! knows none of them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::ports::{Nodes, Provider, Providers};
use crate::domain::{Clock, Marketplace, Timestamp, WorkerId};
use crate::http::{CallError, CallErrorKind};
use crate::store::outbox::claims::{Backlog, Served, Terms};
use crate::store::outbox::promised::PromiseKind;
use crate::store::{Store, StoreError, Tx};

/// The clocks of two machines may be this far apart.
pub(super) const CLOCKS_DIFFER: Duration = Duration::from_secs(30);

/// How eager the outbox is.
#[derive(Clone, Debug)]
pub struct OutboxSettings {
    /// Where this process runs: its data folder, and its place there, which it has to itself while it lives. One that
    /// starts in the same place takes the one before it for gone.
    pub place: Option<String>,
    /// The slow poll behind the wake-ups.
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
    pub reconcile_every: Duration,
    /// How long an install that we do not know may be on its way to us before the operator is told.
    pub unknown_installs_wait: Duration,
}

impl Default for OutboxSettings {
    fn default() -> OutboxSettings {
        OutboxSettings {
            place: None,
            poll: Duration::from_secs(1),
            lease: Duration::from_secs(60),
            nodes_wait: Duration::from_secs(5),
            at_once: 32,
            per_log_host: 2,
            per_marketplace: 8,
            reconcile_every: Duration::from_secs(86_400),
            unknown_installs_wait: Duration::from_secs(60),
        }
    }
}

/// One kind of promise: rows that are claimed, attempted and recorded.
pub(super) trait Promise: Send + Sync + 'static {
    /// The right to attempt one row, until its lease ends.
    type Claim: Send + 'static;
    /// For metrics and logs.
    const NAME: &'static str;
    /// Commits that promise something of this kind wake its loop.
    const KIND: PromiseKind;

    /// Claims that may be open for one destination.
    fn per_destination(settings: &OutboxSettings) -> u32 {
        settings.per_marketplace
    }
    /// Whether the marketplace has the ability that an attempt needs. Rows of others are not claimed.
    fn can_serve(provider: &dyn Provider) -> bool;
    fn backlog(
        store: &Store,
        served: &Served,
        now: Timestamp,
    ) -> impl Future<Output = Result<Backlog, StoreError>> + Send;
    fn claim(
        tx: &mut Tx,
        terms: &Terms,
    ) -> impl Future<Output = Result<Vec<Self::Claim>, StoreError>> + Send;
    /// One attempt, recorded.
    fn attempt(
        context: &Context,
        claim: Self::Claim,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What every promise works with.
pub(super) struct Context {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub nodes: Arc<dyn Nodes>,
    pub providers: Providers,
    pub settings: OutboxSettings,
    /// This process, as the holder of leases.
    pub worker: WorkerId,
}

impl Context {
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
        self.store.promised().wake_all();
    }

    pub fn provider(&self, marketplace: Marketplace) -> Option<&dyn Provider> {
        self.providers.get(&marketplace).map(AsRef::as_ref)
    }

    /// The marketplaces whose rows of this kind can be attempted here.
    pub fn served<P: Promise>(&self) -> Served {
        let able = self
            .providers
            .iter()
            .filter(|(_, provider)| P::can_serve(provider.as_ref()));
        able.map(|(marketplace, _)| *marketplace).collect()
    }

    /// Claims up to `take` due rows of a kind.
    pub async fn claim<P: Promise>(&self, take: u32) -> Result<Vec<P::Claim>, StoreError> {
        let terms = Terms {
            now: self.now(),
            lease_until: self.lease_until(),
            holder: self.worker,
            take,
            per_destination: P::per_destination(&self.settings),
            served: self.served::<P>(),
        };
        let mut tx = self.store.begin().await?;
        let claims = P::claim(&mut tx, &terms).await?;
        tx.commit().await?;
        Ok(claims)
    }
}

/// Why an attempt did not come to its end.
#[derive(Debug)]
pub(super) enum AttemptError {
    Store(StoreError),
    Call(CallError),
}

impl From<StoreError> for AttemptError {
    fn from(error: StoreError) -> AttemptError {
        AttemptError::Store(error)
    }
}

impl From<CallError> for AttemptError {
    fn from(error: CallError) -> AttemptError {
        AttemptError::Call(error)
    }
}

impl AttemptError {
    pub fn retry(message: impl Into<String>) -> AttemptError {
        CallError::new(CallErrorKind::Retry { after: None }, message).into()
    }

    pub fn refused(message: impl Into<String>) -> AttemptError {
        CallError::new(CallErrorKind::Refused, message).into()
    }

    /// What to record in the promise's row. A database that is away can record nothing: that error comes back, the
    /// lease ends by itself and the attempt is made again. A row that cannot be read is recorded like a provider
    /// that cannot be reached, so that the operator hears of it.
    pub fn into_recorded(self) -> Result<CallError, StoreError> {
        match self {
            AttemptError::Store(error @ StoreError::Unavailable(_)) => Err(error),
            AttemptError::Store(error) => Ok(CallError::new(
                CallErrorKind::Retry { after: None },
                error.to_string(),
            )),
            AttemptError::Call(error) => Ok(error),
        }
    }
}

/// Counts an attempt by how it ended.
pub(super) fn count(kind: &'static str, outcome: &'static str) {
    metrics::counter!("larder_outbox_attempts_total", "kind" => kind, "outcome" => outcome)
        .increment(1);
}
