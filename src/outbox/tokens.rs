//! The token service: whoever calls a provider about a resource does so by [`with_token`].
//!
//! An access token is renewed shortly before it ends, or when a call is refused with it. The lease in the grant's row
//! makes renewal single-flight over all processes. A new pair is stored before anybody relies on it: a process that
//! dies in between leaves the old refresh token, whose next use tells whether it still works.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::ports::{Provider, TokenIssuer, Tokens};
use super::promise::{AttemptError, Context, count};
use crate::domain::secret::same_secret;
use crate::domain::{CacheId, ExternalId, Timestamp};
use crate::http::{CallError, CallErrorKind};
use crate::store::StoreError;
use crate::store::outbox::grants::{FreshTokens, Grant, GrantState};

/// The name of renewals in metrics.
const NAME: &str = "token_refresh";
/// A token with less left than this is renewed before use.
const FRESH_ENOUGH: Duration = Duration::from_secs(90);
/// While another worker renews, how often and how long its result is polled for.
const POLL_EVERY: Duration = Duration::from_millis(50);
const POLLS_MAX: u32 = 200;
/// Tokens that cannot be stored are lost for good, so storing is tried more than once.
const STORE_TRIES: u32 = 5;

/// Makes a call with the resource's token. A token that the provider refuses is renewed once and the call made again;
/// if the new one is refused too, the grant is marked broken, for the operator and the dashboard to show. At a
/// marketplace without tokens the call gets none.
pub(super) async fn with_token<T, C, F>(
    context: &Context,
    provider: &dyn Provider,
    cache: CacheId,
    call: C,
) -> Result<T, AttemptError>
where
    C: Fn(Option<SecretString>) -> F,
    F: Future<Output = Result<T, AttemptError>>,
{
    let Some(issuer) = provider.tokens() else {
        return call(None).await;
    };
    let token = usable(context, issuer, cache, None).await?;
    match call(Some(token.clone())).await {
        Err(AttemptError::Call(error)) if error.kind == CallErrorKind::Unauthorized => {}
        other => return other,
    }
    let renewed = usable(context, issuer, cache, Some(&token)).await?;
    match call(Some(renewed.clone())).await {
        Err(AttemptError::Call(error)) if error.kind == CallErrorKind::Unauthorized => {
            mark_broken(context, cache, &renewed, &error.message).await?;
            Err(error.into())
        }
        other => other,
    }
}

/// Stores a pair just obtained.
pub(super) async fn store(
    context: &Context,
    cache: CacheId,
    fence: i64,
    tokens: &Tokens,
) -> Result<(), StoreError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match store_once(context, cache, fence, tokens).await {
            Err(error) if tries < STORE_TRIES => {
                tracing::error!(%cache, %error, "new tokens are not stored yet");
                tokio::time::sleep(Duration::from_millis(200) * tries).await;
            }
            done => return done,
        }
    }
}

async fn store_once(
    context: &Context,
    cache: CacheId,
    fence: i64,
    tokens: &Tokens,
) -> Result<(), StoreError> {
    let now = context.now();
    let fresh = FreshTokens {
        access: tokens.access.clone(),
        expires_at: now.plus(tokens.expires_in),
        refresh: tokens.refresh.clone(),
    };
    let mut tx = context.store.begin().await?;
    tx.record_tokens(cache, fence, &fresh, now).await?;
    tx.commit().await
}

/// The way back when a code or the tokens are lost: as by a crash between an exchange and its record, or when no
/// exchange worked while the code lived. `None` where the provider gives no other code.
pub(super) async fn from_fresh_code(
    issuer: &dyn TokenIssuer,
    resource: &ExternalId,
) -> Result<Option<Tokens>, CallError> {
    match issuer.fresh_code(resource).await? {
        Some(code) => issuer.exchange(&code).await.map(Some),
        None => Ok(None),
    }
}

/// A token to call with, other than the one that was just refused.
async fn usable(
    context: &Context,
    issuer: &dyn TokenIssuer,
    cache: CacheId,
    refused: Option<&SecretString>,
) -> Result<SecretString, AttemptError> {
    for _ in 0..POLLS_MAX {
        let Some(grant) = context.store.grant(cache).await? else {
            return Err(AttemptError::refused(
                "the marketplace has given no grant for this resource",
            ));
        };
        if grant.state == GrantState::Pending {
            return Err(AttemptError::retry(match grant.last_error {
                Some(why) => format!("the grant is not exchanged yet: {why}"),
                None => "the grant is not exchanged yet".to_owned(),
            }));
        }
        if let Some(token) = good_token(&grant, context.now(), refused) {
            return Ok(token);
        }
        if grant.refresh.is_none() && grant.state == GrantState::Broken {
            let why = grant.last_error.unwrap_or_else(|| "no token".to_owned());
            return Err(AttemptError::refused(format!("the grant is broken: {why}")));
        }
        let mut tx = context.store.begin().await?;
        let (now, until) = (context.now(), context.lease_until());
        let leased = tx
            .lease_grant(cache, grant.fence, now, until, context.worker)
            .await?;
        tx.commit().await?;
        match leased {
            Some(fence) => return renew(context, issuer, cache, fence, grant.refresh).await,
            None => tokio::time::sleep(POLL_EVERY).await,
        }
    }
    Err(AttemptError::retry(
        "another worker is still renewing the token",
    ))
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

/// Renews under the lease just taken: by the refresh token, or by a fresh code where that one is missing or void.
async fn renew(
    context: &Context,
    issuer: &dyn TokenIssuer,
    cache: CacheId,
    fence: i64,
    refresh: Option<SecretString>,
) -> Result<SecretString, AttemptError> {
    let refused = match &refresh {
        None => "the token is not accepted, and no refresh token came with it".to_owned(),
        Some(refresh) => match issuer.refresh(refresh).await {
            Ok(tokens) => {
                store(context, cache, fence, &tokens).await?;
                count(NAME, "delivered");
                return Ok(tokens.access);
            }
            Err(error) if matches!(error.kind, CallErrorKind::Retry { .. }) => {
                let mut tx = context.store.begin().await?;
                tx.release_grant(cache, fence, &error.message).await?;
                tx.commit().await?;
                count(NAME, "failed");
                return Err(error.into());
            }
            Err(error) => error.message,
        },
    };
    let fresh = match context.store.resource(cache).await? {
        Some(resource) => from_fresh_code(issuer, &resource.external_id).await,
        None => Ok(None),
    };
    if let Ok(Some(tokens)) = fresh {
        store(context, cache, fence, &tokens).await?;
        count(NAME, "renewed");
        return Ok(tokens.access);
    }
    break_grant(context, cache, fence, &refused).await?;
    Err(AttemptError::refused(refused))
}

/// Notes that a token is refused although it is fresh.
async fn mark_broken(
    context: &Context,
    cache: CacheId,
    token: &SecretString,
    error: &str,
) -> Result<(), StoreError> {
    match context.store.grant(cache).await? {
        Some(grant) if good_token(&grant, context.now(), Some(token)).is_none() => {
            break_grant(context, cache, grant.fence, error).await
        }
        _ => Ok(()),
    }
}

async fn break_grant(
    context: &Context,
    cache: CacheId,
    fence: i64,
    error: &str,
) -> Result<(), StoreError> {
    let mut tx = context.store.begin().await?;
    tx.record_grant_failed(cache, fence, error, None, context.now())
        .await?;
    tx.commit().await?;
    count(NAME, "dead");
    tracing::error!(%cache, error, "the grant is broken: the provider takes no token of this resource");
    Ok(())
}
