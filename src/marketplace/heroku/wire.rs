//! What goes over the wire, in Heroku's spelling. Only fields we read are listed; others are ignored.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::{ExternalId, Timestamp};

/// How long a grant code lives, when its end cannot be read.
const CODE_LIVES: Duration = Duration::from_secs(300);

/// Body of `POST /heroku/resources`.
#[derive(Debug, Deserialize)]
pub struct ProvisionBody {
    pub uuid: Option<String>,
    /// The v1 name of the resource.
    pub heroku_id: Option<String>,
    pub plan: String,
    pub region: Option<String>,
    pub name: Option<String>,
    pub callback_url: Option<String>,
    /// One that holds no code counts as none: the customer gets the cache, and the grant can be asked for later.
    #[serde(default, deserialize_with = "grant")]
    pub oauth_grant: Option<OauthGrant>,
    /// One that is no text counts as none: the app gets no lines.
    #[serde(default, deserialize_with = "secret_text")]
    pub log_input_url: Option<SecretString>,
}

/// The members of an order that are read as texts, and whether it needs them: for telling what is wrong with one.
pub const PROVISION_TEXTS: &[(&str, bool)] = &[
    ("plan", true),
    ("uuid", false),
    ("heroku_id", false),
    ("region", false),
    ("name", false),
    ("callback_url", false),
];

/// The same of a plan change.
pub const PLAN_CHANGE_TEXTS: &[(&str, bool)] = &[("plan", true)];

/// The grant, if the value is an object with a code.
fn grant<'de, D: Deserializer<'de>>(from: D) -> Result<Option<OauthGrant>, D::Error> {
    let value = Value::deserialize(from)?;
    let code = value.get("code").and_then(Value::as_str);
    let expires_at = value.get("expires_at").and_then(Value::as_str);
    Ok(code.filter(|code| !code.is_empty()).map(|code| OauthGrant {
        code: code.to_owned().into(),
        expires_at: expires_at.map(str::to_owned),
    }))
}

fn secret_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(value.as_str().map(|text| text.to_owned().into()))
}

#[derive(Debug, Deserialize)]
pub struct OauthGrant {
    pub code: SecretString,
    pub expires_at: Option<String>,
}

impl OauthGrant {
    /// Heroku writes offsets without a colon. An end that cannot be read is taken as five minutes from now: a
    /// date is no reason to refuse a customer.
    pub fn expires_at(&self, now: Timestamp) -> Timestamp {
        let parsed = |text: &String| text.parse::<jiff::Timestamp>().ok();
        self.expires_at
            .as_ref()
            .and_then(parsed)
            .map_or(now.plus(CODE_LIVES), |instant| {
                Timestamp::from_micros(instant.as_microsecond())
            })
    }
}

/// Body of `PUT /heroku/resources/{uuid}`.
#[derive(Debug, Deserialize)]
pub struct PlanChangeBody {
    pub plan: String,
}

#[derive(Debug, Serialize)]
pub struct ProvisionReply<'a> {
    pub id: &'a str,
    pub config: BTreeMap<&'a str, &'a str>,
    pub message: String,
}

/// Answer 202: what is to come follows by the platform API.
#[derive(Debug, Serialize)]
pub struct AcceptedReply<'a> {
    pub id: &'a str,
    pub message: String,
}

/// Every other answer with a body.
#[derive(Debug, Serialize)]
pub struct Message<'a> {
    pub message: &'a str,
}

/// Body of `PATCH /addons/{uuid}/config`.
#[derive(Serialize)]
pub struct ConfigPatch<'a> {
    pub config: [ConfigVar<'a>; 3],
}

#[derive(Serialize)]
pub struct ConfigVar<'a> {
    pub name: &'a str,
    pub value: &'a str,
}

/// Answer of the token endpoint. A member of another type than expected counts as missing: the tokens beside it are
/// good all the same, and the code that they cost is spent.
#[derive(Debug, Default, Deserialize)]
pub struct TokenReply {
    #[serde(default, deserialize_with = "token")]
    pub access_token: Option<SecretString>,
    #[serde(default, deserialize_with = "token")]
    pub refresh_token: Option<SecretString>,
    /// Seconds, more than none.
    #[serde(default, deserialize_with = "seconds")]
    pub expires_in: Option<u64>,
}

/// Only visible ASCII can go into a header, so nothing else is a token.
fn token<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::String(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) => {
            Some(text.into())
        }
        _ => None,
    })
}

fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let seconds = Value::deserialize(from)?.as_u64();
    Ok(seconds.filter(|seconds| *seconds > 0))
}

/// Error body of the Platform API and, as far as known, of the token endpoint.
#[derive(Debug, Default, Deserialize)]
pub struct ApiError {
    pub id: Option<String>,
    pub error: Option<String>,
    pub message: Option<String>,
}

/// One of `GET /addons/{uuid}/addon-attachments`.
#[derive(Debug, Deserialize)]
pub struct Attachment {
    pub app: AppRef,
    pub addon: Option<AddonRef>,
    pub log_input_url: Option<SecretString>,
}

#[derive(Debug, Deserialize)]
pub struct AppRef {
    pub id: String,
}

#[derive(Debug, Deserialize)]
pub struct AddonRef {
    /// The app that owns the add-on.
    pub app: Option<AppRef>,
}

/// Of `GET /addons/{uuid}`.
#[derive(Debug, Deserialize)]
pub struct AddonNow {
    pub name: String,
    pub state: Option<String>,
}

/// One of the partner portal's list of installs, in the spellings that are known from elsewhere.
#[derive(Debug, Deserialize)]
pub struct Install {
    id: Option<String>,
    uuid: Option<String>,
    resource: Option<InstallResource>,
}

#[derive(Debug, Deserialize)]
struct InstallResource {
    uuid: Option<String>,
}

impl Install {
    /// The add-on's uuid, wherever it stands.
    pub fn id(&self) -> Option<ExternalId> {
        let nested = self
            .resource
            .as_ref()
            .and_then(|resource| resource.uuid.as_ref());
        [self.uuid.as_ref(), nested, self.id.as_ref()]
            .into_iter()
            .flatten()
            .find_map(|text| Uuid::try_parse(text).ok())
            .and_then(|uuid| uuid.hyphenated().to_string().parse().ok())
    }
}

/// Body of `POST /addons/{uuid}/webhooks`.
#[derive(Serialize)]
pub struct Subscription<'a> {
    pub include: &'a [&'a str],
    pub level: &'a str,
    pub url: &'a str,
    pub secret: &'a str,
}

/// One of `GET /addons/{uuid}/webhooks`.
#[derive(Debug, Deserialize)]
pub struct Subscribed {
    pub url: String,
}

/// Body of a webhook.
#[derive(Debug, Deserialize)]
pub struct WebhookBody {
    pub id: Option<String>,
    pub resource: Option<String>,
    pub data: Option<WebhookData>,
    pub webhook_metadata: Option<WebhookMetadata>,
}

#[derive(Debug, Deserialize)]
pub struct WebhookData {
    pub id: Option<String>,
    /// Of an attachment.
    pub addon: Option<IdRef>,
}

#[derive(Debug, Deserialize)]
pub struct WebhookMetadata {
    pub event: Option<IdRef>,
}

#[derive(Debug, Deserialize)]
pub struct IdRef {
    pub id: Option<String>,
}

impl WebhookBody {
    /// The same for each try to deliver it.
    pub fn event(&self) -> Option<&str> {
        let metadata = self.webhook_metadata.as_ref();
        let event = metadata.and_then(|metadata| metadata.event.as_ref()?.id.as_deref());
        event.or(self.id.as_deref())
    }

    /// The add-on that it is about.
    pub fn addon(&self) -> Option<&str> {
        let data = self.data.as_ref()?;
        match self.resource.as_deref()? {
            "addon" => data.id.as_deref(),
            "addon-attachment" => data.addon.as_ref()?.id.as_deref(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_request_reads() {
        let body: ProvisionBody =
            serde_json::from_str(include_str!("../../../fixtures/heroku/provision.json")).unwrap();
        assert_eq!(
            body.uuid.as_deref(),
            Some("01234567-89ab-cdef-0123-456789abcdef")
        );
        assert_eq!(body.plan, "dev");
        let grant = body.oauth_grant.unwrap();
        let now = Timestamp::from_secs(0);
        assert_eq!(grant.expires_at(now).secs(), 1_795_372_500);
        assert!(!format!("{grant:?}").contains("9f1c2d3e"));
    }

    #[test]
    fn code_ends_are_read_with_and_without_a_colon() {
        let now = Timestamp::from_secs(7);
        for (text, secs) in [
            ("2026-11-22T10:35:00-0800", 1_795_372_500),
            ("2026-11-22T18:35:00+00:00", 1_795_372_500),
            ("2026-11-22T18:35:00Z", 1_795_372_500),
            ("soon", 307),
        ] {
            let grant = OauthGrant {
                code: "c".to_owned().into(),
                expires_at: Some(text.to_owned()),
            };
            assert_eq!(grant.expires_at(now).secs(), secs, "{text}");
        }
    }
}
