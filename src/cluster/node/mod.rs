//! The node's side of the link. One loop follows the control plane's revisions and puts them in force in the engine;
//! one reports what the engine has to tell. Neither is on the path of a customer's command.

mod engine;
pub mod event_buffer;
mod follow;
mod identity;
mod reporting;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::event_buffer::EventBuffer;
pub use self::identity::folder_id;
use crate::cluster::CacheFigures;
use crate::cluster::link::wire::{Introduction, VERSION};
use crate::cluster::link::{ControlLink, LinkError};
use crate::domain::{
    Authority, CacheId, CacheSpec, Clock, ClusterName, NodeId, NodePhase, Revision, Username,
};

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);

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
    /// `LARDER_DATA_DIR`: the node's id is kept there in the file `node-id`.
    pub data_dir: PathBuf,
}

/// Why a node could not join its control plane.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("{path} does not hold a node id; remove it to join as a new node")]
    BadIdFile { path: PathBuf },
    #[error("cannot keep the node's id in {path}")]
    IdFile {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Speaks for one machine of the data plane: it has joined, follows the control plane, and reports to it.
pub struct NodeAgent {
    id: NodeId,
    /// The id of its data folder.
    home: String,
    link: Arc<dyn ControlLink>,
    plane: Arc<dyn DataPlane>,
    event_buffer: Arc<EventBuffer>,
    clock: Arc<dyn Clock>,
    phase: watch::Sender<NodePhase>,
    applied: watch::Sender<Revision>,
    /// Whether the first answer of the control plane is in force.
    informed: watch::Sender<bool>,
}

impl NodeAgent {
    /// Registers this machine and remembers its id. A node that has lost its data directory is known again by its
    /// cluster, host name and port: those are what stands in customers' variables.
    pub async fn join(
        settings: &NodeSettings,
        link: Arc<dyn ControlLink>,
        plane: Arc<dyn DataPlane>,
        event_buffer: Arc<EventBuffer>,
        clock: Arc<dyn Clock>,
    ) -> Result<NodeAgent, JoinError> {
        let id_file = settings.data_dir.join("node-id");
        identity::make_folder(&settings.data_dir)?;
        let home = identity::home(&settings.data_dir)?;
        let known_as = identity::read(&id_file)?;
        let introduction = Introduction {
            version: VERSION,
            known_as: known_as.map(|id| id.to_string()),
            cluster: settings.cluster.to_string(),
            region: settings.region.clone(),
            proxy_hostname: settings.proxy_hostname.clone(),
            proxy_port: settings.proxy_port,
            memory_bytes: settings.memory_bytes,
            home: home.clone(),
        };
        let welcome = link.join(introduction).await?;
        let id = welcome.node().map_err(LinkError::from)?;
        if let Some(note) = &welcome.note {
            tracing::warn!(node = %id, "{note}");
        }
        identity::write(&id_file, &id)?;
        Ok(NodeAgent {
            id,
            home: home.id,
            link,
            plane,
            event_buffer,
            clock,
            phase: watch::Sender::new(NodePhase::Joining),
            applied: watch::Sender::new(Revision::default()),
            informed: watch::Sender::new(false),
        })
    }

    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// The revision in force in the engine.
    pub fn applied(&self) -> watch::Receiver<Revision> {
        self.applied.subscribe()
    }

    /// Waits until the caches that existed at the start are in force.
    pub async fn informed(&self) {
        // the sender is ours, so waiting cannot fail
        let _ = self
            .informed
            .subscribe()
            .wait_for(|informed| *informed)
            .await;
    }

    pub fn plane(&self) -> &Arc<dyn DataPlane> {
        &self.plane
    }

    /// Follows and reports until `stop`, then reports a last time.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::join!(self.follow(&stop), self.report(&stop));
    }
}
