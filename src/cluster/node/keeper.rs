//! Keeps the snapshot file up to date with what is in force on the node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::NodeAgent;
use super::follow::ReadChanges;
use super::snapshot::{Content, Snapshot, SnapshotError, SnapshotFile};
use crate::domain::secret::VerifierKey;
use crate::domain::{CacheId, NodeId, Revision, Timestamp};

/// Waited before a write, so that it takes in what comes close together, and after it. So a removed credential is out of
/// the file within a second.
const WRITE_WAIT: Duration = Duration::from_millis(500);

/// The snapshot in memory, and the file that it goes to.
pub(super) struct Keeper {
    file: Arc<SnapshotFile>,
    kept: Arc<Mutex<Snapshot>>,
    changed: Notify,
    /// Whether the last write failed.
    failing: AtomicBool,
}

impl Snapshot {
    /// Of a node that knows nothing yet.
    pub(super) fn empty(node: &NodeId, home: &str, verifier_key: &VerifierKey) -> Snapshot {
        Snapshot {
            node: node.clone(),
            home: home.to_owned(),
            revision: Revision::default(),
            plans: 0,
            taken_at: Timestamp::from_secs(0),
            verifier_key: verifier_key.clone(),
            caches: BTreeMap::new(),
            authorities: Vec::new(),
            usernames: BTreeSet::new(),
        }
    }
}

impl Keeper {
    pub(super) fn new(file: SnapshotFile, known: Snapshot) -> Keeper {
        Keeper {
            file: Arc::new(file),
            kept: Arc::new(Mutex::new(known)),
            changed: Notify::new(),
            failing: AtomicBool::new(false),
        }
    }

    pub(super) fn file(&self) -> &SnapshotFile {
        &self.file
    }

    /// Notes what has just come into force.
    pub(super) fn note(&self, part: ReadChanges) {
        if part.is_empty() {
            return;
        }
        let mut kept = self.kept.lock();
        if !part.authorities.is_empty() {
            kept.authorities = part.authorities;
        }
        kept.usernames.extend(part.usernames);
        for mut spec in part.serve {
            spec.flush_orders = Vec::new();
            kept.caches.insert(spec.cache, spec);
        }
        for cache in part.forget {
            kept.caches.remove(&cache);
        }
        drop(kept);
        self.changed.notify_one();
    }

    pub(super) fn forget(&self, gone: &[CacheId]) {
        if gone.is_empty() {
            return;
        }
        let mut kept = self.kept.lock();
        for cache in gone {
            kept.caches.remove(cache);
        }
        drop(kept);
        self.changed.notify_one();
    }

    /// A list is in force. Where the control plane went back to an older revision, a backup was restored there.
    pub(super) fn stand_at(&self, revision: Revision, plans: u32) {
        let mut kept = self.kept.lock();
        kept.revision = kept.revision.min(revision);
        if kept.plans != plans {
            kept.plans = plans;
            self.changed.notify_one();
        }
    }

    /// What happened up to this revision is stored at the control plane, the flushes that were ordered by then among it.
    /// Whoever would ask for the changes after it loses no order between its execution and its report.
    pub(super) fn settle(&self, revision: Revision) {
        let mut kept = self.kept.lock();
        if kept.revision != revision {
            kept.revision = revision;
            self.changed.notify_one();
        }
    }

    /// Replaces the file. Tells of the first failure of a row; the next change, or the next second, tries again.
    async fn write(&self, now: Timestamp) {
        let (file, kept) = (Arc::clone(&self.file), Arc::clone(&self.kept));
        let writing = tokio::task::spawn_blocking(move || -> Result<(), SnapshotError> {
            let content = {
                let mut kept = kept.lock();
                kept.taken_at = now;
                Content::from(&*kept)
            };
            file.write(&content)
        });
        let failure = match writing.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let failed_before = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            None => {
                metrics::gauge!("larder_node_snapshot_written_timestamp_seconds")
                    .set(now.secs() as f64);
                if failed_before {
                    tracing::info!("the node's snapshot is written again");
                }
            }
            Some(error) => {
                metrics::counter!("larder_node_snapshot_write_failures_total").increment(1);
                if !failed_before {
                    tracing::warn!(
                        error,
                        "the node's snapshot cannot be written; it tries again"
                    );
                }
                self.changed.notify_one();
            }
        }
    }
}

impl NodeAgent {
    /// Writes the snapshot soon after each change, at most once a second, until `stop`.
    pub(super) async fn keep_snapshot(&self, stop: &CancellationToken) {
        let Some(keeper) = &self.keeper else {
            return;
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.next_change(keeper) => {}
            }
            // Not cut off by `stop`: the last write must not meet this one.
            keeper.write(self.clock.now()).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(WRITE_WAIT) => {}
            }
        }
    }

    async fn next_change(&self, keeper: &Keeper) {
        // Before the first whole list there would be only a part of the caches in it.
        self.informed().await;
        keeper.changed.notified().await;
        sleep(WRITE_WAIT).await;
    }

    /// Writes the last state, when the node stops.
    pub(super) async fn leave_snapshot(&self) {
        let is_informed = *self.informed.borrow();
        if let Some(keeper) = &self.keeper
            && is_informed
        {
            keeper.write(self.clock.now()).await;
        }
    }
}
