//! A control plane with an outbox on top.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use larder::access::Owner;
use larder::cluster::Cluster;
use larder::domain::{
    BoxFuture, CacheId, ConfigVarNames, Event, FlushEvent, FlushId, Origin, Revision, Timestamp,
};
use larder::marketplace::heroku::HerokuSettings;
use larder::marketplace::heroku::client::HerokuClient;
use larder::marketplace::heroku::sso::SsoSettings;
use larder::outbox::ports::{self, Provider, Providers};
use larder::outbox::{Outbox, OutboxSettings};
use larder::provisioning::GrantCode;
use larder::store::outbox::config_sync::ConfigSyncState;
use larder::store::{Store, StoreError};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub use crate::scripted_provider::{Call, Scripted};
use crate::support::HEROKU;
use crate::support::control_plane::{ControlPlane, TestClock, ready, request};
use crate::support::db::TestDb;

pub const LOG_URL: &str = "https://token:t.1@1.us.logplex.io/logs";

/// Nodes that are as far as the test says.
pub struct Nodes {
    cluster: Cluster,
    follow: AtomicBool,
    held: Mutex<Option<Arc<Semaphore>>>,
    /// What was waited for, in order.
    pub awaited: Mutex<Vec<Revision>>,
}

impl Nodes {
    /// Makes those who ask wait for a permit.
    pub fn hold(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.held.lock() = Some(Arc::clone(&gate));
        gate
    }

    /// Lets those pass who ask from now on.
    pub fn go_on(&self) {
        *self.held.lock() = None;
    }
}

impl ports::Nodes for Nodes {
    fn wait_applied(&self, _: CacheId, revision: Revision, _: Duration) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            self.awaited.lock().push(revision);
            let held = self.held.lock().clone();
            if let Some(gate) = held {
                gate.acquire().await.expect("the gate stays").forget();
            }
            self.follow.load(Ordering::SeqCst)
        })
    }

    fn find_room(&self, cache: CacheId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.cluster.find_room(cache))
    }
}

pub struct OutboxFixture {
    pub control: ControlPlane,
    pub provider: Arc<Scripted>,
    pub nodes: Arc<Nodes>,
    pub outbox: Outbox,
}

impl OutboxFixture {
    pub async fn start(db: &TestDb) -> OutboxFixture {
        let control = ControlPlane::start(db).await;
        let provider = Arc::new(Scripted::default());
        let nodes = Arc::new(Nodes {
            follow: AtomicBool::new(true),
            held: Mutex::default(),
            awaited: Mutex::default(),
            cluster: control.cluster.clone(),
        });
        let outbox = outbox(
            &control.store,
            &control.clock,
            nodes.clone(),
            provider.clone(),
        );
        OutboxFixture {
            control,
            provider,
            nodes,
            outbox,
        }
    }

    /// A second process on the same database.
    pub async fn another_worker(&self, db: &TestDb) -> Outbox {
        let store = db.opened_again().await;
        outbox(
            &store,
            &self.control.clock,
            self.nodes.clone(),
            self.provider.clone(),
        )
    }

    pub fn nodes_follow(&self, follow: bool) {
        self.nodes.follow.store(follow, Ordering::SeqCst);
    }

    /// A cache with a grant and an app that takes lines, its owner signed in.
    pub async fn cache(&self, id: &str) -> Owner {
        let mut ask = request(id);
        ask.grant = Some(code("code-1", self.control.clock.as_ref()));
        ask.log_url = Some(LOG_URL.to_owned().into());
        let made = self.control.provisioning.provision(ask).await;
        let made = ready(made.expect("a cache"));
        self.control.owner(made.resource.cache, id).await
    }

    /// Adds a credential and promotes it; gives its user name.
    pub async fn promote_new(&self, owner: &Owner) -> String {
        let (credential, _) = self
            .control
            .access
            .create(owner)
            .await
            .expect("a credential");
        self.promote(owner, credential.username.as_str()).await;
        credential.username.to_string()
    }

    pub async fn promote(&self, owner: &Owner, username: &str) {
        let username = username.parse().expect("a user name");
        let promoted = self.control.access.promote(owner, &username).await;
        promoted.expect("a promotion");
    }

    pub async fn work(&self) -> usize {
        self.outbox.run_due().await.expect("the store answers")
    }

    pub fn pass(&self, secs: u64) {
        self.control.clock.advance(Duration::from_secs(secs));
    }

    /// Sets the clock back.
    pub fn go_back(&self, secs: u64) {
        self.control.clock.set_back(Duration::from_secs(secs));
    }

    pub async fn state(&self, cache: CacheId) -> ConfigSyncState {
        let state = self.control.store.config_state(cache).await;
        state.expect("the store answers").expect("a row")
    }

    /// A flush that a node reports.
    pub async fn flush(&self, owner: &Owner, proxy: &str) {
        use larder::domain::Clock as _;
        let now = self.control.clock.now();
        let event = flush(owner.cache(), proxy, now);
        let mut tx = self.control.store.begin().await.expect("a transaction");
        let label = &owner.resource().label;
        larder::outbox::announce(
            &mut tx,
            owner.cache(),
            label,
            &event,
            &event.actor_on_node(),
            now,
        )
        .await
        .expect("the line is promised");
        tx.commit().await.expect("a commit");
    }
}

pub fn flush(cache: CacheId, proxy: &str, at: Timestamp) -> Event {
    Event::Flushed(FlushEvent {
        id: FlushId::generate(at),
        cache,
        origin: Origin::MemcacheClient,
        proxy: proxy.to_owned(),
        credential: None,
        remote: None,
        reason: None,
        items: 1,
        bytes: 2,
        at,
    })
}

pub fn code(text: &str, clock: &TestClock) -> GrantCode {
    use larder::domain::Clock as _;
    GrantCode {
        code: text.to_owned().into(),
        expires_at: clock.now().plus(Duration::from_secs(300)),
    }
}

pub fn outbox(
    store: &Store,
    clock: &Arc<TestClock>,
    nodes: Arc<Nodes>,
    provider: Arc<dyn Provider>,
) -> Outbox {
    outbox_in(None, store, clock, nodes, provider)
}

/// The outbox of a process in a certain machine and data folder.
pub fn outbox_in(
    place: Option<&str>,
    store: &Store,
    clock: &Arc<TestClock>,
    nodes: Arc<Nodes>,
    provider: Arc<dyn Provider>,
) -> Outbox {
    let providers = Providers::from([(HEROKU, provider)]);
    let settings = OutboxSettings {
        place: place.map(ToOwned::to_owned),
        nodes_wait: Duration::from_millis(10),
        unknown_installs_wait: Duration::ZERO,
        ..OutboxSettings::default()
    };
    Outbox::new(store.clone(), clock.clone(), nodes, providers, settings)
}

/// Heroku's settings with every address at `api`.
pub fn heroku_settings(api: &str) -> HerokuSettings {
    HerokuSettings {
        id: "addon-slug".to_owned(),
        user_agent: "Larder test".to_owned(),
        passwords: vec!["super-secret".to_owned().into()],
        previous_until: None,
        sso: SsoSettings {
            salts: vec!["salt".to_owned().into()],
            previous_until: None,
            legacy: false,
        },
        client_secret: Some("client-secret".to_owned().into()),
        id_url: api.to_owned(),
        api_url: api.to_owned(),
        addons_url: api.to_owned(),
        log_hosts: vec![
            "*.logplex.io".parse().expect("a pattern"),
            "127.0.0.1".parse().expect("a pattern"),
        ],
        webhooks: None,
        legacy: false,
        variables: ConfigVarNames::with_prefix("MEMCACHIER"),
        allow_http: true,
        call_max: Duration::from_millis(500),
    }
}

pub fn heroku_client(api: &str) -> Arc<HerokuClient> {
    Arc::new(HerokuClient::new(heroku_settings(api)).expect("a client"))
}
