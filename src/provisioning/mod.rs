//! Rank 2: provision, change plan, deprovision: what a marketplace may ask for, whatever its wire looks like.
//!
//! Marketplaces repeat their requests and send them twice at once. What settles it is the unique (marketplace,
//! external id) of the database: one insert wins, everybody else reads what it wrote.

mod in_use;
mod lifecycle;
mod provision;
mod webhook_events;

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::SecretString;

use crate::cluster::Cluster;
use crate::domain::printable::{NAME_CHARS_MAX, printable_if_any};
use crate::domain::{
    AbilityTable, CacheId, Catalogue, Clock, ConfigValues, Elsewhere, ExternalId, Marketplace,
    Plan, PlanSlug, Plans, Resource, Timestamp,
};
use crate::store::service::audit::AuditEntry;
use crate::store::{Store, StoreError};

/// The lifecycle of resources. Cheap to clone.
#[derive(Clone)]
pub struct Provisioning {
    store: Store,
    cluster: Cluster,
    plans: Arc<Plans>,
    clock: Arc<dyn Clock>,
    abilities: Arc<AbilityTable>,
    catalogues: Arc<BTreeMap<Marketplace, Catalogue>>,
}

/// A marketplace's order for a new resource, parsed.
#[derive(Debug)]
pub struct ProvisionRequest {
    pub marketplace: Marketplace,
    pub external_id: ExternalId,
    /// As the marketplace sent it. A resource without a name, or with a blank one, is called by its external id.
    pub name: String,
    /// As the marketplace sent it; checked here against the plan table.
    pub plan: String,
    pub region: String,
    /// Kept for support only, so an odd one is left out.
    pub callback_url: Option<String>,
    pub grant: Option<GrantCode>,
    /// The owning app's log input, a secret because it carries a token.
    pub log_url: Option<SecretString>,
}

/// The longest `callback_url` that is kept.
const URL_BYTES_MAX: usize = 2_048;

impl ProvisionRequest {
    /// The name to keep.
    fn shown_name(&self) -> String {
        printable_if_any(&self.name, NAME_CHARS_MAX).unwrap_or_else(|| self.external_id.to_string())
    }

    /// The URL to keep. PostgreSQL takes no NUL in a text, and no URL has a control character.
    fn kept_callback_url(&self) -> Option<&str> {
        let url = self.callback_url.as_deref()?;
        (url.len() <= URL_BYTES_MAX && !url.contains(char::is_control)).then_some(url)
    }
}

/// A one-time code to exchange for tokens.
#[derive(Debug)]
pub struct GrantCode {
    pub code: SecretString,
    pub expires_at: Timestamp,
}

/// A cache whose credentials work.
#[derive(Debug)]
pub struct Ready {
    pub resource: Resource,
    pub values: ConfigValues,
    /// False when the same request had been answered before.
    pub created: bool,
}

/// What a marketplace is answered.
#[derive(Debug)]
pub enum Provisioned {
    Ready(Ready),
    /// Accepted: the marketplace is told when it is ready, or that it will never be.
    Pending(Resource),
}

/// A marketplace's order for another plan, parsed.
#[derive(Debug)]
pub struct PlanChange {
    pub from: PlanSlug,
    pub to: PlanSlug,
    /// Set when the cache stands in another region than was ordered.
    pub elsewhere: Option<Elsewhere>,
}

/// Why an order was refused or did not work.
#[derive(Debug, thiserror::Error)]
pub enum ProvisioningError {
    #[error("there is no plan called {asked}")]
    UnknownPlan {
        asked: String,
        /// What the marketplace may order.
        offered: Vec<PlanSlug>,
    },
    #[error("no cache is served from region {asked}")]
    UnknownRegion {
        asked: String,
        /// What the marketplace may order instead.
        offered: Vec<String>,
    },
    /// It stands where it was not ordered, and the operator wants no such cache.
    #[error("the cache was ordered in region {} and stands in {}", .at.ordered, .at.served_from)]
    Elsewhere { at: Elsewhere, offered: Vec<String> },
    /// There may be room later, but this marketplace gave no means to be told then.
    #[error("no node of region {0} has room at the moment")]
    NoRoom(String),
    /// Never seen.
    #[error("there is no such resource")]
    Unknown,
    /// Known and deprovisioned.
    #[error("the resource was deprovisioned")]
    Gone,
    /// Written down, but the nodes have not taken it up in time; the same request again will find it done.
    #[error("the cache's node does not answer")]
    NodeBehind,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Provisioning {
    pub fn new(
        store: Store,
        cluster: Cluster,
        plans: Arc<Plans>,
        clock: Arc<dyn Clock>,
    ) -> Provisioning {
        Provisioning {
            store,
            cluster,
            plans,
            clock,
            abilities: Arc::default(),
            catalogues: Arc::default(),
        }
    }

    /// What the marketplaces can do; without this, none can do anything.
    pub fn with_abilities(self, abilities: AbilityTable) -> Provisioning {
        Provisioning {
            abilities: Arc::new(abilities),
            ..self
        }
    }

    /// What each marketplace may order. One that has no catalogue may order every plan that is on sale.
    pub fn with_catalogues(self, catalogues: BTreeMap<Marketplace, Catalogue>) -> Provisioning {
        Provisioning {
            catalogues: Arc::new(catalogues),
            ..self
        }
    }

    /// The plans that a marketplace may order, in the order of the plan table.
    pub fn plans_for(&self, marketplace: Marketplace) -> impl Iterator<Item = &Plan> {
        let catalogue = self.catalogues.get(&marketplace);
        let offered = move |plan: &&Plan| {
            !plan.hidden && catalogue.is_none_or(|catalogue| catalogue.offers(plan))
        };
        self.plans.iter().filter(offered)
    }

    fn unknown_plan(&self, marketplace: Marketplace, asked: &str) -> ProvisioningError {
        let offered = self.plans_for(marketplace);
        ProvisioningError::UnknownPlan {
            asked: asked.to_owned(),
            offered: offered.map(|plan| plan.slug.clone()).collect(),
        }
    }

    fn offered(&self, marketplace: Marketplace, slug: &str) -> Option<&Plan> {
        self.plans_for(marketplace)
            .find(|plan| plan.slug.as_str() == slug)
    }

    /// A resource by the marketplace's id, dead ones included.
    pub async fn find(
        &self,
        marketplace: Marketplace,
        id: &ExternalId,
    ) -> Result<Option<Resource>, ProvisioningError> {
        Ok(self.store.resource_by_external(marketplace, id).await?)
    }

    async fn live(
        &self,
        marketplace: Marketplace,
        id: &ExternalId,
    ) -> Result<Resource, ProvisioningError> {
        match self.find(marketplace, id).await? {
            Some(resource) if resource.state.is_live() => Ok(resource),
            Some(_) => Err(ProvisioningError::Gone),
            None => Err(ProvisioningError::Unknown),
        }
    }
}

/// The marketplace is the actor of whatever happens here.
fn audit(cache: CacheId, marketplace: Marketplace, action: &str, detail: String) -> AuditEntry {
    AuditEntry {
        cache: Some(cache),
        actor: marketplace.into(),
        action: action.to_owned(),
        detail,
    }
}
