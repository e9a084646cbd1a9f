//! Who calls the platform API: a token speaks for one add-on, and reaches only that.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::ACCEPT;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};

use crate::sandbox::heroku::api_error::ApiError;
use crate::sandbox::heroku::basic::bearer_token;
use crate::sandbox::platform::hub::Hub;
use crate::sandbox::platform::ids::AddonId;
use crate::sandbox::platform::market::{Addon, AddonState, Market};

/// The add-on whose token the request carries.
pub(in crate::sandbox) struct Caller(pub AddonId);

impl FromRequestParts<Arc<Hub>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Caller, ApiError> {
        let now = hub.now();
        let caller = bearer_token(&parts.headers)
            .and_then(|token| hub.read(|market| market.grants.caller(token, now)))
            .map(Caller)
            .ok_or_else(|| {
                let why = "there is no access token, or it is expired or revoked";
                ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", why)
            })?;
        match asks_for_version_3(&parts.headers) {
            true => Ok(caller),
            false => Err(ApiError::new(
                StatusCode::NOT_ACCEPTABLE,
                "not_acceptable",
                "set the header Accept: application/vnd.heroku+json; version=3",
            )),
        }
    }
}

fn asks_for_version_3(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.replace(' ', "") == "application/vnd.heroku+json;version=3")
}

/// Answers with what `show` makes of the add-on, if the caller may see it.
pub(in crate::sandbox) fn with_addon<T>(
    market: &Market,
    caller: &Caller,
    id: &str,
    show: impl FnOnce(&Addon) -> T,
) -> Result<T, ApiError> {
    let id: AddonId = id.parse().map_err(|_| ApiError::not_found())?;
    let addon = market
        .addon(id)
        .filter(|addon| addon.state != AddonState::Deprovisioned)
        .ok_or_else(ApiError::not_found)?;
    match id == caller.0 {
        true => Ok(show(addon)),
        false => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "you do not have access to this add-on",
        )),
    }
}
