//! Where a cache goes, and how it gets there.

use super::Cluster;
use super::choice::{choose, offered};
use super::liveness::LiveNode;
use crate::domain::{
    Actor, CacheId, ClusterName, Elsewhere, Event, Identity, NodeId, NodeState, Plan, Resource,
};
use crate::outbox;
use crate::store::fleet::placements::NodeName;
use crate::store::{StoreError, Tx};

/// The place chosen for a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub cluster: ClusterName,
    pub node: NodeId,
    /// Of the cluster.
    pub region: String,
    /// As in SERVERS.
    pub address: String,
}

/// Why there is no place for a cache.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSite {
    #[error("no node serves this region")]
    Region {
        /// Those that can be ordered instead.
        offered: Vec<String>,
    },
    /// There may be room later, most likely in `cluster`.
    #[error("no node of this region has room")]
    Full { cluster: ClusterName },
}

/// How the provider learns the new value of SERVERS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewServers {
    /// By the answer to its order, which has not been sent yet.
    InAnswer,
    Pushed,
}

/// What came of placing a cache anew whose node does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlacedAnew {
    /// It is on a node that serves, by this call or by another one.
    Moved,
    NoRoom,
    /// Somebody has logged in to it, so that its node may hold items: only its owner or an operator gives them up.
    InUse,
}

impl Cluster {
    /// Chooses where a new cache goes.
    pub async fn choose_site(
        &self,
        region: &str,
        plan: &Plan,
    ) -> Result<Result<Site, NoSite>, StoreError> {
        let nodes = self.live_nodes().await?;
        Ok(self.choose_among(&nodes, region, plan, &[]))
    }

    pub(super) fn choose_among(
        &self,
        nodes: &[LiveNode],
        region: &str,
        plan: &Plan,
        without: &[NodeId],
    ) -> Result<Site, NoSite> {
        let settings = &self.0.settings;
        choose(nodes, &self.0.plans, plan, region, settings, without)
    }

    /// The regions that can be ordered now.
    pub async fn regions_offered(&self) -> Result<Vec<String>, StoreError> {
        Ok(offered(&self.live_nodes().await?, &self.0.settings))
    }

    /// Whether a cache must stand in the region that was ordered.
    pub fn is_region_strict(&self) -> bool {
        self.0.settings.region_strict
    }

    /// Sees to it that a cache which is being set up is on a node that answers, and promises the push of its first
    /// config vars. False while there is no room.
    pub async fn find_room(&self, cache: CacheId) -> Result<bool, StoreError> {
        let Some(resource) = self.0.store.resource(cache).await? else {
            return Ok(false);
        };
        if !self.0.store.nodes_of(cache).await?.is_empty() {
            let answers = !self.is_any_away(cache).await?;
            return Ok(answers
                || self.place_anew(cache, &[], NewServers::Pushed).await? == PlacedAnew::Moved);
        }
        let plan = self.0.plans.find_or_smallest(&resource.plan);
        let Ok(site) = self.choose_site(&resource.region, plan).await? else {
            return Ok(false);
        };
        let mut tx = self.0.store.begin().await?;
        let locked = tx.lock_resource(cache).await?;
        let Some(resource) = locked.filter(|resource| resource.state.is_live()) else {
            return Ok(false);
        };
        if tx.is_placed(cache).await? {
            return Ok(true);
        }
        self.tell_if_elsewhere(&mut tx, &resource, &site).await?;
        self.settle_at(&mut tx, cache, &site, NewServers::Pushed)
            .await?;
        tx.commit().await?;
        self.wake();
        Ok(true)
    }

    /// Tells a cache's owner that its first node is not where it was ordered, unless the answer to the order said so.
    async fn tell_if_elsewhere(
        &self,
        tx: &mut Tx,
        resource: &Resource,
        site: &Site,
    ) -> Result<(), StoreError> {
        let there = Elsewhere::found(&resource.region, &site.region);
        let Some(there) = there.filter(|there| resource.elsewhere().as_ref() != Some(there)) else {
            return Ok(());
        };
        let event = Event::PlacedElsewhere {
            to: site.address.clone(),
            region: there.served_from,
            ordered: there.ordered,
        };
        let actor = Actor::local(Identity::Service);
        let now = self.0.clock.now();
        outbox::announce(tx, resource.cache, &resource.label, &event, &actor, now).await
    }

    /// Puts a cache on another node because those that it is on are away or do not answer (`behind`). Only a cache
    /// that nobody has used yet is moved: there is nothing in it to lose.
    pub async fn place_anew(
        &self,
        cache: CacheId,
        behind: &[NodeId],
        servers: NewServers,
    ) -> Result<PlacedAnew, StoreError> {
        let nodes = self.live_nodes().await?;
        let mut tx = self.0.store.begin().await?;
        let locked = tx.lock_resource(cache).await?;
        let Some(resource) = locked.filter(|resource| resource.state.is_live()) else {
            return Ok(PlacedAnew::Moved);
        };
        let mut left = Vec::new();
        for node in tx.placed_on(cache).await? {
            let state = nodes.iter().find(|live| live.load.id == node.id);
            let answers = state.is_some_and(|live| live.state != NodeState::Away);
            if !answers || behind.contains(&node.id) {
                left.push(node);
            }
        }
        if left.is_empty() {
            return Ok(PlacedAnew::Moved);
        }
        if tx.is_used(cache).await? {
            return Ok(PlacedAnew::InUse);
        }
        let plan = self.0.plans.find_or_smallest(&resource.plan);
        let Ok(site) = self.choose_among(&nodes, &resource.region, plan, behind) else {
            return Ok(PlacedAnew::NoRoom);
        };
        for node in left {
            tracing::warn!(
                %cache, from = %node.address, to = %site.address,
                "a cache is placed anew: its node does not answer, and nobody has used it yet"
            );
            self.move_to(&mut tx, &resource, &node, &site, servers, Identity::Service)
                .await?;
        }
        tx.commit().await?;
        self.wake();
        Ok(PlacedAnew::Moved)
    }

    /// Takes a cache from one node to another, where it begins empty, and tells its owner, also who is `behind` it. The
    /// caller holds the resource.
    pub(super) async fn move_to(
        &self,
        tx: &mut Tx,
        resource: &Resource,
        from: &NodeName,
        to: &Site,
        servers: NewServers,
        behind: Identity,
    ) -> Result<(), StoreError> {
        let cache = resource.cache;
        tx.unplace(cache, &from.id).await?;
        let event = Event::PlacedAnew {
            from: from.address.clone(),
            to: to.address.clone(),
            region: Elsewhere::found(&resource.region, &to.region).map(|there| there.served_from),
        };
        let now = self.0.clock.now();
        let actor = Actor::local(behind);
        outbox::announce(tx, cache, &resource.label, &event, &actor, now).await?;
        self.settle_at(tx, cache, to, servers).await
    }

    async fn settle_at(
        &self,
        tx: &mut Tx,
        cache: CacheId,
        site: &Site,
        servers: NewServers,
    ) -> Result<(), StoreError> {
        tx.place(cache, &site.node).await?;
        tx.set_cluster(cache, &site.cluster).await?;
        if servers == NewServers::InAnswer {
            tx.tell_config(cache).await?;
            tx.bump(cache).await?;
            return Ok(());
        }
        // The provider may hold the values of a node that is gone, or an answer that told them was lost.
        tx.doubt_config(cache).await?;
        let revision = tx.bump(cache).await?;
        outbox::want_config(tx, cache, revision, self.0.clock.now()).await
    }
}
