//! Config pushes: the provider's variables follow the current primary (P2, P3).
//!
//! An attempt delivers what is true *when it pushes*, not what was true when it was promised. It waits for the
//! nodes, reads, pushes all variables in one call, and records the count of changes it has read; whatever was
//! changed since leaves the row due.

use std::time::Duration;

use tokio::time::Instant;

use super::backoff::{self, CONFIG, CONFIG_RETRIES, RECONCILE_EVERY};
use super::ports::Provider;
use super::promise::{AttemptError, Context, Promise, count};
use super::tokens::with_token;
use crate::domain::{CacheId, ConfigValues, ResourceState, Timestamp};
use crate::http::{CallError, CallErrorKind};
use crate::store::outbox::claims::{Backlog, Served, Terms};
use crate::store::outbox::config_sync::{ConfigClaim, ConfigFailure, ConfigWanted};
use crate::store::outbox::promised::PromiseKind;
use crate::store::{Store, StoreError, Tx};

/// A provider may not know a resource yet whose order it has just sent.
const GONE_PATIENCE: Duration = Duration::from_secs(300);
/// How often one attempt reads again because a newer change must reach the nodes first.
const ROUNDS_MAX: u32 = 3;

pub(super) struct ConfigSync;

impl Promise for ConfigSync {
    type Claim = ConfigClaim;
    const NAME: &'static str = "config_push";
    const KIND: PromiseKind = PromiseKind::ConfigSync;

    fn can_serve(provider: &dyn Provider) -> bool {
        provider.config_push().is_some()
    }

    async fn backlog(
        store: &Store,
        served: &Served,
        now: Timestamp,
    ) -> Result<Backlog, StoreError> {
        store.config_backlog(served, now).await
    }

    async fn claim(tx: &mut Tx, terms: &Terms) -> Result<Vec<ConfigClaim>, StoreError> {
        tx.claim_config(terms).await
    }

    async fn attempt(context: &Context, claim: ConfigClaim) -> Result<(), StoreError> {
        match converge(context, &claim).await {
            Ok(Some(done)) => record_applied(context, &claim, &done).await,
            // Deprovisioned meanwhile: there is no row to record in.
            Ok(None) => Ok(()),
            Err(error) => record_failed(context, &claim, &error.into_recorded()?).await,
        }
    }
}

struct Done {
    wanted: ConfigWanted,
    pushed: bool,
}

/// Brings the provider to what is true now; `None` when the resource is gone.
async fn converge(context: &Context, claim: &ConfigClaim) -> Result<Option<Done>, AttemptError> {
    let cache = claim.cache;
    let push_by = Instant::now() + context.push_by();
    let mut needs = claim.needs;
    for _ in 0..ROUNDS_MAX {
        let caught_up = context
            .nodes
            .wait_applied(cache, needs, context.settings.nodes_wait);
        if !caught_up.await {
            return Err(AttemptError::retry(
                "the cache's nodes have not taken up the change yet",
            ));
        }
        let Some(wanted) = context.store.config_wanted(cache).await? else {
            return Ok(None);
        };
        // Changed while we waited, to something the nodes may not know: a push now would break P3.
        if wanted.needs > needs {
            needs = wanted.needs;
            continue;
        }
        if wanted.unchanged {
            return Ok(Some(Done {
                wanted,
                pushed: false,
            }));
        }
        if wanted.servers.is_empty() {
            return Err(AttemptError::retry("the cache has no node"));
        }
        push(context, claim, &wanted, push_by).await?;
        return Ok(Some(Done {
            wanted,
            pushed: true,
        }));
    }
    Err(AttemptError::retry(
        "the primary changes faster than it can be pushed",
    ))
}

async fn push(
    context: &Context,
    claim: &ConfigClaim,
    wanted: &ConfigWanted,
    push_by: Instant,
) -> Result<(), AttemptError> {
    let values = ConfigValues {
        servers: wanted.servers.clone(),
        username: wanted.username.clone(),
        password: wanted.password.clone(),
    };
    let able = context.provider(wanted.marketplace);
    let able = able.and_then(|provider| Some((provider, provider.config_push()?)));
    let Some((provider, push)) = able else {
        let marketplace = wanted.marketplace;
        return Err(AttemptError::refused(format!(
            "{marketplace} takes no config vars from here"
        )));
    };
    let values = &values;
    with_token(context, provider, claim.cache, |token| async move {
        begin(context, claim).await?;
        in_time(push_by)?;
        let pushed = push.push_config(&wanted.external_id, token.as_ref(), values);
        Ok(pushed.await?)
    })
    .await
}

/// Gives up the certainty of what the provider holds, before anything is sent.
async fn begin(context: &Context, claim: &ConfigClaim) -> Result<(), AttemptError> {
    let mut tx = context.store.begin().await?;
    let ours = tx.begin_config_push(claim).await?;
    tx.commit().await?;
    if ours {
        Ok(())
    } else {
        Err(AttemptError::retry(
            "another worker has taken this push over",
        ))
    }
}

fn in_time(push_by: Instant) -> Result<(), AttemptError> {
    if Instant::now() < push_by {
        Ok(())
    } else {
        Err(AttemptError::retry("the attempt took too long"))
    }
}

async fn record_applied(
    context: &Context,
    claim: &ConfigClaim,
    done: &Done,
) -> Result<(), StoreError> {
    let now = context.now();
    let mut tx = context.store.begin().await?;
    // Credentials change with it: without the lock, a promotion could hold what we need and need what we hold.
    tx.lock_resource(claim.cache).await?;
    let ours = tx.record_config_applied(claim, &done.wanted, now).await?;
    if !ours && done.pushed {
        tx.distrust_config(claim.cache, &done.wanted, now).await?;
    }
    tx.commit().await?;
    count(
        ConfigSync::NAME,
        if done.pushed {
            "delivered"
        } else {
            "unchanged"
        },
    );
    tracing::info!(cache = %claim.cache, pushed = done.pushed, "config vars are up to date");
    Ok(())
}

async fn record_failed(
    context: &Context,
    claim: &ConfigClaim,
    error: &CallError,
) -> Result<(), StoreError> {
    let now = context.now();
    let failure = classify(claim, error, now, backoff::dice());
    let cache = claim.cache;
    let mut tx = context.store.begin().await?;
    let missed = error.kind == CallErrorKind::Gone && is_ready(&mut tx, cache).await?;
    let ours = tx.record_config_failed(claim, &failure, now).await?;
    // Perhaps it was deprovisioned without our hearing. Once a person is called, the daily reconcile is enough.
    if ours && missed && !claim.dead {
        tx.request_reconcile(cache, now).await?;
    }
    tx.commit().await?;
    if failure.dead {
        count(ConfigSync::NAME, "dead");
        tracing::error!(%cache, %error, "config vars cannot be pushed; trying hourly");
    } else {
        count(ConfigSync::NAME, "failed");
        tracing::warn!(%cache, %error, attempt = claim.attempt + 1, "config push failed");
    }
    Ok(())
}

/// Whether the provider has been told that the resource is ready. Before, it may well not know it.
async fn is_ready(tx: &mut Tx, cache: CacheId) -> Result<bool, StoreError> {
    let resource = tx.lock_resource(cache).await?;
    Ok(resource.is_some_and(|resource| resource.state == ResourceState::Provisioned))
}

/// What a failure means for the row: when the next attempt is, and whether the operator has to act.
fn classify(claim: &ConfigClaim, error: &CallError, now: Timestamp, dice: u32) -> ConfigFailure {
    let waiting = now.since(claim.pending_since);
    let (dead, after) = match error.kind {
        CallErrorKind::Retry { after } => (claim.dead || waiting >= CONFIG_RETRIES, after),
        CallErrorKind::Gone => (claim.dead || waiting >= GONE_PATIENCE, None),
        CallErrorKind::Unauthorized | CallErrorKind::Refused => (true, None),
    };
    let wait = match after {
        _ if dead => RECONCILE_EVERY,
        Some(asked) => backoff::obey(asked),
        None => CONFIG.wait(claim.attempt.saturating_add(1), dice),
    };
    ConfigFailure {
        error: error.message.clone(),
        next_attempt_at: now.plus(wait),
        dead,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(attempt: u32, dead: bool) -> ConfigClaim {
        ConfigClaim {
            cache: CacheId(1),
            fence: 1,
            desired: 2,
            needs: crate::domain::Revision(3),
            attempt,
            pending_since: Timestamp::from_secs(1_000),
            dead,
        }
    }

    fn classified(kind: CallErrorKind, waiting: i64, dead: bool) -> (i64, bool) {
        let now = Timestamp::from_secs(1_000 + waiting);
        let failure = classify(&claim(0, dead), &CallError::new(kind, "x"), now, u32::MAX);
        (
            failure.next_attempt_at.since(now).as_secs() as i64,
            failure.dead,
        )
    }

    const RETRY: CallErrorKind = CallErrorKind::Retry { after: None };

    #[test]
    fn retries_last_a_day_and_then_go_hourly_for_ever() {
        assert_eq!(classified(RETRY, 10, false), (1, false));
        assert_eq!(classified(RETRY, 86_399, false), (1, false));
        assert_eq!(classified(RETRY, 86_400, false), (3_600, true));
        assert_eq!(classified(RETRY, 10, true), (3_600, true));
    }

    #[test]
    fn a_provider_that_asks_for_patience_gets_it() {
        let after = |secs| CallErrorKind::Retry {
            after: Some(Duration::from_secs(secs)),
        };
        assert_eq!(classified(after(60), 10, false), (60, false));
        assert_eq!(classified(after(90_000), 10, false), (3_600, false));
    }

    #[test]
    fn refusals_call_a_person_and_unknown_resources_after_five_minutes() {
        assert_eq!(classified(CallErrorKind::Refused, 0, false), (3_600, true));
        assert_eq!(
            classified(CallErrorKind::Unauthorized, 0, false),
            (3_600, true)
        );
        assert_eq!(classified(CallErrorKind::Gone, 299, false), (1, false));
        assert_eq!(classified(CallErrorKind::Gone, 300, false), (3_600, true));
    }
}
