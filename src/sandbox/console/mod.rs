//! The console: pages to play the customer with. Server-rendered; the script only follows the log and sends the
//! sign-on form by itself, and everything works without it.

mod forms;
mod guard;
mod log_stream;
mod views;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use views::{AddonPage, AppPage, FaultsPage, Layout, MessagePage, OverviewPage, page};

use crate::sandbox::platform::hub::Hub;
use crate::sandbox::platform::ids::{AddonId, AppId};

pub(in crate::sandbox) fn routes() -> Router<Arc<Hub>> {
    Router::new()
        .route("/", get(overview))
        .route("/console/apps/{id}", get(app))
        .route("/console/apps/{id}/log", get(log_stream::log_stream))
        .route("/console/addons/{id}", get(addon))
        .route("/console/faults", get(faults))
        .route("/console/style.css", get(style))
        .route("/console/script.js", get(script))
        .route("/console/icon.svg", get(icon))
        .merge(forms::routes())
        .layer(from_fn(guard::console_guard))
}

async fn overview(State(hub): State<Arc<Hub>>) -> Response {
    let layout = Layout::new(&hub, "Overview");
    page(&hub.read(|market| OverviewPage::new(&hub, market, layout)))
}

async fn app(State(hub): State<Arc<Hub>>, Path(id): Path<AppId>) -> Response {
    let found = hub.read(|market| market.app(id).map(|app| app.name.clone()));
    let Some(name) = found else {
        return not_found(&hub);
    };
    let layout = Layout::new(&hub, &name);
    match hub.read(|market| AppPage::new(&hub, market, id, layout)) {
        Some(shown) => page(&shown),
        None => not_found(&hub),
    }
}

async fn addon(State(hub): State<Arc<Hub>>, Path(id): Path<AddonId>) -> Response {
    let found = hub.read(|market| market.addon(id).map(|addon| addon.name.clone()));
    let Some(name) = found else {
        return not_found(&hub);
    };
    let layout = Layout::new(&hub, &name);
    match hub.read(|market| AddonPage::new(&hub, market, id, layout)) {
        Some(shown) => page(&shown),
        None => not_found(&hub),
    }
}

async fn faults(State(hub): State<Arc<Hub>>) -> Response {
    let layout = Layout::new(&hub, "Faults");
    page(&hub.read(|market| FaultsPage::new(market, layout)))
}

fn not_found(hub: &Hub) -> Response {
    let layout = Layout::new(hub, "Not found");
    let text = "There is no such app or add-on here. It may have been removed.".to_owned();
    (StatusCode::NOT_FOUND, page(&MessagePage { layout, text })).into_response()
}

async fn style() -> impl IntoResponse {
    let text = include_str!("../assets/style.css");
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], text)
}

async fn script() -> impl IntoResponse {
    let text = include_str!("../assets/script.js");
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], text)
}

async fn icon() -> impl IntoResponse {
    let text = include_str!("../assets/icon.svg");
    ([(CONTENT_TYPE, "image/svg+xml")], text)
}
