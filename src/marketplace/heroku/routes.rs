//! The calls Heroku makes: provision, plan change, deprovision. Source: heroku.md §1, §2, §6, §7.
//!
//! Every answer is JSON, refusals included, with a sentence that the customer may read. Who calls is checked
//! before the body is read; nothing outside is waited for but the cache's own node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post, put};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower_http::catch_panic::CatchPanicLayer;
use uuid::Uuid;

use super::wire::{AcceptedReply, Message, PlanChangeBody, ProvisionBody, ProvisionReply};
use super::{HerokuSettings, auth, webhooks};
use crate::domain::{Clock, ExternalId, Marketplace};
use crate::marketplace::outbound;
use crate::provisioning::{
    Connection, GrantCode, ProvisionRequest, Provisioned, Provisioning, ProvisioningError,
};

pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
/// Heroku gives up after 25 s, and the pages' own limit ends every request after 20 s: we answer before both, so
/// that the refusal is one that Heroku can read.
const DEADLINE: Duration = Duration::from_secs(18);
const RETRY_AFTER_SECS: &str = "5";
const NAME_CHARS_MAX: usize = 128;

/// What the routes work with. Cheap to clone.
#[derive(Clone)]
pub struct HerokuRoutes {
    pub settings: Arc<HerokuSettings>,
    pub provisioning: Provisioning,
    pub clock: Arc<dyn Clock>,
}

/// The routes under `/heroku/resources`, with and without a slash at the end, and `/heroku/webhooks`.
pub fn router(routes: HerokuRoutes) -> Router {
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
        .with_state(routes.clone())
        .merge(webhooks::router(routes))
}

/// Authenticates before the body is read, and ends the whole request at the deadline.
async fn guard(State(routes): State<HerokuRoutes>, request: Request, next: Next) -> Response {
    let settings = &routes.settings;
    if !auth::is_heroku(request.headers(), &settings.id, &settings.passwords) {
        let challenge = [(WWW_AUTHENTICATE, "Basic realm=\"add-on provider\"")];
        let refusal = Refusal(StatusCode::UNAUTHORIZED, "Not authorised.");
        return (challenge, refusal).into_response();
    }
    match tokio::time::timeout(DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => UNAVAILABLE.into_response(),
    }
}

pub(super) async fn not_a_method() -> Refusal {
    Refusal(StatusCode::METHOD_NOT_ALLOWED, "There is no such action.")
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
    let body: ProvisionBody = read(body)?;
    let plan = body.plan.clone();
    let request = routes.request(body)?;
    let connection = match routes.provisioning.provision(request).await? {
        Provisioned::Ready(connection) => connection,
        Provisioned::Pending(resource) => {
            let accepted = AcceptedReply {
                id: resource.external_id.as_str(),
                message: "Your cache is being set up. Your app gets its config vars when it is ready.",
            };
            return Ok(json(StatusCode::ACCEPTED, &accepted));
        }
    };
    // A repeat of the request is answered as the first time; one that differs is not what was created.
    let status = if plan == connection.resource.plan.as_str() {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(json(status, &routes.reply(&connection)))
}

async fn change_plan(
    State(routes): State<HerokuRoutes>,
    id: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let id = routes.path_id(id)?;
    let body: PlanChangeBody = read(body)?;
    let change = routes
        .provisioning
        .change_plan(Marketplace::Heroku, &id, &body.plan)
        .await?;
    let message = if change.from == change.to {
        format!("Your cache is on plan {} already.", change.to)
    } else {
        format!("Your cache is now on plan {}.", change.to)
    };
    Ok(told(StatusCode::OK, &message))
}

async fn deprovision(
    State(routes): State<HerokuRoutes>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Refusal> {
    let id = routes.path_id(id)?;
    routes
        .provisioning
        .deprovision(Marketplace::Heroku, &id)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

impl HerokuRoutes {
    /// From the wire to what provisioning understands.
    fn request(&self, body: ProvisionBody) -> Result<ProvisionRequest, Refusal> {
        let legacy = self.settings.legacy;
        let given = body.uuid.or(body.heroku_id.filter(|_| legacy));
        let external_id = given
            .and_then(|text| self.external_id(&text))
            .ok_or(unprocessable("The request lacks a resource id."))?;
        let region = body.region.or(legacy.then(|| "us".to_owned()));
        let region = region.ok_or(unprocessable("The request lacks a region."))?;
        let name = body
            .name
            .unwrap_or_else(|| external_id.as_str().to_owned())
            .chars()
            .filter(|c| !c.is_control())
            .take(NAME_CHARS_MAX)
            .collect();
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
            marketplace: Marketplace::Heroku,
            external_id,
            name,
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

    /// A uuid in its usual form; with the v1 shapes switched on, whatever id their senders use.
    pub(super) fn external_id(&self, text: &str) -> Option<ExternalId> {
        match Uuid::try_parse(text) {
            Ok(uuid) => uuid.hyphenated().to_string().parse().ok(),
            Err(_) if self.settings.legacy => text.parse().ok(),
            Err(_) => None,
        }
    }

    fn reply<'a>(&'a self, connection: &'a Connection) -> ProvisionReply<'a> {
        let names = &self.settings.variables;
        ProvisionReply {
            id: connection.resource.external_id.as_str(),
            config: BTreeMap::from([
                (names.servers.as_str(), connection.servers.as_str()),
                (names.username.as_str(), connection.username.as_str()),
                (names.password.as_str(), connection.password.expose()),
            ]),
            message: "Your cache is ready.",
        }
    }
}

/// Reads a JSON object. The parser's own words may quote the body, so they are not repeated.
pub(super) fn read<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Refusal> {
    let body = body.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => Refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The request is larger than 64 KiB.",
        ),
        _ => Refusal(StatusCode::BAD_REQUEST, "The request broke off."),
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        let object = body.trim_ascii_start().starts_with(b"{");
        if error.is_data() && object {
            unprocessable("The request lacks a member, repeats one, or has one of the wrong type.")
        } else {
            Refusal(StatusCode::BAD_REQUEST, "The request is not a JSON object.")
        }
    })
}

/// A status with a sentence for the customer.
pub(super) struct Refusal(pub(super) StatusCode, pub(super) &'static str);

const NO_SUCH_RESOURCE: Refusal = Refusal(StatusCode::NOT_FOUND, "There is no such resource.");
const UNAVAILABLE: Refusal = Refusal(
    StatusCode::SERVICE_UNAVAILABLE,
    "We cannot serve this right now. Please try again in a moment.",
);

const fn unprocessable(message: &'static str) -> Refusal {
    Refusal(StatusCode::UNPROCESSABLE_ENTITY, message)
}

impl From<ProvisioningError> for Refusal {
    fn from(error: ProvisioningError) -> Refusal {
        match error {
            ProvisioningError::UnknownPlan(_) => unprocessable("There is no such plan."),
            ProvisioningError::UnknownRegion(_) => {
                unprocessable("Caches are not offered in this region.")
            }
            ProvisioningError::Unknown => NO_SUCH_RESOURCE,
            ProvisioningError::Gone => Refusal(StatusCode::GONE, "The resource was deprovisioned."),
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
        let Refusal(status, message) = self;
        let response = told(status, message);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return ([(RETRY_AFTER, RETRY_AFTER_SECS)], response).into_response();
        }
        response
    }
}

fn told(status: StatusCode, message: &str) -> Response {
    json(status, &Message { message })
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => (status, [(CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
