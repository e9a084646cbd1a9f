//! Answers to Heroku's calls. Every one is JSON, refusals included, with a sentence that the customer may read.

use std::borrow::Cow;
use std::fmt;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserializer as _, Serialize};
use serde_json::Value;

use super::wire::{Expected, Message};
use crate::domain::{Elsewhere, PlanSlug};
use crate::http::wiped;
use crate::provisioning::ProvisioningError;

/// The largest body that is read.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
const RETRY_AFTER_SECS: &str = "5";
/// As much of a wrong value is repeated to the customer.
const QUOTED_CHARS_MAX: usize = 64;

pub(super) async fn not_a_method() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "There is no such action.")
}

/// Reads a JSON object with these members. A refusal names the one that is wrong. The parser's own message may quote the
/// body, which holds secrets, so it is not repeated.
pub(super) fn read<T: DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
    members: &[(&str, Expected)],
) -> Result<T, Refusal> {
    let body = body.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "The request is larger than 64 KiB.",
            )
        }
        _ => Refusal::new(StatusCode::BAD_REQUEST, "The request broke off."),
    })?;
    let not_an_object =
        || Refusal::new(StatusCode::BAD_REQUEST, "The request is not a JSON object.");
    // serde reads a list, too, where a struct is expected.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(not_an_object());
    }
    serde_json::from_slice(&body).map_err(|error| {
        let is_json = error.is_data() || is_too_deep(&error);
        let why = is_json.then(|| what_is_wrong(&body, members)).flatten();
        why.map_or_else(not_an_object, unprocessable)
    })
}

/// serde_json has no other sign of it.
fn is_too_deep(error: &impl fmt::Display) -> bool {
    error.to_string().starts_with("recursion limit")
}

/// Which member an object lacks, repeats, nests too deeply or has of the wrong type. `None` when it is no object to its end.
fn what_is_wrong(body: &[u8], members: &[(&str, Expected)]) -> Option<String> {
    let (mut found, mut too_deep) = (Vec::new(), None);
    let collect = Collect {
        members,
        found: &mut found,
        too_deep: &mut too_deep,
    };
    let read = serde_json::Deserializer::from_slice(body).deserialize_map(collect);
    if let Some(name) = too_deep {
        return Some(format!("The member \"{name}\" is nested too deeply."));
    }
    read.ok()?;
    for (name, expected) in members {
        let of_name = found.iter().filter(|(member, _)| member == name);
        let values: Vec<&Value> = of_name.map(|(_, value)| value).collect();
        let wrong = match (values.as_slice(), expected) {
            ([], Expected::TextOrNone | Expected::Anything)
            | ([_], Expected::Anything)
            | ([Value::String(_)], _)
            | ([Value::Null], Expected::TextOrNone) => continue,
            ([], Expected::Text) => format!("The request lacks the member \"{name}\"."),
            ([_], _) => format!("The member \"{name}\" must be a text."),
            ([_, _, ..], _) => format!("The member \"{name}\" is given more than once."),
        };
        return Some(wrong);
    }
    Some("The request is nested too deeply.".to_owned())
}

/// Collects the members that are read, in order, repeated ones too, up to one that is nested too deeply.
struct Collect<'a> {
    members: &'a [(&'a str, Expected)],
    found: &'a mut Vec<(String, Value)>,
    too_deep: &'a mut Option<String>,
}

impl<'de> Visitor<'de> for Collect<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if !self.members.iter().any(|(member, _)| *member == name) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            match map.next_value() {
                Ok(value) => self.found.push((name, value)),
                Err(error) => {
                    *self.too_deep = is_too_deep(&error).then_some(name);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// A status with a sentence for the customer.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: Cow<'static, str>,
}

impl Refusal {
    pub fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Refusal {
        let message = message.into();
        Refusal { status, message }
    }
}

pub(super) const NO_SUCH_RESOURCE: Refusal = Refusal {
    status: StatusCode::NOT_FOUND,
    message: Cow::Borrowed("There is no such resource."),
};
pub(super) const UNAVAILABLE: Refusal = Refusal {
    status: StatusCode::SERVICE_UNAVAILABLE,
    message: Cow::Borrowed("We cannot serve this right now. Please try again in a moment."),
};

pub(super) fn unprocessable(message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, message)
}

/// What the caller sent, as it may be repeated to the customer.
fn quoted(text: &str) -> String {
    let kept = text.chars().filter(|c| !c.is_control());
    let kept: String = kept.take(QUOTED_CHARS_MAX).collect();
    format!("\"{kept}\"")
}

/// A sentence about the regions that there are, behind another one.
fn listed(regions: &[String]) -> String {
    match regions {
        [] => String::new(),
        [one] => format!(" The only region is {one}."),
        several => format!(" The regions are: {}.", several.join(", ")),
    }
}

/// The message, and where the cache really stands, if that is not where it was ordered.
pub(super) fn with_place(message: &str, elsewhere: Option<&Elsewhere>) -> String {
    match elsewhere {
        None => message.to_owned(),
        Some(Elsewhere {
            ordered,
            served_from,
        }) => {
            let ordered = quoted(ordered);
            format!("{message} It is served from the region {served_from} instead of {ordered}.")
        }
    }
}

impl From<ProvisioningError> for Refusal {
    fn from(error: ProvisioningError) -> Refusal {
        match error {
            ProvisioningError::UnknownPlan { asked, offered } => {
                let offered: Vec<&str> = offered.iter().map(PlanSlug::as_str).collect();
                let (asked, offered) = (quoted(&asked), offered.join(", "));
                unprocessable(format!(
                    "There is no plan {asked}. The plans are: {offered}."
                ))
            }
            ProvisioningError::UnknownRegion { asked, offered } => {
                let (asked, regions) = (quoted(&asked), listed(&offered));
                unprocessable(format!(
                    "Caches are not offered in the region {asked}.{regions}"
                ))
            }
            ProvisioningError::Elsewhere { at, offered } => {
                let (ordered, here) = (quoted(&at.ordered), at.served_from);
                let regions = listed(&offered);
                unprocessable(format!(
                    "Your cache stands in the region {here} instead of {ordered}, so its plan cannot be changed.{regions}"
                ))
            }
            ProvisioningError::Unknown => NO_SUCH_RESOURCE,
            ProvisioningError::Gone => {
                Refusal::new(StatusCode::GONE, "The resource was deprovisioned.")
            }
            ProvisioningError::NodeBehind | ProvisioningError::NoRoom(_) => UNAVAILABLE,
            ProvisioningError::Store(error) => {
                tracing::error!(%error, "provisioning failed");
                UNAVAILABLE
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Refusal { status, message } = self;
        let response = told(status, &message);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return ([(RETRY_AFTER, RETRY_AFTER_SECS)], response).into_response();
        }
        response
    }
}

pub(super) fn told(status: StatusCode, message: &str) -> Response {
    json(status, &Message { message })
}

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match wiped::json(body) {
        Ok(bytes) => (status, [(CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
