//! A service with one node, on SQLite, at a time of the test's choosing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use axum::{Form, Router};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use crate::access::Access;
use crate::cluster::{
    self, CacheFigures, Cluster, ClusterSettings, DataPlane, EventBuffer, LocalLink, NodeAgent,
    NodeSettings,
};
use crate::domain::ConfigVarNames;
use crate::domain::{
    Abilities, AbilityTable, Authority, CacheId, CacheSpec, Clock, ExternalId, FlushEvent, FlushId,
    Marketplace, Plan, Plans, Resource, Timestamp, Username,
};
use crate::engine::{EngineEvent, EventSink};
use crate::provisioning::{ProvisionRequest, Provisioned, Provisioning};
use crate::store::db::seal::MasterKey;
use crate::store::{Schema, Store, StoreSettings};
use crate::web::error::PageError;
use crate::web::health::OutageLines;
use crate::web::{Console, MarketplaceFace, SignOn, Visitor, Web, WebSettings, app};

pub const ORIGIN: &str = "https://cache.example.com";
/// Where the caches of these tests come from.
const MARKETPLACE: Marketplace = Marketplace::named("market");
const EMAIL: &str = "ada@example.com";

pub struct WebFixture {
    pub app: Router,
    pub provisioning: Provisioning,
    pub access: Access,
    pub store: Store,
    pub clock: Arc<Hand>,
    pub plane: Arc<Shelf>,
    visits: AtomicI64,
    _stop: DropGuard,
    _folder: TempDir,
}

impl WebFixture {
    pub async fn build() -> WebFixture {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hand(AtomicI64::new(1_795_372_200)));
        let store = open_store(&folder, clock.now()).await;
        let plans = Arc::new(Plans::new(vec![dev_plan()]).unwrap());
        let times: Arc<dyn Clock> = clock.clone();
        let cluster = Cluster::new(
            store.clone(),
            plans.clone(),
            times.clone(),
            ClusterSettings::default(),
        );
        let plane = Arc::new(Shelf::default());
        let stop = start_node(&folder, &cluster, plane.clone(), times.clone()).await;
        let can_push = Abilities {
            config_push: true,
            tokens: true,
            ..Abilities::default()
        };
        let abilities = AbilityTable::from_iter([(MARKETPLACE, can_push)]);
        let provisioning =
            Provisioning::new(store.clone(), cluster.clone(), plans.clone(), times.clone())
                .with_abilities(abilities.clone());
        let web = Web {
            stopping: CancellationToken::new(),
            outage_lines: OutageLines::default(),
            access: Access::new(store.clone(), cluster, plans.clone(), times.clone())
                .with_abilities(abilities),
            provisioning: provisioning.clone(),
            store: store.clone(),
            plans,
            clock: times,
            settings: Arc::new(settings()),
        };
        let marketplace = Router::new()
            .route("/market/resources", post(async || "{}"))
            .route("/market/sso", post(sign_on))
            .with_state(web.clone());
        WebFixture {
            access: web.access.clone(),
            app: app(web, marketplace),
            provisioning,
            store,
            clock,
            plane,
            visits: AtomicI64::new(0),
            _stop: stop.drop_guard(),
            _folder: folder,
        }
    }

    /// A cache that its customer calls so.
    pub async fn provision(&self, name: &str) -> Resource {
        let request = ProvisionRequest {
            marketplace: MARKETPLACE,
            external_id: uuid::Uuid::new_v4().to_string().parse().unwrap(),
            name: name.to_owned(),
            plan: "dev".to_owned(),
            region: "us".to_owned(),
            callback_url: None,
            grant: None,
            log_url: None,
        };
        match self.provisioning.provision(request).await.unwrap() {
            Provisioned::Ready(made) => made.resource,
            Provisioned::Pending(resource) => resource,
        }
    }

    /// A sign-on form of the marketplace, each with a proof of its own: a proof is good once.
    pub fn sso_form(&self, id: &ExternalId) -> String {
        let proof = self.visits.fetch_add(1, Ordering::SeqCst);
        format!("resource={id}&proof=proof-{proof}&person={EMAIL}&app=shop-staging")
    }

    pub async fn deprovision(&self, id: &ExternalId) {
        let gone = self.provisioning.deprovision(MARKETPLACE, id);
        gone.await.unwrap();
    }
}

#[derive(serde::Deserialize)]
struct SsoForm {
    resource: String,
    proof: String,
    person: String,
    app: String,
}

/// The marketplace's own route: it believes every proof that begins as its own do.
async fn sign_on(
    State(web): State<Web>,
    visitor: Visitor,
    Form(form): Form<SsoForm>,
) -> Result<Response, PageError> {
    if !form.proof.starts_with("proof-") {
        return Err(PageError::SignOnRefused);
    }
    let sign_on = SignOn {
        marketplace: MARKETPLACE,
        external_id: form.resource.parse().map_err(|_| PageError::NotFound)?,
        proof_digest: form.proof,
        weaker_digest: None,
        person: Some(form.person),
        context_app: Some(form.app),
    };
    web.enter(visitor, sign_on).await
}

fn settings() -> WebSettings {
    let face = MarketplaceFace {
        shown_as: "Acme Market".to_owned(),
        header: None,
        variables: None,
    };
    WebSettings {
        tls_port: Some(11219),
        consoles: vec![Console {
            name: "Acme Market".to_owned(),
            url: "https://market.example/".to_owned(),
        }],
        marketplaces: [(MARKETPLACE, face)].into(),
        ..WebSettings::new(
            ORIGIN.parse().unwrap(),
            true,
            "Larder".to_owned(),
            ConfigVarNames::with_prefix("MEMCACHIER"),
        )
    }
}

async fn open_store(folder: &TempDir, now: Timestamp) -> Store {
    let settings = StoreSettings {
        url: format!("sqlite:{}", folder.path().join("larder.db").display()).into(),
        master_key: MasterKey::from_base64("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap(),
        previous_keys: vec![],
        connections_max: 4,
    };
    Store::open(&settings, Schema::Expect, now).await.unwrap()
}

fn dev_plan() -> Plan {
    Plan {
        slug: "dev".parse().unwrap(),
        memory_bytes: 25 << 20,
        connections_max: 50,
        credentials_max: 3,
        sample_grain: Duration::from_secs(60),
        history: Duration::from_secs(7 * 86_400),
        sleeps_after: None,
        price_cents: 0,
        hidden: false,
        asynchronous: false,
    }
}

async fn start_node(
    folder: &TempDir,
    cluster: &Cluster,
    plane: Arc<Shelf>,
    clock: Arc<dyn Clock>,
) -> CancellationToken {
    let settings = NodeSettings {
        cluster: "c1".parse().unwrap(),
        region: "us".to_owned(),
        proxy_hostname: "p1.example.net".to_owned(),
        proxy_port: 11211,
        memory_bytes: 1 << 30,
        data_dir: folder.path().to_owned(),
    };
    let link = Arc::new(LocalLink(cluster.clone()));
    let event_buffer = Arc::clone(&plane.told);
    let entry = cluster::join(&settings, link.as_ref()).await.unwrap();
    let node = NodeAgent::new(entry, &settings, link, plane, event_buffer, clock, None);
    cluster.attach(&node);
    node.open().await.unwrap();
    let stop = CancellationToken::new();
    let until = stop.clone();
    tokio::spawn(async move { node.run(until).await });
    stop
}

/// A clock that stands still until it is moved.
pub struct Hand(AtomicI64);

impl Hand {
    pub fn forward(&self, by: Duration) {
        let secs = i64::try_from(by.as_secs()).unwrap();
        self.0.fetch_add(secs, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// The node's engine: only figures, as the test sets them.
#[derive(Default)]
pub struct Shelf {
    figures: Mutex<HashMap<CacheId, CacheFigures>>,
    /// Flush orders carried out.
    done: Mutex<Vec<FlushId>>,
    told: Arc<EventBuffer>,
}

impl Shelf {
    fn caches(&self) -> MutexGuard<'_, HashMap<CacheId, CacheFigures>> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn fill(&self, cache: CacheId, items: u64, used_bytes: u64) {
        let mut caches = self.caches();
        let figures = caches.get_mut(&cache).unwrap();
        figures.items = items;
        figures.used_bytes = used_bytes;
    }

    pub fn connect(&self, cache: CacheId, username: &str, connections: u64) {
        let username: Username = username.parse().unwrap();
        let mut caches = self.caches();
        let figures = caches.get_mut(&cache).unwrap();
        figures.connections_by_credential = vec![(username, connections)];
    }

    pub fn connect_by_certificate(&self, cache: CacheId, fingerprint: &str, connections: u64) {
        let fingerprint = fingerprint.parse().unwrap();
        let mut caches = self.caches();
        let figures = caches.get_mut(&cache).unwrap();
        figures.connections_by_certificate = vec![(fingerprint, connections)];
    }
}

impl DataPlane for Shelf {
    fn apply(&self, spec: &CacheSpec) {
        let mut caches = self.caches();
        let figures = caches.entry(spec.cache).or_default();
        figures.limit_bytes = spec.limit_bytes;
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        for order in &spec.flush_orders {
            if done.contains(&order.id) {
                continue;
            }
            done.push(order.id);
            self.told.record(EngineEvent::Flushed(FlushEvent {
                id: order.id,
                cache: spec.cache,
                origin: order.origin,
                proxy: "p1.example.net".to_owned(),
                credential: None,
                remote: None,
                reason: order.reason.clone(),
                items: std::mem::take(&mut figures.items),
                bytes: std::mem::take(&mut figures.used_bytes),
                at: Timestamp::from_secs(1_795_372_200),
            }));
        }
    }

    fn know_usernames(&self, _: &[Username]) {}

    fn trust(&self, _: &[Authority]) {}

    fn forget(&self, cache: CacheId) {
        self.caches().remove(&cache);
    }

    fn figures(&self, cache: CacheId) -> Option<CacheFigures> {
        self.caches().get(&cache).cloned()
    }
}
