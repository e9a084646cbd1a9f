//! A resource's later life: another plan, and its end.

use std::time::Duration;

use super::{PlanChange, Provisioning, ProvisioningError, audit};
use crate::domain::{CacheId, Event, ExternalId, Marketplace, Resource, Revision};
use crate::outbox;
use crate::store::{StoreError, Tx};

/// The nodes follow by themselves; we only see to it that they usually have when the marketplace is answered.
const NODE_WAIT: Duration = Duration::from_secs(5);
/// How long an id is refused whose end came before its beginning: marketplaces give up repeating an order after a day.
const EARLY_END_KEPT: Duration = Duration::from_secs(86_400);

impl Provisioning {
    /// Gives a resource another plan. The data stays; above a lower limit the engine evicts.
    pub async fn change_plan(
        &self,
        marketplace: Marketplace,
        id: &ExternalId,
        plan: &str,
    ) -> Result<PlanChange, ProvisioningError> {
        let found = self.live(marketplace, id).await?;
        let own = || self.plans.find(plan).filter(|own| own.slug == found.plan);
        let offered = self.offered(marketplace, plan).or_else(own);
        let to = offered.ok_or_else(|| self.unknown_plan(marketplace, plan))?;

        let (mut tx, resource) = self.lock_live(found.cache).await?;
        let now = self.clock.now();
        let change = PlanChange {
            from: resource.plan.clone(),
            to: to.slug.clone(),
            elsewhere: resource.elsewhere(),
        };
        if change.from == change.to {
            return Ok(change);
        }
        if let Some(at) = change.elsewhere.clone()
            && self.cluster.is_region_strict()
        {
            drop(tx);
            let offered = self.cluster.regions_offered().await?;
            return Err(ProvisioningError::Elsewhere { at, offered });
        }
        tx.set_plan(resource.cache, &to.slug).await?;
        let event = Event::PlanChanged {
            from: change.from.to_string(),
            to: change.to.to_string(),
        };
        let (label, actor) = (&resource.label, marketplace.into());
        outbox::announce(&mut tx, resource.cache, label, &event, &actor, now).await?;
        let detail = format!("{} to {}", change.from, change.to);
        let entry = audit(resource.cache, marketplace, "resource.change_plan", detail);
        tx.audit(&entry, now).await?;
        let revision = tx.bump(resource.cache).await?;
        tx.commit().await?;
        self.let_nodes_follow(resource.cache, revision).await;
        Ok(change)
    }

    /// Ends a resource for good: secrets are wiped, sessions end, what was on its way out is withdrawn, and the
    /// nodes drop the cache with its connections. A tombstone stays, so that the id never means another cache.
    pub async fn deprovision(
        &self,
        marketplace: Marketplace,
        id: &ExternalId,
    ) -> Result<(), ProvisioningError> {
        let found = match self.live(marketplace, id).await {
            Err(ProvisioningError::Unknown) => self.end_unknown(marketplace, id).await?,
            found => found?,
        };
        let (mut tx, resource) = self.lock_live(found.cache).await?;
        let cache = resource.cache;
        let now = self.clock.now();
        tx.end_resource(cache, now).await?;
        let (event, actor) = (Event::Deprovisioned, marketplace.into());
        outbox::announce(&mut tx, cache, &resource.label, &event, &actor, now).await?;
        let detail = id.to_string();
        let entry = audit(cache, marketplace, "resource.deprovision", detail);
        tx.audit(&entry, now).await?;
        let revision = tx.bump(cache).await?;
        tx.commit().await?;
        self.let_nodes_follow(cache, revision).await;
        Ok(())
    }

    /// Remembers the end of an id that stands for nothing here: its order may still be on its way, and would make a
    /// cache that nobody wants. Gives the resource if the order has arrived at this very moment.
    async fn end_unknown(
        &self,
        marketplace: Marketplace,
        id: &ExternalId,
    ) -> Result<Resource, ProvisioningError> {
        let mut tx = self.store.begin().await?;
        tx.note_early_deprovision(marketplace, id, self.clock.now())
            .await?;
        tx.commit().await?;
        self.live(marketplace, id).await
    }

    /// Drops what is kept for a while only. Call it now and then.
    pub async fn tidy(&self) -> Result<(), StoreError> {
        let before = self.clock.now().minus(EARLY_END_KEPT);
        let mut tx = self.store.begin().await?;
        tx.prune_early_deprovisions(before).await?;
        tx.commit().await
    }

    /// The resource as it is now, held until the transaction ends: another request may have buried it since it
    /// was found.
    pub(super) async fn lock_live(
        &self,
        cache: CacheId,
    ) -> Result<(Tx, Resource), ProvisioningError> {
        let mut tx = self.store.begin().await?;
        match tx.lock_resource(cache).await? {
            Some(resource) if resource.state.is_live() => Ok((tx, resource)),
            _ => Err(ProvisioningError::Gone),
        }
    }

    async fn let_nodes_follow(&self, cache: CacheId, revision: Revision) {
        self.cluster.wake();
        if !self.cluster.wait_applied(cache, revision, NODE_WAIT).await {
            tracing::warn!(%cache, %revision, "a change is committed, but not every node has taken it up yet");
        }
    }
}
