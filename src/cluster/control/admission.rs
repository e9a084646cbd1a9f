//! Which id a machine that joins gets. It keeps the one in its data folder, or the one of the node of its cluster that
//! announced the same address: those are what stands in customers' variables. No id is taken from a process that lives: a
//! copied data folder is another machine.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Cluster, link_error};
use crate::cluster::link::LinkError;
use crate::cluster::link::wire::{Home, Introduction};
use crate::cluster::{FOLDER_LOCK, folder_id};
use crate::domain::node::AWAY_AFTER;
use crate::domain::secret::{hex_lower, random_bytes};
use crate::domain::{NodeId, NodePhase};
use crate::store::fleet::nodes::{NodeAt, NodeRun};
use crate::store::{FileLock, StoreError};

/// How often a node that may live is read until it is heard of or counts as away.
const WATCH: Duration = Duration::from_millis(200);

/// How an id stands to the machine that asks for it.
enum Claim {
    Free {
        note: Option<String>,
    },
    /// A process with another data folder runs it.
    Lives {
        from: String,
    },
}

impl Cluster {
    /// The id, and what the operator should know about it.
    pub(super) async fn id_for(
        &self,
        node: &Introduction,
    ) -> Result<(NodeId, Option<String>), LinkError> {
        let known = node.known_as.as_deref().map(str::parse).transpose();
        let known: Option<NodeId> =
            known.map_err(|_| LinkError::Refused("the node's id cannot be read".to_owned()))?;
        let mut note = None;
        let mut there = self.at_address(node).await?;
        if let Some(known) = known {
            if self.0.store.is_retired(&known).await.map_err(link_error)? {
                note = Some(format!(
                    "node {known} was retired; this machine joins as a new node"
                ));
            } else {
                match self.claim(&known, &node.home).await.map_err(link_error)? {
                    Claim::Free { note } => {
                        there.retain(|other| other.id != known);
                        self.free_at_address(node, &there).await?;
                        return Ok((known, note));
                    }
                    Claim::Lives { from } => {
                        note = Some(format!(
                            "this data folder is a copy: node {known} runs from {from}. This machine joins as a new node"
                        ));
                    }
                }
            }
        }
        match self.free_at_address(node, &there).await? {
            Some((same, moved)) => Ok((same, note.or(moved))),
            None => Ok((fresh_node_id().map_err(link_error)?, note)),
        }
    }

    async fn at_address(&self, node: &Introduction) -> Result<Vec<NodeAt>, LinkError> {
        let (host, port) = (&node.proxy_hostname, node.proxy_port);
        let found = self.0.store.nodes_at(host, port).await;
        found.map_err(link_error)
    }

    /// The node of the machine's own cluster that had its address last, with what the operator should know of it.
    /// Refused while any of those with that address lives, in whatever cluster: two nodes that announce one address
    /// would get each other's customers.
    async fn free_at_address(
        &self,
        node: &Introduction,
        there: &[NodeAt],
    ) -> Result<Option<(NodeId, Option<String>)>, LinkError> {
        let mut same = None;
        for other in there {
            match self
                .claim(&other.id, &node.home)
                .await
                .map_err(link_error)?
            {
                Claim::Lives { from } => return Err(address_taken(node, other, &from)),
                Claim::Free { note } => {
                    let is_ours = other.cluster.as_str() == node.cluster;
                    if is_ours && same.is_none() {
                        same = Some((other.id.clone(), note));
                    }
                }
            }
        }
        Ok(same)
    }

    /// The folder that a node was started from may start it again at once, also after it was killed. For another one
    /// the node must have stopped or be away.
    async fn claim(&self, id: &NodeId, home: &Home) -> Result<Claim, StoreError> {
        let Some(run) = self.0.store.node_run(id).await? else {
            return Ok(Claim::Free { note: None });
        };
        let Some((home_id, path)) = run.home.clone().filter(|(id, _)| *id != home.id) else {
            return Ok(Claim::Free { note: None });
        };
        let beside = home.is_beside(&home_id);
        let from = match beside {
            true => path.clone(),
            false => format!("{path} on another machine"),
        };
        let runs_beside = beside
            && is_on_this_machine(home)
            && FileLock::held_by(&Path::new(&path).join(FOLDER_LOCK)).is_some();
        if runs_beside || self.is_heard_of(id, &run).await? {
            return Ok(Claim::Lives { from });
        }
        Ok(Claim::Free {
            note: Some(format!(
                "node {id} ran from {from} until {} as {}, and runs from here now. If the other process still runs, \
                 stop one of them: both would push their addresses to the same customers",
                run.status.seen_at, run.address
            )),
        })
    }

    /// Whether another process reports for the node. That takes until the next report, or until the node counts as
    /// away. Without a link nobody else reports to a SQLite file that this process has claimed.
    async fn is_heard_of(&self, id: &NodeId, run: &NodeRun) -> Result<bool, StoreError> {
        let others_report = self.0.store.is_shared() || self.0.settings.has_link;
        if run.status.phase == NodePhase::Stopped || !others_report {
            return Ok(false);
        }
        let silent = self.0.clock.now().since(run.status.seen_at);
        let until = Instant::now() + AWAY_AFTER.saturating_sub(silent);
        while Instant::now() < until {
            sleep(WATCH).await;
            let now = self.0.store.node_run(id).await?;
            match now {
                Some(now) if now.status.phase == NodePhase::Stopped => return Ok(false),
                Some(now) if now.status.seen_at != run.status.seen_at => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }
}

/// Whether the paths of a node that joins are those of the machine that the control plane runs on: only there can it
/// see who holds a lock.
fn is_on_this_machine(home: &Home) -> bool {
    folder_id(Path::new("/")).is_ok_and(|here| home.is_beside(&here))
}

fn address_taken(node: &Introduction, other: &NodeAt, from: &str) -> LinkError {
    LinkError::Refused(format!(
        "{}:{} is announced by node {} of cluster {}, which runs from {from}: give this one a LARDER_PROXY_HOSTNAME or \
         LARDER_PROXY_PORT of its own, or stop the other",
        node.proxy_hostname, node.proxy_port, other.id, other.cluster
    ))
}

fn fresh_node_id() -> Result<NodeId, StoreError> {
    let text = format!("node_{}", hex_lower(&random_bytes::<8>()));
    text.parse()
        .map_err(|_| StoreError::BadRow(format!("nodes.id: {text}")))
}
