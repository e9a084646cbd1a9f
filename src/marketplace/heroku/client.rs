//! The calls we make to Heroku. Sources: heroku.md §3, §4, §9, §10.
//!
//! Add-on URLs are built from the configured API address and the add-on's uuid, never taken from a request's
//! `callback_url`: a token can then go nowhere else (security.md OB-12).

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::logplex;
use super::settings::HerokuSettings;
use super::wire::{
    AddonNow, ApiError, Attachment, ConfigPatch, ConfigVar, Install, OauthGrant, Subscribed,
    Subscription, TokenReply,
};
use crate::domain::{ConfigValues, ExternalId};
use crate::http::outbound::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LINK, RANGE};
use crate::http::outbound::{self, Answer, Client, NoClient, RequestBuilder, StatusCode};
use crate::http::{CallError, CallErrorKind, wiped};
use crate::outbox::ports::{AttachedApp, LogLine, ProviderState, ResourceNow, Tokens};

const API_ACCEPT: HeaderValue = HeaderValue::from_static("application/vnd.heroku+json; version=3");
/// Logplex answers fast or not at all; its own clients wait this long.
const LOG_CALL_MAX: Duration = Duration::from_secs(5);
/// The events to subscribe to: attached apps come and go, a resource is renamed.
const EVENTS: [&str; 2] = ["api:addon-attachment", "api:addon"];
/// Pages of a list that are followed, at most.
const PAGES_MAX: usize = 20;
/// How long an access token lives when its answer does not say (heroku.md §3). One that ends before is renewed at the
/// first call that is refused.
const TOKEN_LIVES: Duration = Duration::from_secs(8 * 3_600);
const TOKEN_LIVES_MAX: Duration = Duration::from_secs(365 * 86_400);
const INSTALL_PAGES_MAX: usize = 1_000;

/// Heroku as the outbox sees it.
#[derive(Debug)]
pub struct HerokuClient {
    pub(super) settings: HerokuSettings,
    http: Client,
}

impl HerokuClient {
    pub fn new(settings: HerokuSettings) -> Result<HerokuClient, NoClient> {
        let http = outbound::client(&settings.user_agent, settings.call_max, settings.allow_http)?;
        Ok(HerokuClient { settings, http })
    }

    pub(super) async fn patch_config(
        &self,
        resource: &ExternalId,
        token: &SecretString,
        values: &ConfigValues,
    ) -> Result<(), CallError> {
        let names = &self.settings.variables;
        let patch = ConfigPatch {
            config: values
                .named(names)
                .map(|(name, value)| ConfigVar { name, value }),
        };
        let url = format!("{}/addons/{resource}/config", self.settings.api_url);
        let what = "config update";
        let body = wiped::json(&patch).map_err(|_| unexpected(what))?;
        let request = self
            .http
            .patch(url)
            .header(CONTENT_TYPE, "application/json");
        let request = request.body(body);
        let answer = outbound::send(what, authorised(request, token)).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        let secrets = [values.password.expose(), token.expose_secret()];
        Err(api_error(what, &answer, &secrets))
    }

    pub(super) async fn token(
        &self,
        what: &str,
        kind: &str,
        field: &str,
        secret: &SecretString,
    ) -> Result<Tokens, CallError> {
        let Some(client_secret) = &self.settings.client_secret else {
            return Err(CallError::new(
                CallErrorKind::Retry { after: None },
                format!("{what}: no client secret is configured"),
            ));
        };
        let url = format!("{}/oauth/token", self.settings.id_url);
        let request = self.http.post(url).form(&[
            ("grant_type", kind),
            (field, secret.expose_secret()),
            ("client_secret", client_secret.expose_secret()),
        ]);
        // A code that was answered is spent, though the answer may not arrive whole.
        let answer = outbound::send_once(what, request).await?;
        if !answer.status.is_success() {
            return Err(token_error(what, &answer));
        }
        // The text of a parse error may quote the token, so it is left out.
        let reply: TokenReply = serde_json::from_slice(&answer.body).unwrap_or_default();
        let expires_in = reply.expires_in.map_or(TOKEN_LIVES, Duration::from_secs);
        let access = reply.access_token.ok_or_else(|| {
            // A code is spent by an answer of success, whatever stands in it; a refresh token can be used again.
            let kind = match field {
                "code" => CallErrorKind::Refused,
                _ => CallErrorKind::Retry { after: None },
            };
            CallError::new(kind, format!("{what}: the answer holds no token"))
        })?;
        Ok(Tokens {
            access,
            expires_in: expires_in.min(TOKEN_LIVES_MAX),
            refresh: reply.refresh_token,
        })
    }

    /// The installs of the partner portal. Neither the shape of its entries nor how it makes pages is confirmed, so
    /// an answer that is not wholly understood counts as none: half a list would make resources seem lost.
    pub(super) async fn list_installs(&self) -> Result<Vec<ExternalId>, CallError> {
        let what = "list of installs";
        let url = format!("{}/api/v3/apps", self.settings.addons_url);
        let password = self.settings.passwords.first();
        let mut ids = Vec::new();
        let mut range: Option<HeaderValue> = None;
        for _ in 0..INSTALL_PAGES_MAX {
            let mut request = self
                .http
                .get(&url)
                .basic_auth(&self.settings.id, password.map(ExposeSecret::expose_secret))
                .header(ACCEPT, "application/json");
            if let Some(range) = range.take() {
                request = request.header(RANGE, range);
            }
            let answer = outbound::send(what, request).await?;
            if !answer.status.is_success() {
                return Err(api_error(what, &answer, &[]));
            }
            let page: Vec<Install> =
                serde_json::from_slice(&answer.body).map_err(|_| unexpected(what))?;
            for entry in page {
                ids.push(entry.id().ok_or_else(|| unexpected(what))?);
            }
            let linked = answer.headers.get_all(LINK).iter();
            if linked
                .into_iter()
                .any(|link| link.as_bytes().windows(4).any(|w| w == b"next"))
            {
                return Err(unexpected(what));
            }
            match answer.headers.get("next-range") {
                Some(next) if answer.status == StatusCode::PARTIAL_CONTENT => {
                    range = Some(next.clone());
                }
                _ => return Ok(ids),
            }
        }
        Err(unexpected(what))
    }

    /// Heroku answers only partners for whom this is switched on; 403 and 404 mean that there is none.
    pub(super) async fn code_again(
        &self,
        resource: &ExternalId,
    ) -> Result<Option<SecretString>, CallError> {
        let what = "request for a fresh grant";
        let Some(password) = self.settings.passwords.first() else {
            return Ok(None);
        };
        let url = format!(
            "{}/vendor/resources/{resource}/oauth-grant",
            self.settings.api_url
        );
        let request = self.http.get(url).header(ACCEPT, API_ACCEPT);
        let request = request.basic_auth(&self.settings.id, Some(password.expose_secret()));
        let answer = outbound::send(what, request).await?;
        if !answer.status.is_success() {
            return match answer.passing_trouble(what) {
                Some(error) => Err(error),
                None => Ok(None),
            };
        }
        // Not quoted: the text may hold the code.
        let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let grant = OauthGrant::in_value(&told).ok_or_else(|| {
            CallError::new(
                CallErrorKind::Refused,
                format!("{what}: the answer holds no code"),
            )
        })?;
        Ok(Some(grant.code))
    }

    pub(super) async fn list_attachments(
        &self,
        resource: &ExternalId,
        token: &SecretString,
    ) -> Result<Vec<AttachedApp>, CallError> {
        let path = format!("addons/{resource}/addon-attachments");
        let list: Vec<Attachment> = self.list("list of attachments", &path, token).await?;
        Ok(list.into_iter().map(attached_app).collect())
    }

    /// A list of the Platform API, with all its pages.
    async fn list<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        token: &SecretString,
    ) -> Result<Vec<T>, CallError> {
        let url = format!("{}/{path}", self.settings.api_url);
        let mut entries = Vec::new();
        let mut range: Option<HeaderValue> = None;
        for _ in 0..PAGES_MAX {
            let mut request = authorised(self.http.get(&url), token);
            if let Some(range) = range.take() {
                request = request.header(RANGE, range);
            }
            let answer = outbound::send(what, request).await?;
            if !answer.status.is_success() {
                return Err(api_error(what, &answer, &[token.expose_secret()]));
            }
            let page: Vec<T> =
                serde_json::from_slice(&answer.body).map_err(|_| unexpected(what))?;
            entries.extend(page);
            match answer.headers.get("next-range") {
                Some(next) if answer.status == StatusCode::PARTIAL_CONTENT => {
                    range = Some(next.clone());
                }
                _ => return Ok(entries),
            }
        }
        // A part of a list, taken for the whole, would detach apps.
        Err(CallError::new(
            CallErrorKind::Refused,
            format!("{what}: more than {PAGES_MAX} pages"),
        ))
    }

    pub(super) async fn read_addon(
        &self,
        resource: &ExternalId,
        token: &SecretString,
    ) -> Result<ResourceNow, CallError> {
        let what = "add-on info";
        let url = format!("{}/addons/{resource}", self.settings.api_url);
        let answer = outbound::send(what, authorised(self.http.get(url), token)).await?;
        if !answer.status.is_success() {
            return Err(api_error(what, &answer, &[token.expose_secret()]));
        }
        let addon: AddonNow = serde_json::from_slice(&answer.body).map_err(|_| unexpected(what))?;
        // A state that is not known here is taken for one on the way to provisioned.
        let state = match addon.state.as_deref() {
            Some("provisioned") => ProviderState::Provisioned,
            Some("deprovisioned" | "deprovisioning") => ProviderState::Deprovisioned,
            _ => ProviderState::Provisioning,
        };
        Ok(ResourceNow {
            name: addon.name,
            state,
        })
    }

    /// One of the completion actions of heroku.md §5: no body, and any 2xx is success.
    pub(super) async fn act(
        &self,
        action: &str,
        resource: &ExternalId,
        token: &SecretString,
    ) -> Result<(), CallError> {
        let what = format!("actions/{action}");
        let url = format!("{}/addons/{resource}/{what}", self.settings.api_url);
        let answer = outbound::send(&what, authorised(self.http.post(url), token)).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(api_error(&what, &answer, &[token.expose_secret()]))
    }

    /// Subscribes, unless an earlier call whose answer was lost has done so.
    pub(super) async fn subscribe_to_events(
        &self,
        resource: &ExternalId,
        token: &SecretString,
    ) -> Result<(), CallError> {
        let Some(webhooks) = &self.settings.webhooks else {
            return Ok(());
        };
        let path = format!("addons/{resource}/webhooks");
        let known: Vec<Subscribed> = self.list("list of webhooks", &path, token).await?;
        let is_ours = |known: &Subscribed| known.url.as_ref() == Some(&webhooks.url);
        if known.iter().any(is_ours) {
            return Ok(());
        }
        let what = "webhook subscription";
        let request = self
            .http
            .post(format!("{}/{path}", self.settings.api_url))
            .json(&Subscription {
                include: &EVENTS,
                level: "sync",
                url: &webhooks.url,
                secret: webhooks.secret.expose_secret(),
            });
        let answer = outbound::send(what, authorised(request, token)).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        let secrets = [token.expose_secret(), webhooks.secret.expose_secret()];
        Err(api_error(what, &answer, &secrets))
    }

    pub(super) async fn post_log(
        &self,
        resource: &ExternalId,
        url: &SecretString,
        batch: &str,
        lines: &[LogLine],
    ) -> Result<(), CallError> {
        let what = "log input";
        let checked = outbound::checked_url(
            url.expose_secret(),
            &self.settings.log_hosts,
            self.settings.allow_http,
        );
        let mut url = checked.map_err(|why| {
            CallError::new(CallErrorKind::Refused, format!("{what}: its URL has {why}"))
        })?;
        let (user, password) = (url.username().to_owned(), url.password().map(str::to_owned));
        // A URL with a host takes both, so neither call can fail.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let request = self
            .http
            .post(url)
            .basic_auth(user, password)
            .timeout(LOG_CALL_MAX.min(self.settings.call_max))
            .header(CONTENT_TYPE, logplex::CONTENT_TYPE)
            .header("Logplex-Msg-Count", lines.len())
            .header("Logplex-Frame-Id", batch)
            .body(logplex::body(resource.as_str(), &self.settings.id, lines));
        let answer = outbound::send(what, request).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        if let Some(error) = answer.passing_trouble(what) {
            return Err(error);
        }
        let kind = match answer.status.as_u16() {
            401 | 403 | 404 | 410 => CallErrorKind::Unauthorized,
            _ => CallErrorKind::Refused,
        };
        Err(CallError::new(kind, format!("{what}: {}", answer.status)))
    }
}

fn authorised(request: RequestBuilder, token: &SecretString) -> RequestBuilder {
    request
        .bearer_auth(token.expose_secret())
        .header(ACCEPT, API_ACCEPT)
}

fn unexpected(what: &str) -> CallError {
    CallError::new(CallErrorKind::Refused, format!("{what}: not as expected"))
}

fn attached_app(attachment: Attachment) -> AttachedApp {
    let owner = attachment.addon.and_then(|addon| addon.app);
    AttachedApp {
        owns: owner.is_some_and(|owner| owner.id == attachment.app.id),
        app: attachment.app.id,
        log_url: attachment.log_input_url,
    }
}

/// heroku.md §4, failure table.
fn api_error(what: &str, answer: &Answer, secrets: &[&str]) -> CallError {
    if let Some(error) = answer.passing_trouble(what) {
        return error;
    }
    let kind = match answer.status.as_u16() {
        401 => CallErrorKind::Unauthorized,
        404 | 410 => CallErrorKind::Gone,
        _ => CallErrorKind::Refused,
    };
    let body: ApiError = serde_json::from_slice(&answer.body).unwrap_or_default();
    let told = body.message.map(|text| printable(&text, secrets));
    let told = told.map(|text| format!(" ({text})")).unwrap_or_default();
    CallError::new(kind, format!("{what}: {}{told}", answer.status))
}

/// The shape of these error bodies is not documented, so of their text only the error's identifier is kept.
fn token_error(what: &str, answer: &Answer) -> CallError {
    if let Some(error) = answer.passing_trouble(what) {
        return error;
    }
    let body: ApiError = serde_json::from_slice(&answer.body).unwrap_or_default();
    let plain =
        |id: &String| id.len() <= 40 && id.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let id = body.id.or(body.error).filter(plain);
    let id = id.map(|id| format!(" ({id})")).unwrap_or_default();
    CallError::new(
        CallErrorKind::Refused,
        format!("{what}: {}{id}", answer.status),
    )
}

/// A provider's sentence, without what we sent it in confidence.
fn printable(text: &str, secrets: &[&str]) -> String {
    let clean = secrets
        .iter()
        .filter(|secret| !secret.is_empty())
        .fold(text.to_owned(), |text, secret| text.replace(secret, "…"));
    clean
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_provider_that_echoes_a_secret_is_not_quoted() {
        let told = printable("value 0A1B is\n bad for HRKU-9", &["0A1B", "HRKU-9", ""]);
        assert_eq!(told, "value … is bad for …");
    }
}
