//! The node's side of the link. One loop follows the control plane's revisions and puts them in force in the engine;
//! one reports what the engine has to tell; one keeps on the disk what the node must know after a restart. None is on
//! the path of a customer's command.
//!
//! | file | holds |
//! |---|---|
//! | `entry` | joining, or entering with a snapshot while the control plane is away |
//! | `identity` | the data folder, and the id in it |
//! | `follow` | changes, part by part |
//! | `reporting` | reports, and [`event_buffer`] what waits for them |
//! | `figures` | which figures of caches go with a report |
//! | `snapshot`, `keeper` | the sealed file, and when it is written |
//! | `retry` | pauses between tries, and how much of an outage is logged |
//! | `engine` | the engine as [`DataPlane`] |

mod engine;
mod entry;
pub mod event_buffer;
mod figures;
mod follow;
mod identity;
mod keeper;
mod reporting;
mod retry;
mod snapshot;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use self::entry::{Entry, JoinError, Standing, enter, join};
use self::event_buffer::EventBuffer;
pub use self::identity::folder_id;
use self::keeper::Keeper;
use self::retry::{Backoff, Outage};
pub use self::snapshot::{Snapshot, SnapshotError, SnapshotFile};
use crate::cluster::CacheFigures;
use crate::cluster::link::ControlLink;
use crate::domain::secret::VerifierKey;
use crate::domain::{
    Authority, CacheId, CacheSpec, Clock, ClusterName, NodeId, NodePhase, Revision, Timestamp,
    Username,
};

/// The engine as the control plane's changes reach it. What it has to tell goes through [`EventBuffer`].
pub trait DataPlane: Send + Sync {
    /// Puts a cache's limits and credentials in force for logins and live connections, and carries out the flush
    /// orders in it, each once. When this returns, all of that is so.
    fn apply(&self, spec: &CacheSpec);
    /// Learns user names of the installation: of caches on other nodes, and of removed credentials.
    fn know_usernames(&self, names: &[Username]);
    /// Believes the client certificates of these CAs, which are all there are.
    fn trust(&self, authorities: &[Authority]);
    /// Drops a cache, its items and its connections.
    fn forget(&self, cache: CacheId);
    /// `None` when this node does not hold the cache.
    fn figures(&self, cache: CacheId) -> Option<CacheFigures>;
}

/// What a node must be told to join.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    pub cluster: ClusterName,
    pub region: String,
    /// As customers reach this node.
    pub proxy_hostname: String,
    pub proxy_port: u16,
    /// The engine's ceiling over all caches.
    pub memory_bytes: u64,
    /// `LARDER_DATA_DIR`: the node's id is kept there in the file `node-id`, and its snapshot.
    pub data_dir: PathBuf,
}

impl NodeSettings {
    fn id_file(&self) -> PathBuf {
        self.data_dir.join("node-id")
    }
}

/// How a node's life ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// It was told to stop.
    Stopped,
    /// It served from its snapshot, and then joined as this node, or in another installation, whose passwords its engine
    /// cannot check. Its caches are elsewhere. The process must start anew.
    IsAnother(NodeId),
    /// The control plane has retired it while it ran, or another process runs it: its caches are elsewhere. The process
    /// must start anew, as a new node.
    Gone,
}

/// Speaks for one machine of the data plane: follows the control plane, and reports to it.
pub struct NodeAgent {
    id: NodeId,
    /// The id of its data folder.
    home: String,
    verifier_key: Option<VerifierKey>,
    settings: NodeSettings,
    link: Arc<dyn ControlLink>,
    plane: Arc<dyn DataPlane>,
    event_buffer: Arc<EventBuffer>,
    clock: Arc<dyn Clock>,
    /// Where a process of its own keeps its snapshot.
    keeper: Option<Keeper>,
    phase: watch::Sender<NodePhase>,
    applied: watch::Sender<Revision>,
    /// Whether the caches that existed at the start are in force: by the first list of the control plane, or by the
    /// snapshot while the control plane is away.
    informed: watch::Sender<bool>,
    /// Whether the control plane has given this process its id.
    joined: AtomicBool,
    /// Whether the process began with a snapshot.
    restored: bool,
    /// Whether the control plane has told of its changes since the start.
    heard: AtomicBool,
    /// Whether the control plane has said that this process is the node no more.
    gone: AtomicBool,
    /// The table of plans that the limits in force come from, as in [`Changes::plans`](crate::cluster::link::wire::Changes).
    plans: AtomicU32,
    /// The caches that the engine holds.
    held: Mutex<HashSet<CacheId>>,
}

impl NodeAgent {
    /// The node that has entered. Where the entry has a snapshot, what is in it is in force when this returns.
    pub fn new(
        entry: Entry,
        settings: &NodeSettings,
        link: Arc<dyn ControlLink>,
        plane: Arc<dyn DataPlane>,
        event_buffer: Arc<EventBuffer>,
        clock: Arc<dyn Clock>,
        snapshots: Option<SnapshotFile>,
    ) -> NodeAgent {
        let (id, home, snapshot) = (entry.id, entry.home, entry.snapshot);
        let restored = snapshot.is_some();
        let mut held = HashSet::new();
        let mut plans = 0;
        if let Some(snapshot) = &snapshot {
            restore(snapshot, plane.as_ref());
            held.extend(snapshot.caches.keys());
            plans = snapshot.plans;
            tell_of_snapshot(snapshot, entry.standing, clock.now());
        }
        let known = match (snapshot, &entry.verifier_key) {
            (Some(snapshot), _) => Some(Snapshot {
                home: home.clone(),
                ..snapshot
            }),
            (None, Some(key)) => Some(Snapshot::empty(&id, &home, key)),
            (None, None) => None,
        };
        let keeper = snapshots.zip(known);
        let agent = NodeAgent {
            id,
            home,
            verifier_key: entry.verifier_key,
            settings: settings.clone(),
            link,
            plane,
            event_buffer,
            clock,
            keeper: keeper.map(|(file, known)| Keeper::new(file, known)),
            phase: watch::Sender::new(NodePhase::Joining),
            // The snapshot serves logins. What is in force is asked for whole: the control plane may be another than the
            // snapshot is of, after a backup was restored there.
            applied: watch::Sender::new(Revision::default()),
            informed: watch::Sender::new(restored && entry.standing == Standing::OnSnapshot),
            joined: AtomicBool::new(entry.standing == Standing::Joined),
            restored,
            heard: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            plans: AtomicU32::new(plans),
            held: Mutex::new(held),
        };
        agent.show_on_snapshot();
        agent
    }

    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// The revision in force in the engine.
    pub fn applied(&self) -> watch::Receiver<Revision> {
        self.applied.subscribe()
    }

    /// Waits until the caches that existed at the start are in force: all there are, or those of the snapshot.
    pub async fn informed(&self) {
        // the sender is ours, so waiting cannot fail
        let _ = self
            .informed
            .subscribe()
            .wait_for(|informed| *informed)
            .await;
    }

    /// Whether caches of a snapshot are in force, so that clients need not wait for the control plane.
    pub fn is_restored(&self) -> bool {
        self.restored
    }

    pub fn plane(&self) -> &Arc<dyn DataPlane> {
        &self.plane
    }

    /// Follows and reports until `stop`, then reports a last time. A node on its snapshot joins first.
    pub async fn run(&self, stop: CancellationToken) -> RunEnd {
        if !self.is_joined() {
            let end = tokio::select! {
                () = stop.cancelled() => Some(RunEnd::Stopped),
                end = self.join_late() => end,
            };
            if let Some(end) = end {
                return end;
            }
        }
        let stop = stop.child_token();
        tokio::join!(
            self.follow(&stop),
            self.report(&stop),
            self.keep_snapshot(&stop)
        );
        if self.gone.load(Ordering::Relaxed) {
            return RunEnd::Gone;
        }
        self.leave_snapshot().await;
        RunEnd::Stopped
    }

    /// Joins, however long that takes. Gives an end when this node turns out to be another one.
    async fn join_late(&self) -> Option<RunEnd> {
        let (mut backoff, mut outage) = (Backoff::default(), Outage::default());
        let entry = loop {
            match entry::join_at_last(&self.settings, self.link.as_ref()).await {
                Ok(entry) => break entry,
                Err(error) => {
                    if outage.is_worth_a_line(&error) {
                        tracing::error!(
                            node = %self.id, %error,
                            "this node cannot join; it tries again"
                        );
                    }
                    sleep(backoff.pause()).await;
                }
            }
        };
        let (key, new_key) = (self.verifier_key.as_ref(), entry.verifier_key.as_ref());
        if entry.id == self.id && entry::is_same_key(key, new_key) {
            self.joined.store(true, Ordering::Relaxed);
            return None;
        }
        if let Some(keeper) = &self.keeper {
            entry::drop_snapshot(&self.id, keeper.file());
        }
        Some(RunEnd::IsAnother(entry.id))
    }

    fn is_joined(&self) -> bool {
        self.joined.load(Ordering::Relaxed)
    }

    /// Whether the node serves what its snapshot had, and has not heard the control plane since it started.
    fn is_on_snapshot(&self) -> bool {
        self.restored && !self.heard.load(Ordering::Relaxed)
    }

    fn show_on_snapshot(&self) {
        let shown = f64::from(u8::from(self.is_on_snapshot()));
        metrics::gauge!("larder_node_on_snapshot").set(shown);
    }
}

fn restore(snapshot: &Snapshot, plane: &dyn DataPlane) {
    if !snapshot.authorities.is_empty() {
        plane.trust(&snapshot.authorities);
    }
    let usernames: Vec<Username> = snapshot.usernames.iter().cloned().collect();
    plane.know_usernames(&usernames);
    snapshot.caches.values().for_each(|spec| plane.apply(spec));
}

fn tell_of_snapshot(snapshot: &Snapshot, standing: Standing, now: Timestamp) {
    let (node, caches) = (&snapshot.node, snapshot.caches.len());
    let age_secs = now.since(snapshot.taken_at).as_secs();
    match standing {
        Standing::Joined => tracing::info!(
            %node, caches, age_secs,
            "this node begins with its snapshot and asks for what has changed since"
        ),
        Standing::OnSnapshot => tracing::warn!(
            %node, caches, age_secs,
            "this node could not join; it serves the caches of its snapshot until it can"
        ),
    }
}

#[cfg(test)]
mod tests;
