//! Resources that were accepted and are not ready yet: their provider waits for our word.
//!
//! An attempt looks at what is true: a cache without a node looks for room; config vars that are not with the
//! provider yet are waited for (their push wakes us); when both are there, the provider is told. What came of a call
//! whose answer was lost is read from the provider, so telling twice is harmless.
//!
//! A provider removes what stays unfinished for half a day. Before that we give up ourselves and say so. Nothing is
//! ended here before the provider has confirmed that it is gone: a word of ours that seemed lost may have arrived,
//! and the customer be using the cache.

use std::time::Duration;

use secrecy::SecretString;

use super::backoff::{self, CONFIG, RECONCILE_EVERY};
use super::grants::{self, Fault};
use super::ports::{Provider, SendError, SendErrorKind, Stage};
use super::worker::{Inner, Kind, count};
use crate::domain::{Event, SetupGoal, Timestamp};
use crate::store::StoreError;
use crate::store::audit::AuditEntry;
use crate::store::claims::{Backlog, Caps};
use crate::store::setups::{SetupClaim, SetupFailure};

/// Heroku removes a resource that is not ready after some twelve hours (heroku.md §2).
const GIVE_UP_AFTER: Duration = Duration::from_secs(10 * 3_600);
/// By now the provider has removed it by itself: a giving up that is still not confirmed is a case for a person.
const OVERDUE_AFTER: Duration = Duration::from_secs(24 * 3_600);

pub(super) struct Setups;

impl Kind for Setups {
    type Claim = SetupClaim;
    const NAME: &'static str = "setup";

    async fn backlog(outbox: &Inner, now: Timestamp) -> Result<Backlog, StoreError> {
        outbox.store.setups_backlog(now).await
    }

    async fn claim(outbox: &Inner, caps: Caps) -> Result<Vec<SetupClaim>, StoreError> {
        let mut tx = outbox.store.begin().await?;
        let claims = tx
            .claim_setups(outbox.now(), outbox.lease_until(), caps)
            .await?;
        tx.commit().await?;
        Ok(claims)
    }

    async fn keep(outbox: &Inner, claim: SetupClaim) -> Result<(), StoreError> {
        match attempt(outbox, &claim).await {
            Ok(End::Ready) => record_ready(outbox, &claim).await,
            Ok(End::Gone) => record_gone(outbox, &claim).await,
            Err(Fault::Store(error @ StoreError::Unavailable(_))) => Err(error),
            Err(Fault::Store(error)) => {
                let error = SendError::new(RETRY, error.to_string());
                record_failed(outbox, &claim, &error).await
            }
            Err(Fault::Send(error)) => record_failed(outbox, &claim, &error).await,
        }
    }
}

const RETRY: SendErrorKind = SendErrorKind::Retry { after: None };

/// What the provider knows for certain.
enum End {
    Ready,
    Gone,
}

fn not_yet(message: impl Into<String>) -> Fault {
    SendError::new(RETRY, message).into()
}

async fn attempt(outbox: &Inner, claim: &SetupClaim) -> Result<End, Fault> {
    let cache = claim.cache;
    let Some(provider) = outbox.providers.get(&claim.marketplace) else {
        let why = format!("{} is not configured here", claim.marketplace);
        return Err(not_yet(why));
    };
    if claim.goal == SetupGoal::Finish {
        if outbox.store.servers(cache).await?.is_empty() && !outbox.nodes.find_room(cache).await? {
            return Err(not_yet("no node has room"));
        }
        let config = outbox.store.config_state(cache).await?;
        let config = config.ok_or_else(|| not_yet("deprovisioned meanwhile"))?;
        if config.applied < config.desired {
            let why = config.last_error.unwrap_or_default();
            return Err(not_yet(format!(
                "the provider has not all config vars yet {why}"
            )));
        }
    }
    let token = grants::access_token(outbox, provider.as_ref(), cache).await?;
    let refused = match tell(provider.as_ref(), claim, &token).await {
        Err(error) if error.kind == SendErrorKind::Unauthorized => token,
        other => return Ok(other?),
    };
    let token = grants::renewed_token(outbox, provider.as_ref(), cache, &refused).await?;
    match tell(provider.as_ref(), claim, &token).await {
        Err(error) if error.kind == SendErrorKind::Unauthorized => {
            grants::mark_broken(outbox, cache, &token, &error.message).await?;
            Err(error.into())
        }
        other => Ok(other?),
    }
}

async fn tell(
    provider: &dyn Provider,
    claim: &SetupClaim,
    token: &SecretString,
) -> Result<End, SendError> {
    let id = &claim.external_id;
    match claim.goal {
        SetupGoal::Finish => match provider.finish(id, token).await {
            Ok(()) => Ok(End::Ready),
            Err(error) if is_verdict(&error) => match stage(provider, claim, token).await? {
                Some(Stage::Provisioned) => Ok(End::Ready),
                Some(Stage::Deprovisioned) => Ok(End::Gone),
                // A provider may not know yet what it has just asked us for.
                Some(Stage::Provisioning) | None => Err(error),
            },
            Err(error) => Err(error),
        },
        SetupGoal::GiveUp => match stage(provider, claim, token).await? {
            Some(Stage::Provisioned) => Ok(End::Ready),
            Some(Stage::Deprovisioned) | None => Ok(End::Gone),
            Some(Stage::Provisioning) => match provider.give_up(id, token).await {
                Ok(()) => Ok(End::Gone),
                // The next attempt reads what became of it.
                Err(error) => Err(error),
            },
        },
    }
}

/// Whether it speaks of the resource, not of the way to it.
fn is_verdict(error: &SendError) -> bool {
    matches!(error.kind, SendErrorKind::Gone | SendErrorKind::Refused)
}

/// `None` when the provider does not know the resource.
async fn stage(
    provider: &dyn Provider,
    claim: &SetupClaim,
    token: &SecretString,
) -> Result<Option<Stage>, SendError> {
    match provider.resource(&claim.external_id, token).await {
        Ok(resource) => Ok(Some(resource.stage)),
        Err(error) if error.kind == SendErrorKind::Gone => Ok(None),
        Err(error) => Err(error),
    }
}

async fn record_ready(outbox: &Inner, claim: &SetupClaim) -> Result<(), StoreError> {
    let (cache, now) = (claim.cache, outbox.now());
    let mut tx = outbox.store.begin().await?;
    let Some(resource) = tx.lock_resource(cache).await? else {
        return Ok(());
    };
    if let Some(plan) = tx.finish_setup(cache).await? {
        let event = Event::Provisioned {
            plan: plan.to_string(),
        };
        super::announce(&mut tx, cache, &resource.label, &event, now).await?;
        tx.want_look(cache, now).await?;
    }
    tx.commit().await?;
    count(Setups::NAME, "delivered");
    tracing::info!(%cache, "the provider knows that the cache is ready");
    Ok(())
}

/// Ends our side of what the provider has removed. Nobody is left to hear of it but the operator.
async fn record_gone(outbox: &Inner, claim: &SetupClaim) -> Result<(), StoreError> {
    let (cache, now) = (claim.cache, outbox.now());
    let mut tx = outbox.store.begin().await?;
    let locked = tx.lock_resource(cache).await?;
    let Some(resource) = locked.filter(|resource| resource.state.is_live()) else {
        return Ok(());
    };
    tx.end_resource(cache, now).await?;
    super::announce(&mut tx, cache, &resource.label, &Event::Deprovisioned, now).await?;
    let entry = AuditEntry {
        cache: Some(cache),
        actor: "larder".to_owned(),
        action: "resource.give_up".to_owned(),
        detail: claim.external_id.to_string(),
        remote: None,
    };
    tx.audit(&entry, now).await?;
    tx.bump(cache).await?;
    tx.commit().await?;
    count(Setups::NAME, "dead");
    tracing::error!(%cache, external_id = %claim.external_id, "a cache that was ordered could not be set up and was given up");
    Ok(())
}

async fn record_failed(
    outbox: &Inner,
    claim: &SetupClaim,
    error: &SendError,
) -> Result<(), StoreError> {
    let (cache, now) = (claim.cache, outbox.now());
    let (goal, wait) = sort(claim, error, now, backoff::dice());
    let failure = SetupFailure {
        error: &error.message,
        goal,
        next_attempt_at: now.plus(wait),
    };
    let mut tx = outbox.store.begin().await?;
    if !tx.record_setup_failed(claim, &failure, now).await? {
        return Ok(());
    }
    tx.commit().await?;
    count(Setups::NAME, "failed");
    if goal != claim.goal {
        tracing::error!(%cache, %error, "a cache cannot be set up; giving up");
        outbox.wake();
    } else if now.since(claim.created_at) >= OVERDUE_AFTER {
        tracing::error!(%cache, %error, external_id = %claim.external_id,
            "the provider does not confirm that a cache was given up; trying hourly");
    } else {
        tracing::info!(%cache, %error, attempt = claim.attempt + 1, "a cache is not ready yet");
    }
    Ok(())
}

/// What a failure means: the goal from now on, and the wait. Every goal is tried once more after its time is up, so a
/// clock that jumps ahead gives nothing up that works.
fn sort(claim: &SetupClaim, error: &SendError, now: Timestamp, dice: u32) -> (SetupGoal, Duration) {
    let waited = now.since(claim.created_at);
    if claim.goal == SetupGoal::Finish && waited >= GIVE_UP_AFTER {
        return (SetupGoal::GiveUp, Duration::ZERO);
    }
    let wait = match error.kind {
        SendErrorKind::Retry { after: Some(asked) } => backoff::obey(asked),
        _ if waited >= OVERDUE_AFTER => RECONCILE_EVERY,
        _ => CONFIG.wait(claim.attempt.saturating_add(1), dice),
    };
    (claim.goal, wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CacheId, Marketplace};

    fn sorted(goal: SetupGoal, hours: i64) -> (SetupGoal, u64) {
        let claim = SetupClaim {
            cache: CacheId(1),
            marketplace: Marketplace::Heroku,
            external_id: "r-1".parse().unwrap(),
            created_at: Timestamp::from_secs(1_000),
            goal,
            fence: 1,
            wanted: 1,
            attempt: 20,
        };
        let now = Timestamp::from_secs(1_000 + hours * 3_600);
        let (goal, wait) = sort(&claim, &SendError::new(RETRY, "x"), now, u32::MAX);
        (goal, wait.as_secs())
    }

    #[test]
    fn it_gives_up_before_the_provider_does_and_then_insists() {
        use SetupGoal::{Finish, GiveUp};
        assert_eq!(sorted(Finish, 9), (Finish, 300));
        assert_eq!(sorted(Finish, 10), (GiveUp, 0));
        assert_eq!(sorted(GiveUp, 11), (GiveUp, 300));
        assert_eq!(sorted(GiveUp, 24), (GiveUp, 3_600));
    }
}
