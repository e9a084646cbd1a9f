//! Reconciles: what we hold of a resource (its name, the apps it is attached to) is made the same as what its provider
//! knows.
//!
//! A reconcile is due daily, after the grant exchange, when a webhook event asks for one, and when a push meets a
//! resource that the provider does not know. It also subscribes to the provider's webhook events, once: a provider that
//! refuses is read daily and not asked again. A resource that the provider does not know is reported, never removed.

use std::time::Duration;

use super::backoff::{self, RECONCILE};
use super::ports::{AttachedApp, Provider, ResourceNow, ResourceReader, Token};
use super::promise::{Context, Promise, count};
use super::tokens::with_token;
use crate::domain::Timestamp;
use crate::domain::printable::{NAME_CHARS_MAX, printable, printable_if_any};
use crate::http::{CallError, CallErrorKind};
use crate::store::caches::attachments::AppNow;
use crate::store::outbox::claims::{Backlog, Served, Terms};
use crate::store::outbox::promised::PromiseKind;
use crate::store::outbox::reconciles::{ReconcileClaim, SubscribedAt};
use crate::store::{Store, StoreError, Tx};

/// Two misses so far apart show that the provider has lost the resource, not that it was in trouble.
pub(super) const MISSED_FOR: Duration = Duration::from_secs(86_400);

pub(super) struct Reconcile;

impl Promise for Reconcile {
    type Claim = ReconcileClaim;
    const NAME: &'static str = "reconcile";
    const KIND: PromiseKind = PromiseKind::Reconciles;

    fn can_serve(provider: &dyn Provider) -> bool {
        provider.resource_reader().is_some()
    }

    async fn backlog(
        store: &Store,
        served: &Served,
        now: Timestamp,
    ) -> Result<Backlog, StoreError> {
        store.reconciles_backlog(served, now).await
    }

    async fn claim(tx: &mut Tx, terms: &Terms) -> Result<Vec<ReconcileClaim>, StoreError> {
        tx.claim_reconciles(terms).await
    }

    async fn attempt(context: &Context, claim: ReconcileClaim) -> Result<(), StoreError> {
        let able = context.provider(claim.marketplace);
        let able = able.and_then(|provider| Some((provider, provider.resource_reader()?)));
        let Some((provider, reader)) = able else {
            return Ok(());
        };
        let claimed = &claim;
        let found = with_token(context, provider, claim.cache, |token| async move {
            Ok(read(provider, reader, claimed, token.as_ref()).await?)
        });
        match found.await {
            Ok(found) => record_found(context, provider, &claim, &found).await,
            Err(error) => record_failed(context, &claim, &error.into_recorded()?).await,
        }
    }
}

/// What the provider has told.
struct Found {
    resource: ResourceNow,
    apps: Vec<AttachedApp>,
    /// What became of the subscription to webhook events, if one was tried.
    subscribed: Option<Result<(), CallError>>,
}

async fn read(
    provider: &dyn Provider,
    reader: &dyn ResourceReader,
    claim: &ReconcileClaim,
    token: Token<'_>,
) -> Result<Found, CallError> {
    let id = &claim.external_id;
    let resource = reader.resource(id, token).await?;
    // Subscribed before the list is read: whatever changes after the list makes an event.
    let subscribed = match provider.webhooks() {
        Some(webhooks) if claim.webhook_url.as_deref() != Some(webhooks.url()) => {
            Some(webhooks.subscribe(id, token).await)
        }
        _ => None,
    };
    let mut apps = reader.attachments(id, token).await?;
    for app in &mut apps {
        app.app = printable(&app.app, NAME_CHARS_MAX);
    }
    Ok(Found {
        resource,
        apps,
        subscribed,
    })
}

async fn record_found(
    context: &Context,
    provider: &dyn Provider,
    claim: &ReconcileClaim,
    found: &Found,
) -> Result<(), StoreError> {
    let now = context.now();
    let trouble = match &found.subscribed {
        Some(Err(error)) => Some(error),
        _ => None,
    };
    let passing = trouble.filter(|error| {
        matches!(
            error.kind,
            CallErrorKind::Retry { .. } | CallErrorKind::Unauthorized
        )
    });
    let subscribed = provider
        .webhooks()
        .filter(|_| found.subscribed.is_some() && passing.is_none())
        .map(|webhooks| SubscribedAt {
            url: webhooks.url(),
            refused: trouble.is_some(),
        });
    let wait = match passing {
        Some(error) => wait_after(context, claim, error),
        None => context.settings.reconcile_every,
    };
    let mut tx = context.store.begin().await?;
    let Some(resource) = tx.lock_resource(claim.cache).await? else {
        return Ok(());
    };
    if !resource.state.is_live()
        || !tx
            .record_reconciled(claim, subscribed, now.plus(wait), now)
            .await?
    {
        return Ok(());
    }
    let takes_lines = provider.log_sink().is_some();
    let app_now = |app| app_now(app, takes_lines);
    let apps: Vec<AppNow<'_>> = found.apps.iter().map(app_now).collect();
    let (added, removed) = tx.set_attachments(claim.cache, &apps, now).await?;
    let name = found.resource.name.as_deref();
    let name = name.and_then(|name| printable_if_any(name, NAME_CHARS_MAX));
    if let Some(name) = name.filter(|name| *name != resource.name) {
        tx.rename_resource(claim.cache, &name).await?;
    }
    tx.commit().await?;
    count(Reconcile::NAME, "delivered");
    let cache = claim.cache;
    if let Some(error) = trouble {
        tracing::warn!(%cache, %error, "no webhook events of this resource: the subscription failed");
    }
    tracing::info!(%cache, apps = found.apps.len(), added, removed, "reconciled with the provider");
    Ok(())
}

fn app_now(app: &AttachedApp, takes_lines: bool) -> AppNow<'_> {
    AppNow {
        app: &app.app,
        owns: app.owns,
        log_url: app.log_url.as_ref().filter(|_| takes_lines),
    }
}

fn wait_after(context: &Context, claim: &ReconcileClaim, error: &CallError) -> Duration {
    let wait = match error.kind {
        CallErrorKind::Retry { after: Some(asked) } => backoff::obey(asked),
        CallErrorKind::Retry { after: None } => {
            RECONCILE.wait(claim.attempt.saturating_add(1), backoff::dice())
        }
        CallErrorKind::Unauthorized | CallErrorKind::Gone | CallErrorKind::Refused => {
            context.settings.reconcile_every
        }
    };
    wait.min(context.settings.reconcile_every)
}

async fn record_failed(
    context: &Context,
    claim: &ReconcileClaim,
    error: &CallError,
) -> Result<(), StoreError> {
    let now = context.now();
    let next = now.plus(wait_after(context, claim, error));
    let cache = claim.cache;
    let mut tx = context.store.begin().await?;
    if !tx
        .record_reconcile_failed(claim, &error.message, next, now)
        .await?
    {
        return Ok(());
    }
    let reported = error.kind == CallErrorKind::Gone
        && tx.record_miss(cache, now.minus(MISSED_FOR), now).await?;
    tx.commit().await?;
    count(Reconcile::NAME, "failed");
    if reported {
        tracing::warn!(%cache, external_id = %claim.external_id,
            "the provider has not known this resource for a day: perhaps it was deprovisioned without our hearing");
    }
    tracing::debug!(%cache, %error, attempt = claim.attempt + 1, "reconcile failed");
    Ok(())
}
