//! The platform API, as far as an add-on provider may use it.
//!
//! A token reaches its own add-on and the apps that one is attached to. Where the real platform's behaviour is
//! not known, the choice is: config is merged, unchanged values cut no release, an action in the wrong state is
//! 422, and a token whose add-on is gone is 401.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::Value;

use crate::sandbox::heroku::api_error::ApiError;
use crate::sandbox::heroku::basic::basic_credentials;
use crate::sandbox::heroku::caller::{Caller, with_addon};
use crate::sandbox::heroku::{objects, paging};
use crate::sandbox::platform::hub::Hub;
use crate::sandbox::platform::ids::AppId;
use crate::sandbox::platform::market::{AddonState, Market};
use crate::sandbox::platform::refusal::NotPossible;

/// Only the config endpoint; it fails separately from the rest.
pub(in crate::sandbox) fn config_routes() -> Router<Arc<Hub>> {
    Router::new().route("/addons/{id}/config", get(read_config).patch(write_config))
}

/// The provider reports on what it answered with 202.
pub(in crate::sandbox) fn action_routes() -> Router<Arc<Hub>> {
    Router::new()
        .route("/addons/{id}/actions/provision", post(finish_provision))
        .route("/addons/{id}/actions/deprovision", post(finish_deprovision))
}

pub(in crate::sandbox) fn api_routes() -> Router<Arc<Hub>> {
    Router::new()
        .route("/addons", get(list_addons))
        .route("/api/v3/apps", get(list_installs))
        .route("/addons/{id}", get(read_addon))
        .route("/addons/{id}/addon-attachments", get(list_attachments))
        .route("/apps/{id}", get(read_app))
        .route("/apps/{id}/collaborators", get(list_collaborators))
}

async fn read_config(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    hub.read(|market| with_addon(market, &caller, &id, objects::config).map(Json))
}

#[derive(Deserialize)]
struct ConfigUpdate {
    config: Vec<ConfigValue>,
}

#[derive(Deserialize)]
struct ConfigValue {
    name: String,
    value: Option<String>,
}

async fn write_config(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    hub.read(|market| with_addon(market, &caller, &id, |_| ()))?;
    let update = parse_update(&headers, &body)?;
    let known = &hub.settings.manifest.api.config_vars;
    if let Some(stray) = update.config.iter().find(|new| !known.contains(&new.name)) {
        let why = format!("{} is not among the manifest's config_vars", stray.name);
        return Err(ApiError::invalid(why));
    }
    let values = update.config.into_iter().map(|new| (new.name, new.value));
    let values = values.collect();
    hub.change(|market, around| market.merge_config(caller.0, values, around))
        .map_err(refused)?;
    hub.read(|market| with_addon(market, &caller, &id, objects::config).map(Json))
}

fn parse_update(headers: &HeaderMap, body: &[u8]) -> Result<ConfigUpdate, ApiError> {
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    if !content_type.is_some_and(|value| value.starts_with(b"application/json")) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "set the header Content-Type: application/json",
        ));
    }
    serde_json::from_slice(body)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "bad_request", error.to_string()))
}

fn refused(reason: NotPossible) -> ApiError {
    match reason {
        NotPossible::NoSuchAddon | NotPossible::NoSuchApp => ApiError::not_found(),
        reason => ApiError::invalid(reason.to_string()),
    }
}

async fn read_addon(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    hub.read(|market| {
        with_addon(market, &caller, &id, |addon| {
            Json(objects::addon(&hub, market, addon))
        })
    })
}

async fn list_addons(
    State(hub): State<Arc<Hub>>,
    Caller(own): Caller,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let list = hub.read(|market| {
        let own = market.addons().into_iter().filter(|addon| addon.id == own);
        own.map(|addon| objects::addon(&hub, market, addon))
            .collect()
    });
    paging::page(list, &headers, hub.settings.page_size)
}

/// The partner portal's list of installs, under the manifest's id and password.
async fn list_installs(
    State(hub): State<Arc<Hub>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let manifest = &hub.settings.manifest;
    let password = manifest.api.password.expose_secret();
    match basic_credentials(&headers) {
        Some((user, given)) if user == manifest.id && given == password => {}
        _ => {
            let why = "these are not the manifest's id and password";
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", why));
        }
    }
    let list = hub.read(|market| {
        let all = market.addons().into_iter();
        all.map(|addon| objects::addon(&hub, market, addon))
            .collect()
    });
    paging::page(list, &headers, hub.settings.page_size)
}

async fn list_attachments(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let list = hub.read(|market| {
        with_addon(market, &caller, &id, |addon| {
            objects::attachments(&hub, market, addon)
        })
    })?;
    paging::page(list, &headers, hub.settings.page_size)
}

async fn finish_provision(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    hub.read(|market| with_addon(market, &caller, &id, |_| ()))?;
    hub.change(|market, around| market.complete_provision(caller.0, around))
        .map_err(refused)?;
    read_addon(State(hub), caller, Path(id)).await
}

/// Gives up while provisioning, or reports that cleaning up after a 202 is done.
async fn finish_deprovision(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let state = hub.read(|market| with_addon(market, &caller, &id, |addon| addon.state))?;
    if state == AddonState::Provisioned {
        return Err(refused(NotPossible::WrongState));
    }
    hub.change(|market, around| market.remove_addon(caller.0, around));
    let gone = hub.read(|market| {
        let addon = market.addon(caller.0);
        addon.map(|addon| objects::addon(&hub, market, addon))
    });
    gone.map(Json).ok_or_else(ApiError::not_found)
}

/// The app, if the caller's add-on is attached to it.
fn visible_app(market: &Market, caller: &Caller, id: &str) -> Result<AppId, ApiError> {
    let id: AppId = id.parse().map_err(|_| ApiError::not_found())?;
    let attached = market.attached_to(id);
    match attached.iter().any(|(addon, _)| addon.id == caller.0) {
        true => Ok(id),
        false if market.app(id).is_none() => Err(ApiError::not_found()),
        false => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "your add-on is not attached to this app",
        )),
    }
}

async fn read_app(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    hub.read(|market| {
        let id = visible_app(market, &caller, &id)?;
        let app = market.app(id).ok_or_else(ApiError::not_found)?;
        Ok(Json(objects::app(app)))
    })
}

async fn list_collaborators(
    State(hub): State<Arc<Hub>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    hub.read(|market| visible_app(market, &caller, &id))?;
    Ok(Json(objects::collaborators()))
}
