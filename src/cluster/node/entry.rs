//! How a machine becomes a node: it joins its control plane, or enters with the snapshot of an earlier run when that
//! cannot be had.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::retry::{Backoff, Outage};
use super::snapshot::{Snapshot, SnapshotFile};
use super::{NodeSettings, identity};
use crate::cluster::link::wire::{Introduction, VERSION};
use crate::cluster::link::{ControlLink, LinkError};
use crate::domain::NodeId;
use crate::domain::secret::{VerifierKey, same_secret};

/// How long a node that has a snapshot waits for its control plane before it serves from the snapshot. A client must be
/// able to log in within three seconds of a start.
const PATIENCE: Duration = Duration::from_secs(1);

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

/// Whether the control plane knows that this process runs the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Joined,
    /// The control plane is away or does not admit the node, which serves what it knew when it ran last.
    OnSnapshot,
}

/// Who this machine is, and what it knows before it follows.
#[derive(Debug)]
pub struct Entry {
    pub id: NodeId,
    /// The id of the data folder that the node runs from.
    pub home: String,
    /// What the engine checks passwords with. `None` within one process, where the engine has it already.
    pub verifier_key: Option<VerifierKey>,
    pub standing: Standing,
    /// What the node knew when it ran last, to be restored before it follows.
    pub snapshot: Option<Snapshot>,
}

/// Registers this machine and remembers its id, in one attempt. A node that has lost its data directory is known again
/// by its cluster, host name and port: those are what stands in customers' variables.
///
/// # Errors
/// When the control plane gives no id, or the data folder cannot keep it.
pub async fn join(settings: &NodeSettings, link: &dyn ControlLink) -> Result<Entry, JoinError> {
    let id_file = settings.id_file();
    let made = identity::make_folder(&settings.data_dir);
    made.map_err(|source| JoinError::IdFile {
        path: settings.data_dir.clone(),
        source,
    })?;
    let home = identity::home(&settings.data_dir)?;
    let known_as = identity::read(&id_file)?;
    let introduction = Introduction {
        version: VERSION,
        known_as: known_as.as_ref().map(NodeId::to_string),
        cluster: settings.cluster.to_string(),
        region: settings.region.clone(),
        proxy_hostname: settings.proxy_hostname.clone(),
        proxy_port: settings.proxy_port,
        memory_bytes: settings.memory_bytes,
        home: home.clone(),
    };
    let welcome = link.join(introduction).await?;
    let id = welcome.node().map_err(LinkError::from)?;
    let key = welcome.verifier_key.as_ref();
    let key = key.map(|key| key.key_bytes()).transpose();
    let key = key.map_err(LinkError::from)?;
    if let Some(note) = &welcome.note {
        tracing::warn!(node = %id, "{note}");
    }
    // A full disk does not keep a node from joining as whom it was.
    if known_as.as_ref() != Some(&id) {
        identity::write(&id_file, &id)?;
    }
    Ok(Entry {
        id,
        home: home.id,
        verifier_key: key.as_ref().map(VerifierKey::from_bytes),
        standing: Standing::Joined,
        snapshot: None,
    })
}

/// For a node in a process of its own: joins, for as long as it takes. A node that has a snapshot gives the control
/// plane a second and then enters with it; [`NodeAgent::run`](super::NodeAgent::run) goes on trying to join. `None`
/// when `stop` comes first.
///
/// # Errors
/// When the data folder cannot be used. An answer of the control plane is never one: its reason may pass.
pub async fn enter(
    settings: &NodeSettings,
    link: &dyn ControlLink,
    snapshots: &SnapshotFile,
    stop: &CancellationToken,
) -> Result<Option<Entry>, JoinError> {
    let joining = join_at_last(settings, link);
    let Some(snapshot) = own_snapshot(settings, snapshots)? else {
        return tokio::select! {
            () = stop.cancelled() => Ok(None),
            joined = joining => joined.map(Some),
        };
    };
    let joined = tokio::select! {
        () = stop.cancelled() => return Ok(None),
        joined = timeout(PATIENCE, joining) => joined,
    };
    let entry = match joined {
        Ok(joined) => joined?.with_snapshot(snapshot, snapshots),
        Err(_) => Entry::on_snapshot(snapshot, settings)?,
    };
    Ok(Some(entry))
}

/// Tries until the control plane gives this node an id. Ends with an error only when the data folder cannot be used.
pub(super) async fn join_at_last(
    settings: &NodeSettings,
    link: &dyn ControlLink,
) -> Result<Entry, JoinError> {
    let (mut backoff, mut outage) = (Backoff::default(), Outage::default());
    loop {
        let error = match join(settings, link).await {
            Err(JoinError::Link(error)) => error,
            Ok(entry) => {
                if let Some(lasted) = outage.end() {
                    tracing::info!(
                        node = %entry.id, after_secs = lasted.as_secs(),
                        "the control plane admits this node"
                    );
                }
                return Ok(entry);
            }
            Err(local) => return Err(local),
        };
        if outage.is_worth_a_line(&error) {
            log_refused_entry(&error);
        }
        sleep(backoff.pause()).await;
    }
}

fn log_refused_entry(error: &LinkError) {
    match error {
        LinkError::Away(_) => {
            tracing::warn!(%error, "this node cannot join and tries again");
        }
        LinkError::NotAdmitted(_) => {
            tracing::warn!(
                %error,
                "cannot join, trying again; this node needs the control plane's LARDER_NODE_TOKEN"
            );
        }
        LinkError::Refused(_) | LinkError::Gone(_) => {
            tracing::error!(
                %error,
                "this node cannot join and tries again; mend what the reason names, here or there"
            );
        }
    }
}

/// The snapshot, if it is of the node that this folder belongs to.
fn own_snapshot(
    settings: &NodeSettings,
    snapshots: &SnapshotFile,
) -> Result<Option<Snapshot>, JoinError> {
    let known_as = identity::read(&settings.id_file())?;
    let snapshot = match snapshots.read() {
        Ok(snapshot) => snapshot,
        Err(error) => {
            tracing::error!(%error, "this node goes on without its snapshot");
            None
        }
    };
    let Some(snapshot) = snapshot else {
        return Ok(None);
    };
    if known_as.as_ref() == Some(&snapshot.node) {
        return Ok(Some(snapshot));
    }
    drop_snapshot(&snapshot.node, snapshots);
    Ok(None)
}

/// Removes the snapshot of whom this node is no more.
pub(super) fn drop_snapshot(of: &NodeId, snapshots: &SnapshotFile) {
    match snapshots.remove() {
        Ok(()) => tracing::warn!(node = %of, "the snapshot of another node was dropped"),
        Err(error) => tracing::error!(%error, node = %of, "the snapshot of another node stays"),
    }
}

impl Entry {
    fn on_snapshot(snapshot: Snapshot, settings: &NodeSettings) -> Result<Entry, JoinError> {
        let home = identity::home(&settings.data_dir)?;
        if snapshot.home != home.id {
            tracing::warn!(
                node = %snapshot.node, path = home.path,
                "the data folder was moved or copied after the snapshot in it was taken"
            );
        }
        Ok(Entry {
            id: snapshot.node.clone(),
            home: home.id,
            verifier_key: Some(snapshot.verifier_key.clone()),
            standing: Standing::OnSnapshot,
            snapshot: Some(snapshot),
        })
    }

    /// A snapshot counts for the node that it was taken of, in the same installation.
    fn with_snapshot(mut self, snapshot: Snapshot, snapshots: &SnapshotFile) -> Entry {
        let key = Some(&snapshot.verifier_key);
        if self.id == snapshot.node && is_same_key(self.verifier_key.as_ref(), key) {
            self.snapshot = Some(snapshot);
        } else {
            drop_snapshot(&snapshot.node, snapshots);
        }
        self
    }
}

pub(super) fn is_same_key(left: Option<&VerifierKey>, right: Option<&VerifierKey>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => same_secret(left.expose_bytes(), right.expose_bytes()),
        (None, None) => true,
        _ => false,
    }
}
