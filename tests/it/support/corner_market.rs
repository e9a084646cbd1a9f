//! A marketplace that no room of `src` has heard of: it orders caches, ends them, and sends its customers to their
//! dashboards. It takes no call from us.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use axum::{Form, Json, Router};
use larder::domain::{Catalogue, ExternalId, Marketplace, Plans};
use larder::marketplace::{Adapter, Installation, Rooms};
use larder::provisioning::{ProvisionRequest, Provisioned, ProvisioningError};
use larder::web::error::PageError;
use larder::web::{MarketplaceFace, SignOn, Visitor};
use serde::Deserialize;
use serde_json::json;

const NAME: Marketplace = Marketplace::named("corner");
/// What a sign-on must bring; a real marketplace signs something.
pub const PASSPHRASE: &str = "open sesame";

#[derive(Debug)]
pub struct CornerMarket;

impl Adapter for CornerMarket {
    fn name(&self) -> Marketplace {
        NAME
    }

    fn face(&self) -> MarketplaceFace {
        MarketplaceFace {
            shown_as: "Corner Market".to_owned(),
            header: Some("<p>Thank you for shopping at the corner.</p>"),
            variables: None,
        }
    }

    /// The smallest plan, here.
    fn catalogue(&self, plans: &Plans) -> Catalogue {
        let mut all = Catalogue::everything(plans);
        all.plans.truncate(1);
        all.regions = Some(vec!["us".to_owned()]);
        all
    }

    fn routes(&self, installation: &Installation, rooms: Rooms) -> Router {
        let variables = installation.product.variables.clone();
        let order = async move |State(rooms): State<Rooms>, Json(order): Json<Order>| {
            let request = ProvisionRequest {
                marketplace: NAME,
                external_id: order.id,
                name: order.name,
                plan: order.plan,
                region: order.region.unwrap_or_else(|| "us".to_owned()),
                callback_url: order.callback_url,
                grant: None,
                log_url: None,
            };
            match rooms.provisioning.provision(request).await {
                Ok(Provisioned::Ready(ready)) => {
                    let values = ready.values.named(&variables);
                    let values = values.map(|(name, value)| (name, json!(value)));
                    let config: serde_json::Map<_, _> = values
                        .map(|(name, value)| (name.to_owned(), value))
                        .into_iter()
                        .collect();
                    (StatusCode::CREATED, Json(json!(config))).into_response()
                }
                Ok(Provisioned::Pending(_)) => StatusCode::ACCEPTED.into_response(),
                Err(refused) => refusal(&refused),
            }
        };
        Router::new()
            .route("/corner/orders", post(order))
            .route("/corner/orders/{id}", delete(end))
            .route("/corner/enter", post(enter))
            .with_state(rooms)
    }
}

#[derive(Deserialize)]
struct Order {
    #[serde(deserialize_with = "external_id")]
    id: ExternalId,
    name: String,
    plan: String,
    region: Option<String>,
    callback_url: Option<String>,
}

fn external_id<'de, D: serde::Deserializer<'de>>(from: D) -> Result<ExternalId, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(serde::de::Error::custom)
}

async fn end(State(rooms): State<Rooms>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match rooms.provisioning.deprovision(NAME, &id).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refused) => refusal(&refused),
    }
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    passphrase: String,
    /// Good for one login.
    ticket: String,
    person: String,
    context_app: Option<String>,
}

async fn enter(
    State(rooms): State<Rooms>,
    visitor: Visitor,
    Form(entry): Form<Entry>,
) -> Result<Response, PageError> {
    if entry.passphrase != PASSPHRASE {
        return Err(PageError::SignOnRefused);
    }
    let sign_on = SignOn {
        marketplace: NAME,
        external_id: entry.id.parse().map_err(|_| PageError::NotFound)?,
        proof_digest: format!("corner {}", entry.ticket),
        weaker_digest: None,
        person: Some(entry.person),
        context_app: entry.context_app,
    };
    rooms.web.enter(visitor, sign_on).await
}

fn refusal(error: &ProvisioningError) -> Response {
    let status = match error {
        ProvisioningError::UnknownPlan { .. }
        | ProvisioningError::UnknownRegion { .. }
        | ProvisioningError::Elsewhere { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        ProvisioningError::Unknown => StatusCode::NOT_FOUND,
        ProvisioningError::Gone => StatusCode::GONE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, error.to_string()).into_response()
}
