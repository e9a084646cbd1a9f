//! What goes over the wire, in Heroku's spelling. Only fields we read are listed; others are ignored.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::{ExternalId, Timestamp};

/// How long a grant code lives at least, whatever is told of its end (heroku.md §3).
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
    #[serde(default, deserialize_with = "if_sound")]
    pub log_input_url: Option<SecretString>,
}

/// What a member of a call may be, for telling what is wrong with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Text,
    /// A text, or nothing.
    TextOrNone,
    /// Anything, once.
    Anything,
}

/// The members of an order that are read.
pub const PROVISION_MEMBERS: &[(&str, Expected)] = &[
    ("plan", Expected::Text),
    ("uuid", Expected::TextOrNone),
    ("heroku_id", Expected::TextOrNone),
    ("region", Expected::TextOrNone),
    ("name", Expected::TextOrNone),
    ("callback_url", Expected::TextOrNone),
    ("oauth_grant", Expected::Anything),
    ("log_input_url", Expected::Anything),
];

/// The same of a plan change.
pub const PLAN_CHANGE_MEMBERS: &[(&str, Expected)] = &[("plan", Expected::Text)];

fn grant<'de, D: Deserializer<'de>>(from: D) -> Result<Option<OauthGrant>, D::Error> {
    Ok(OauthGrant::in_value(&Value::deserialize(from)?))
}

/// A member; one of another type than expected counts as missing, so that it spoils nothing beside it.
fn if_sound<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    Ok(T::deserialize(Value::deserialize(from)?).ok())
}

/// In an order, and in the answer when another code is asked for.
#[derive(Debug)]
pub struct OauthGrant {
    pub code: SecretString,
    pub expires_at: Option<String>,
}

impl OauthGrant {
    /// The grant, if the value is an object with a code. The code is good whatever stands beside it.
    pub fn in_value(value: &Value) -> Option<OauthGrant> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let code = text("code").filter(|code| !code.is_empty())?;
        Some(OauthGrant {
            code: code.to_owned().into(),
            expires_at: text("expires_at").map(str::to_owned),
        })
    }

    /// Heroku writes offsets without a colon. A code lives for five minutes at least, also when its end cannot be read or
    /// has passed: a date is no reason to refuse a customer, and our clock may be ahead.
    pub fn expires_at(&self, now: Timestamp) -> Timestamp {
        let parsed = |text: &String| text.parse::<jiff::Timestamp>().ok();
        let told = self.expires_at.as_ref().and_then(parsed);
        let told = told.map(|instant| Timestamp::from_micros(instant.as_microsecond()));
        let least = now.plus(CODE_LIVES);
        told.map_or(least, |told| told.max(least))
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

/// One of `GET /addons/{uuid}/addon-attachments`. Without its app it is nothing: a list that lacks one would detach it.
#[derive(Debug, Deserialize)]
pub struct Attachment {
    pub app: AppRef,
    #[serde(default, deserialize_with = "if_sound")]
    pub addon: Option<AddonRef>,
    #[serde(default, deserialize_with = "if_sound")]
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
    #[serde(default, deserialize_with = "if_sound")]
    pub name: Option<String>,
    #[serde(default, deserialize_with = "if_sound")]
    pub state: Option<String>,
}

/// One of the partner portal's list of installs, in the spellings that are known from elsewhere.
#[derive(Debug, Deserialize)]
pub struct Install {
    #[serde(default, deserialize_with = "if_sound")]
    id: Option<String>,
    #[serde(default, deserialize_with = "if_sound")]
    uuid: Option<String>,
    #[serde(default, deserialize_with = "if_sound")]
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
    #[serde(default, deserialize_with = "if_sound")]
    pub url: Option<String>,
}

/// Body of a webhook. Whatever it holds is taken: what is refused comes again for days (heroku.md §13).
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct WebhookBody(Value);

impl WebhookBody {
    /// The same for each try to deliver it.
    pub fn event(&self) -> Option<&str> {
        self.text("/webhook_metadata/event/id")
            .or_else(|| self.text("/id"))
    }

    /// The add-on that it is about.
    pub fn addon(&self) -> Option<&str> {
        match self.text("/resource")? {
            "addon" => self.text("/data/id"),
            "addon-attachment" => self.text("/data/addon/id"),
            _ => None,
        }
    }

    /// The text in this place, if there is one.
    fn text(&self, pointer: &str) -> Option<&str> {
        self.0.pointer(pointer)?.as_str()
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
            ("1969-12-31T23:59:59Z", 307),
            ("1970-01-01T00:00:08Z", 307),
        ] {
            let grant = OauthGrant {
                code: "c".to_owned().into(),
                expires_at: Some(text.to_owned()),
            };
            assert_eq!(grant.expires_at(now).secs(), secs, "{text}");
        }
    }
}
