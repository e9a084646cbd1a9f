//! Repeated orders about a cache that somebody uses and whose node does not answer. It stays with its node, and so do the
//! values of its app.

use std::time::Duration;

use super::{Provisioning, ProvisioningError, Ready};
use crate::domain::{CacheId, Resource};
use crate::store::StoreError;

impl Provisioning {
    /// The answer with what is in force on the node, or else with what the provider holds already: a change that it need
    /// not hear of, such as one more credential, alters neither.
    pub(super) async fn ready_in_use(
        &self,
        resource: &Resource,
        created: bool,
    ) -> Result<Ready, ProvisioningError> {
        let cache = resource.cache;
        if let Some(ready) = self.ready(resource, created, Duration::ZERO).await? {
            return Ok(ready);
        }
        let before = self.held(cache).await?;
        let values = self.values(cache).await?;
        // Asked again: the values of a promotion in between are in force nowhere yet (P3).
        if before.is_none() || before != self.held(cache).await? {
            return Err(ProvisioningError::NodeBehind);
        }
        Ok(Ready {
            resource: resource.clone(),
            values,
            created,
        })
    }

    /// The count of the last change of the values, if the provider holds it.
    async fn held(&self, cache: CacheId) -> Result<Option<i64>, StoreError> {
        let state = self.store.config_state(cache).await?;
        let held = state.filter(|state| state.applied >= state.desired);
        Ok(held.map(|state| state.desired))
    }
}
