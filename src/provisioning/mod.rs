//! Rank 2: provision, change plan, deprovision: what a marketplace may ask for, whatever its wire looks like.

#![allow(clippy::todo, unused_variables)]

use secrecy::SecretString;

use crate::domain::secret::Password;
use crate::domain::{ExternalId, Marketplace, PlanSlug, Resource, Timestamp, Username};
use crate::store::StoreError;

/// The lifecycle of resources. Cheap to clone.
#[derive(Clone)]
pub struct Provisioning {}

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
    /// Makes the resource, or finds the one an equal request made before. The credentials work on the cache's
    /// nodes before this returns.
    pub async fn provision(
        &self,
        request: ProvisionRequest,
    ) -> Result<Connection, ProvisioningError> {
        todo!()
    }
    pub async fn change_plan(
        &self,
        marketplace: Marketplace,
        id: &ExternalId,
        plan: &str,
    ) -> Result<PlanChange, ProvisioningError> {
        todo!()
    }
    pub async fn deprovision(
        &self,
        marketplace: Marketplace,
        id: &ExternalId,
    ) -> Result<(), ProvisioningError> {
        todo!()
    }
    /// A resource by the marketplace's id, dead ones included.
    pub async fn find(
        &self,
        marketplace: Marketplace,
        id: &ExternalId,
    ) -> Result<Option<Resource>, ProvisioningError> {
        todo!()
    }
}
