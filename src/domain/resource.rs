//! One provisioned add-on instance.

use super::ids::{CacheId, ClusterName, ExternalId, ResourceId};
use super::marketplace::Marketplace;
use super::plan::PlanSlug;
use super::region;
use super::time::Timestamp;

/// Where a resource stands. A deprovisioned one stays as a tombstone, so that its id is never taken again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceState {
    /// Accepted, with the provider still waiting for our completion call.
    Provisioning,
    Provisioned,
    Deprovisioned {
        at: Timestamp,
    },
}

/// What is still to be told about a resource that its provider knows as provisioning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompletionGoal {
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
    /// As the marketplace ordered it.
    pub region: String,
    /// The region of its cluster.
    pub served_from: String,
    pub state: ResourceState,
    pub cluster: ClusterName,
    pub created_at: Timestamp,
}

impl Resource {
    /// Set when it stands in another region than was ordered.
    pub fn elsewhere(&self) -> Option<Elsewhere> {
        Elsewhere::found(&self.region, &self.served_from)
    }
}

/// That a cache is served from another region than its customer ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    pub ordered: String,
    pub served_from: String,
}

impl Elsewhere {
    /// `None` when the one lies in the other.
    pub fn found(ordered: &str, served_from: &str) -> Option<Elsewhere> {
        (!region::is_in(served_from, ordered)).then(|| Elsewhere {
            ordered: ordered.to_owned(),
            served_from: served_from.to_owned(),
        })
    }
}
