//! Installs known to one side only. A marketplace's list is compared with ours once a day; what stands on one of
//! them is told to the operator, never created or destroyed.
//!
//! Resources that we have and the list has not are looked at again one by one. Missed twice, a day or more apart,
//! they become cases for a person; a look that finds one clears it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::looks::MISSED_FOR;
use super::ports::{Provider, SendErrorKind};
use super::worker::{Inner, count};
use crate::domain::{ExternalId, Marketplace};
use crate::store::StoreError;
use crate::store::censuses::Install;

/// A list that could not be had is asked for again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(3_600);
/// A resource younger than this, or dead for less, may be on its way onto the list or off it.
const SETTLES_IN: Duration = Duration::from_secs(3_600);
/// Ids told of by name in one census; the count says the rest.
const NAMED_MAX: usize = 20;

/// Takes every census that is due.
pub(super) async fn take_due(outbox: &Inner) -> Result<(), StoreError> {
    for (marketplace, provider) in &outbox.providers {
        let now = outbox.now();
        let mut tx = outbox.store.begin().await?;
        let next = now.plus(outbox.settings.look_every);
        let due = tx.take_census(*marketplace, now, next).await?;
        tx.commit().await?;
        if due {
            take(outbox, *marketplace, provider.as_ref()).await?;
        }
    }
    Ok(())
}

async fn take(
    outbox: &Inner,
    marketplace: Marketplace,
    provider: &dyn Provider,
) -> Result<(), StoreError> {
    let theirs: HashSet<ExternalId> = match provider.installs().await {
        Ok(Some(list)) => list.into_iter().collect(),
        Ok(None) => return Ok(()),
        Err(error) => {
            count("census", "failed");
            tracing::warn!(%marketplace, %error, "the list of installs cannot be had");
            // One that will never be given is asked for again in a day, like any other.
            if matches!(error.kind, SendErrorKind::Retry { .. }) {
                let wait = AGAIN_AFTER.min(outbox.settings.look_every);
                let mut tx = outbox.store.begin().await?;
                tx.schedule_census(marketplace, outbox.now().plus(wait))
                    .await?;
                tx.commit().await?;
            }
            return Ok(());
        }
    };
    let mut ours = outbox.store.installs(marketplace).await?;
    if !strangers(&theirs, &ours, outbox).is_empty() {
        // They may be on their way to us: the list is made before we are called.
        tokio::time::sleep(outbox.settings.strangers_wait).await;
        ours = outbox.store.installs(marketplace).await?;
    }
    let strangers = strangers(&theirs, &ours, outbox);
    for id in strangers.iter().take(NAMED_MAX) {
        tracing::warn!(%marketplace, external_id = %id, "the marketplace has an install that is not alive here");
    }
    let now = outbox.now();
    let missing = |install: &&Install| {
        install.deprovisioned_at.is_none()
            && now.since(install.created_at) >= SETTLES_IN
            && !theirs.contains(&install.external_id)
    };
    let mut tx = outbox.store.begin().await?;
    tx.record_strangers(marketplace, strangers.len()).await?;
    for install in ours.iter().filter(missing) {
        let since = now.minus(MISSED_FOR);
        if tx.record_miss(install.cache, since, now).await? {
            tracing::warn!(cache = %install.cache, external_id = %install.external_id,
                "the marketplace has not listed this resource for a day: perhaps it was deprovisioned without our hearing");
        }
        tx.want_look(install.cache, now).await?;
    }
    tx.commit().await?;
    count("census", "delivered");
    Ok(())
}

/// Installs of their list that do not live here.
fn strangers<'a>(
    theirs: &'a HashSet<ExternalId>,
    ours: &[Install],
    outbox: &Inner,
) -> Vec<&'a ExternalId> {
    let now = outbox.now();
    let known: HashMap<&ExternalId, &Install> = ours
        .iter()
        .map(|install| (&install.external_id, install))
        .collect();
    let strange = |id: &&ExternalId| match known.get(id) {
        None => true,
        Some(install) => install
            .deprovisioned_at
            .is_some_and(|at| now.since(at) >= SETTLES_IN),
    };
    theirs.iter().filter(strange).collect()
}
