//! The control plane's side: what nodes ask of it, and what other rooms ask about nodes.
//!
//! | file | holds |
//! |---|---|
//! | `nodes` | joining, and the operator's verbs: drain, open, retire |
//! | `admission` | which id a machine that joins gets |
//! | `absence` | telling owners that their cache's node is away, or back |
//! | `liveness` | which nodes are serving, away, draining |
//! | `placement`, `choice` | where a cache goes |
//! | `changes` | what a node must know |
//! | `node_tokens` | admitting nodes of other processes, and their tokens |
//! | `reports` | what becomes of a node's report |
//! | `waiting` | until a cache's nodes have a change in force |
//! | `figures` | what is known of a cache's contents |

pub(super) mod absence;
mod admission;
mod changes;
mod choice;
mod figures;
mod liveness;
mod node_tokens;
pub(super) mod nodes;
pub(super) mod placement;
mod reports;
mod waiting;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use self::node_tokens::LinkKeys;
pub use self::waiting::CaughtUp;
use crate::cluster::link::LinkError;
use crate::cluster::node::{DataPlane, NodeAgent};
use crate::domain::node::AWAY_AFTER;
use crate::domain::{CacheId, Clock, NodeId, Plans, Revision};
use crate::store::{Store, StoreError};

const DAY: Duration = Duration::from_secs(86_400);

/// What the control side of the cluster needs to be told.
#[derive(Clone, Debug, Default)]
pub struct ClusterSettings {
    /// Regions of the manifest, which are served from any cluster when none is near; `*` lists all.
    pub regions_allowed: Vec<String>,
    /// No cache is served from another region than was ordered, whatever the manifest lists.
    pub region_strict: bool,
    /// Nodes of other processes join over HTTP.
    pub has_link: bool,
}

/// The control plane's view of its nodes. Cheap to clone.
#[derive(Clone)]
pub struct Cluster(Arc<Shared>);

struct Shared {
    store: Store,
    plans: Arc<Plans>,
    clock: Arc<dyn Clock>,
    settings: ClusterSettings,
    /// Counts wake-ups: a receiver that was busy does not miss one.
    woken: watch::Sender<u64>,
    /// Counts reports taken.
    reported: watch::Sender<u64>,
    link_keys: LinkKeys,
    local: OnceLock<LocalNode>,
}

/// The node in this process, asked directly.
struct LocalNode {
    id: NodeId,
    applied: watch::Receiver<Revision>,
    plane: Arc<dyn DataPlane>,
}

impl Cluster {
    pub fn new(
        store: Store,
        plans: Arc<Plans>,
        clock: Arc<dyn Clock>,
        settings: ClusterSettings,
    ) -> Cluster {
        Cluster(Arc::new(Shared {
            store,
            plans,
            clock,
            settings,
            woken: watch::Sender::new(0),
            reported: watch::Sender::new(0),
            link_keys: LinkKeys::default(),
            local: OnceLock::new(),
        }))
    }

    /// Makes the node of this process known, so that it is asked directly instead of through the database. Only
    /// the first one counts.
    pub fn attach(&self, node: &NodeAgent) {
        let local = LocalNode {
            id: node.id().clone(),
            applied: node.applied(),
            plane: Arc::clone(node.plane()),
        };
        if self.0.local.set(local).is_err() {
            tracing::error!("a second node in one process is not asked directly");
        }
    }

    /// The node of this process, if it has one.
    pub fn local_node(&self) -> Option<&NodeId> {
        self.0.local.get().map(|local| &local.id)
    }

    /// Tells waiting nodes to ask for changes now. Call it after each commit that bumped the revision.
    pub fn wake(&self) {
        self.0.woken.send_modify(|count| *count += 1);
    }

    /// The value of the SERVERS variable.
    pub async fn servers(&self, cache: CacheId) -> Result<String, StoreError> {
        self.0.store.servers(cache).await
    }

    /// Drops what the node link keeps for a while only. Call it now and then.
    pub async fn tidy(&self) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        let mut tx = self.0.store.begin().await?;
        tx.prune_forgotten(now.minus(AWAY_AFTER)).await?;
        tx.prune_reports(now.minus(DAY)).await?;
        tx.prune_link_keys(now.minus(LinkKeys::KEPT)).await?;
        tx.prune_figures().await?;
        tx.commit().await
    }
}

/// What a process is told whose node was retired.
const RETIRED: &str = "was retired; restart it, and it joins as a new node";
/// What a process is told whose node runs from elsewhere.
const TAKEN_OVER: &str = "is run by a process with another data folder by now; restart this one, and it joins as a new node";

fn not_its_node(node: &NodeId, why: &str) -> LinkError {
    LinkError::Gone(format!("node {node} {why}"))
}

fn link_error(error: StoreError) -> LinkError {
    match error {
        StoreError::Unavailable(_) => LinkError::Away(error.to_string()),
        other => LinkError::Refused(other.to_string()),
    }
}

/// Until the watched value changes; for ever when there is nothing to watch.
async fn changed<T>(watched: Option<&mut watch::Receiver<T>>) {
    if let Some(watched) = watched
        && watched.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
