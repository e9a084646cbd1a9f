//! Lines to the apps' logs: in order per attachment, kept a quarter of an hour, counted when lost (P6).

use secrecy::{ExposeSecret, SecretString};

use super::backoff;
use super::ports::{AttachedApp, LogLine, Provider};
use super::promise::{AttemptError, Context, OutboxSettings, Promise, count};
use super::tokens::with_token;
use crate::domain::Timestamp;
use crate::domain::printable::{NAME_CHARS_MAX, printable};
use crate::domain::secret::same_secret;
use crate::http::{CallError, CallErrorKind};
use crate::store::caches::attachments::{LogInput, OWNING_APP};
use crate::store::outbox::claims::{Backlog, Served, Terms};
use crate::store::outbox::deliveries::LaneClaim;
use crate::store::outbox::promised::PromiseKind;
use crate::store::{Store, StoreError, Tx};

/// Lines in one call; with the notice of lost ones it makes a hundred frames.
const BATCH: u32 = 99;

pub(super) struct LogLines;

impl Promise for LogLines {
    type Claim = LaneClaim;
    const NAME: &'static str = "log_lines";
    const KIND: PromiseKind = PromiseKind::LogLines;

    fn per_destination(settings: &OutboxSettings) -> u32 {
        settings.per_log_host
    }

    fn can_serve(provider: &dyn Provider) -> bool {
        provider.log_sink().is_some()
    }

    async fn backlog(
        store: &Store,
        served: &Served,
        now: Timestamp,
    ) -> Result<Backlog, StoreError> {
        store.lines_backlog(served, now).await
    }

    async fn claim(tx: &mut Tx, terms: &Terms) -> Result<Vec<LaneClaim>, StoreError> {
        tx.claim_lanes(terms, BATCH).await
    }

    async fn attempt(context: &Context, claim: LaneClaim) -> Result<(), StoreError> {
        let able = context.provider(claim.marketplace);
        let able = able.and_then(|provider| Some((provider, provider.log_sink()?)));
        let input = context.store.log_input(&claim.order_key).await?;
        let (Some((provider, sink)), Some(input)) = (able, input) else {
            return abandon(context, &claim, "there is nobody to send it to").await;
        };
        let url = match &input.url {
            Some(url) if input.dead_at.is_none() => url,
            _ => return abandon(context, &claim, "the log input is closed").await,
        };
        let (batch, lines) = (batch_id(&claim), with_notice(&claim, context.now()));
        let sent = sink.send_log(&claim.external_id, url, &batch, &lines);
        match sent.await {
            Ok(()) => record_delivered(context, &claim).await,
            Err(error) => match error.kind {
                CallErrorKind::Retry { after } => {
                    let wait = after.map_or_else(
                        || backoff::line_wait(claim.attempt.saturating_add(1), backoff::dice()),
                        backoff::obey,
                    );
                    record_failed(context, &claim, &error, context.now().plus(wait)).await
                }
                CallErrorKind::Unauthorized | CallErrorKind::Gone => {
                    reopen(context, provider, &claim, &input, &error).await
                }
                CallErrorKind::Refused => record_refused(context, &claim, &error).await,
            },
        }
    }
}

/// Names the batch: alike for the same lines sent again, and only for them.
fn batch_id(claim: &LaneClaim) -> String {
    let first = claim.lines.first().map_or("", |line| line.id.as_str());
    format!("{first}-{}", claim.lines.len())
}

/// The claimed lines, after a notice of those lost before them.
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

async fn record_delivered(context: &Context, claim: &LaneClaim) -> Result<(), StoreError> {
    let mut tx = context.store.begin().await?;
    tx.record_lines_delivered(claim, context.now()).await?;
    tx.commit().await?;
    count(LogLines::NAME, "delivered");
    Ok(())
}

async fn record_failed(
    context: &Context,
    claim: &LaneClaim,
    error: &CallError,
    next: Timestamp,
) -> Result<(), StoreError> {
    let mut tx = context.store.begin().await?;
    tx.record_lines_failed(claim, &error.message, next, context.now())
        .await?;
    tx.commit().await?;
    count(LogLines::NAME, "failed");
    tracing::warn!(cache = %claim.cache, %error, attempt = claim.attempt + 1, "log lines not delivered");
    Ok(())
}

async fn record_refused(
    context: &Context,
    claim: &LaneClaim,
    error: &CallError,
) -> Result<(), StoreError> {
    let mut tx = context.store.begin().await?;
    tx.record_lines_refused(claim, &error.message, context.now())
        .await?;
    tx.commit().await?;
    count(LogLines::NAME, "refused");
    tracing::error!(cache = %claim.cache, %error, lines = claim.lines.len(), "log lines refused and dropped");
    Ok(())
}

async fn abandon(context: &Context, claim: &LaneClaim, why: &str) -> Result<(), StoreError> {
    let mut tx = context.store.begin().await?;
    tx.abandon_lane(claim, why, context.now()).await?;
    tx.commit().await?;
    count(LogLines::NAME, "refused");
    Ok(())
}

/// The input refuses our token: asks the provider for a fresh one, and closes the input when there is none.
async fn reopen(
    context: &Context,
    provider: &dyn Provider,
    claim: &LaneClaim,
    input: &LogInput,
    error: &CallError,
) -> Result<(), StoreError> {
    let now = context.now();
    match fresh_url(context, provider, claim, input).await {
        Ok(Some(url)) => {
            let mut tx = context.store.begin().await?;
            if tx
                .record_lines_failed(claim, &error.message, now, now)
                .await?
            {
                tx.set_log_input(claim.cache, &claim.order_key, &url)
                    .await?;
            }
            tx.commit().await?;
            tracing::info!(cache = %claim.cache, "log input replaced by a fresh one");
            Ok(())
        }
        Err(AttemptError::Store(error)) => Err(error),
        Err(AttemptError::Call(trouble)) if matches!(trouble.kind, CallErrorKind::Retry { .. }) => {
            let wait = backoff::line_wait(claim.attempt.saturating_add(1), backoff::dice());
            record_failed(context, claim, &trouble, now.plus(wait)).await
        }
        Ok(None) | Err(AttemptError::Call(_)) => {
            let mut tx = context.store.begin().await?;
            if tx.abandon_lane(claim, &error.message, now).await? {
                tx.mark_log_input_dead(&claim.order_key, now).await?;
            }
            tx.commit().await?;
            count(LogLines::NAME, "dead");
            tracing::error!(cache = %claim.cache, %error, "log input closed: no line goes there any more");
            Ok(())
        }
    }
}

/// The attachment's log input as the provider knows it, if it is another than the one that failed.
async fn fresh_url(
    context: &Context,
    provider: &dyn Provider,
    claim: &LaneClaim,
    input: &LogInput,
) -> Result<Option<SecretString>, AttemptError> {
    let Some(reader) = provider.resource_reader() else {
        return Ok(None);
    };
    let apps = with_token(context, provider, claim.cache, |token| async move {
        let apps = reader.attachments(&claim.external_id, token.as_ref());
        Ok(apps.await?)
    })
    .await?;
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
    apps.into_iter().find(|app| {
        printable(&app.app, NAME_CHARS_MAX) == wanted
            || (wanted == OWNING_APP && (app.owns || alone))
    })
}
