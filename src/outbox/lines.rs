//! Lines to the apps' logs: in order per attachment, kept a quarter of an hour, counted when lost (P6).

use super::backoff;
use super::grants::{self, Fault};
use super::ports::{AttachedApp, LogLine, Provider, SendError, SendErrorKind};
use super::worker::{Inner, Kind, OutboxSettings, count};
use crate::domain::Timestamp;
use crate::domain::secret::same_secret;
use crate::store::StoreError;
use crate::store::attachments::{LogInput, OWNING_APP};
use crate::store::claims::{Backlog, Caps};
use crate::store::deliveries::LaneClaim;
use secrecy::{ExposeSecret, SecretString};

/// Lines in one call; with the notice of lost ones it makes a hundred frames.
const BATCH: u32 = 99;

pub(super) struct Lines;

impl Kind for Lines {
    type Claim = LaneClaim;
    const NAME: &'static str = "log";

    fn per_destination(settings: &OutboxSettings) -> u32 {
        settings.per_log_host
    }

    async fn backlog(outbox: &Inner, now: Timestamp) -> Result<Backlog, StoreError> {
        outbox.store.lines_backlog(now).await
    }

    async fn claim(outbox: &Inner, caps: Caps) -> Result<Vec<LaneClaim>, StoreError> {
        let mut tx = outbox.store.begin().await?;
        let claims = tx
            .claim_lanes(outbox.now(), outbox.lease_until(), caps, BATCH)
            .await?;
        tx.commit().await?;
        Ok(claims)
    }

    async fn keep(outbox: &Inner, claim: LaneClaim) -> Result<(), StoreError> {
        let provider = outbox.providers.get(&claim.marketplace);
        let input = outbox.store.log_input(&claim.order_key).await?;
        let (Some(provider), Some(input)) = (provider, input) else {
            return abandon(outbox, &claim, "there is nobody to send it to").await;
        };
        let url = match &input.url {
            Some(url) if input.dead_at.is_none() => url,
            _ => return abandon(outbox, &claim, "the log input is closed").await,
        };
        let (batch, lines) = (batch_id(&claim), with_notice(&claim, outbox.now()));
        let sent = provider.send_log(&claim.external_id, url, &batch, &lines);
        match sent.await {
            Ok(()) => record_delivered(outbox, &claim).await,
            Err(error) => match error.kind {
                SendErrorKind::Retry { after } => {
                    let wait = after.map_or_else(
                        || backoff::line_wait(claim.attempt.saturating_add(1), backoff::dice()),
                        backoff::obey,
                    );
                    record_failed(outbox, &claim, &error, outbox.now().plus(wait)).await
                }
                SendErrorKind::Unauthorized | SendErrorKind::Gone => {
                    reopen(outbox, provider.as_ref(), &claim, &input, &error).await
                }
                SendErrorKind::Refused => record_refused(outbox, &claim, &error).await,
            },
        }
    }
}

/// Names the batch: alike for the same lines sent again, and only for them.
fn batch_id(claim: &LaneClaim) -> String {
    let first = claim.lines.first().map_or("", |line| line.id.as_str());
    format!("{first}-{}", claim.lines.len())
}

/// The claimed lines, after a word about those lost before them.
fn with_notice(claim: &LaneClaim, now: Timestamp) -> Vec<LogLine> {
    let lost = claim.dropped;
    let notice = (lost > 0).then(|| LogLine {
        at: now,
        text: format!(
            "event=messages_dropped cache={} dropped={lost} message=\"{lost} messages dropped\"",
            claim.label
        ),
    });
    let lines = claim.lines.iter().map(|line| LogLine {
        at: line.at,
        text: line.line.clone(),
    });
    notice.into_iter().chain(lines).collect()
}

async fn record_delivered(outbox: &Inner, claim: &LaneClaim) -> Result<(), StoreError> {
    let mut tx = outbox.store.begin().await?;
    tx.record_lines_delivered(claim, outbox.now()).await?;
    tx.commit().await?;
    count(Lines::NAME, "delivered");
    Ok(())
}

async fn record_failed(
    outbox: &Inner,
    claim: &LaneClaim,
    error: &SendError,
    next: Timestamp,
) -> Result<(), StoreError> {
    let mut tx = outbox.store.begin().await?;
    tx.record_lines_failed(claim, &error.message, next, outbox.now())
        .await?;
    tx.commit().await?;
    count(Lines::NAME, "failed");
    tracing::warn!(cache = %claim.cache, %error, attempt = claim.attempt + 1, "log lines not delivered");
    Ok(())
}

async fn record_refused(
    outbox: &Inner,
    claim: &LaneClaim,
    error: &SendError,
) -> Result<(), StoreError> {
    let mut tx = outbox.store.begin().await?;
    tx.record_lines_refused(claim, &error.message, outbox.now())
        .await?;
    tx.commit().await?;
    count(Lines::NAME, "refused");
    tracing::error!(cache = %claim.cache, %error, lines = claim.lines.len(), "log lines refused and dropped");
    Ok(())
}

async fn abandon(outbox: &Inner, claim: &LaneClaim, why: &str) -> Result<(), StoreError> {
    let mut tx = outbox.store.begin().await?;
    tx.abandon_lane(claim, why, outbox.now()).await?;
    tx.commit().await?;
    count(Lines::NAME, "refused");
    Ok(())
}

/// The input refuses our token: asks the provider for a fresh one, and closes the input when there is none.
async fn reopen(
    outbox: &Inner,
    provider: &dyn Provider,
    claim: &LaneClaim,
    input: &LogInput,
    error: &SendError,
) -> Result<(), StoreError> {
    let now = outbox.now();
    match fresh_url(outbox, provider, claim, input).await {
        Ok(Some(url)) => {
            let mut tx = outbox.store.begin().await?;
            if tx
                .record_lines_failed(claim, &error.message, now, now)
                .await?
            {
                tx.set_log_input(claim.cache, &claim.order_key, &url)
                    .await?;
            }
            tx.commit().await?;
            tracing::info!(cache = %claim.cache, "log input replaced by a fresh one");
            outbox.wake();
            Ok(())
        }
        Err(Fault::Store(error)) => Err(error),
        Err(Fault::Send(trouble)) if matches!(trouble.kind, SendErrorKind::Retry { .. }) => {
            let wait = backoff::line_wait(claim.attempt.saturating_add(1), backoff::dice());
            record_failed(outbox, claim, &trouble, now.plus(wait)).await
        }
        Ok(None) | Err(Fault::Send(_)) => {
            let mut tx = outbox.store.begin().await?;
            if tx.abandon_lane(claim, &error.message, now).await? {
                tx.mark_log_input_dead(&claim.order_key, now).await?;
            }
            tx.commit().await?;
            count(Lines::NAME, "dead");
            tracing::error!(cache = %claim.cache, %error, "log input closed: no line goes there any more");
            Ok(())
        }
    }
}

/// The attachment's log input as the provider knows it, if it is another than the one that failed.
async fn fresh_url(
    outbox: &Inner,
    provider: &dyn Provider,
    claim: &LaneClaim,
    input: &LogInput,
) -> Result<Option<SecretString>, Fault> {
    let token = grants::access_token(outbox, provider, claim.cache).await?;
    let apps = match provider.attachments(&claim.external_id, &token).await {
        Err(error) if error.kind == SendErrorKind::Unauthorized => {
            let token = grants::renewed_token(outbox, provider, claim.cache, &token).await?;
            provider.attachments(&claim.external_id, &token).await?
        }
        other => other?,
    };
    let same = |url: &SecretString| {
        input.url.as_ref().is_some_and(|dead| {
            same_secret(
                dead.expose_secret().as_bytes(),
                url.expose_secret().as_bytes(),
            )
        })
    };
    Ok(find_app(apps, &input.app)
        .and_then(|app| app.log_url)
        .filter(|url| !same(url)))
}

fn find_app(apps: Vec<AttachedApp>, wanted: &str) -> Option<AttachedApp> {
    let alone = apps.len() == 1;
    apps.into_iter()
        .find(|app| app.app == wanted || (wanted == OWNING_APP && (app.owns || alone)))
}
