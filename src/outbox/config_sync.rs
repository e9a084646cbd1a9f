//! Config pushes: the provider's variables follow the current primary (P2, P3).
//!
//! An attempt delivers what is true *when it pushes*, not what was true when it was promised. It waits for the
//! nodes, reads, pushes all variables in one call, and records the count of changes it has read; whatever was
//! changed since leaves the row due.

use std::time::Duration;

use tokio::time::Instant;

use super::backoff::{self, CONFIG, CONFIG_RETRIES, RECONCILE_EVERY};
use super::grants::{self, Fault};
use super::ports::{ConfigValues, Provider, SendError, SendErrorKind};
use super::worker::{Inner, Kind, count};
use crate::domain::{CacheId, ResourceState, Timestamp};
use crate::store::claims::{Backlog, Caps};
use crate::store::config_sync::{ConfigClaim, ConfigFailure, ConfigWanted};
use crate::store::{StoreError, Tx};

/// A provider may not know a resource yet that it is about to be told of.
const GONE_PATIENCE: Duration = Duration::from_secs(300);
/// How often one attempt reads again because a newer change must reach the nodes first.
const ROUNDS_MAX: u32 = 3;

pub(super) struct Pushes;

impl Kind for Pushes {
    type Claim = ConfigClaim;
    const NAME: &'static str = "config";

    async fn backlog(outbox: &Inner, now: Timestamp) -> Result<Backlog, StoreError> {
        outbox.store.config_backlog(now).await
    }

    async fn claim(outbox: &Inner, caps: Caps) -> Result<Vec<ConfigClaim>, StoreError> {
        let mut tx = outbox.store.begin().await?;
        let claims = tx
            .claim_config(outbox.now(), outbox.lease_until(), caps)
            .await?;
        tx.commit().await?;
        Ok(claims)
    }

    async fn keep(outbox: &Inner, claim: ConfigClaim) -> Result<(), StoreError> {
        match attempt(outbox, &claim).await {
            Ok(Some(done)) => record_applied(outbox, &claim, &done).await,
            // Deprovisioned meanwhile: there is no row to record in.
            Ok(None) => Ok(()),
            Err(Fault::Store(error @ StoreError::Unavailable(_))) => Err(error),
            // A row that cannot be read is told of like a provider that cannot be reached.
            Err(Fault::Store(error)) => {
                let kind = SendErrorKind::Retry { after: None };
                let error = SendError::new(kind, error.to_string());
                record_failed(outbox, &claim, &error).await
            }
            Err(Fault::Send(error)) => record_failed(outbox, &claim, &error).await,
        }
    }
}

struct Done {
    wanted: ConfigWanted,
    pushed: bool,
}

fn retry(message: &str) -> Fault {
    SendError::new(SendErrorKind::Retry { after: None }, message).into()
}

async fn attempt(outbox: &Inner, claim: &ConfigClaim) -> Result<Option<Done>, Fault> {
    let cache = claim.cache;
    let push_by = Instant::now() + outbox.push_by();
    for _ in 0..ROUNDS_MAX {
        let Some(seen) = outbox.store.config_wanted(cache).await? else {
            return Ok(None);
        };
        let caught_up = outbox
            .nodes
            .wait_applied(cache, seen.needs, outbox.settings.nodes_wait);
        if !caught_up.await {
            return Err(retry("the cache's nodes have not taken up the change yet"));
        }
        let Some(wanted) = outbox.store.config_wanted(cache).await? else {
            return Ok(None);
        };
        // Changed while we waited, to something the nodes may not know: a push now would break P3.
        if wanted.needs > seen.needs {
            continue;
        }
        if wanted.unchanged {
            return Ok(Some(Done {
                wanted,
                pushed: false,
            }));
        }
        let Some(provider) = outbox.providers.get(&wanted.marketplace) else {
            return Ok(Some(Done {
                wanted,
                pushed: false,
            }));
        };
        if wanted.servers.is_empty() {
            return Err(retry("the cache has no node"));
        }
        push(outbox, provider.as_ref(), claim, &wanted, push_by).await?;
        return Ok(Some(Done {
            wanted,
            pushed: true,
        }));
    }
    Err(retry("the primary changes faster than it can be pushed"))
}

/// Pushes, with one refresh and one repetition when the token is not accepted.
async fn push(
    outbox: &Inner,
    provider: &dyn Provider,
    claim: &ConfigClaim,
    wanted: &ConfigWanted,
    push_by: Instant,
) -> Result<(), Fault> {
    let cache = claim.cache;
    let values = ConfigValues {
        servers: wanted.servers.clone(),
        username: wanted.username.clone(),
        password: wanted.password.clone(),
    };
    let token = grants::access_token(outbox, provider, cache).await?;
    begin(outbox, claim).await?;
    in_time(push_by)?;
    let refused = match provider
        .push_config(&wanted.external_id, &token, &values)
        .await
    {
        Err(error) if error.kind == SendErrorKind::Unauthorized => token,
        other => return Ok(other?),
    };
    let token = grants::renewed_token(outbox, provider, cache, &refused).await?;
    in_time(push_by)?;
    match provider
        .push_config(&wanted.external_id, &token, &values)
        .await
    {
        Err(error) if error.kind == SendErrorKind::Unauthorized => {
            grants::mark_broken(outbox, cache, &token, &error.message).await?;
            Err(error.into())
        }
        other => Ok(other?),
    }
}

/// Gives up the certainty of what the provider holds, before anything is sent.
async fn begin(outbox: &Inner, claim: &ConfigClaim) -> Result<(), Fault> {
    let mut tx = outbox.store.begin().await?;
    let ours = tx.begin_config_push(claim).await?;
    tx.commit().await?;
    if ours {
        Ok(())
    } else {
        Err(retry("another worker has taken this push over"))
    }
}

fn in_time(push_by: Instant) -> Result<(), Fault> {
    if Instant::now() < push_by {
        Ok(())
    } else {
        Err(retry("the attempt took too long"))
    }
}

async fn record_applied(
    outbox: &Inner,
    claim: &ConfigClaim,
    done: &Done,
) -> Result<(), StoreError> {
    let now = outbox.now();
    let mut tx = outbox.store.begin().await?;
    // Credentials change with it: without the lock, a promotion could hold what we need and need what we hold.
    tx.lock_resource(claim.cache).await?;
    let ours = tx.record_config_applied(claim, &done.wanted, now).await?;
    if !ours && done.pushed {
        tx.distrust_config(claim.cache, &done.wanted, now).await?;
    }
    tx.commit().await?;
    count(
        Pushes::NAME,
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
    outbox: &Inner,
    claim: &ConfigClaim,
    error: &SendError,
) -> Result<(), StoreError> {
    let now = outbox.now();
    let failure = sort(claim, error, now, backoff::dice());
    let cache = claim.cache;
    let mut tx = outbox.store.begin().await?;
    let missed = error.kind == SendErrorKind::Gone && is_ready(&mut tx, cache).await?;
    let ours = tx.record_config_failed(claim, &failure, now).await?;
    // Perhaps it was deprovisioned without our hearing. Once a person is called, the daily looks are enough.
    if ours && missed && !claim.dead {
        tx.want_look(cache, now).await?;
    }
    tx.commit().await?;
    if failure.dead {
        count(Pushes::NAME, "dead");
        tracing::error!(%cache, %error, "config vars cannot be pushed; trying hourly");
    } else {
        count(Pushes::NAME, "failed");
        tracing::warn!(%cache, %error, attempt = claim.attempt + 1, "config push failed");
    }
    Ok(())
}

/// Whether the provider has been told that the resource is ready. Before, it may well not know it.
async fn is_ready(tx: &mut Tx, cache: CacheId) -> Result<bool, StoreError> {
    let resource = tx.lock_resource(cache).await?;
    Ok(resource.is_some_and(|resource| resource.state == ResourceState::Provisioned))
}

/// What a failure means for the row: when next, and whether a person should look.
fn sort(claim: &ConfigClaim, error: &SendError, now: Timestamp, dice: u32) -> ConfigFailure {
    let waiting = now.since(claim.pending_since);
    let (dead, after) = match error.kind {
        SendErrorKind::Retry { after } => (claim.dead || waiting >= CONFIG_RETRIES, after),
        SendErrorKind::Gone => (claim.dead || waiting >= GONE_PATIENCE, None),
        SendErrorKind::Unauthorized | SendErrorKind::Refused => (true, None),
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
            attempt,
            pending_since: Timestamp::from_secs(1_000),
            dead,
        }
    }

    fn sorted(kind: SendErrorKind, waiting: i64, dead: bool) -> (i64, bool) {
        let now = Timestamp::from_secs(1_000 + waiting);
        let failure = sort(&claim(0, dead), &SendError::new(kind, "x"), now, u32::MAX);
        (
            failure.next_attempt_at.since(now).as_secs() as i64,
            failure.dead,
        )
    }

    const RETRY: SendErrorKind = SendErrorKind::Retry { after: None };

    #[test]
    fn retries_last_a_day_and_then_go_hourly_for_ever() {
        assert_eq!(sorted(RETRY, 10, false), (1, false));
        assert_eq!(sorted(RETRY, 86_399, false), (1, false));
        assert_eq!(sorted(RETRY, 86_400, false), (3_600, true));
        assert_eq!(sorted(RETRY, 10, true), (3_600, true));
    }

    #[test]
    fn a_provider_that_asks_for_patience_gets_it() {
        let after = |secs| SendErrorKind::Retry {
            after: Some(Duration::from_secs(secs)),
        };
        assert_eq!(sorted(after(60), 10, false), (60, false));
        assert_eq!(sorted(after(90_000), 10, false), (3_600, false));
    }

    #[test]
    fn refusals_call_a_person_and_unknown_resources_after_five_minutes() {
        assert_eq!(sorted(SendErrorKind::Refused, 0, false), (3_600, true));
        assert_eq!(sorted(SendErrorKind::Unauthorized, 0, false), (3_600, true));
        assert_eq!(sorted(SendErrorKind::Gone, 299, false), (1, false));
        assert_eq!(sorted(SendErrorKind::Gone, 300, false), (3_600, true));
    }
}
