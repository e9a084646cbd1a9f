//! The node's side of the link: one loop follows the control plane's revisions and puts them into the engine, one
//! hands over what the engine has to tell. Neither is on the path of a customer's command.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Figures;
use super::handover::Handover;
use super::link::{CacheChange, Changes, ControlLink, Introduction, LinkError, Report};
use crate::domain::{Authority, CacheId, CacheSpec, Clock, ClusterName, NodeId, Revision};

/// How long one question for changes may wait for an answer.
const FOLLOW_WAIT: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);
/// Logins and the rests of floods are reported this often.
const TICK: Duration = Duration::from_secs(1);
/// Reports without news tell the control plane that the node lives: every so many ticks.
const HEARTBEAT_TICKS: u32 = 30;
/// How long the last report may take when the node stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// The engine as the control plane's wishes reach it. What it has to tell goes through [`Handover`].
pub trait DataPlane: Send + Sync {
    /// Puts a cache's limits and credentials in force for logins and live connections, and carries out the flush
    /// orders in it, each once. When this returns, all of that is so.
    fn apply(&self, spec: &CacheSpec);
    /// Believes the client certificates of these CAs, which are all there are.
    fn trust(&self, authorities: &[Authority]);
    /// Drops a cache, its items and its connections.
    fn forget(&self, cache: CacheId);
    /// `None` when this node does not hold the cache.
    fn figures(&self, cache: CacheId) -> Option<Figures>;
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

/// A machine of the data plane, joined to its control plane.
pub struct Node {
    id: NodeId,
    link: Arc<dyn ControlLink>,
    plane: Arc<dyn DataPlane>,
    handover: Arc<Handover>,
    clock: Arc<dyn Clock>,
    applied: watch::Sender<Revision>,
    /// Whether the first answer of the control plane is in force.
    informed: watch::Sender<bool>,
}

impl Node {
    /// Registers this machine and remembers its id. A node that has lost its data directory is known again by its
    /// cluster, host name and port: those are what stands in customers' variables.
    pub async fn join(
        settings: &NodeSettings,
        link: Arc<dyn ControlLink>,
        plane: Arc<dyn DataPlane>,
        handover: Arc<Handover>,
        clock: Arc<dyn Clock>,
    ) -> Result<Node, JoinError> {
        let id_file = settings.data_dir.join("node-id");
        let introduction = Introduction {
            known_as: read_id(&id_file)?,
            cluster: settings.cluster.clone(),
            region: settings.region.clone(),
            proxy_hostname: settings.proxy_hostname.clone(),
            proxy_port: settings.proxy_port,
            memory_bytes: settings.memory_bytes,
        };
        let id = link.join(introduction).await?;
        write_id(&id_file, &id)?;
        Ok(Node {
            id,
            link,
            plane,
            handover,
            clock,
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

    async fn follow(&self, stop: &CancellationToken) {
        let mut held = HashSet::new();
        let mut pause = RETRY_FIRST;
        loop {
            let known = *self.applied.borrow();
            // the start waits for the first answer, also when there is nothing to know
            let informed = *self.informed.borrow();
            let wait = if informed {
                FOLLOW_WAIT
            } else {
                Duration::ZERO
            };
            let asked = self.link.changes_since(&self.id, known, wait);
            let answer = tokio::select! {
                () = stop.cancelled() => return,
                answer = asked => answer,
            };
            match answer {
                Ok(changes) => {
                    pause = RETRY_FIRST;
                    self.apply(changes, &mut held);
                }
                Err(error) => {
                    tracing::warn!(node = %self.id, %error, "cannot follow the control plane, serving what is known");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(RETRY_LAST);
                }
            }
        }
    }

    fn apply(&self, changes: Changes, held: &mut HashSet<CacheId>) {
        if !changes.authorities.is_empty() {
            // before the caches: a certificate is good once its cache's change is in force
            self.plane.trust(&changes.authorities);
        }
        let mut listed = HashSet::new();
        for change in changes.caches {
            match change {
                CacheChange::Serve(spec) => {
                    listed.insert(spec.cache);
                    self.plane.apply(&spec);
                }
                CacheChange::Forget(cache) => {
                    if held.remove(&cache) {
                        self.plane.forget(cache);
                    }
                }
            }
        }
        if changes.complete {
            for gone in held.difference(&listed) {
                self.plane.forget(*gone);
            }
            *held = listed;
        } else {
            held.extend(listed);
        }
        self.applied.send_if_modified(|applied| {
            let moved = *applied != changes.revision;
            *applied = changes.revision;
            moved
        });
        self.informed.send_replace(true);
    }

    async fn report(&self, stop: &CancellationToken) {
        let mut applied = self.applied.subscribe();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut quiet_ticks = 0;
        let mut told = Revision::default();
        let mut report = Report::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.handover.ready() => {}
                _ = applied.changed() => {}
                _ = tick.tick() => {
                    quiet_ticks += 1;
                    report.logins = self.handover.take_logins();
                }
            }
            self.gather_events(&mut report);
            let news =
                report.applied != told || !report.events.is_empty() || !report.logins.is_empty();
            if news || quiet_ticks >= HEARTBEAT_TICKS {
                quiet_ticks = 0;
                if !self.deliver(&mut report, stop).await {
                    break;
                }
                told = report.applied;
                report = Report::default();
            }
        }
        report.logins.extend(self.handover.take_logins());
        self.gather_events(&mut report);
        let farewell = self.link.report(&self.id, &report);
        if !matches!(tokio::time::timeout(FAREWELL, farewell).await, Ok(Ok(()))) {
            let events = report.events.len();
            tracing::warn!(node = %self.id, events, "the node's last report was not taken");
        }
    }

    fn gather_events(&self, report: &mut Report) {
        let (events, dropped) = self.handover.take_events(self.clock.now());
        if dropped > 0 {
            tracing::warn!(node = %self.id, dropped, "the queue of notices was full");
        }
        report.events.extend(events);
        report.applied = *self.applied.borrow();
    }

    /// Repeats the report until it is stored or refused for good; false when the node stops first.
    async fn deliver(&self, report: &mut Report, stop: &CancellationToken) -> bool {
        let mut pause = RETRY_FIRST;
        loop {
            report.applied = *self.applied.borrow();
            match self.link.report(&self.id, report).await {
                Ok(()) => return true,
                Err(error @ LinkError::Refused(_)) => {
                    tracing::error!(node = %self.id, %error, events = report.events.len(), "a report was refused");
                    return true;
                }
                Err(LinkError::Away(error)) => {
                    tracing::warn!(node = %self.id, error, "cannot report, trying again");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(RETRY_LAST);
        }
    }
}

fn read_id(path: &Path) -> Result<Option<NodeId>, JoinError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            let path = path.to_owned();
            return Err(JoinError::IdFile { path, source });
        }
    };
    match text.trim().parse() {
        Ok(id) => Ok(Some(id)),
        Err(_) => Err(JoinError::BadIdFile {
            path: path.to_owned(),
        }),
    }
}

/// Written beside and renamed, so that a crash leaves the old file or the new one.
fn write_id(path: &Path, id: &NodeId) -> Result<(), JoinError> {
    let write = || {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, format!("{id}\n"))?;
        std::fs::rename(&fresh, path)
    };
    write().map_err(|source| JoinError::IdFile {
        path: path.to_owned(),
        source,
    })
}
