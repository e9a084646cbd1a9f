//! Nodes joining, and what an operator orders about one: nothing new for it, new caches again, or that it never
//! comes back.

use super::liveness::LiveNode;
use super::placement::{NewServers, Site};
use super::{Cluster, link_error};
use crate::cluster::link::LinkError;
use crate::cluster::link::wire::{Introduction, VERSION, Welcome};
use crate::domain::node::AWAY_AFTER;
use crate::domain::{Actor, CacheId, Elsewhere, Identity, NodeId};
use crate::store::StoreError;
use crate::store::fleet::nodes::{NodeRecord, Registered};
use crate::store::fleet::placements::Stranded;
use crate::store::service::audit::AuditEntry;

/// Caches of retired nodes that are placed anew before the nodes are read again.
const MOVED_AT_ONCE: u32 = 100;

/// What came of placing the caches of retired nodes anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    pub moved: u64,
    /// Of those, the ones that now stand in another region than was ordered.
    pub elsewhere: u64,
    /// They wait for room.
    pub waiting: u64,
}

/// What came of placing one of them.
enum Replaced {
    Moved {
        /// In another region than was ordered.
        elsewhere: bool,
    },
    /// There is no room for it.
    Waiting,
}

/// Why an order about a node was refused or did not work.
#[derive(Debug, thiserror::Error)]
pub enum NodeActionError {
    #[error("the node was retired; it joins as a new node when it is started again")]
    Retired,
    #[error(
        "the node is there, and its caches are in use: stop it first, or wait until it counts as away"
    )]
    Lives,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An order about a node, for the audit.
fn by_operator(action: &str, node: &NodeId) -> AuditEntry {
    AuditEntry {
        cache: None,
        actor: Actor::local(Identity::Operator),
        action: action.to_owned(),
        detail: node.to_string(),
    }
}

impl Cluster {
    /// Registers a node and gives it its id.
    pub async fn join(&self, node: Introduction) -> Result<Welcome, LinkError> {
        if node.version != VERSION {
            return Err(LinkError::Refused(format!(
                "the node speaks version {} of the link, the control plane {VERSION}: run the same larder on both",
                node.version
            )));
        }
        let bad = |what: &str| LinkError::Refused(format!("the node's {what} cannot be read"));
        let (id, note) = self.id_for(&node).await?;
        let record = NodeRecord {
            id,
            cluster: node.cluster.parse().map_err(|_| bad("cluster"))?,
            region: node.region,
            proxy_hostname: node.proxy_hostname,
            proxy_port: node.proxy_port,
            memory_bytes: node.memory_bytes,
            home_id: node.home.id,
            home_path: node.home.path,
        };
        match self.register(&record).await.map_err(link_error)? {
            Registered::Done => Ok(Welcome::new(&record.id, note)),
            Registered::ClusterIsIn(region) => Err(in_other_region(&record, &region)),
        }
    }

    async fn register(&self, record: &NodeRecord) -> Result<Registered, StoreError> {
        let mut tx = self.0.store.begin().await?;
        let registered = tx.register_node(record, self.0.clock.now()).await?;
        tx.commit().await?;
        Ok(registered)
    }

    /// Closes a node to new caches.
    pub async fn drain_node(&self, node: &NodeId) -> Result<(), NodeActionError> {
        self.set_drained(node, true).await
    }

    /// Opens a drained node to new caches again.
    pub async fn open_node(&self, node: &NodeId) -> Result<(), NodeActionError> {
        self.set_drained(node, false).await
    }

    async fn set_drained(&self, node: &NodeId, drained: bool) -> Result<(), NodeActionError> {
        let mut tx = self.0.store.begin().await?;
        if !tx.set_drained(node, drained).await? {
            return Err(NodeActionError::Retired);
        }
        let action = if drained { "node.drain" } else { "node.open" };
        tx.audit(&by_operator(action, node), self.0.clock.now())
            .await?;
        Ok(tx.commit().await?)
    }

    /// Gives up a node that is away. Its caches are placed anew, empty, here or by any control process from then on.
    pub async fn retire_node(&self, node: &NodeId) -> Result<Evicted, NodeActionError> {
        let silent_since = self.0.clock.now().minus(AWAY_AFTER);
        let mut tx = self.0.store.begin().await?;
        if !tx.retire_node(node, silent_since).await? {
            return Err(NodeActionError::Lives);
        }
        tx.audit(&by_operator("node.retire", node), self.0.clock.now())
            .await?;
        tx.commit().await?;
        Ok(self.empty_retired_nodes().await?)
    }

    /// Places the caches of retired nodes anew, as far as there is room. Call it now and then, from any number of
    /// processes.
    pub async fn empty_retired_nodes(&self) -> Result<Evicted, StoreError> {
        let mut sum = Evicted::default();
        let mut after = CacheId(0);
        loop {
            let stranded = self.0.store.stranded(after, MOVED_AT_ONCE).await?;
            let Some(last) = stranded.last() else {
                return Ok(sum);
            };
            after = last.cache;
            let mut nodes = self.live_nodes().await?;
            for one in &stranded {
                match self.place_stranded(one, &mut nodes).await? {
                    Replaced::Moved { elsewhere } => {
                        sum.moved += 1;
                        sum.elsewhere += u64::from(elsewhere);
                    }
                    Replaced::Waiting => sum.waiting += 1,
                }
            }
            self.wake();
        }
    }

    async fn place_stranded(
        &self,
        stranded: &Stranded,
        nodes: &mut [LiveNode],
    ) -> Result<Replaced, StoreError> {
        let cache = stranded.cache;
        let not_by_us = Replaced::Moved { elsewhere: false };
        let mut tx = self.0.store.begin().await?;
        let locked = tx.lock_resource(cache).await?;
        let Some(resource) = locked.filter(|resource| resource.state.is_live()) else {
            return Ok(not_by_us);
        };
        if !tx.placed_on(cache).await?.contains(&stranded.node) {
            return Ok(not_by_us);
        }
        let plan = self.0.plans.find_or_smallest(&resource.plan);
        let Ok(site) = self.choose_among(nodes, &resource.region, plan, &[]) else {
            return Ok(Replaced::Waiting);
        };
        let (node, pushed) = (&stranded.node, NewServers::Pushed);
        // An operator has retired the node, whichever process empties it.
        let operator = Identity::Operator;
        self.move_to(&mut tx, &resource, node, &site, pushed, operator)
            .await?;
        tx.commit().await?;
        tracing::warn!(
            %cache, from = %stranded.node.address, to = %site.address,
            "a cache of a retired node begins empty on another one"
        );
        count_on(nodes, &site, &resource.plan);
        let elsewhere = Elsewhere::found(&resource.region, &site.region).is_some();
        Ok(Replaced::Moved { elsewhere })
    }
}

/// A cluster is in one region. A node that took it along would place all its caches in the wrong one.
fn in_other_region(node: &NodeRecord, region: &str) -> LinkError {
    let (cluster, wanted) = (&node.cluster, &node.region);
    LinkError::Refused(format!(
        "cluster {cluster} is in the region {region}, and this node has LARDER_REGION={wanted}: give it a LARDER_CLUSTER \
         of its own, or LARDER_REGION={region}. Only a cluster without any other node can move to {wanted}: \
         `larder admin nodes` lists them, and `larder admin nodes retire` gives up one that is away"
    ))
}

/// The next choice counts what was placed since the nodes were read.
fn count_on(nodes: &mut [LiveNode], site: &Site, plan: &crate::domain::PlanSlug) {
    for node in nodes.iter_mut().filter(|node| node.load.id == site.node) {
        node.load.caches.push((plan.clone(), 1));
    }
}
