//! Rank 2: provision, change plan, deprovision: what a marketplace may ask for, whatever its wire looks like.
//!
//! Marketplaces repeat their requests and send them twice at once. What settles it is the unique (marketplace,
//! external id) of the database: one insert wins, everybody else reads what it wrote.

mod lifecycle;
mod news;
mod provision;

use std::sync::Arc;

use secrecy::SecretString;

use crate::cluster::Cluster;
use crate::domain::secret::Password;
use crate::domain::{
    CacheId, Clock, ExternalId, Marketplace, PlanSlug, Plans, Resource, Timestamp, Username,
};
use crate::store::audit::AuditEntry;
use crate::store::{Store, StoreError};

/// The lifecycle of resources. Cheap to clone.
#[derive(Clone)]
pub struct Provisioning {
    store: Store,
    cluster: Cluster,
    plans: Arc<Plans>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
pub struct ProvisionRequest {
    pub marketplace: Marketplace,
    pub external_id: ExternalId,
    pub name: String,
    /// As the marketplace sent it; checked here against the plan table.
    pub plan: String,
    pub region: String,
    pub callback_url: Option<String>,
    pub grant: Option<GrantCode>,
    /// The owning app's log input, a secret because it carries a token.
    pub log_url: Option<SecretString>,
}

/// A one-time code to exchange for tokens.
#[derive(Debug)]
pub struct GrantCode {
    pub code: SecretString,
    pub expires_at: Timestamp,
}

/// What the app needs to reach its cache.
#[derive(Debug)]
pub struct Connection {
    pub resource: Resource,
    /// Value of the SERVERS variable.
    pub servers: String,
    pub username: Username,
    pub password: Password,
    /// False when the same request had been answered before.
    pub created: bool,
}

/// What a marketplace is answered.
#[derive(Debug)]
pub enum Provisioned {
    Ready(Connection),
    /// Accepted: the marketplace is told when it is ready, or that it will never be.
    Pending(Resource),
}

#[derive(Debug)]
pub struct PlanChange {
    pub from: PlanSlug,
    pub to: PlanSlug,
}

#[derive(Debug, thiserror::Error)]
pub enum ProvisioningError {
    #[error("there is no plan called {0}")]
    UnknownPlan(String),
    #[error("there is no capacity in region {0}")]
    UnknownRegion(String),
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
        }
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
        actor: marketplace.to_string(),
        action: action.to_owned(),
        detail,
        remote: None,
    }
}
