//! Tokens: codes are exchanged at once, access tokens refreshed before they end or when they are refused.
//!
//! The lease in the grants row makes both single-flight over all processes. A new pair is stored before anybody
//! relies on it: a process that dies in between leaves the old refresh token, whose next use tells.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::backoff::{self, EXCHANGE};
use super::ports::{Provider, SendError, SendErrorKind, Tokens};
use super::worker::{Inner, Kind, count};
use crate::domain::secret::same_secret;
use crate::domain::{CacheId, ExternalId, Timestamp};
use crate::store::StoreError;
use crate::store::claims::{Backlog, Caps};
use crate::store::grants::{CodeClaim, FreshTokens, Grant, GrantState};

/// A token with less left than this is refreshed before use.
const FRESH_ENOUGH: Duration = Duration::from_secs(90);
/// How long a provider in trouble is asked for a fresh code after the first one has ended.
const FRESH_CODE_RETRIES: Duration = Duration::from_secs(24 * 3600);
/// While somebody else refreshes, how often and how long we look for what they got.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS_MAX: u32 = 200;
/// Tokens that cannot be stored are lost for good, so storing is tried more than once.
const STORE_TRIES: u32 = 5;

/// Why an attempt did not come about.
#[derive(Debug)]
pub(super) enum Fault {
    Store(StoreError),
    Send(SendError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        Fault::Store(error)
    }
}

impl From<SendError> for Fault {
    fn from(error: SendError) -> Fault {
        Fault::Send(error)
    }
}

fn impossible(message: impl Into<String>) -> Fault {
    SendError::new(SendErrorKind::Refused, message).into()
}

pub(super) struct Codes;

impl Kind for Codes {
    type Claim = CodeClaim;
    const NAME: &'static str = "grant";

    async fn backlog(outbox: &Inner, now: Timestamp) -> Result<Backlog, StoreError> {
        outbox.store.codes_backlog(now).await
    }

    async fn claim(outbox: &Inner, caps: Caps) -> Result<Vec<CodeClaim>, StoreError> {
        let mut tx = outbox.store.begin().await?;
        let claims = tx
            .claim_codes(outbox.now(), outbox.lease_until(), caps)
            .await?;
        tx.commit().await?;
        Ok(claims)
    }

    async fn keep(outbox: &Inner, claim: CodeClaim) -> Result<(), StoreError> {
        let Some(provider) = outbox.providers.get(&claim.marketplace) else {
            let why = format!("{} is not configured here", claim.marketplace);
            return record_failed(outbox, &claim, &why, None).await;
        };
        let error = match provider.exchange(&claim.code).await {
            Ok(tokens) => return record_exchanged(outbox, &claim, &tokens).await,
            Err(error) => error,
        };
        let now = outbox.now();
        let next = next_exchange(&claim, &error, now).filter(|next| *next < claim.expires_at);
        if next.is_some() {
            return record_failed(outbox, &claim, &error.message, next).await;
        }
        match exchange_fresh_code(provider.as_ref(), &claim.external_id).await {
            Ok(Some(tokens)) => record_exchanged(outbox, &claim, &tokens).await,
            Ok(None) => record_failed(outbox, &claim, &error.message, None).await,
            Err(error) => {
                let next = next_exchange(&claim, &error, now)
                    .filter(|next| *next < claim.expires_at.plus(FRESH_CODE_RETRIES));
                record_failed(outbox, &claim, &error.message, next).await
            }
        }
    }
}

/// The way back when a code is spent and its answer lost, as by a crash between the two, or when no exchange
/// worked while it lived. `None` where the provider gives no other.
async fn exchange_fresh_code(
    provider: &dyn Provider,
    resource: &ExternalId,
) -> Result<Option<Tokens>, SendError> {
    match provider.fresh_code(resource).await? {
        Some(code) => provider.exchange(&code).await.map(Some),
        None => Ok(None),
    }
}

async fn record_exchanged(
    outbox: &Inner,
    claim: &CodeClaim,
    tokens: &Tokens,
) -> Result<(), StoreError> {
    store_tokens(outbox, claim.cache, claim.fence, tokens).await?;
    hasten(outbox, claim.cache).await?;
    count(Codes::NAME, "delivered");
    tracing::info!(cache = %claim.cache, "grant exchanged");
    Ok(())
}

/// When to try again; `None` when the same will not work any more.
fn next_exchange(claim: &CodeClaim, error: &SendError, now: Timestamp) -> Option<Timestamp> {
    let SendErrorKind::Retry { after } = error.kind else {
        return None;
    };
    let wait = match after {
        Some(asked) => backoff::obey(asked),
        None => EXCHANGE.wait(claim.attempt.saturating_add(1), backoff::dice()),
    };
    Some(now.plus(wait))
}

async fn record_failed(
    outbox: &Inner,
    claim: &CodeClaim,
    error: &str,
    next: Option<Timestamp>,
) -> Result<(), StoreError> {
    let mut tx = outbox.store.begin().await?;
    tx.record_grant_failed(claim.cache, claim.fence, error, next, outbox.now())
        .await?;
    tx.commit().await?;
    let cache = claim.cache;
    if next.is_some() {
        count(Codes::NAME, "failed");
        tracing::warn!(%cache, error, "grant exchange failed");
    } else {
        count(Codes::NAME, "dead");
        tracing::error!(%cache, error, "no token for this resource: its config vars cannot be pushed");
    }
    Ok(())
}

/// Lets a push that waited for a token go ahead, and looks at what the token shows.
async fn hasten(outbox: &Inner, cache: CacheId) -> Result<(), StoreError> {
    let mut tx = outbox.store.begin().await?;
    tx.hasten_config(cache, outbox.now()).await?;
    tx.want_look(cache, outbox.now()).await?;
    tx.commit().await
}

async fn store_tokens(
    outbox: &Inner,
    cache: CacheId,
    fence: i64,
    tokens: &Tokens,
) -> Result<(), StoreError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match store_once(outbox, cache, fence, tokens).await {
            Err(error) if tries < STORE_TRIES => {
                tracing::error!(%cache, %error, "new tokens are not stored yet");
                tokio::time::sleep(Duration::from_millis(200) * tries).await;
            }
            done => return done,
        }
    }
}

async fn store_once(
    outbox: &Inner,
    cache: CacheId,
    fence: i64,
    tokens: &Tokens,
) -> Result<(), StoreError> {
    let now = outbox.now();
    let fresh = FreshTokens {
        access: tokens.access.clone(),
        expires_at: now.plus(tokens.expires_in),
        refresh: tokens.refresh.clone(),
    };
    let mut tx = outbox.store.begin().await?;
    tx.record_tokens(cache, fence, &fresh, now).await?;
    tx.commit().await
}

/// A token to call with, refreshed first when it is about to end.
pub(super) async fn access_token(
    outbox: &Inner,
    provider: &dyn Provider,
    cache: CacheId,
) -> Result<SecretString, Fault> {
    usable_token(outbox, provider, cache, None).await
}

/// A token other than the one that was just refused.
pub(super) async fn renewed_token(
    outbox: &Inner,
    provider: &dyn Provider,
    cache: CacheId,
    refused: &SecretString,
) -> Result<SecretString, Fault> {
    usable_token(outbox, provider, cache, Some(refused)).await
}

async fn usable_token(
    outbox: &Inner,
    provider: &dyn Provider,
    cache: CacheId,
    refused: Option<&SecretString>,
) -> Result<SecretString, Fault> {
    for _ in 0..LOOKS_MAX {
        let Some(grant) = outbox.store.grant(cache).await? else {
            return Err(impossible(
                "the marketplace has given no grant for this resource",
            ));
        };
        if grant.state == GrantState::Pending {
            let message = match grant.last_error {
                Some(why) => format!("the grant is not exchanged yet: {why}"),
                None => "the grant is not exchanged yet".to_owned(),
            };
            return Err(SendError::new(SendErrorKind::Retry { after: None }, message).into());
        }
        if let Some(token) = good_token(&grant, outbox.now(), refused) {
            return Ok(token);
        }
        let Some(refresh) = &grant.refresh else {
            let why = grant.last_error.unwrap_or_else(|| "no token".to_owned());
            return Err(impossible(format!("the grant is broken: {why}")));
        };
        let mut tx = outbox.store.begin().await?;
        let leased = tx
            .lease_grant(cache, grant.fence, outbox.now(), outbox.lease_until())
            .await?;
        tx.commit().await?;
        match leased {
            Some(fence) => return refresh_now(outbox, provider, cache, fence, refresh).await,
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
    Err(SendError::new(
        SendErrorKind::Retry { after: None },
        "another worker is still refreshing the token",
    )
    .into())
}

fn good_token(
    grant: &Grant,
    now: Timestamp,
    refused: Option<&SecretString>,
) -> Option<SecretString> {
    let token = grant.access.as_ref()?;
    let fresh = grant
        .access_expires_at
        .is_some_and(|end| end > now.plus(FRESH_ENOUGH));
    let same = |refused: &SecretString| {
        same_secret(
            refused.expose_secret().as_bytes(),
            token.expose_secret().as_bytes(),
        )
    };
    let usable = grant.state == GrantState::Active && fresh && !refused.is_some_and(same);
    usable.then(|| token.clone())
}

/// Refreshes under the lease just taken.
async fn refresh_now(
    outbox: &Inner,
    provider: &dyn Provider,
    cache: CacheId,
    fence: i64,
    refresh: &SecretString,
) -> Result<SecretString, Fault> {
    match provider.refresh(refresh).await {
        Ok(tokens) => {
            store_tokens(outbox, cache, fence, &tokens).await?;
            count("refresh", "delivered");
            Ok(tokens.access)
        }
        Err(error) if matches!(error.kind, SendErrorKind::Retry { .. }) => {
            let mut tx = outbox.store.begin().await?;
            tx.release_grant(cache, fence, &error.message).await?;
            tx.commit().await?;
            count("refresh", "failed");
            Err(error.into())
        }
        Err(error) => {
            let resource = outbox.store.resource(cache).await?;
            let fresh = match resource {
                Some(resource) => exchange_fresh_code(provider, &resource.external_id).await,
                None => Ok(None),
            };
            if let Ok(Some(tokens)) = fresh {
                store_tokens(outbox, cache, fence, &tokens).await?;
                count("refresh", "renewed");
                return Ok(tokens.access);
            }
            break_grant(outbox, cache, fence, &error.message).await?;
            Err(impossible(error.message))
        }
    }
}

/// Notes that a token is refused although it is fresh.
pub(super) async fn mark_broken(
    outbox: &Inner,
    cache: CacheId,
    token: &SecretString,
    error: &str,
) -> Result<(), StoreError> {
    match outbox.store.grant(cache).await? {
        Some(grant) if good_token(&grant, outbox.now(), Some(token)).is_none() => {
            break_grant(outbox, cache, grant.fence, error).await
        }
        _ => Ok(()),
    }
}

async fn break_grant(
    outbox: &Inner,
    cache: CacheId,
    fence: i64,
    error: &str,
) -> Result<(), StoreError> {
    let mut tx = outbox.store.begin().await?;
    tx.record_grant_failed(cache, fence, error, None, outbox.now())
        .await?;
    tx.commit().await?;
    count("refresh", "dead");
    tracing::error!(%cache, error, "the token is broken");
    Ok(())
}
