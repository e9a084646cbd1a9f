//! A control plane and one node in this process, with an engine that only remembers what it was told.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use larder::access::{Access, Owner, SsoVisit};
use larder::cluster::link::wire::{Changes, ChangesQuery, Introduction, Report, Welcome};
use larder::cluster::{
    self, CacheFigures, Cluster, ClusterSettings, ControlLink, DataPlane, EventBuffer, JoinError,
    LinkError, LocalLink, NodeAgent, NodeSettings,
};
use larder::domain::{
    Authority, BoxFuture, CacheId, CacheSpec, Clock, CredentialSpec, FlushEvent, FlushId, NodeId,
    NodePhase, Plan, Plans, Revision, Timestamp, Username,
};
use larder::engine::{EngineEvent, EventSink as _};
use larder::provisioning::{ProvisionRequest, Provisioned, Provisioning, Ready};
use larder::store::Store;
use larder::store::fleet::nodes::{Heartbeat, NodeProgress, NodeRecord};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::HEROKU;
use super::claims::heroku_can_all;
use super::db::{START, TestDb};
use super::panics::NoPanics;

pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn new() -> Arc<TestClock> {
        Arc::new(TestClock(AtomicI64::new(START.micros())))
    }

    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).expect("a short time");
        self.0.fetch_add(micros, Ordering::SeqCst);
    }

    pub fn set_back(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).expect("a short time");
        self.0.fetch_sub(micros, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        // A microsecond passes with each read, so that what comes later is later.
        Timestamp::from_micros(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

/// An engine that only remembers what it was told. Each flush removes three items.
pub struct FakePlane {
    pub flushed: Mutex<Vec<FlushId>>,
    pub authorities: Mutex<Vec<Authority>>,
    /// User names that it was told of, of caches on other nodes.
    pub elsewhere: Mutex<Vec<Username>>,
    caches: Mutex<HashMap<CacheId, CacheSpec>>,
    /// Open connections, by credential.
    pub connected: Mutex<HashMap<String, u64>>,
    sink: Arc<EventBuffer>,
}

impl FakePlane {
    pub fn new(sink: Arc<EventBuffer>) -> Arc<FakePlane> {
        Arc::new(FakePlane {
            flushed: Mutex::default(),
            authorities: Mutex::default(),
            elsewhere: Mutex::default(),
            caches: Mutex::default(),
            connected: Mutex::default(),
            sink,
        })
    }

    pub fn spec(&self, cache: CacheId) -> Option<CacheSpec> {
        self.caches.lock().get(&cache).cloned()
    }

    pub fn usernames(&self, cache: CacheId) -> Vec<String> {
        let spec = self.spec(cache).expect("the node serves the cache");
        let mut names: Vec<String> = spec
            .credentials
            .iter()
            .map(|credential| credential.username.to_string())
            .collect();
        names.sort();
        names
    }
}

impl DataPlane for FakePlane {
    fn apply(&self, spec: &CacheSpec) {
        self.caches.lock().insert(spec.cache, spec.clone());
        let mut flushed = self.flushed.lock();
        for order in &spec.flush_orders {
            if flushed.contains(&order.id) {
                continue;
            }
            flushed.push(order.id);
            self.sink.record(EngineEvent::Flushed(FlushEvent {
                id: order.id,
                cache: spec.cache,
                origin: order.origin,
                proxy: "p1.example.net".to_owned(),
                credential: None,
                remote: None,
                reason: order.reason.clone(),
                items: 3,
                bytes: 300,
                at: START,
            }));
        }
    }

    fn know_usernames(&self, names: &[Username]) {
        self.elsewhere.lock().extend_from_slice(names);
    }

    fn trust(&self, authorities: &[Authority]) {
        *self.authorities.lock() = authorities.to_vec();
    }

    fn forget(&self, cache: CacheId) {
        self.caches.lock().remove(&cache);
    }

    fn figures(&self, cache: CacheId) -> Option<CacheFigures> {
        let spec = self.spec(cache)?;
        let connected = self.connected.lock();
        let open = |credential: &CredentialSpec| {
            let name = &credential.username;
            let open = connected.get(name.as_str()).copied().unwrap_or(0);
            (name.clone(), open)
        };
        Some(CacheFigures {
            limit_bytes: spec.limit_bytes,
            connections_by_credential: spec.credentials.iter().map(open).collect(),
            ..CacheFigures::default()
        })
    }
}

/// A link whose node hears of no change while the gate is shut: a node that hangs.
struct GatedLink {
    link: Arc<dyn ControlLink>,
    gate: watch::Sender<bool>,
}

impl ControlLink for GatedLink {
    fn join(&self, node: Introduction) -> BoxFuture<'_, Result<Welcome, LinkError>> {
        self.link.join(node)
    }

    fn changes_since<'a>(
        &'a self,
        node: &'a NodeId,
        query: ChangesQuery,
    ) -> BoxFuture<'a, Result<Changes, LinkError>> {
        Box::pin(async move {
            let changes = self.link.changes_since(node, query).await;
            let mut gate = self.gate.subscribe();
            gate.wait_for(|open| *open).await.expect("the gate stays");
            changes
        })
    }

    fn report<'a>(
        &'a self,
        node: &'a NodeId,
        report: &'a Report,
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        self.link.report(node, report)
    }
}

/// A node that joins by this link in one attempt.
pub async fn join_by(
    settings: &NodeSettings,
    link: Arc<dyn ControlLink>,
    plane: Arc<dyn DataPlane>,
    event_buffer: Arc<EventBuffer>,
    clock: Arc<dyn Clock>,
) -> Result<NodeAgent, JoinError> {
    let entry = cluster::join(settings, link.as_ref()).await?;
    Ok(NodeAgent::new(
        entry,
        settings,
        link,
        plane,
        event_buffer,
        clock,
        None,
    ))
}

pub fn plans() -> Arc<Plans> {
    let plan = |slug: &str, mib: u64, hidden| Plan {
        slug: slug.parse().expect("a plan name"),
        memory_bytes: mib << 20,
        connections_max: 50,
        credentials_max: 4,
        sample_grain: Duration::from_secs(60),
        history: Duration::from_secs(7 * 86_400),
        sleeps_after: None,
        price_cents: 0,
        hidden,
        asynchronous: slug == "slow",
    };
    let table = vec![
        plan("dev", 25, false),
        plan("100", 100, false),
        plan("old", 50, true),
        plan("slow", 50, false),
    ];
    Arc::new(Plans::new(table).expect("a good table"))
}

pub struct ControlPlane {
    pub store: Store,
    pub clock: Arc<TestClock>,
    pub cluster: Cluster,
    pub access: Access,
    pub provisioning: Provisioning,
    pub plane: Arc<FakePlane>,
    pub event_buffer: Arc<EventBuffer>,
    pub node: Arc<NodeAgent>,
    pub stop: CancellationToken,
    link: Arc<GatedLink>,
    _data_dir: tempfile::TempDir,
    _panics: NoPanics,
}

impl ControlPlane {
    pub async fn start(db: &TestDb) -> ControlPlane {
        ControlPlane::start_with(db, |cluster| Arc::new(LocalLink(cluster))).await
    }

    /// With something between the node and its control plane.
    pub async fn start_with(
        db: &TestDb,
        link: impl FnOnce(Cluster) -> Arc<dyn ControlLink>,
    ) -> ControlPlane {
        let (store, clock, plans) = (db.store.clone(), TestClock::new(), plans());
        let settings = ClusterSettings {
            regions_allowed: vec!["us".to_owned(), "tokyo".to_owned()],
            ..ClusterSettings::default()
        };
        let cluster = Cluster::new(store.clone(), Arc::clone(&plans), clock.clone(), settings);
        let data_dir = tempfile::tempdir().expect("a temporary directory");
        let event_buffer = Arc::new(EventBuffer::default());
        let plane = FakePlane::new(event_buffer.clone());
        let gated = Arc::new(GatedLink {
            link: link(cluster.clone()),
            gate: watch::Sender::new(true),
        });
        let node = join_by(
            &node_settings(data_dir.path()),
            gated.clone(),
            plane.clone(),
            event_buffer.clone(),
            clock.clone(),
        )
        .await
        .expect("the node joins");
        cluster.attach(&node);
        let (node, stop) = (Arc::new(node), CancellationToken::new());
        tokio::spawn({
            let (node, stop) = (Arc::clone(&node), stop.clone());
            async move { node.run(stop).await }
        });
        node.open().await.expect("the node serves");
        ControlPlane {
            access: Access::new(store.clone(), cluster.clone(), plans.clone(), clock.clone())
                .with_abilities(heroku_can_all()),
            provisioning: Provisioning::new(store.clone(), cluster.clone(), plans, clock.clone())
                .with_abilities(heroku_can_all()),
            store,
            clock,
            cluster,
            plane,
            event_buffer,
            node,
            link: gated,
            stop,
            _data_dir: data_dir,
            _panics: NoPanics::from_now_on(),
        }
    }

    /// From here on the node hears of nothing new.
    pub fn hang(&self) {
        self.link.gate.send_replace(false);
    }

    pub fn go_on(&self) {
        self.link.gate.send_replace(true);
    }

    pub async fn provision(&self, id: &str) -> Ready {
        let made = self.provisioning.provision(request(id)).await;
        ready(made.expect("a cache"))
    }

    /// A serving node of another process, with 1 byte of memory.
    pub async fn serving_node(&self, id: &str, proxy_hostname: &str) -> NodeId {
        let record = NodeRecord {
            id: id.parse().expect("an id"),
            cluster: "c1".parse().expect("a name"),
            region: "us".to_owned(),
            proxy_hostname: proxy_hostname.to_owned(),
            proxy_port: 11211,
            memory_bytes: 1,
            home_id: "m:1:2".to_owned(),
            home_path: "/var/lib/larder".to_owned(),
        };
        let mut tx = self.store.begin().await.expect("a transaction");
        let now = self.clock.now();
        tx.register_node(&record, now).await.expect("written");
        let serving = NodeProgress {
            phase: NodePhase::Serving,
            applied: Revision::default(),
            on_snapshot: false,
        };
        let outcome = tx.record_heartbeat(&record.id, &record.home_id, serving, now);
        assert_eq!(outcome.await.expect("written"), Heartbeat::Noted);
        tx.commit().await.expect("a commit");
        record.id
    }

    /// Fills the region: the caches `full-0` to `full-8` take this node's 1 GiB, and a second node has no room to speak
    /// of.
    pub async fn fill_region(&self) {
        self.serving_node("node_small", "p2.example.net").await;
        for number in 0..9 {
            let mut ask = request(&format!("full-{number}"));
            ask.plan = "100".to_owned();
            ready(self.provisioning.provision(ask).await.expect("room"));
        }
    }

    /// A cache's owner, signed in through the marketplace.
    pub async fn owner(&self, cache: CacheId, proof: &str) -> Owner {
        let visit = SsoVisit {
            cache,
            proof_digest: proof.to_owned(),
            weaker_digest: None,
            person: Some("ann@example.com".to_owned()),
            context_app: None,
        };
        let session = self
            .access
            .open_by_sso(visit, None)
            .await
            .expect("a session");
        let found = self.access.signed_in(&session.cookie, cache, None).await;
        let signed_in = found.expect("the store answers").expect("a live session");
        signed_in.into_owner()
    }

    /// The kinds in the timeline, oldest first.
    pub async fn history(&self, cache: CacheId) -> Vec<String> {
        let mut events = self.store.events(cache, 1_000).await.expect("a history");
        events.reverse();
        events.into_iter().map(|event| event.kind).collect()
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What was answered with its values at once.
pub fn ready(made: Provisioned) -> Ready {
    match made {
        Provisioned::Ready(ready) => ready,
        Provisioned::Pending(resource) => panic!("{} is not ready", resource.external_id),
    }
}

pub fn node_settings(data_dir: &std::path::Path) -> NodeSettings {
    NodeSettings {
        cluster: "c1".parse().expect("a cluster name"),
        region: "us".to_owned(),
        proxy_hostname: "p1.example.net".to_owned(),
        proxy_port: 11211,
        memory_bytes: 1 << 30,
        data_dir: data_dir.to_owned(),
    }
}

pub fn request(id: &str) -> ProvisionRequest {
    ProvisionRequest {
        marketplace: HEROKU,
        external_id: id.parse().expect("an external id"),
        name: "acme-cache".to_owned(),
        plan: "dev".to_owned(),
        region: "amazon-web-services::us-east-1".to_owned(),
        callback_url: None,
        grant: None,
        // Events become lines, as they do where there is a log.
        log_url: Some("https://token:t.0@logs.example.net/logs".to_owned().into()),
    }
}

/// Reconcile until it is so. The caller's assertion is about state, not about time; a minute means never.
pub async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..6_000 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true: {what}");
}
