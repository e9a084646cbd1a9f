//! An event's fields by name. Log line, stored timeline and API are all made from this one list, so they agree on
//! names and values, and a reader of any release can show the fields of a kind that it does not know.

use std::borrow::Cow;
use std::fmt::{self, Display};

use super::Event;
use crate::domain::flush::{FlushEvent, Origin};

/// Named values in the order in which they are shown. Names carry their unit, such as `window_secs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<(Cow<'static, str>, Value)>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(u64),
    Flag(bool),
}

impl Fields {
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// Adds a field that came from outside this program, such as a stored one.
    pub fn push(&mut self, name: String, value: Value) {
        self.0.push((name.into(), value));
    }

    fn with(mut self, name: &'static str, value: impl Into<Value>) -> Fields {
        self.0.push((name.into(), value.into()));
        self
    }

    fn text(self, name: &'static str, value: impl Display) -> Fields {
        self.with(name, Value::Text(value.to_string()))
    }

    fn optional(self, name: &'static str, value: Option<impl Display>) -> Fields {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Value {
        Value::Number(number.into())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Value {
        Value::Flag(flag)
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Number(number) => number.fmt(f),
            Value::Flag(flag) => flag.fmt(f),
        }
    }
}

impl Event {
    #[expect(clippy::too_many_lines, reason = "one arm for each kind of event")]
    pub fn fields(&self) -> Fields {
        let fields = Fields::default();
        match self {
            Event::Flushed(flush) => of_flush(flush),
            Event::FlushRefused {
                proxy,
                credential,
                remote,
            } => fields
                .text("origin", Origin::MemcacheClient)
                .text("proxy", proxy)
                .text("credential", credential)
                .optional("remote", *remote),
            Event::CredentialAdded { credential }
            | Event::CredentialPromoted { credential }
            | Event::CredentialRemoved { credential } => fields.text("credential", credential),
            Event::CapabilitiesChanged {
                credential,
                write,
                flush,
            } => fields
                .text("credential", credential)
                .with("write", *write)
                .with("flush", *flush),
            Event::CertificateIssued {
                credential,
                certificate,
                expires_at,
            } => fields
                .text("credential", credential)
                .text("certificate", certificate.short())
                .text("expires", expires_at),
            Event::CertificateRevoked {
                credential,
                certificate,
            } => fields
                .text("credential", credential)
                .text("certificate", certificate.short()),
            Event::SsoSecretRotated | Event::Deprovisioned => fields,
            Event::RotationScheduled { every_days } => {
                fields.with("every_days", u32::from(*every_days))
            }
            Event::RotationPutOff { reason } => fields.text("reason", reason),
            Event::AsyncProvisionBegan { plan } | Event::Provisioned { plan } => {
                fields.text("plan", plan)
            }
            Event::PlanChanged { from, to } => fields.text("from", from).text("to", to),
            Event::PlacedElsewhere {
                to,
                region,
                ordered,
            } => fields
                .text("to", to)
                .text("region", region)
                .text("ordered", ordered),
            Event::PlacedAnew { from, to, region } => fields
                .text("from", from)
                .text("to", to)
                .optional("region", region.as_ref()),
            Event::NodeAway { node, since } => fields.text("node", node).text("since", since),
            Event::NodeBack { node } => fields.text("node", node),
            Event::LoginsRefused {
                credential,
                remote,
                refused,
                window_secs,
            } => fields
                .text("credential", credential)
                .optional("remote", *remote)
                .with("refused", *refused)
                .with("window_secs", *window_secs),
            Event::ConnectionsOverLimit {
                limit,
                refused,
                window_secs,
            } => fields
                .with("limit", *limit)
                .with("refused", *refused)
                .with("window_secs", *window_secs),
            Event::MemoryFull {
                used,
                limit,
                evictions,
                window_secs,
            } => fields
                .with("used", *used)
                .with("limit", *limit)
                .with("evictions", *evictions)
                .with("window_secs", *window_secs),
            Event::Repeated { event, times } => event.fields().with("repeated", *times),
        }
    }
}

fn of_flush(flush: &FlushEvent) -> Fields {
    Fields::default()
        .text("origin", flush.origin)
        .text("proxy", &flush.proxy)
        .optional("credential", flush.credential.as_ref())
        .optional("remote", flush.remote)
        .optional("reason", flush.reason.as_ref())
        .with("items", flush.items)
        .with("bytes", flush.bytes)
}
