//! Grant exchange: a one-time code becomes the resource's first tokens, while the code lives.
//!
//! A code is good for one answer. Once the provider has answered to it without tokens, only a fresh code is asked for.

use std::time::Duration;

use super::backoff::{self, EXCHANGE};
use super::ports::{Provider, TokenIssuer, Tokens};
use super::promise::{Context, Promise, count};
use super::tokens;
use crate::domain::{CacheId, Timestamp};
use crate::http::{CallError, CallErrorKind};
use crate::store::outbox::claims::{Backlog, Served, Terms};
use crate::store::outbox::grants::CodeClaim;
use crate::store::outbox::promised::PromiseKind;
use crate::store::{Store, StoreError, Tx};

/// How long a provider in trouble is asked for a fresh code after the first one has ended.
const FRESH_CODE_RETRIES: Duration = Duration::from_secs(24 * 3600);

pub(super) struct GrantExchange;

impl Promise for GrantExchange {
    type Claim = CodeClaim;
    const NAME: &'static str = "grant_exchange";
    const KIND: PromiseKind = PromiseKind::Grants;

    fn can_serve(provider: &dyn Provider) -> bool {
        provider.tokens().is_some()
    }

    async fn backlog(
        store: &Store,
        served: &Served,
        now: Timestamp,
    ) -> Result<Backlog, StoreError> {
        store.codes_backlog(served, now).await
    }

    async fn claim(tx: &mut Tx, terms: &Terms) -> Result<Vec<CodeClaim>, StoreError> {
        tx.claim_codes(terms).await
    }

    async fn attempt(context: &Context, claim: CodeClaim) -> Result<(), StoreError> {
        let provider = context.provider(claim.marketplace);
        let Some(issuer) = provider.and_then(Provider::tokens) else {
            return Ok(());
        };
        let error = match exchange(issuer, &claim).await {
            Ok(tokens) => return record_exchanged(context, &claim, &tokens).await,
            Err(error) => error,
        };
        let now = context.now();
        let next = next_exchange(&claim, &error, now).filter(|next| *next < claim.expires_at);
        if next.is_some() {
            return record_failed(context, &claim, &error.message, next).await;
        }
        // Before the next call, which may take long: after a crash in between the code would be sent again.
        if claim.code.is_some() && !matches!(error.kind, CallErrorKind::Retry { .. }) {
            forget_code(context, &claim).await?;
        }
        match tokens::from_fresh_code(issuer, &claim.external_id).await {
            Ok(Some(tokens)) => record_exchanged(context, &claim, &tokens).await,
            Ok(None) => record_failed(context, &claim, &error.message, None).await,
            Err(error) => {
                let next = next_exchange(&claim, &error, now)
                    .filter(|next| *next < claim.expires_at.plus(FRESH_CODE_RETRIES));
                record_failed(context, &claim, &error.message, next).await
            }
        }
    }
}

/// Sends the code that came with the order, unless it is spent.
async fn exchange(issuer: &dyn TokenIssuer, claim: &CodeClaim) -> Result<Tokens, CallError> {
    match &claim.code {
        Some(code) => issuer.exchange(code).await,
        None => Err(CallError::new(
            CallErrorKind::Refused,
            "the code is spent, and the marketplace gives no other",
        )),
    }
}

async fn forget_code(context: &Context, claim: &CodeClaim) -> Result<(), StoreError> {
    let mut tx = context.store.begin().await?;
    tx.forget_code(claim.cache, claim.fence).await?;
    tx.commit().await
}

/// When to try again; `None` when the same will not work any more.
fn next_exchange(claim: &CodeClaim, error: &CallError, now: Timestamp) -> Option<Timestamp> {
    let CallErrorKind::Retry { after } = error.kind else {
        return None;
    };
    let wait = match after {
        Some(asked) => backoff::obey(asked),
        None => EXCHANGE.wait(claim.attempt.saturating_add(1), backoff::dice()),
    };
    Some(now.plus(wait))
}

async fn record_exchanged(
    context: &Context,
    claim: &CodeClaim,
    tokens: &Tokens,
) -> Result<(), StoreError> {
    tokens::store(context, claim.cache, claim.fence, tokens).await?;
    hasten(context, claim.cache).await?;
    count(GrantExchange::NAME, "delivered");
    tracing::info!(cache = %claim.cache, "grant exchanged");
    Ok(())
}

/// Lets a push that waited for a token go ahead, and reads what the token gives access to.
async fn hasten(context: &Context, cache: CacheId) -> Result<(), StoreError> {
    let mut tx = context.store.begin().await?;
    tx.hasten_config(cache, context.now()).await?;
    tx.request_reconcile(cache, context.now()).await?;
    tx.commit().await
}

async fn record_failed(
    context: &Context,
    claim: &CodeClaim,
    error: &str,
    next: Option<Timestamp>,
) -> Result<(), StoreError> {
    let mut tx = context.store.begin().await?;
    tx.record_grant_failed(claim.cache, claim.fence, error, next, context.now())
        .await?;
    tx.commit().await?;
    let cache = claim.cache;
    if next.is_some() {
        count(GrantExchange::NAME, "failed");
        tracing::warn!(%cache, error, "grant exchange failed");
    } else {
        count(GrantExchange::NAME, "dead");
        tracing::error!(%cache, error, "no token for this resource: its config vars cannot be pushed");
    }
    Ok(())
}
