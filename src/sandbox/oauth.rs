//! The token endpoint: grant codes and refresh tokens against access tokens.

use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::grants::{GrantRefusal, TokenPair};
use super::hub::Hub;
use super::platform::ApiError;

#[derive(Deserialize)]
struct TokenRequest {
    grant_type: String,
    client_secret: String,
    code: Option<String>,
    refresh_token: Option<String>,
}

pub(super) fn routes() -> Router<Arc<Hub>> {
    Router::new().route("/oauth/token", post(token))
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
        "user_id": super::sso::User::default().id,
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
