//! The control plane's side: the link for nodes of this process, and what other rooms ask of the nodes.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Figures;
use super::intake;
use super::link::{Changes, ControlLink, Introduction, LinkError, Report};
use super::node::{DataPlane, Node};
use super::placement::{self, NoSite, Site};
use crate::domain::secret::{hex_lower, random_bytes};
use crate::domain::{BoxFuture, CacheId, Clock, FlushId, NodeId, Plan, Plans, Revision, Username};
use crate::outbox;
use crate::outbox::ports::Nodes;
use crate::store::nodes::{NodeRecord, PlacedNode};
use crate::store::{Store, StoreError};

/// A lost wake-up, or a change made by another process, costs at most this.
const POLL: Duration = Duration::from_secs(1);
/// How often nodes of other processes are looked up while somebody waits for them.
const REMOTE_POLL: Duration = Duration::from_millis(50);
const DAY: Duration = Duration::from_secs(86_400);
const HISTORY_KEPT: Duration = Duration::from_secs(400 * 86_400);

#[derive(Clone, Debug, Default)]
pub struct ClusterSettings {
    /// Regions of the manifest, which are served from any cluster when none is near; `*` lists all.
    pub regions_allowed: Vec<String>,
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
    local: OnceLock<LocalNode>,
}

/// The node in this process, asked directly.
struct LocalNode {
    id: NodeId,
    applied: watch::Receiver<Revision>,
    plane: Arc<dyn DataPlane>,
}

/// How far the nodes of a cache are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaughtUp {
    pub applied: usize,
    pub nodes: usize,
}

impl CaughtUp {
    pub fn everywhere(self) -> bool {
        self.applied == self.nodes
    }
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
            local: OnceLock::new(),
        }))
    }

    /// Makes the node of this process known, so that it is asked directly instead of through the database. Only
    /// the first one counts.
    pub fn attach(&self, node: &Node) {
        let local = LocalNode {
            id: node.id().clone(),
            applied: node.applied(),
            plane: Arc::clone(node.plane()),
        };
        if self.0.local.set(local).is_err() {
            tracing::error!("a second node in one process is not asked directly");
        }
    }

    /// Tells waiting nodes to look for changes now. Call it after each commit that bumped the revision.
    pub fn wake(&self) {
        self.0.woken.send_modify(|count| *count += 1);
    }

    /// Chooses where a new cache goes.
    pub async fn choose_site(
        &self,
        region: &str,
        plan: &Plan,
    ) -> Result<Result<Site, NoSite>, StoreError> {
        let loads = self.0.store.node_loads().await?;
        let allowed = &self.0.settings.regions_allowed;
        Ok(placement::choose(
            &loads,
            &self.0.plans,
            plan,
            region,
            allowed,
        ))
    }

    /// Gives a cache that is being set up a node, if there is room now, and promises the push of its first config
    /// vars. False while there is none.
    pub async fn find_room(&self, cache: CacheId) -> Result<bool, StoreError> {
        let Some(resource) = self.0.store.resource(cache).await? else {
            return Ok(false);
        };
        let plan = self.0.plans.find_or_smallest(&resource.plan);
        let Ok(site) = self.choose_site(&resource.region, plan).await? else {
            return Ok(false);
        };
        let mut tx = self.0.store.begin().await?;
        let now = self.0.clock.now();
        let locked = tx.lock_resource(cache).await?;
        if !locked.is_some_and(|resource| resource.state.is_live()) {
            return Ok(false);
        }
        if tx.is_placed(cache).await? {
            return Ok(true);
        }
        tx.place(cache, &site.node).await?;
        tx.set_cluster(cache, &site.cluster).await?;
        let revision = tx.bump(cache).await?;
        outbox::want_config(&mut tx, cache, revision, now).await?;
        tx.commit().await?;
        self.wake();
        Ok(true)
    }

    /// The value of the SERVERS variable.
    pub async fn servers(&self, cache: CacheId) -> Result<String, StoreError> {
        self.0.store.servers(cache).await
    }

    /// Figures of the node in this process; `None` when it does not hold the cache.
    pub fn figures(&self, cache: CacheId) -> Option<Figures> {
        self.0.local.get()?.plane.figures(cache)
    }

    /// The node of this process, if it has one.
    pub fn local_node(&self) -> Option<&NodeId> {
        self.0.local.get().map(|local| &local.id)
    }

    /// Connections open with one credential; `None` when a node of the cache is not this process's, so that they
    /// cannot be counted.
    pub async fn connections_with(
        &self,
        cache: CacheId,
        username: &Username,
    ) -> Result<Option<u64>, StoreError> {
        let nodes = self.0.store.nodes_of(cache).await?;
        if nodes.iter().any(|node| self.local_node() != Some(&node.id)) {
            return Ok(None);
        }
        let open = |figures: Figures| {
            let by_credential = &figures.connections_by_credential;
            let found = by_credential.iter().find(|(name, _)| name == username);
            found.map_or(0, |(_, number)| *number)
        };
        Ok(self.figures(cache).map(open))
    }

    /// Waits until every node of the cache has applied `revision`; false when the deadline comes first.
    pub async fn wait_applied(
        &self,
        cache: CacheId,
        revision: Revision,
        deadline: Duration,
    ) -> bool {
        match self.caught_up(cache, revision, deadline).await {
            Ok(reach) => reach.everywhere(),
            Err(error) => {
                tracing::warn!(%cache, %error, "cannot tell whether the nodes follow");
                false
            }
        }
    }

    /// Waits likewise and tells how far the nodes came.
    pub async fn caught_up(
        &self,
        cache: CacheId,
        revision: Revision,
        deadline: Duration,
    ) -> Result<CaughtUp, StoreError> {
        let end = Instant::now() + deadline;
        let local = self.0.local.get();
        let mut watched = local.map(|node| node.applied.clone());
        let mut nodes = self.0.store.nodes_of(cache).await?;
        loop {
            // Marks the present value as seen before it is counted: a change after this wakes the wait below.
            let here = watched.as_mut().map(|applied| *applied.borrow_and_update());
            let is_local = |node: &PlacedNode| local.is_some_and(|local| local.id == node.id);
            let has_applied = |node: &&PlacedNode| match here {
                Some(here) if is_local(node) => here >= revision,
                _ => node.applied >= revision,
            };
            let reach = CaughtUp {
                applied: nodes.iter().filter(has_applied).count(),
                nodes: nodes.len(),
            };
            if reach.everywhere() || Instant::now() >= end {
                return Ok(reach);
            }
            let remote = nodes.iter().any(|node| !is_local(node));
            let pause = if remote { REMOTE_POLL } else { POLL };
            tokio::select! {
                () = changed(watched.as_mut()) => {}
                () = sleep_until(end.min(Instant::now() + pause)) => {}
            }
            if remote {
                nodes = self.0.store.nodes_of(cache).await?;
            }
        }
    }

    /// Waits until an ordered flush is done and gives the items and bytes it removed; `None` at the deadline.
    pub async fn wait_flush(
        &self,
        id: FlushId,
        deadline: Duration,
    ) -> Result<Option<(u64, u64)>, StoreError> {
        let end = Instant::now() + deadline;
        let mut reported = self.0.reported.subscribe();
        loop {
            reported.borrow_and_update();
            let result = self.0.store.flush_result(id).await?;
            if result.is_some() || Instant::now() >= end {
                return Ok(result);
            }
            tokio::select! {
                () = changed(Some(&mut reported)) => {}
                () = sleep_until(end.min(Instant::now() + REMOTE_POLL)) => {}
            }
        }
    }

    /// Drops what the node link keeps for a while only. Call it now and then.
    pub async fn tidy(&self) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        let mut tx = self.0.store.begin().await?;
        tx.prune_forgotten().await?;
        tx.prune_reports(now.minus(DAY)).await?;
        tx.prune_history(now.minus(HISTORY_KEPT)).await?;
        tx.commit().await
    }

    async fn join_node(&self, node: Introduction) -> Result<NodeId, StoreError> {
        let known = match node.known_as {
            Some(id) => Some(id),
            None => {
                let (cluster, host) = (&node.cluster, &node.proxy_hostname);
                self.0.store.node_at(cluster, host, node.proxy_port).await?
            }
        };
        let id = match known {
            Some(id) => id,
            None => fresh_node_id()?,
        };
        let record = NodeRecord {
            id: id.clone(),
            cluster: node.cluster,
            region: node.region,
            proxy_hostname: node.proxy_hostname,
            proxy_port: node.proxy_port,
            memory_bytes: node.memory_bytes,
        };
        let mut tx = self.0.store.begin().await?;
        tx.register_node(&record, self.0.clock.now()).await?;
        tx.commit().await?;
        Ok(id)
    }

    async fn next_changes(
        &self,
        node: &NodeId,
        known: Revision,
        wait: Duration,
    ) -> Result<Changes, StoreError> {
        let end = Instant::now() + wait;
        let mut woken = self.0.woken.subscribe();
        loop {
            woken.borrow_and_update();
            let changes = self
                .0
                .store
                .changes_since(node, known, &self.0.plans)
                .await?;
            if changes.revision != known || Instant::now() >= end {
                return Ok(changes);
            }
            tokio::select! {
                () = changed(Some(&mut woken)) => {}
                () = sleep_until(end.min(Instant::now() + POLL)) => {}
            }
        }
    }
}

/// A node in the same process calls this directly.
impl ControlLink for Cluster {
    fn join(&self, node: Introduction) -> BoxFuture<'_, Result<NodeId, LinkError>> {
        Box::pin(async { Ok(self.join_node(node).await?) })
    }

    fn changes_since<'a>(
        &'a self,
        node: &'a NodeId,
        known: Revision,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Changes, LinkError>> {
        Box::pin(async move { Ok(self.next_changes(node, known, wait).await?) })
    }

    fn report<'a>(
        &'a self,
        node: &'a NodeId,
        report: &'a Report,
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move {
            intake::take(&self.0.store, node, report, self.0.clock.now()).await?;
            self.0.reported.send_modify(|count| *count += 1);
            Ok(())
        })
    }
}

/// What the outbox asks before it pushes a credential, or tells that a cache is ready.
impl Nodes for Cluster {
    fn wait_applied(
        &self,
        cache: CacheId,
        revision: Revision,
        within: Duration,
    ) -> BoxFuture<'_, bool> {
        Box::pin(Cluster::wait_applied(self, cache, revision, within))
    }

    fn find_room(&self, cache: CacheId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(Cluster::find_room(self, cache))
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

fn fresh_node_id() -> Result<NodeId, StoreError> {
    let text = format!("node_{}", hex_lower(&random_bytes::<8>()));
    text.parse()
        .map_err(|_| StoreError::BadRow(format!("nodes.id: {text}")))
}
