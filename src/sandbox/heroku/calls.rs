//! The marketplace's calls to the provider, as they go over the wire.

use std::fmt;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::http::outbound::header::{ACCEPT, CONTENT_TYPE};
use crate::http::outbound::{ClientError, Method, Url};
use crate::sandbox::platform::hub::Hub;
use crate::sandbox::platform::recorder::Direction;
use crate::sandbox::platform::refusal::NotPossible;

/// How long "reorder" holds a call back when no other comes by.
const LONGEST_HOLD: Duration = Duration::from_secs(3);

/// What the provider answered.
#[derive(Clone, PartialEq, Eq)]
pub struct ProviderReply {
    pub status: u16,
    pub body: String,
}

/// Leaves out the body, which may hold a config.
impl fmt::Debug for ProviderReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProviderReply({})", self.status)
    }
}

impl ProviderReply {
    /// The sentence for the customer, if there is one.
    pub fn message(&self) -> Option<String> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        Some(body.get("message")?.as_str()?.to_owned())
    }
}

/// Why an action at the provider came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error("the provider answered {}: {}", .0.status, .0.message().unwrap_or_default())]
    Refused(ProviderReply),
    #[error("no answer from the provider: {reason}")]
    NoAnswer { reason: String },
    #[error("the provider's answer breaks the contract: {reason}")]
    BrokenContract { status: u16, reason: String },
    #[error(transparent)]
    NotPossible(#[from] NotPossible),
}

impl ProviderError {
    /// The status the provider answered with, if it answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            ProviderError::Refused(reply) => Some(reply.status),
            ProviderError::BrokenContract { status, .. } => Some(*status),
            ProviderError::NoAnswer { .. } | ProviderError::NotPossible(_) => None,
        }
    }

    /// The body of a refusal; empty otherwise.
    pub fn body(&self) -> &str {
        match self {
            ProviderError::Refused(reply) => &reply.body,
            _ => "",
        }
    }
}

/// One call, ready to be sent any number of times.
#[derive(Clone)]
pub(in crate::sandbox) struct Call {
    pub method: Method,
    /// After the base URL: empty, or `/{uuid}`.
    pub path: String,
    pub body: Option<Value>,
}

/// Sends a call with the faults of calls applied: held, late, twice, or with its answer thrown away.
pub(in crate::sandbox) async fn send(
    hub: &Hub,
    call: Call,
) -> Result<ProviderReply, ProviderError> {
    let faults = hub.read(|market| market.faults().calls);
    if let Some(delay) = faults.slow {
        tokio::time::sleep(delay).await;
    }
    let overtaken = match faults.reorder {
        true => wait_for_overtaking(hub).await,
        false => None,
    };
    let fault = match faults.lose_reply {
        true => Some("lost reply"),
        false => None,
    };
    let reply = if faults.duplicate {
        let twin = send_once(hub, &call, Some("duplicate"));
        let (reply, _) = tokio::join!(send_once(hub, &call, fault), twin);
        reply
    } else {
        send_once(hub, &call, fault).await
    };
    if let Some(overtaken) = overtaken {
        // Its sender may have given up waiting.
        let _gone = overtaken.send(());
    }
    match faults.lose_reply {
        true => Err(ProviderError::NoAnswer {
            reason: "the sandbox was told to lose this reply".to_owned(),
        }),
        false => reply,
    }
}

/// Waits for another call to go first, or returns the one that this call overtakes.
async fn wait_for_overtaking(hub: &Hub) -> Option<oneshot::Sender<()>> {
    let (release, released) = oneshot::channel();
    {
        let mut held = hub.held_call.lock();
        // One that waited too long has closed its end and is on its way already.
        if let Some(waiting) = held.take().filter(|waiting| !waiting.is_closed()) {
            return Some(waiting);
        }
        *held = Some(release);
    }
    let _overtaken = tokio::time::timeout(LONGEST_HOLD, released).await;
    None
}

async fn send_once(
    hub: &Hub,
    call: &Call,
    fault: Option<&'static str>,
) -> Result<ProviderReply, ProviderError> {
    let url = format!("{}{}", hub.provider().base.trim_end_matches('/'), call.path);
    let path = match Url::parse(&url) {
        Ok(parsed) => parsed.path().to_owned(),
        Err(_) => url.clone(),
    };
    let outcome = exchange(hub, call, &url).await;
    let status = outcome.as_ref().ok().map(|reply| reply.status);
    let method = call.method.as_str();
    hub.record(Direction::ToProvider, method, &path, status, fault);
    outcome.map_err(|error| ProviderError::NoAnswer {
        reason: describe(&error.without_url()),
    })
}

async fn exchange(hub: &Hub, call: &Call, url: &str) -> Result<ProviderReply, ClientError> {
    let manifest = &hub.settings.manifest;
    let password = manifest.api.password.expose_secret();
    let mut request = hub
        .http
        .request(call.method.clone(), url)
        .basic_auth(&manifest.id, Some(password))
        .header(ACCEPT, "application/vnd.heroku-addons+json; version=3")
        .header(CONTENT_TYPE, "application/json");
    if let Some(body) = &call.body {
        request = request.body(body.to_string());
    }
    let response = request.send().await?;
    let status = response.status().as_u16();
    let body = response.text().await?;
    Ok(ProviderReply { status, body })
}

/// The client's own text is short; what happened is in its sources.
fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

/// The body of an answer to provisioning or a plan change.
#[derive(Deserialize)]
pub(in crate::sandbox) struct ReplyBody {
    pub id: Option<String>,
    pub config: Option<std::collections::BTreeMap<String, String>>,
    pub message: Option<String>,
}

/// Reads the body and holds it to the manifest, as the platform does.
pub(in crate::sandbox) fn read_reply(
    hub: &Hub,
    reply: &ProviderReply,
) -> Result<ReplyBody, ProviderError> {
    let broken = |reason: String| ProviderError::BrokenContract {
        status: reply.status,
        reason,
    };
    let body: ReplyBody = serde_json::from_str(&reply.body)
        .map_err(|error| broken(format!("the body is not as agreed: {error}")))?;
    let known = &hub.settings.manifest.api.config_vars;
    let names = body.config.iter().flat_map(|config| config.keys());
    match names.into_iter().find(|name| !known.contains(name)) {
        Some(stray) => Err(broken(format!("{stray} is not among the config_vars"))),
        None => Ok(body),
    }
}
