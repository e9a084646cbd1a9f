//! The token endpoint: grant codes and refresh tokens against access tokens.

use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::secret::same_secret;
use crate::sandbox::heroku::api_error::ApiError;
use crate::sandbox::heroku::basic::basic_credentials;
use crate::sandbox::platform::grants::{GrantRefusal, TokenPair};
use crate::sandbox::platform::hub::Hub;
use crate::sandbox::platform::ids::AddonId;

#[derive(Deserialize)]
struct TokenRequest {
    grant_type: String,
    client_secret: String,
    code: Option<String>,
    refresh_token: Option<String>,
}

pub(in crate::sandbox) fn routes() -> Router<Arc<Hub>> {
    Router::new()
        .route("/oauth/token", post(token))
        .route("/vendor/resources/{id}/oauth-grant", get(fresh_grant))
}

/// A new code for a resource whose provider lost the first or its tokens. The real platform has it switched on
/// for some partners only.
async fn fresh_grant(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let manifest = &hub.settings.manifest;
    let password = manifest.api.password.expose_secret().as_bytes();
    let known = basic_credentials(&headers).is_some_and(|(user, given)| {
        user == manifest.id && same_secret(given.as_bytes(), password)
    });
    if !known {
        let why = "the manifest's id and password are expected";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", why));
    }
    let id: AddonId = id.parse().map_err(|_| ApiError::not_found())?;
    hub.change(|market, around| {
        market.live_addon(id).map_err(|_| ApiError::not_found())?;
        let expires_at = around.now + hub.settings.code_lifetime;
        Ok(Json(json!({
            "code": market.grants.issue_code(id, expires_at),
            "expires_at": expires_at.strftime("%Y-%m-%dT%H:%M:%S-0000").to_string(),
            "type": "authorization_code",
        })))
    })
}

async fn token(
    State(hub): State<Arc<Hub>>,
    form: Result<Form<TokenRequest>, FormRejection>,
) -> Result<Json<Value>, ApiError> {
    let Form(request) = form.map_err(|rejection| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "bad_request",
            rejection.body_text(),
        )
    })?;
    if !hub.is_client_secret(&request.client_secret) {
        let why = "the client secret is wrong";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", why));
    }
    let pair = match (
        request.grant_type.as_str(),
        request.code,
        request.refresh_token,
    ) {
        ("authorization_code", Some(code), _) => exchange(&hub, &code),
        ("refresh_token", _, Some(token)) => refresh(&hub, &token),
        _ => {
            let why = "grant_type with its code or refresh_token is missing";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_request", why));
        }
    };
    let pair = pair.map_err(|refusal| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_grant",
            refusal.to_string(),
        )
    })?;
    Ok(Json(json!({
        "access_token": pair.access,
        "refresh_token": pair.refresh,
        "expires_in": hub.settings.token_lifetime.as_secs(),
        "token_type": "Bearer",
        "user_id": crate::sandbox::platform::user::User::default().id,
        "session_nonce": null,
    })))
}

fn exchange(hub: &Hub, code: &str) -> Result<TokenPair, GrantRefusal> {
    let lifetime = hub.settings.token_lifetime;
    hub.change(|market, around| {
        let addon = market.grants.redeem(code, around.now)?;
        Ok(market.grants.issue_tokens(addon, around.now, lifetime))
    })
}

fn refresh(hub: &Hub, token: &str) -> Result<TokenPair, GrantRefusal> {
    let lifetime = hub.settings.token_lifetime;
    let rotate = hub.settings.rotate_refresh_tokens;
    hub.change(|market, around| market.grants.refresh(token, around.now, lifetime, rotate))
}
