//! Asynchronous provisions: resources that were accepted and are not ready yet, whose provider waits to be told.
//!
//! An attempt goes by what is true now. A cache without a node looks for room. Config vars that have not reached the
//! provider yet are waited for (their push makes this attempt due again). When both are there, the provider is told.
//! The outcome of a call whose answer was lost is read from the provider, so telling twice is harmless.
//!
//! A provider removes what stays unfinished for half a day. Before that we give up ourselves and say so. Nothing is
//! ended here before the provider has confirmed that it is gone: a completion call that seemed lost may have arrived,
//! and the customer may be using the cache.

use std::time::Duration;

use super::backoff::{self, CONFIG, RECONCILE_EVERY};
use super::ports::{Completion, Provider, ProviderState, Token};
use super::promise::{AttemptError, Context, Promise, count};
use super::tokens::with_token;
use crate::domain::{Actor, CompletionGoal, Event, Identity, Timestamp};
use crate::http::{CallError, CallErrorKind};
use crate::store::outbox::async_provisions::{AsyncProvisionClaim, CompletionFailure};
use crate::store::outbox::claims::{Backlog, Served, Terms};
use crate::store::outbox::promised::PromiseKind;
use crate::store::service::audit::AuditEntry;
use crate::store::{Store, StoreError, Tx};

/// Heroku removes a resource that is not ready after some twelve hours (heroku.md §2).
const GIVE_UP_AFTER: Duration = Duration::from_secs(10 * 3_600);
/// By now the provider has removed it by itself: if it still does not confirm the end, a person must ask it.
const OVERDUE_AFTER: Duration = Duration::from_secs(24 * 3_600);

pub(super) struct AsyncProvision;

impl Promise for AsyncProvision {
    type Claim = AsyncProvisionClaim;
    const NAME: &'static str = "async_provision";
    const KIND: PromiseKind = PromiseKind::AsyncProvisions;

    fn can_serve(provider: &dyn Provider) -> bool {
        provider.completion().is_some()
    }

    async fn backlog(
        store: &Store,
        served: &Served,
        now: Timestamp,
    ) -> Result<Backlog, StoreError> {
        store.async_provisions_backlog(served, now).await
    }

    async fn claim(tx: &mut Tx, terms: &Terms) -> Result<Vec<AsyncProvisionClaim>, StoreError> {
        tx.claim_async_provisions(terms).await
    }

    async fn attempt(context: &Context, claim: AsyncProvisionClaim) -> Result<(), StoreError> {
        match complete(context, &claim).await {
            Ok(End::Ready) => record_ready(context, &claim).await,
            Ok(End::Gone) => record_gone(context, &claim).await,
            Err(error) => record_failed(context, &claim, &error.into_recorded()?).await,
        }
    }
}

/// What the provider knows for certain.
enum End {
    Ready,
    Gone,
}

async fn complete(context: &Context, claim: &AsyncProvisionClaim) -> Result<End, AttemptError> {
    let able = context.provider(claim.marketplace);
    let able = able.and_then(|provider| Some((provider, provider.completion()?)));
    let Some((provider, completion)) = able else {
        let marketplace = claim.marketplace;
        return Err(AttemptError::retry(format!(
            "{marketplace} takes no completion calls from here"
        )));
    };
    if claim.goal == CompletionGoal::Finish {
        is_complete(context, claim).await?;
    }
    with_token(context, provider, claim.cache, |token| async move {
        Ok(tell(provider, completion, claim, token.as_ref()).await?)
    })
    .await
}

/// Fails with the reason while the cache has no node or the provider not all of its config vars.
async fn is_complete(context: &Context, claim: &AsyncProvisionClaim) -> Result<(), AttemptError> {
    let cache = claim.cache;
    if !context.nodes.find_room(cache).await? {
        return Err(AttemptError::retry("no node has room"));
    }
    let config = context.store.config_state(cache).await?;
    let config = config.ok_or_else(|| AttemptError::retry("deprovisioned meanwhile"))?;
    if config.applied < config.desired {
        return Err(AttemptError::retry(match config.last_error {
            None => "waiting for the push of the config vars".to_owned(),
            Some(why) => format!("waiting for the push of the config vars, which failed: {why}"),
        }));
    }
    Ok(())
}

async fn tell(
    provider: &dyn Provider,
    completion: &dyn Completion,
    claim: &AsyncProvisionClaim,
    token: Token<'_>,
) -> Result<End, CallError> {
    let id = &claim.external_id;
    match claim.goal {
        CompletionGoal::Finish => match completion.finish(id, token).await {
            Ok(()) => Ok(End::Ready),
            Err(error) if is_verdict(&error) => match state_there(provider, claim, token).await? {
                Some(ProviderState::Provisioned) => Ok(End::Ready),
                Some(ProviderState::Deprovisioned) => Ok(End::Gone),
                // A provider may not know yet what it has just asked us for.
                Some(ProviderState::Provisioning) | None => Err(error),
            },
            Err(error) => Err(error),
        },
        CompletionGoal::GiveUp => match state_there(provider, claim, token).await? {
            Some(ProviderState::Provisioned) => Ok(End::Ready),
            Some(ProviderState::Deprovisioned) | None => Ok(End::Gone),
            Some(ProviderState::Provisioning) => match completion.give_up(id, token).await {
                Ok(()) => Ok(End::Gone),
                // The next attempt reads what became of it.
                Err(error) => Err(error),
            },
        },
    }
}

/// Whether it speaks of the resource, not of the way to it.
fn is_verdict(error: &CallError) -> bool {
    matches!(error.kind, CallErrorKind::Gone | CallErrorKind::Refused)
}

/// How far the provider says the resource is; `None` when it does not know it. Where it cannot be read, the resource
/// counts as still provisioning, which leaves the decision to the completion calls.
async fn state_there(
    provider: &dyn Provider,
    claim: &AsyncProvisionClaim,
    token: Token<'_>,
) -> Result<Option<ProviderState>, CallError> {
    let Some(reader) = provider.resource_reader() else {
        return Ok(Some(ProviderState::Provisioning));
    };
    match reader.resource(&claim.external_id, token).await {
        Ok(resource) => Ok(Some(resource.state)),
        Err(error) if error.kind == CallErrorKind::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

async fn record_ready(context: &Context, claim: &AsyncProvisionClaim) -> Result<(), StoreError> {
    let (cache, now) = (claim.cache, context.now());
    let mut tx = context.store.begin().await?;
    let Some(resource) = tx.lock_resource(cache).await? else {
        return Ok(());
    };
    if let Some(plan) = tx.finish_async_provision(cache).await? {
        let service = Actor::local(Identity::Service);
        let event = Event::Provisioned {
            plan: plan.to_string(),
        };
        super::announce(&mut tx, cache, &resource.label, &event, &service, now).await?;
        tx.request_reconcile(cache, now).await?;
    }
    tx.commit().await?;
    count(AsyncProvision::NAME, "delivered");
    tracing::info!(%cache, "the provider knows that the cache is ready");
    Ok(())
}

/// Ends our side of what the provider has removed. Nobody is left to hear of it but the operator.
async fn record_gone(context: &Context, claim: &AsyncProvisionClaim) -> Result<(), StoreError> {
    let (cache, now) = (claim.cache, context.now());
    let mut tx = context.store.begin().await?;
    let locked = tx.lock_resource(cache).await?;
    let Some(resource) = locked.filter(|resource| resource.state.is_live()) else {
        return Ok(());
    };
    tx.end_resource(cache, now).await?;
    let (event, service) = (Event::Deprovisioned, Actor::local(Identity::Service));
    super::announce(&mut tx, cache, &resource.label, &event, &service, now).await?;
    let entry = AuditEntry {
        cache: Some(cache),
        actor: service,
        action: "resource.give_up".to_owned(),
        detail: claim.external_id.to_string(),
    };
    tx.audit(&entry, now).await?;
    tx.bump(cache).await?;
    tx.commit().await?;
    count(AsyncProvision::NAME, "dead");
    tracing::error!(%cache, external_id = %claim.external_id, "an asynchronous provision was given up: the cache could not be made ready in time");
    Ok(())
}

async fn record_failed(
    context: &Context,
    claim: &AsyncProvisionClaim,
    error: &CallError,
) -> Result<(), StoreError> {
    let (cache, now) = (claim.cache, context.now());
    let (goal, wait) = classify(claim, error, now, backoff::dice());
    let failure = CompletionFailure {
        error: &error.message,
        goal,
        next_attempt_at: now.plus(wait),
    };
    let mut tx = context.store.begin().await?;
    if !tx
        .record_async_provision_failed(claim, &failure, now)
        .await?
    {
        return Ok(());
    }
    tx.commit().await?;
    count(AsyncProvision::NAME, "failed");
    if goal != claim.goal {
        tracing::error!(%cache, %error, "an asynchronous provision takes too long: the provider is told to remove it");
    } else if now.since(claim.created_at) >= OVERDUE_AFTER {
        tracing::error!(%cache, %error, external_id = %claim.external_id,
            "the provider does not confirm that it removed a given-up resource; trying hourly");
    } else {
        tracing::info!(%cache, %error, attempt = claim.attempt + 1, "an asynchronous provision is not complete yet");
    }
    Ok(())
}

/// What a failure means: the goal from now on, and the wait. Every goal is tried once more after its time is up, so a
/// clock that jumps ahead gives nothing up that works.
fn classify(
    claim: &AsyncProvisionClaim,
    error: &CallError,
    now: Timestamp,
    dice: u32,
) -> (CompletionGoal, Duration) {
    let waited = now.since(claim.created_at);
    if claim.goal == CompletionGoal::Finish && waited >= GIVE_UP_AFTER {
        return (CompletionGoal::GiveUp, Duration::ZERO);
    }
    let wait = match error.kind {
        CallErrorKind::Retry { after: Some(asked) } => backoff::obey(asked),
        _ if waited >= OVERDUE_AFTER => RECONCILE_EVERY,
        _ => CONFIG.wait(claim.attempt.saturating_add(1), dice),
    };
    (claim.goal, wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CacheId, Marketplace};

    fn classified(goal: CompletionGoal, hours: i64) -> (CompletionGoal, u64) {
        let claim = AsyncProvisionClaim {
            cache: CacheId(1),
            marketplace: Marketplace::named("any"),
            external_id: "r-1".parse().unwrap(),
            created_at: Timestamp::from_secs(1_000),
            goal,
            fence: 1,
            wanted: 1,
            attempt: 20,
        };
        let now = Timestamp::from_secs(1_000 + hours * 3_600);
        let retry = CallErrorKind::Retry { after: None };
        let (goal, wait) = classify(&claim, &CallError::new(retry, "x"), now, u32::MAX);
        (goal, wait.as_secs())
    }

    #[test]
    fn it_gives_up_before_the_provider_does_and_then_insists() {
        use CompletionGoal::{Finish, GiveUp};
        assert_eq!(classified(Finish, 9), (Finish, 300));
        assert_eq!(classified(Finish, 10), (GiveUp, 0));
        assert_eq!(classified(GiveUp, 11), (GiveUp, 300));
        assert_eq!(classified(GiveUp, 24), (GiveUp, 3_600));
    }
}
