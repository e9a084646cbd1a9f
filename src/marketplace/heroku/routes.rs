//! The calls Heroku makes: provision, plan change, deprovision. Source: heroku.md §1, §2, §6, §7.
//!
//! Every answer is JSON, refusals included, with a sentence that the customer may read. Who calls is checked
//! before the body is read; nothing outside is waited for but the cache's own node.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post, put};
use tower_http::catch_panic::CatchPanicLayer;

use super::answer::{
    BODY_BYTES_MAX, NO_SUCH_RESOURCE, Refusal, UNAVAILABLE, json, not_a_method, read, told,
    unprocessable, with_place,
};
use super::auth;
use super::settings::NAME;
use super::state::HerokuRoutes;
use super::wire::{
    AcceptedReply, PLAN_CHANGE_MEMBERS, PROVISION_MEMBERS, PlanChangeBody, ProvisionBody,
    ProvisionReply,
};
use crate::domain::ExternalId;
use crate::http::outbound;
use crate::provisioning::{GrantCode, ProvisionRequest, Provisioned, Ready};
use crate::web::RefusedCall;
use crate::web::guard::Remote;

/// Heroku gives up after 25 s, and the pages' own limit ends every request after 20 s: we answer before both, so
/// that the refusal is one that Heroku can read.
const DEADLINE: Duration = Duration::from_secs(18);

/// The routes under `/heroku/resources`, with and without a slash at the end.
pub(super) fn router(routes: HerokuRoutes) -> Router {
    let collection = || post(provision).fallback(not_a_method);
    let one = || put(change_plan).delete(deprovision).fallback(not_a_method);
    Router::new()
        .route("/heroku/resources", collection())
        .route("/heroku/resources/", collection())
        .route("/heroku/resources/{id}", one())
        .route("/heroku/resources/{id}/", one())
        .route("/heroku/resources/{id}/{*rest}", any(no_such_resource))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(CatchPanicLayer::custom(panicked))
        .route_layer(middleware::from_fn_with_state(routes.clone(), guard))
        .with_state(routes)
}

/// Authenticates before the body is read, and ends the whole request at the deadline.
async fn guard(
    State(routes): State<HerokuRoutes>,
    Remote(remote): Remote,
    request: Request,
    next: Next,
) -> Response {
    let settings = &routes.settings;
    let now = routes.clock.now();
    let passwords = auth::good_at(&settings.passwords, settings.previous_until, now);
    if !auth::is_heroku(request.headers(), &settings.id, passwords) {
        if routes.note_refused(RefusedCall::Api, remote) {
            let told = "Too many calls without the password. Try again in a minute.";
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, told);
            return ([(RETRY_AFTER, "60")], refusal).into_response();
        }
        let challenge = [(WWW_AUTHENTICATE, "Basic realm=\"add-on provider\"")];
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "Not authorised.");
        return (challenge, refusal).into_response();
    }
    match tokio::time::timeout(DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => UNAVAILABLE.into_response(),
    }
}

/// Whatever else is called below a resource.
async fn no_such_resource() -> Refusal {
    NO_SUCH_RESOURCE
}

/// Heroku cannot read the page that other callers get. The panic's own message went to the log by the panic hook.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    UNAVAILABLE.into_response()
}

async fn provision(
    State(routes): State<HerokuRoutes>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let body: ProvisionBody = read(body, PROVISION_MEMBERS)?;
    let plan = body.plan.clone();
    let request = routes.request(body)?;
    let ready = match routes.provisioning.provision(request).await? {
        Provisioned::Ready(ready) => ready,
        Provisioned::Pending(resource) => {
            let message =
                "Your cache is being set up. Your app gets its config vars when it is ready.";
            let accepted = AcceptedReply {
                id: resource.external_id.as_str(),
                message: with_place(message, resource.elsewhere().as_ref()),
            };
            return Ok(json(StatusCode::ACCEPTED, &accepted));
        }
    };
    // A repeat of the request is answered as the first time; one that differs is not what was created.
    let status = if plan == ready.resource.plan.as_str() {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(json(status, &routes.reply(&ready)))
}

async fn change_plan(
    State(routes): State<HerokuRoutes>,
    id: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let id = routes.path_id(id)?;
    let body: PlanChangeBody = read(body, PLAN_CHANGE_MEMBERS)?;
    let change = routes
        .provisioning
        .change_plan(NAME, &id, &body.plan)
        .await?;
    let message = if change.from == change.to {
        format!("Your cache is on plan {} already.", change.to)
    } else {
        format!("Your cache is now on plan {}.", change.to)
    };
    let message = with_place(&message, change.elsewhere.as_ref());
    Ok(told(StatusCode::OK, &message))
}

async fn deprovision(
    State(routes): State<HerokuRoutes>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Refusal> {
    let id = routes.path_id(id)?;
    routes.provisioning.deprovision(NAME, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl HerokuRoutes {
    /// From the wire to what provisioning understands.
    fn request(&self, body: ProvisionBody) -> Result<ProvisionRequest, Refusal> {
        let legacy = self.settings.legacy;
        let given = body.uuid.or(body.heroku_id.filter(|_| legacy));
        let external_id = given
            .and_then(|text| self.external_id(&text))
            .ok_or_else(|| unprocessable("The member \"uuid\" is missing or is no uuid."))?;
        let region = body.region.or(legacy.then(|| "us".to_owned()));
        let region =
            region.ok_or_else(|| unprocessable("The request lacks the member \"region\"."))?;
        let now = self.clock.now();
        let grant = body.oauth_grant.map(|grant| GrantCode {
            expires_at: grant.expires_at(now),
            code: grant.code,
        });
        // A log input we may not call is no reason to refuse the customer a cache: the app gets no lines.
        let log_url = body.log_input_url.filter(|url| {
            use secrecy::ExposeSecret as _;
            let checked = outbound::checked_url(
                url.expose_secret(),
                &self.settings.log_hosts,
                self.settings.allow_http,
            );
            if let Err(why) = checked {
                tracing::warn!(%external_id, why, "log input ignored");
            }
            checked.is_ok()
        });
        Ok(ProvisionRequest {
            marketplace: NAME,
            external_id,
            name: body.name.unwrap_or_default(),
            plan: body.plan,
            region,
            callback_url: body.callback_url,
            grant,
            log_url,
        })
    }

    /// The id in the path; one that is no text names no resource either.
    fn path_id(&self, id: Result<Path<String>, PathRejection>) -> Result<ExternalId, Refusal> {
        let id = id.map_err(|_| NO_SUCH_RESOURCE)?;
        self.external_id(&id).ok_or(NO_SUCH_RESOURCE)
    }

    fn reply<'a>(&'a self, ready: &'a Ready) -> ProvisionReply<'a> {
        ProvisionReply {
            id: ready.resource.external_id.as_str(),
            config: ready.values.named(&self.settings.variables).into(),
            message: with_place("Your cache is ready.", ready.resource.elsewhere().as_ref()),
        }
    }
}
