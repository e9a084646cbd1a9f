//! News from a marketplace about one of its resources: not what has changed, only that it is worth a look.

use super::{Provisioning, ProvisioningError};
use crate::domain::{ExternalId, Marketplace};

impl Provisioning {
    /// Takes a look at the resource soon, once per `event`. News of resources that are unknown or gone is taken
    /// and forgotten. True when it led to a look.
    pub async fn hear(
        &self,
        marketplace: Marketplace,
        id: &ExternalId,
        event: &str,
    ) -> Result<bool, ProvisioningError> {
        let found = self.find(marketplace, id).await?;
        let Some(resource) = found.filter(|found| found.state.is_live()) else {
            return Ok(false);
        };
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        if !tx.first_news(event, now).await? {
            return Ok(false);
        }
        tx.want_look(resource.cache, now).await?;
        tx.commit().await?;
        Ok(true)
    }
}
