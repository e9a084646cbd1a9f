//! One provisioned add-on instance.

use std::fmt;
use std::str::FromStr;

use super::ids::{CacheId, ClusterName, ExternalId, ResourceId};
use super::plan::PlanSlug;
use super::time::Timestamp;

/// Who sold the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Marketplace {
    Heroku,
    Manifold,
    /// Signed up with us, without a marketplace between.
    Direct,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no marketplace is called {0}")]
pub struct UnknownMarketplace(String);

impl Marketplace {
    pub const fn as_str(self) -> &'static str {
        match self {
            Marketplace::Heroku => "heroku",
            Marketplace::Manifold => "manifold",
            Marketplace::Direct => "direct",
        }
    }
}

impl fmt::Display for Marketplace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Marketplace {
    type Err = UnknownMarketplace;

    fn from_str(text: &str) -> Result<Marketplace, UnknownMarketplace> {
        [
            Marketplace::Heroku,
            Marketplace::Manifold,
            Marketplace::Direct,
        ]
        .into_iter()
        .find(|marketplace| marketplace.as_str() == text)
        .ok_or_else(|| UnknownMarketplace(text.to_owned()))
    }
}

/// Where a resource stands. A deprovisioned one stays as a tombstone, so that its id is never taken again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceState {
    /// Accepted, with the provider still waiting for our word that it is ready.
    Provisioning,
    Provisioned,
    Deprovisioned {
        at: Timestamp,
    },
}

/// What is still to be told about a resource that its provider knows as provisioning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupGoal {
    /// That it is ready, once it is.
    Finish,
    /// That it never will be. Not taken back, except when the provider turns out to know it as ready.
    GiveUp,
}

impl ResourceState {
    pub const fn is_live(self) -> bool {
        !matches!(self, ResourceState::Deprovisioned { .. })
    }
}

/// One add-on instance and the cache it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub id: ResourceId,
    pub cache: CacheId,
    pub marketplace: Marketplace,
    pub external_id: ExternalId,
    /// The marketplace's display name; changes at its will.
    pub name: String,
    /// Short name in log lines and on pages: the user name of its first credential.
    pub label: String,
    pub plan: PlanSlug,
    pub region: String,
    pub state: ResourceState,
    pub cluster: ClusterName,
    pub created_at: Timestamp,
}
