//! News for the provider: subscriptions, and events delivered in order until they are taken.
//!
//! What is told: attachments created and destroyed, add-ons renamed. The wait between tries is much shorter than
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
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::hub::Hub;
use super::lifecycle::Around;
use super::market::{AddonId, AppId, Market};
use super::paging;
use super::platform::{ApiError, Caller, with_addon};
use super::recorder::Direction;

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

/// A subscription of the provider for one add-on.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Webhook {
    id: Uuid,
    addon: AddonId,
    url: String,
    secret: String,
    include: Vec<String>,
    level: Level,
    created_at: Timestamp,
}

impl Webhook {
    pub fn is_of(&self, addon: AddonId) -> bool {
        self.addon == addon
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// One try.
    Notify,
    /// Tried until it is taken.
    Sync,
}

/// An event on its way to one subscription.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct News {
    webhook: Uuid,
    /// As it is sent and signed.
    body: String,
}

#[derive(Deserialize)]
struct Wish {
    include: Vec<String>,
    level: Level,
    url: String,
    secret: Option<String>,
}

pub(super) fn routes() -> Router<Arc<Hub>> {
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
    let wish: Wish = serde_json::from_slice(&body)
        .map_err(|error| ApiError::invalid(format!("not a webhook: {error}")))?;
    if let Some(stray) = wish
        .include
        .iter()
        .find(|entity| !KNOWN.contains(&entity.as_str()))
    {
        let why = format!("you may not include {stray}");
        return Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", why));
    }
    if reqwest::Url::parse(&wish.url).is_err() {
        return Err(ApiError::invalid("url is not a URL"));
    }
    let generated = wish.secret.is_none().then(|| Uuid::new_v4().to_string());
    let webhook = Webhook {
        id: Uuid::new_v4(),
        addon,
        url: wish.url,
        secret: wish.secret.or(generated.clone()).unwrap_or_default(),
        include: wish.include,
        level: wish.level,
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

impl Market {
    /// Queues an event for everybody who asked for this kind of news of `addon`.
    pub(super) fn tell(
        &mut self,
        addon: AddonId,
        entity: &str,
        action: &str,
        data: Value,
        around: Around<'_>,
    ) {
        let include = format!("api:{entity}");
        let wanted = |hook: &&Webhook| hook.addon == addon && hook.include.contains(&include);
        let event = Uuid::new_v4();
        for hook in self.webhooks.iter().filter(wanted) {
            let body = json!({
                "id": event,
                "action": action,
                "resource": entity,
                "data": data,
                "previous_data": {},
                "created_at": around.now.to_string(),
                "published_at": around.now.to_string(),
                "version": "application/vnd.heroku+json; version=3",
                "webhook_metadata": {
                    "event": { "id": event, "include": include },
                    "webhook": { "id": hook.id },
                },
            });
            self.news.push_back(News {
                webhook: hook.id,
                body: body.to_string(),
            });
        }
    }

    /// Tells of an attachment that came or went.
    pub(super) fn tell_attachment(
        &mut self,
        addon: AddonId,
        app: AppId,
        action: &str,
        around: Around<'_>,
    ) {
        let name = |id: AppId| self.app(id).map(|app| app.name.clone());
        let Some(found) = self.addon(addon) else {
            return;
        };
        let attachment = found.attachments.iter().find(|used| used.app == app);
        let data = json!({
            "id": attachment.map(|used| used.id),
            "name": attachment.map(|used| &used.name),
            "addon": { "id": addon, "name": found.name, "app": { "id": found.owner, "name": name(found.owner) } },
            "app": { "id": app, "name": name(app) },
        });
        self.tell(addon, "addon-attachment", action, data, around);
    }
}

/// Delivers what is queued, one after the other, until the sandbox stops.
pub(super) async fn deliver_news(hub: Arc<Hub>) {
    let mut changes = hub.changes();
    loop {
        let next = hub.read(|market| {
            let news = market.news.front().cloned()?;
            let hook = market.webhooks.iter().find(|hook| hook.id == news.webhook);
            Some((news, hook.cloned()))
        });
        let outcome = match next {
            Some((news, Some(hook))) => {
                hub.stop
                    .run_until_cancelled(deliver(&hub, &hook, &news))
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
        hub.change(|market, _| market.news.pop_front());
    }
}

/// Tries until it is taken, or for as long as the level says.
async fn deliver(hub: &Hub, hook: &Webhook, news: &News) {
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
            post(hub, hook, news, Some("duplicate")).await;
        }
        let lost = faults.lose_reply.then_some("lost reply");
        if post(hub, hook, news, lost).await && lost.is_none() {
            return;
        }
        tokio::time::sleep(wait).await;
        wait = LONGEST_WAIT.min(wait * 2);
    }
}

/// One try; whether it was taken.
async fn post(hub: &Hub, hook: &Webhook, news: &News, fault: Option<&'static str>) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, hook.secret.as_bytes());
    let signature = STANDARD.encode(hmac::sign(&key, news.body.as_bytes()));
    let sent = hub
        .http
        .post(&hook.url)
        .header("Content-Type", "application/json")
        .header("Heroku-Webhook-Hmac-SHA256", signature)
        .body(news.body.clone())
        .send()
        .await;
    let status = sent.as_ref().ok().map(|answer| answer.status().as_u16());
    let path = match reqwest::Url::parse(&hook.url) {
        Ok(url) => url.path().to_owned(),
        Err(_) => hook.url.clone(),
    };
    hub.record(Direction::ToProvider, "POST", &path, status, fault);
    status.is_some_and(|status| (200..300).contains(&status))
}
