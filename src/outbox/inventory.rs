//! Inventories: a marketplace's list of installs is compared with ours once a day. Whatever stands on one side only is
//! reported to the operator, never created or destroyed.
//!
//! A resource that we have and the list has not is reconciled. Missed twice, a day or more apart, it is shown to the
//! operator; a reconcile that finds it clears that.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::ports::Inventory;
use super::promise::{CLOCKS_DIFFER, Context, count};
use super::reconcile::MISSED_FOR;
use crate::domain::{ExternalId, Marketplace};
use crate::http::CallErrorKind;
use crate::store::StoreError;
use crate::store::outbox::inventories::Install;

/// The name of inventories in metrics.
const NAME: &str = "inventory";
/// A list that could not be had is asked for again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(3_600);
/// A resource younger than this, or dead for less, may be on its way onto the list or off it.
const SETTLES_IN: Duration = Duration::from_secs(3_600);
/// Ids that one inventory logs; the count says the rest.
const NAMED_MAX: usize = 20;

/// Takes every inventory that is due.
pub(super) async fn take_due(context: &Context) -> Result<(), StoreError> {
    for (marketplace, provider) in &context.providers {
        let Some(inventory) = provider.inventory() else {
            continue;
        };
        let now = context.now();
        let mut tx = context.store.begin().await?;
        let next = now.plus(context.settings.reconcile_every);
        let latest = next.plus(CLOCKS_DIFFER);
        let due = tx.take_inventory(*marketplace, now, next, latest).await?;
        tx.commit().await?;
        if due {
            take(context, *marketplace, inventory).await?;
        }
    }
    Ok(())
}

async fn take(
    context: &Context,
    marketplace: Marketplace,
    inventory: &dyn Inventory,
) -> Result<(), StoreError> {
    let theirs: HashSet<ExternalId> = match inventory.installs().await {
        Ok(list) => list.into_iter().collect(),
        Err(error) => {
            count(NAME, "failed");
            tracing::warn!(%marketplace, %error, "the list of installs cannot be had");
            // One that will never be given is asked for again in a day, like any other.
            if matches!(error.kind, CallErrorKind::Retry { .. }) {
                let wait = AGAIN_AFTER.min(context.settings.reconcile_every);
                let mut tx = context.store.begin().await?;
                tx.schedule_inventory(marketplace, context.now().plus(wait))
                    .await?;
                tx.commit().await?;
            }
            return Ok(());
        }
    };
    let mut ours = context.store.installs(marketplace).await?;
    if !unknown_installs(&theirs, &ours, context).is_empty() {
        // They may be on their way to us: the list is made before we are called.
        tokio::time::sleep(context.settings.unknown_installs_wait).await;
        ours = context.store.installs(marketplace).await?;
    }
    let unknown_installs = unknown_installs(&theirs, &ours, context);
    for id in unknown_installs.iter().take(NAMED_MAX) {
        tracing::warn!(%marketplace, external_id = %id, "the marketplace lists an install that is not live here");
    }
    let now = context.now();
    let missing = |install: &&Install| {
        install.deprovisioned_at.is_none()
            && now.since(install.created_at) >= SETTLES_IN
            && !theirs.contains(&install.external_id)
    };
    let mut tx = context.store.begin().await?;
    tx.record_unknown_installs(marketplace, unknown_installs.len())
        .await?;
    for install in ours.iter().filter(missing) {
        let since = now.minus(MISSED_FOR);
        if tx.record_miss(install.cache, since, now).await? {
            tracing::warn!(cache = %install.cache, external_id = %install.external_id,
                "the marketplace has not listed this resource for a day: perhaps it was deprovisioned without our hearing");
        }
        tx.request_reconcile(install.cache, now).await?;
    }
    tx.commit().await?;
    count(NAME, "delivered");
    Ok(())
}

/// Installs of their list that do not live here.
fn unknown_installs<'a>(
    theirs: &'a HashSet<ExternalId>,
    ours: &[Install],
    context: &Context,
) -> Vec<&'a ExternalId> {
    let now = context.now();
    let known: HashMap<&ExternalId, &Install> = ours
        .iter()
        .map(|install| (&install.external_id, install))
        .collect();
    let unknown = |id: &&ExternalId| match known.get(id) {
        None => true,
        Some(install) => install
            .deprovisioned_at
            .is_some_and(|at| now.since(at) >= SETTLES_IN),
    };
    theirs.iter().filter(unknown).collect()
}
