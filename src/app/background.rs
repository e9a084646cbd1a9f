//! Loops beside the requests: scheduled rotations, nodes that are gone, rows that have outlived their use.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::access::{Access, RefusedCalls};
use crate::cluster::{Absences, Cluster};
use crate::domain::Clock;
use crate::provisioning::Provisioning;

/// How often refused calls are looked for whose minute is over.
const REFUSED_EVERY: Duration = Duration::from_secs(1);
const TIDY_EVERY: Duration = Duration::from_secs(300);
/// How often due rotations are read.
const ROTATE_EVERY: Duration = Duration::from_secs(5);
/// How often nodes that were retired or are away are maintained.
const NODES_EVERY: Duration = Duration::from_secs(5);

/// Takes the steps of scheduled rotations, until `stop`.
pub(in crate::app) async fn rotate(access: Access, stop: CancellationToken) {
    loop {
        if let Err(error) = access.rotate_due().await {
            tracing::warn!(%error, "scheduled rotation did not work, the next pass tries again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ROTATE_EVERY) => {}
        }
    }
}

/// Places the caches of retired nodes anew as soon as there is room, and tells owners of nodes that are away, until
/// `stop`.
pub(in crate::app) async fn maintain_nodes(cluster: Cluster, stop: CancellationToken) {
    let mut absences = Absences::default();
    loop {
        if let Err(error) = cluster.empty_retired_nodes().await {
            tracing::warn!(%error, "the caches of retired nodes could not be placed anew; trying again");
        }
        if let Err(error) = cluster.tell_absences(&mut absences).await {
            tracing::warn!(%error, "owners could not be told of nodes that are away; trying again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(NODES_EVERY) => {}
        }
    }
}

/// Logs and audits calls whose proof did not hold, until `stop`, and then the last of them.
pub(in crate::app) async fn record_refused_calls(access: Access, stop: CancellationToken) {
    let mut is_failing = false;
    while !stop.is_cancelled() {
        let recorded = access.record_refused_calls().await;
        // One line for an outage, which may last for hours.
        if let Err(error) = &recorded
            && !is_failing
        {
            tracing::warn!(%error, "refused calls are in the log and wait for the database to be audited");
        }
        is_failing = recorded.is_err();
        tokio::select! {
            () = stop.cancelled() => {}
            () = access.refused_calls().is_due() => {}
            () = tokio::time::sleep(REFUSED_EVERY) => {}
        }
    }
    if let Err(error) = access.record_last_refused_calls().await {
        tracing::warn!(%error, "refused calls are in the log and could not be audited");
    }
}

/// Logs calls whose proof did not hold, until `stop`, and then the last of them: for a process without a database, and so
/// without an audit.
pub(in crate::app) async fn log_refused_calls(
    refused: RefusedCalls,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        refused.log_without_audit(clock.now(), false);
        tokio::select! {
            () = stop.cancelled() => {}
            () = refused.is_due() => {}
            () = tokio::time::sleep(REFUSED_EVERY) => {}
        }
    }
    refused.log_without_audit(clock.now(), true);
}

/// Removes what has outlived its use, now and then, until `stop`.
pub(in crate::app) async fn tidy(
    cluster: Cluster,
    access: Access,
    provisioning: Provisioning,
    stop: CancellationToken,
) {
    loop {
        let tidied = async {
            cluster.tidy().await?;
            provisioning.tidy().await?;
            access.tidy().await
        };
        if let Err(error) = tidied.await {
            tracing::warn!(%error, "tidying up did not work, the next pass tries again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TIDY_EVERY) => {}
        }
    }
}
