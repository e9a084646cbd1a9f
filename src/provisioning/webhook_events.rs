//! Webhook events of a marketplace. An event says only that a resource changed, not how: it leads to a reconcile.

use super::{Provisioning, ProvisioningError};
use crate::domain::{ExternalId, Marketplace};

/// An event's id is a uuid or the like; whatever is longer is none.
const EVENT_BYTES_MAX: usize = 128;

impl Provisioning {
    /// Requests a reconcile of the resource, once per `event`. An event of a resource that is unknown or gone, or with an
    /// id that is none, is accepted and leads to nothing. True when it led to a reconcile.
    pub async fn on_event(
        &self,
        marketplace: Marketplace,
        id: &ExternalId,
        event: &str,
    ) -> Result<bool, ProvisioningError> {
        // Such an id stands in an index, where PostgreSQL takes no NUL and no long text.
        if event.len() > EVENT_BYTES_MAX || event.contains(char::is_control) {
            return Ok(false);
        }
        let found = self.find(marketplace, id).await?;
        let Some(resource) = found.filter(|found| found.state.is_live()) else {
            return Ok(false);
        };
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        if !tx.is_new_event(event, now).await? {
            return Ok(false);
        }
        tx.request_reconcile(resource.cache, now).await?;
        tx.commit().await?;
        Ok(true)
    }
}
