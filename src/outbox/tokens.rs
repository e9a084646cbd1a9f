//! The token service: whoever calls a provider about a resource does so by [`with_token`].
//!
//! An access token is renewed shortly before it ends, or when a call is refused with it. One that nothing renews is used
//! on until it is refused: the provider may not have said how long it lives. The lease in the grant's row
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
        let Some(fence) = leased else {
            tokio::time::sleep(POLL_EVERY).await;
            continue;
        };
        let leased = Leased { cache, fence };
        return match &grant.refresh {
            Some(refresh) => renew(context, issuer, leased, refresh).await,
            None => {
                let otherwise = without_refresh_token(&grant, refused);
                renew_by_code(context, issuer, leased, otherwise).await
            }
        };
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
    let usable = grant.state == GrantState::Active && fresh && !is_same(token, refused);
    usable.then(|| token.clone())
}

fn is_same(token: &SecretString, refused: Option<&SecretString>) -> bool {
    refused.is_some_and(|refused| {
        same_secret(
            refused.expose_secret().as_bytes(),
            token.expose_secret().as_bytes(),
        )
    })
}

/// The right to renew a grant, until the lease ends.
#[derive(Clone, Copy)]
struct Leased {
    cache: CacheId,
    fence: i64,
}

/// What to do where no fresh code brings tokens.
enum Otherwise {
    /// Go on with a token that nobody has refused.
    UseOn(SecretString),
    /// Break the grant, for this reason.
    Break(String),
}

fn without_refresh_token(grant: &Grant, refused: Option<&SecretString>) -> Otherwise {
    match &grant.access {
        Some(token) if !is_same(token, refused) => Otherwise::UseOn(token.clone()),
        _ => Otherwise::Break(
            "the token is not accepted, and no refresh token came with it".to_owned(),
        ),
    }
}

/// Renews by the refresh token, or by a fresh code where that one is void.
async fn renew(
    context: &Context,
    issuer: &dyn TokenIssuer,
    leased: Leased,
    refresh: &SecretString,
) -> Result<SecretString, AttemptError> {
    match issuer.refresh(refresh).await {
        Ok(tokens) => {
            store(context, leased.cache, leased.fence, &tokens).await?;
            count(NAME, "delivered");
            Ok(tokens.access)
        }
        Err(error) if is_passing(&error) => Err(put_off(context, leased, error).await?),
        Err(error) => {
            let otherwise = Otherwise::Break(error.message);
            renew_by_code(context, issuer, leased, otherwise).await
        }
    }
}

/// Renews by a fresh code. A provider in trouble is asked again with the next attempt: its trouble says nothing of the
/// grant.
async fn renew_by_code(
    context: &Context,
    issuer: &dyn TokenIssuer,
    leased: Leased,
    otherwise: Otherwise,
) -> Result<SecretString, AttemptError> {
    let Leased { cache, fence } = leased;
    let fresh = match context.store.resource(cache).await? {
        Some(resource) => from_fresh_code(issuer, &resource.external_id).await,
        None => Ok(None),
    };
    match (fresh, otherwise) {
        (Ok(Some(tokens)), _) => {
            store(context, cache, fence, &tokens).await?;
            count(NAME, "renewed");
            Ok(tokens.access)
        }
        (Err(error), _) if is_passing(&error) => Err(put_off(context, leased, error).await?),
        (_, Otherwise::UseOn(token)) => {
            let why = "nothing renews the token, which is used until it is refused";
            release(context, leased, why).await?;
            Ok(token)
        }
        (_, Otherwise::Break(why)) => {
            break_grant(context, cache, fence, &why).await?;
            Err(AttemptError::refused(why))
        }
    }
}

fn is_passing(error: &CallError) -> bool {
    matches!(error.kind, CallErrorKind::Retry { .. })
}

/// Gives the lease back, for a renewal that may work later.
async fn put_off(
    context: &Context,
    leased: Leased,
    error: CallError,
) -> Result<AttemptError, StoreError> {
    release(context, leased, &error.message).await?;
    count(NAME, "failed");
    Ok(error.into())
}

async fn release(context: &Context, leased: Leased, why: &str) -> Result<(), StoreError> {
    let mut tx = context.store.begin().await?;
    tx.release_grant(leased.cache, leased.fence, why).await?;
    tx.commit().await
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
