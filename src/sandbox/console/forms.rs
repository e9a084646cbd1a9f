//! The console's buttons. Each does one thing a customer can do, leaves a notice, and goes back to a page.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Form, Path, State};
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use serde::Deserialize;

use super::views::{Layout, SsoPage, fault_group, page};
use crate::sandbox::heroku::calls::{ProviderError, ProviderReply};
use crate::sandbox::heroku::resources::{self, ProvisionOptions};
use crate::sandbox::heroku::sso::{self};
use crate::sandbox::platform::faults::{CallFaults, Fault};
use crate::sandbox::platform::hub::Hub;
use crate::sandbox::platform::ids::{AddonId, AppId};
use crate::sandbox::platform::market::AddonState;
use crate::sandbox::platform::refusal::NotPossible;
use crate::sandbox::platform::user::User;

pub(in crate::sandbox) fn routes() -> Router<Arc<Hub>> {
    Router::new()
        .route("/console/apps", post(create_app))
        .route("/console/addons", post(provision))
        .route("/console/addons/{id}/plan", post(change_plan))
        .route("/console/addons/{id}/sso", post(open_dashboard))
        .route("/console/addons/{id}/attach", post(attach))
        .route("/console/addons/{id}/detach", post(detach))
        .route("/console/addons/{id}/log-inputs", post(renew_log_inputs))
        .route("/console/addons/{id}/repeat", post(repeat))
        .route("/console/addons/{id}/deprovision", post(deprovision))
        .route("/console/faults/endpoints", post(set_endpoint_fault))
        .route("/console/faults/calls", post(set_call_faults))
        .route("/console/faults/clear", post(clear_faults))
        .route("/console/tokens/expire", post(expire_tokens))
}

fn addon_page(id: AddonId) -> Response {
    Redirect::to(&format!("/console/addons/{id}")).into_response()
}

fn tell<T, E: std::fmt::Display>(hub: &Hub, outcome: &Result<T, E>, good: &str) {
    match outcome {
        Ok(_) => hub.notify(true, good),
        Err(error) => hub.notify(false, error.to_string()),
    }
}

/// An empty field is one not filled in.
fn filled(text: String) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[derive(Deserialize)]
struct NewApp {
    name: String,
}

async fn create_app(State(hub): State<Arc<Hub>>, Form(form): Form<NewApp>) -> Response {
    let created = hub.change(|market, around| market.create_app(form.name.trim(), around));
    tell(&hub, &created, "App created.");
    match created {
        Ok(id) => Redirect::to(&format!("/console/apps/{id}")).into_response(),
        Err(_) => Redirect::to("/").into_response(),
    }
}

#[derive(Deserialize)]
struct Order {
    app: String,
    plan: String,
    region: String,
    name: String,
}

async fn provision(State(hub): State<Arc<Hub>>, Form(order): Form<Order>) -> Response {
    let options = ProvisionOptions {
        region: filled(order.region),
        name: filled(order.name),
        ..ProvisionOptions::default()
    };
    let ordered = match order.app.parse() {
        Ok(app) => resources::provision(&hub, app, order.plan.trim(), options).await,
        Err(_) => Err(ProviderError::NotPossible(NotPossible::NoSuchApp)),
    };
    match ordered {
        Ok(addon) => {
            let said = addon.message.clone().unwrap_or_default();
            let state = addon.state.as_str();
            hub.notify(true, format!("{} is {state}. {said}", addon.name));
            addon_page(addon.id)
        }
        Err(error) => {
            hub.notify(false, error.to_string());
            Redirect::to("/").into_response()
        }
    }
}

#[derive(Deserialize)]
struct NewPlan {
    plan: String,
}

async fn change_plan(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<AddonId>,
    Form(form): Form<NewPlan>,
) -> Response {
    match resources::change_plan(&hub, id, form.plan.trim()).await {
        Ok(addon) => {
            let said = addon.message.unwrap_or_default();
            hub.notify(true, format!("The plan is now {}. {said}", addon.plan));
        }
        Err(error) => hub.notify(false, error.to_string()),
    }
    addon_page(id)
}

#[derive(Deserialize)]
struct SignOnFrom {
    /// The app from which the user comes; empty for the owner.
    #[serde(default)]
    context_app: String,
}

/// A page that posts the signed form to the provider, by script or by its button.
async fn open_dashboard(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<AddonId>,
    Form(form): Form<SignOnFrom>,
) -> Response {
    let context_app = form.context_app.parse().ok();
    match sso::form(&hub, id, &User::default(), context_app) {
        Ok((action, fields)) => {
            let layout = Layout::new(&hub, "Opening the dashboard");
            // Only this page may post elsewhere. Browsers hold the redirect that follows to the same rule, and
            // the provider may have more than one name, so any web address is let through.
            let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                form-action http: https:; base-uri 'none'; frame-ancestors 'none'";
            let shown = page(&SsoPage {
                layout,
                action,
                fields,
            });
            ([(CONTENT_SECURITY_POLICY, policy)], shown).into_response()
        }
        Err(error) => {
            hub.notify(false, error.to_string());
            addon_page(id)
        }
    }
}

#[derive(Deserialize)]
struct AttachTo {
    app: String,
    #[serde(default)]
    name: String,
}

async fn attach(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<AddonId>,
    Form(form): Form<AttachTo>,
) -> Response {
    let log_input = hub.settings.manifest.wants_log_input();
    let app: Result<AppId, NotPossible> = form.app.parse().map_err(|_| NotPossible::NoSuchApp);
    let done = app.and_then(|app| {
        let name = filled(form.name);
        hub.change(|market, around| market.attach(id, app, name, log_input, around))
    });
    tell(
        &hub,
        &done,
        "Attached. The app got a release with its variables.",
    );
    addon_page(id)
}

async fn detach(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<AddonId>,
    Form(form): Form<AttachTo>,
) -> Response {
    let app: Result<AppId, NotPossible> = form.app.parse().map_err(|_| NotPossible::NoSuchApp);
    let done = app.and_then(|app| hub.change(|market, around| market.detach(id, app, around)));
    tell(
        &hub,
        &done,
        "Detached. The app got a release without its variables.",
    );
    addon_page(id)
}

async fn renew_log_inputs(State(hub): State<Arc<Hub>>, Path(id): Path<AddonId>) -> Response {
    let done = hub.change(|market, _| market.renew_log_inputs(id));
    tell(&hub, &done, "The old log inputs take nothing any more.");
    addon_page(id)
}

/// The same provisioning call again, as a platform does that missed the answer.
async fn repeat(State(hub): State<Arc<Hub>>, Path(id): Path<AddonId>) -> Response {
    let outcome = resources::repeat_provision(&hub, id).await;
    tell_reply(&hub, &outcome);
    addon_page(id)
}

async fn deprovision(State(hub): State<Arc<Hub>>, Path(id): Path<AddonId>) -> Response {
    let outcome = resources::deprovision(&hub, id).await;
    tell_reply(&hub, &outcome);
    let gone = hub.read(|market| {
        let addon = market.addon(id);
        addon.is_none_or(|addon| addon.state == AddonState::Deprovisioned)
    });
    match gone {
        true => Redirect::to("/").into_response(),
        false => addon_page(id),
    }
}

fn tell_reply(hub: &Hub, outcome: &Result<ProviderReply, ProviderError>) {
    match outcome {
        Ok(reply) => {
            let said = reply.message().unwrap_or_default();
            hub.notify(
                true,
                format!("The provider answered {}. {said}", reply.status),
            );
        }
        Err(error) => hub.notify(false, error.to_string()),
    }
}

fn faults_page() -> Response {
    Redirect::to("/console/faults").into_response()
}

#[derive(Deserialize)]
struct EndpointFault {
    group: String,
    fault: String,
    #[serde(default)]
    seconds: Option<u32>,
    /// Present when only the next request is meant.
    once: Option<String>,
}

async fn set_endpoint_fault(
    State(hub): State<Arc<Hub>>,
    Form(form): Form<EndpointFault>,
) -> Response {
    // An hour is longer than any client waits.
    let seconds = form.seconds.unwrap_or(5).min(3_600);
    let fault = match form.fault.as_str() {
        "slow" => Some(Fault::Slow(Duration::from_secs(u64::from(seconds)))),
        "500" => Some(Fault::ServerError),
        "429" => Some(Fault::TooManyRequests {
            retry_after_secs: seconds,
        }),
        "hang" => Some(Fault::Hang),
        "lost reply" => Some(Fault::LostReply),
        "401" => Some(Fault::Unauthorized),
        "403" => Some(Fault::Forbidden),
        _ => None,
    };
    if let Some(group) = fault_group(&form.group) {
        hub.change_quietly(|market| match form.once {
            Some(_) => market.faults.queue(group, [fault]),
            None => market.faults.set(group, fault),
        });
    }
    faults_page()
}

#[derive(Deserialize)]
struct CallSwitches {
    #[serde(default)]
    slow_secs: Option<u32>,
    lose_reply: Option<String>,
    duplicate: Option<String>,
    reorder: Option<String>,
}

async fn set_call_faults(State(hub): State<Arc<Hub>>, Form(form): Form<CallSwitches>) -> Response {
    let slow = form.slow_secs.filter(|secs| *secs > 0);
    let calls = CallFaults {
        slow: slow.map(|secs| Duration::from_secs(u64::from(secs.min(3_600)))),
        lose_reply: form.lose_reply.is_some(),
        duplicate: form.duplicate.is_some(),
        reorder: form.reorder.is_some(),
    };
    hub.change_quietly(|market| market.faults.calls = calls);
    faults_page()
}

async fn clear_faults(State(hub): State<Arc<Hub>>) -> Response {
    hub.change_quietly(|market| market.faults = Default::default());
    hub.notify(true, "All faults are off.");
    faults_page()
}

async fn expire_tokens(State(hub): State<Arc<Hub>>) -> Response {
    hub.change(|market, _| market.grants.expire_access());
    hub.notify(true, "All access tokens have ended; refresh tokens go on.");
    faults_page()
}
