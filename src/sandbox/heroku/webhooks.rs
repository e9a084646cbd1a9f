//! Webhooks: the provider subscribes, and events are delivered in order until the provider accepts them.
//!
//! The events: attachments created and destroyed, add-ons renamed. The wait between tries is much shorter than
//! the real platform's, so that a demonstration gets to see one.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use axum::{Router, response::IntoResponse as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::outbound::Url;
use crate::sandbox::heroku::api_error::ApiError;
use crate::sandbox::heroku::caller::{Caller, with_addon};
use crate::sandbox::heroku::paging;
use crate::sandbox::platform::hub::Hub;
use crate::sandbox::platform::recorder::Direction;
use crate::sandbox::platform::webhook::{Level, Webhook, WebhookEvent};

/// Tries under the level `sync`.
const TRIES_MAX: u32 = 180;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Entities that an add-on provider may ask for without further permission.
const KNOWN: [&str; 4] = [
    "api:addon",
    "api:addon-attachment",
    "api:app",
    "api:collaborator",
];

#[derive(Deserialize)]
struct Subscription {
    include: Vec<String>,
    level: Level,
    url: String,
    secret: Option<String>,
}

pub(in crate::sandbox) fn routes() -> Router<Arc<Hub>> {
    Router::new().route("/addons/{id}/webhooks", get(list).post(subscribe))
}

async fn list(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let list = hub.read(|market| {
        with_addon(market, &caller, &id, |addon| {
            let own = market.webhooks.iter().filter(|hook| hook.addon == addon.id);
            own.map(show).collect()
        })
    })?;
    paging::page(list, &headers, hub.settings.page_size)
}

async fn subscribe(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let addon = hub.read(|market| with_addon(market, &caller, &id, |addon| addon.id))?;
    let asked: Subscription = serde_json::from_slice(&body)
        .map_err(|error| ApiError::invalid(format!("not a webhook: {error}")))?;
    if let Some(stray) = asked
        .include
        .iter()
        .find(|entity| !KNOWN.contains(&entity.as_str()))
    {
        let why = format!("you may not include {stray}");
        return Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", why));
    }
    if Url::parse(&asked.url).is_err() {
        return Err(ApiError::invalid("url is not a URL"));
    }
    let generated = asked.secret.is_none().then(|| Uuid::new_v4().to_string());
    let webhook = Webhook {
        id: Uuid::new_v4(),
        addon,
        url: asked.url,
        secret: asked.secret.or(generated.clone()).unwrap_or_default(),
        include: asked.include,
        level: asked.level,
        created_at: hub.now(),
    };
    let shown = show(&webhook);
    hub.change(|market, _| market.webhooks.push(webhook));
    let mut response = (StatusCode::CREATED, Json(shown)).into_response();
    if let Some(secret) = generated.and_then(|secret| secret.parse().ok()) {
        response
            .headers_mut()
            .insert("heroku-webhook-secret", secret);
    }
    Ok(response)
}

/// Without the secret, which is told once.
fn show(webhook: &Webhook) -> Value {
    json!({
        "id": webhook.id,
        "addon": { "id": webhook.addon },
        "include": webhook.include,
        "level": webhook.level,
        "url": webhook.url,
        "created_at": webhook.created_at.to_string(),
    })
}

/// Delivers what is queued, one after the other, until the sandbox stops.
pub(in crate::sandbox) async fn deliver_webhook_event(hub: Arc<Hub>) {
    let mut changes = hub.changes();
    loop {
        let next = hub.read(|market| {
            let event = market.webhook_events.front().cloned()?;
            let hook = market.webhooks.iter().find(|hook| hook.id == event.webhook);
            Some((event, hook.cloned()))
        });
        let outcome = match next {
            Some((event, Some(hook))) => {
                hub.stop
                    .run_until_cancelled(deliver(&hub, &hook, &event))
                    .await
            }
            // The subscription went with its add-on.
            Some((_, None)) => Some(()),
            None => match hub.stop.run_until_cancelled(changes.changed()).await {
                Some(Ok(())) => continue,
                _ => return,
            },
        };
        if outcome.is_none() {
            return;
        }
        hub.change(|market, _| market.webhook_events.pop_front());
    }
}

/// Tries until it is taken, or for as long as the level says.
async fn deliver(hub: &Hub, hook: &Webhook, event: &WebhookEvent) {
    let tries = match hook.level {
        Level::Notify => 1,
        Level::Sync => TRIES_MAX,
    };
    let mut wait = FIRST_WAIT;
    for _ in 0..tries {
        let faults = hub.read(|market| market.faults().calls);
        if let Some(delay) = faults.slow {
            tokio::time::sleep(delay).await;
        }
        if faults.duplicate {
            post(hub, hook, event, Some("duplicate")).await;
        }
        let lost = faults.lose_reply.then_some("lost reply");
        if post(hub, hook, event, lost).await && lost.is_none() {
            return;
        }
        tokio::time::sleep(wait).await;
        wait = LONGEST_WAIT.min(wait * 2);
    }
}

/// One try; whether it was taken.
async fn post(
    hub: &Hub,
    hook: &Webhook,
    event: &WebhookEvent,
    fault: Option<&'static str>,
) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, hook.secret.as_bytes());
    let signature = STANDARD.encode(hmac::sign(&key, event.body.as_bytes()));
    let sent = hub
        .http
        .post(&hook.url)
        .header("Content-Type", "application/json")
        .header("Heroku-Webhook-Hmac-SHA256", signature)
        .body(event.body.clone())
        .send()
        .await;
    let status = sent.as_ref().ok().map(|answer| answer.status().as_u16());
    let path = match Url::parse(&hook.url) {
        Ok(url) => url.path().to_owned(),
        Err(_) => hook.url.clone(),
    };
    hub.record(Direction::ToProvider, "POST", &path, status, fault);
    status.is_some_and(|status| (200..300).contains(&status))
}
