//! A control plane with an outbox on top, and a provider that is told how to behave.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use larder::access::Owner;
use larder::cluster::Cluster;
use larder::domain::{
    BoxFuture, CacheId, ConfigVarNames, Event, ExternalId, FlushEvent, FlushId, Marketplace,
    Origin, Revision, Timestamp,
};
use larder::marketplace::heroku::HerokuSettings;
use larder::marketplace::heroku::client::HerokuClient;
use larder::marketplace::heroku::sso::SsoSettings;
use larder::outbox::ports::{
    self, AttachedApp, ConfigValues, LogLine, Provider, Providers, ResourceNow, SendError,
    SendErrorKind, Stage, Tokens,
};
use larder::outbox::{Outbox, OutboxSettings};
use larder::provisioning::GrantCode;
use larder::store::config_sync::ConfigSyncState;
use larder::store::{Store, StoreError};
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Notify, Semaphore};

use crate::support::db::TestDb;
use crate::support::world::{TestClock, World, ready, request};

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

/// One call that the provider was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Push { token: String, username: String },
    Exchange,
    FreshCode,
    Refresh(String),
    Attachments,
    Resource,
    Finish,
    GiveUp,
    AskForNews,
    Installs,
    Log { url: String, lines: Vec<String> },
}

/// A provider that answers what the script says, and gives what is asked for once the script is at its end.
pub struct Scripted {
    pub calls: Mutex<Vec<Call>>,
    pub script: Mutex<VecDeque<Option<SendErrorKind>>>,
    pub apps: Mutex<Vec<AttachedApp>>,
    /// The list of installs.
    pub installs: Mutex<Option<Vec<ExternalId>>>,
    /// What the resource is called.
    pub name: Mutex<String>,
    pub stage: Mutex<Stage>,
    issued: Mutex<u32>,
    /// While shut, pushes wait here after they were noted as called,
    held: Mutex<Option<Arc<Semaphore>>>,
    /// or here after they took effect.
    held_after: Mutex<Option<Arc<Semaphore>>>,
    held_finish: Mutex<Option<Arc<Semaphore>>>,
    /// A log input, and where lines to it wait after they were noted as called.
    held_log: Mutex<Option<(String, Arc<Semaphore>)>>,
    refuses_finish: AtomicBool,
    fails_give_up: Mutex<Option<SendErrorKind>>,
    noted: Notify,
    refuses_tokens: AtomicBool,
    fails_pushes: AtomicBool,
    refuses_logs: AtomicBool,
    loses_answers: AtomicBool,
    gives_codes: AtomicBool,
    /// Pushes in the order in which they took effect.
    pub effects: Mutex<Vec<String>>,
    /// SERVERS of each push that took effect.
    pub servers: Mutex<Vec<String>>,
    /// The time that each line sent speaks of.
    pub log_times: Mutex<Vec<Timestamp>>,
    /// The name of each batch of lines sent.
    pub log_batches: Mutex<Vec<String>>,
}

impl Default for Scripted {
    fn default() -> Scripted {
        Scripted {
            calls: Mutex::default(),
            script: Mutex::default(),
            apps: Mutex::default(),
            installs: Mutex::default(),
            name: Mutex::default(),
            stage: Mutex::new(Stage::Provisioning),
            issued: Mutex::default(),
            held: Mutex::default(),
            held_after: Mutex::default(),
            held_finish: Mutex::default(),
            held_log: Mutex::default(),
            refuses_finish: AtomicBool::default(),
            fails_give_up: Mutex::default(),
            noted: Notify::new(),
            refuses_tokens: AtomicBool::default(),
            fails_pushes: AtomicBool::default(),
            refuses_logs: AtomicBool::default(),
            loses_answers: AtomicBool::default(),
            gives_codes: AtomicBool::default(),
            effects: Mutex::default(),
            servers: Mutex::default(),
            log_times: Mutex::default(),
            log_batches: Mutex::default(),
        }
    }
}

impl Scripted {
    pub fn fail(&self, kinds: impl IntoIterator<Item = SendErrorKind>) {
        self.script.lock().extend(kinds.into_iter().map(Some));
    }

    /// Lets so many calls pass, and fails the one after.
    pub fn fail_after(&self, pass: usize, kind: SendErrorKind) {
        let mut script = self.script.lock();
        script.extend(std::iter::repeat_n(None, pass));
        script.push_back(Some(kind));
    }

    /// Whether no access token is good for a push.
    pub fn refuse_tokens(&self, refuse: bool) {
        self.refuses_tokens.store(refuse, Ordering::SeqCst);
    }

    /// Whether every push meets a provider in trouble.
    pub fn fail_pushes(&self, fail: bool) {
        self.fails_pushes.store(fail, Ordering::SeqCst);
    }

    /// Whether every log input is dead.
    pub fn refuse_logs(&self, refuse: bool) {
        self.refuses_logs.store(refuse, Ordering::SeqCst);
    }

    /// Whether a push that the script fails has taken effect all the same.
    pub fn lose_answers(&self, lose: bool) {
        self.loses_answers.store(lose, Ordering::SeqCst);
    }

    /// Whether a lost code is replaced.
    pub fn give_codes(&self, give: bool) {
        self.gives_codes.store(give, Ordering::SeqCst);
    }

    /// Makes the pushes from now on wait for a permit.
    pub fn hold(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.held.lock() = Some(Arc::clone(&gate));
        gate
    }

    /// Makes the pushes from now on wait for a permit before they are answered.
    pub fn hold_after(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.held.lock() = None;
        *self.held_after.lock() = Some(Arc::clone(&gate));
        gate
    }

    pub fn go_on(&self) {
        *self.held.lock() = None;
        *self.held_after.lock() = None;
        *self.held_finish.lock() = None;
        *self.held_log.lock() = None;
    }

    /// Makes lines to this log input wait for a permit.
    pub fn hold_log(&self, url: &str) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.held_log.lock() = Some((url.to_owned(), Arc::clone(&gate)));
        gate
    }

    /// Makes words that a resource is ready wait for a permit after they were noted as called.
    pub fn hold_finish(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.held_finish.lock() = Some(Arc::clone(&gate));
        gate
    }

    /// Whether no resource is taken as ready.
    pub fn refuse_finish(&self, refuse: bool) {
        self.refuses_finish.store(refuse, Ordering::SeqCst);
    }

    /// Fails givings up from now on; one whose answer is lost takes effect.
    pub fn fail_give_up(&self, kind: SendErrorKind) {
        *self.fails_give_up.lock() = Some(kind);
    }

    /// Waits until a call like this was noted.
    pub async fn called(&self, call: &Call) {
        loop {
            let noted = self.noted.notified();
            if self.count(|made| made == call) > 0 {
                return;
            }
            noted.await;
        }
    }

    pub fn pushes(&self) -> Vec<String> {
        let calls = self.calls.lock();
        let push = |call: &Call| match call {
            Call::Push { username, .. } => Some(username.clone()),
            _ => None,
        };
        calls.iter().filter_map(push).collect()
    }

    /// All lines sent, in order, whether they arrived or not.
    pub fn logs(&self) -> Vec<Vec<String>> {
        let calls = self.calls.lock();
        let log = |call: &Call| match call {
            Call::Log { lines, .. } => Some(lines.clone()),
            _ => None,
        };
        calls.iter().filter_map(log).collect()
    }

    pub fn count(&self, is: impl Fn(&Call) -> bool) -> usize {
        self.calls.lock().iter().filter(|call| is(call)).count()
    }

    fn call(&self, call: Call) -> Result<(), SendError> {
        self.calls.lock().push(call);
        self.noted.notify_waiters();
        match self.script.lock().pop_front() {
            Some(Some(kind)) => Err(SendError::new(kind, format!("scripted {kind:?}"))),
            Some(None) | None => Ok(()),
        }
    }

    /// A completion action: what is not provisioning any more refuses both.
    fn move_on(&self, answer: Result<(), SendError>, to: Stage) -> Result<(), SendError> {
        let mut stage = self.stage.lock();
        if answer.is_err() && !self.loses_answers.load(Ordering::SeqCst) {
            return answer;
        }
        if *stage != Stage::Provisioning {
            let why = format!("is {stage:?}");
            return Err(SendError::new(SendErrorKind::Refused, why));
        }
        *stage = to;
        answer
    }

    fn issue(&self) -> Tokens {
        let mut issued = self.issued.lock();
        *issued += 1;
        Tokens {
            access: format!("access-{issued}").into(),
            expires_in: Duration::from_secs(28_799),
            refresh: Some(format!("refresh-{issued}").into()),
        }
    }
}

async fn pass(gate: Option<Arc<Semaphore>>) {
    if let Some(gate) = gate {
        gate.acquire().await.expect("the gate stays").forget();
    }
}

impl Provider for Scripted {
    fn push_config<'a>(
        &'a self,
        _: &'a ExternalId,
        token: &'a SecretString,
        values: &'a ConfigValues,
    ) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            let username = values.username.to_string();
            let answer = self.call(Call::Push {
                token: token.expose_secret().to_owned(),
                username: username.clone(),
            });
            let (held, held_after) = (self.held.lock().clone(), self.held_after.lock().clone());
            pass(held).await;
            if self.refuses_tokens.load(Ordering::SeqCst) {
                return Err(SendError::new(SendErrorKind::Unauthorized, "no such token"));
            }
            if self.fails_pushes.load(Ordering::SeqCst) {
                let trouble = SendErrorKind::Retry { after: None };
                return Err(SendError::new(trouble, "in trouble"));
            }
            let arrives = self.loses_answers.load(Ordering::SeqCst);
            if answer.is_ok() || arrives {
                self.effects.lock().push(username);
                self.servers.lock().push(values.servers.clone());
            }
            pass(held_after).await;
            answer
        })
    }

    fn exchange<'a>(&'a self, _: &'a SecretString) -> BoxFuture<'a, Result<Tokens, SendError>> {
        Box::pin(async { self.call(Call::Exchange).map(|()| self.issue()) })
    }

    fn fresh_code<'a>(
        &'a self,
        _: &'a ExternalId,
    ) -> BoxFuture<'a, Result<Option<SecretString>, SendError>> {
        Box::pin(async {
            if !self.gives_codes.load(Ordering::SeqCst) {
                return Ok(None);
            }
            self.call(Call::FreshCode)?;
            Ok(Some("fresh".to_owned().into()))
        })
    }

    fn refresh<'a>(&'a self, token: &'a SecretString) -> BoxFuture<'a, Result<Tokens, SendError>> {
        let call = Call::Refresh(token.expose_secret().to_owned());
        Box::pin(async {
            let answer = self.call(call);
            tokio::task::yield_now().await;
            answer.map(|()| self.issue())
        })
    }

    fn attachments<'a>(
        &'a self,
        _: &'a ExternalId,
        _: &'a SecretString,
    ) -> BoxFuture<'a, Result<Vec<AttachedApp>, SendError>> {
        Box::pin(async {
            self.call(Call::Attachments)?;
            Ok(self.apps.lock().clone())
        })
    }

    fn resource<'a>(
        &'a self,
        _: &'a ExternalId,
        _: &'a SecretString,
    ) -> BoxFuture<'a, Result<ResourceNow, SendError>> {
        Box::pin(async {
            self.call(Call::Resource)?;
            Ok(ResourceNow {
                name: self.name.lock().clone(),
                stage: *self.stage.lock(),
            })
        })
    }

    fn finish<'a>(
        &'a self,
        _: &'a ExternalId,
        _: &'a SecretString,
    ) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async {
            let answer = self.call(Call::Finish);
            let held = self.held_finish.lock().clone();
            pass(held).await;
            match self.refuses_finish.load(Ordering::SeqCst) {
                true => Err(SendError::new(SendErrorKind::Refused, "not taken")),
                false => self.move_on(answer, Stage::Provisioned),
            }
        })
    }

    fn give_up<'a>(
        &'a self,
        _: &'a ExternalId,
        _: &'a SecretString,
    ) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async {
            let answer = self.call(Call::GiveUp);
            let answer = match *self.fails_give_up.lock() {
                Some(kind) => Err(SendError::new(kind, "failed")),
                None => answer,
            };
            self.move_on(answer, Stage::Deprovisioned)
        })
    }

    fn news_url(&self) -> Option<&str> {
        Some("https://larder.example.com/heroku/webhooks")
    }

    fn ask_for_news<'a>(
        &'a self,
        _: &'a ExternalId,
        _: &'a SecretString,
    ) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async { self.call(Call::AskForNews) })
    }

    fn installs(&self) -> BoxFuture<'_, Result<Option<Vec<ExternalId>>, SendError>> {
        Box::pin(async {
            self.call(Call::Installs)?;
            Ok(self.installs.lock().clone())
        })
    }

    fn send_log<'a>(
        &'a self,
        _: &'a ExternalId,
        url: &'a SecretString,
        batch: &'a str,
        lines: &'a [LogLine],
    ) -> BoxFuture<'a, Result<(), SendError>> {
        let call = Call::Log {
            url: url.expose_secret().to_owned(),
            lines: lines.iter().map(|line| line.text.clone()).collect(),
        };
        let times = lines.iter().map(|line| line.at);
        self.log_times.lock().extend(times);
        self.log_batches.lock().push(batch.to_owned());
        Box::pin(async move {
            let answer = self.call(call);
            let held = self.held_log.lock().clone();
            let held = held.filter(|(held, _)| held == url.expose_secret());
            pass(held.map(|(_, gate)| gate)).await;
            answer?;
            if self.refuses_logs.load(Ordering::SeqCst) {
                return Err(SendError::new(SendErrorKind::Unauthorized, "a dead input"));
            }
            Ok(())
        })
    }
}

pub struct Bed {
    pub world: World,
    pub provider: Arc<Scripted>,
    pub nodes: Arc<Nodes>,
    pub outbox: Outbox,
}

impl Bed {
    pub async fn start(db: &TestDb) -> Bed {
        let world = World::start(db).await;
        let provider = Arc::new(Scripted::default());
        let nodes = Arc::new(Nodes {
            follow: AtomicBool::new(true),
            held: Mutex::default(),
            awaited: Mutex::default(),
            cluster: world.cluster.clone(),
        });
        let outbox = outbox(&world.store, &world.clock, nodes.clone(), provider.clone());
        Bed {
            world,
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
            &self.world.clock,
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
        ask.grant = Some(code("code-1", self.world.clock.as_ref()));
        ask.log_url = Some(LOG_URL.to_owned().into());
        let made = self.world.provisioning.provision(ask).await;
        let made = ready(made.expect("a cache"));
        self.world.owner(made.resource.cache, id).await
    }

    /// Adds a credential and promotes it; gives its user name.
    pub async fn promote_new(&self, owner: &Owner) -> String {
        let (credential, _) = self.world.access.create(owner).await.expect("a credential");
        self.promote(owner, credential.username.as_str()).await;
        credential.username.to_string()
    }

    pub async fn promote(&self, owner: &Owner, username: &str) {
        let username = username.parse().expect("a user name");
        let promoted = self.world.access.promote(owner, &username).await;
        promoted.expect("a promotion");
    }

    pub async fn work(&self) -> usize {
        self.outbox.run_due().await.expect("the store answers")
    }

    pub fn pass(&self, secs: u64) {
        self.world.clock.advance(Duration::from_secs(secs));
    }

    /// Sets the clock back.
    pub fn go_back(&self, secs: u64) {
        self.world.clock.set_back(Duration::from_secs(secs));
    }

    pub async fn state(&self, cache: CacheId) -> ConfigSyncState {
        let state = self.world.store.config_state(cache).await;
        state.expect("the store answers").expect("a row")
    }

    /// A flush that a node reports.
    pub async fn flush(&self, owner: &Owner, proxy: &str) {
        use larder::domain::Clock as _;
        let now = self.world.clock.now();
        let event = flush(owner.cache(), proxy, now);
        let mut tx = self.world.store.begin().await.expect("a transaction");
        let label = &owner.resource().label;
        larder::outbox::announce(&mut tx, owner.cache(), label, &event, now)
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
    let providers = Providers::from([(Marketplace::Heroku, provider)]);
    let settings = OutboxSettings {
        nodes_wait: Duration::from_millis(10),
        strangers_wait: Duration::ZERO,
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
        sso: SsoSettings {
            salts: vec!["salt".to_owned().into()],
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
