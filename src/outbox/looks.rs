//! Looks at what a provider knows of a resource: its name, the apps it is attached to, whether it is there at all.
//!
//! A look is due daily, after the grant exchange, when news asks for one, and when a push meets a resource that is not
//! known. It takes over what it finds and asks the provider for news, once: a provider that refuses is looked at daily
//! and not asked again. A resource that the provider does not know is told of, never removed.

use std::time::Duration;

use secrecy::SecretString;

use super::backoff::{self, LOOK};
use super::grants::{self, Fault};
use super::ports::{AttachedApp, Provider, ResourceNow, SendError, SendErrorKind};
use super::worker::{Inner, Kind, count};
use crate::domain::Timestamp;
use crate::store::StoreError;
use crate::store::attachments::AppNow;
use crate::store::claims::{Backlog, Caps};
use crate::store::watches::{NewsAsked, WatchClaim};

/// Two misses so far apart make a resource a case for a person.
pub(super) const MISSED_FOR: Duration = Duration::from_secs(86_400);
const NAME_CHARS_MAX: usize = 128;

pub(super) struct Looks;

impl Kind for Looks {
    type Claim = WatchClaim;
    const NAME: &'static str = "look";

    async fn backlog(outbox: &Inner, now: Timestamp) -> Result<Backlog, StoreError> {
        outbox.store.watches_backlog(now).await
    }

    async fn claim(outbox: &Inner, caps: Caps) -> Result<Vec<WatchClaim>, StoreError> {
        let mut tx = outbox.store.begin().await?;
        let claims = tx
            .claim_watches(outbox.now(), outbox.lease_until(), caps)
            .await?;
        tx.commit().await?;
        Ok(claims)
    }

    async fn keep(outbox: &Inner, claim: WatchClaim) -> Result<(), StoreError> {
        let Some(provider) = outbox.providers.get(&claim.marketplace) else {
            let why = format!("{} is not configured here", claim.marketplace);
            let error = SendError::new(SendErrorKind::Refused, why);
            return record_failed(outbox, &claim, &error).await;
        };
        match look(outbox, provider.as_ref(), &claim).await {
            Ok(seen) => record_seen(outbox, provider.as_ref(), &claim, &seen).await,
            Err(Fault::Store(error)) => Err(error),
            Err(Fault::Send(error)) => record_failed(outbox, &claim, &error).await,
        }
    }
}

/// What one look has found.
struct Seen {
    resource: ResourceNow,
    apps: Vec<AttachedApp>,
    /// What asking for news came to, if it was asked.
    asked: Option<Result<(), SendError>>,
}

/// Looks, with one refresh and one repetition when the token is not accepted.
async fn look(outbox: &Inner, provider: &dyn Provider, claim: &WatchClaim) -> Result<Seen, Fault> {
    let token = grants::access_token(outbox, provider, claim.cache).await?;
    let refused = match read(provider, claim, &token).await {
        Err(error) if error.kind == SendErrorKind::Unauthorized => token,
        other => return Ok(other?),
    };
    let token = grants::renewed_token(outbox, provider, claim.cache, &refused).await?;
    match read(provider, claim, &token).await {
        Err(error) if error.kind == SendErrorKind::Unauthorized => {
            grants::mark_broken(outbox, claim.cache, &token, &error.message).await?;
            Err(error.into())
        }
        other => Ok(other?),
    }
}

async fn read(
    provider: &dyn Provider,
    claim: &WatchClaim,
    token: &SecretString,
) -> Result<Seen, SendError> {
    let id = &claim.external_id;
    let resource = provider.resource(id, token).await?;
    let url = provider.news_url();
    // Asked before the list is read: whatever changes after the list is news.
    let asked = match url {
        Some(url) if claim.news_url.as_deref() != Some(url) => {
            Some(provider.ask_for_news(id, token).await)
        }
        _ => None,
    };
    let apps = provider.attachments(id, token).await?;
    Ok(Seen {
        resource,
        apps,
        asked,
    })
}

async fn record_seen(
    outbox: &Inner,
    provider: &dyn Provider,
    claim: &WatchClaim,
    seen: &Seen,
) -> Result<(), StoreError> {
    let now = outbox.now();
    let trouble = match &seen.asked {
        Some(Err(error)) => Some(error),
        _ => None,
    };
    let passing = trouble.filter(|error| {
        matches!(
            error.kind,
            SendErrorKind::Retry { .. } | SendErrorKind::Unauthorized
        )
    });
    let asked = provider
        .news_url()
        .filter(|_| seen.asked.is_some() && passing.is_none())
        .map(|url| NewsAsked {
            url,
            refused: trouble.is_some(),
        });
    let wait = match passing {
        Some(error) => wait_after(outbox, claim, error),
        None => outbox.settings.look_every,
    };
    let mut tx = outbox.store.begin().await?;
    let Some(resource) = tx.lock_resource(claim.cache).await? else {
        return Ok(());
    };
    if !resource.state.is_live() || !tx.record_look(claim, asked, now.plus(wait), now).await? {
        return Ok(());
    }
    let apps: Vec<AppNow<'_>> = seen.apps.iter().map(app_now).collect();
    let (added, removed) = tx.set_attachments(claim.cache, &apps, now).await?;
    let name = shown(&seen.resource.name);
    if !name.is_empty() && name != resource.name {
        tx.rename_resource(claim.cache, &name).await?;
    }
    tx.commit().await?;
    count(Looks::NAME, "delivered");
    let cache = claim.cache;
    if let Some(error) = trouble {
        tracing::warn!(%cache, %error, "news of this resource cannot be asked for");
    }
    tracing::info!(%cache, apps = seen.apps.len(), added, removed, "looked at the attached apps");
    Ok(())
}

fn app_now(app: &AttachedApp) -> AppNow<'_> {
    AppNow {
        app: &app.app,
        owns: app.owns,
        log_url: app.log_url.as_ref(),
    }
}

fn shown(name: &str) -> String {
    name.chars()
        .filter(|c| !c.is_control())
        .take(NAME_CHARS_MAX)
        .collect()
}

fn wait_after(outbox: &Inner, claim: &WatchClaim, error: &SendError) -> Duration {
    let wait = match error.kind {
        SendErrorKind::Retry { after: Some(asked) } => backoff::obey(asked),
        SendErrorKind::Retry { after: None } => {
            LOOK.wait(claim.attempt.saturating_add(1), backoff::dice())
        }
        SendErrorKind::Unauthorized | SendErrorKind::Gone | SendErrorKind::Refused => {
            outbox.settings.look_every
        }
    };
    wait.min(outbox.settings.look_every)
}

async fn record_failed(
    outbox: &Inner,
    claim: &WatchClaim,
    error: &SendError,
) -> Result<(), StoreError> {
    let now = outbox.now();
    let next = now.plus(wait_after(outbox, claim, error));
    let cache = claim.cache;
    let mut tx = outbox.store.begin().await?;
    if !tx
        .record_look_failed(claim, &error.message, next, now)
        .await?
    {
        return Ok(());
    }
    let candidate = error.kind == SendErrorKind::Gone
        && tx.record_miss(cache, now.minus(MISSED_FOR), now).await?;
    tx.commit().await?;
    count(Looks::NAME, "failed");
    if candidate {
        tracing::warn!(%cache, external_id = %claim.external_id,
            "the provider has not known this resource for a day: perhaps it was deprovisioned without our hearing");
    }
    tracing::debug!(%cache, %error, attempt = claim.attempt + 1, "could not look at the resource");
    Ok(())
}
