//! Random interleavings of everything that happens to a resource, under every fault of a provider, with crashes in the
//! middle of pushes and requests. Once it is quiet, the provider holds our primary for every live resource, nothing is
//! left of dead ones, and every acknowledged flush has its line.
//!
//! `LARDER_TEST_SEED` chooses the run, `LARDER_TEST_STEPS` its length. A seed decides what is done in which order; where
//! exactly a crash cuts depends on the database's threads as well, so a fault may need a few runs to come back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use larder::access::{AccessError, Owner};
use larder::domain::{BoxFuture, CacheId, ConfigValues, ExternalId, ResourceState, Timestamp};
use larder::http::{CallError, CallErrorKind};
use larder::outbox::Outbox;
use larder::outbox::ports::{
    AttachedApp, Completion, ConfigPush, LogLine, LogSink, Provider, ProviderState, ResourceNow,
    ResourceReader, Token, TokenIssuer, Tokens,
};
use larder::provisioning::{GrantCode, Provisioned, ProvisioningError};
use larder::store::Tx;
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::yield_now;

use crate::outbox_fixture::{OutboxFixture, code, outbox};
use crate::support::HEROKU;
use crate::support::claims::heroku;
use crate::support::control_plane::request;
use crate::support::db::on_each;

/// Seeds that once found a fault are run again, shortly.
const FOUND: [u64; 0] = [];
const STEPS_BETWEEN_CHECKS: u64 = 200;
const LIVE_MAX: usize = 6;

#[derive(Clone, Copy, PartialEq, Eq)]
enum FaultMix {
    Fair,
    /// Nothing is taken.
    Down,
    /// Everything is taken, and the answer is lost.
    Forgetful,
}

/// The far side: variables, codes good for one exchange, and logs.
struct Market {
    faults: Mutex<FaultMix>,
    stages: Mutex<HashMap<ExternalId, ProviderState>>,
    /// Resources that are never taken as ready.
    stuck: Mutex<HashSet<ExternalId>>,
    vars: Mutex<HashMap<ExternalId, (String, String)>>,
    spent: Mutex<HashSet<String>>,
    issued: Mutex<u64>,
    logs: Mutex<HashMap<String, String>>,
}

impl Market {
    async fn take<T>(&self, effect: impl FnOnce() -> Result<T, CallError>) -> Result<T, CallError> {
        let trouble = || CallError::new(CallErrorKind::Retry { after: None }, "trouble");
        let faults = *self.faults.lock();
        yield_now().await;
        if faults == FaultMix::Down {
            return Err(trouble());
        }
        let done = effect();
        yield_now().await;
        match faults {
            FaultMix::Forgetful => Err(trouble()),
            _ => done,
        }
    }

    /// A customer has ordered, and we are about to be asked.
    fn order(&self, id: &ExternalId) {
        self.stages
            .lock()
            .insert(id.clone(), ProviderState::Provisioning);
        self.vars.lock().insert(id.clone(), Default::default());
    }

    fn remove(&self, id: &ExternalId) {
        self.stages.lock().remove(id);
        self.stuck.lock().remove(id);
        self.vars.lock().remove(id);
    }

    /// A completion action, allowed while the resource is provisioning.
    fn move_on(&self, id: &ExternalId, to: ProviderState) -> Result<(), CallError> {
        let mut stages = self.stages.lock();
        let state = stages
            .get_mut(id)
            .ok_or_else(|| CallError::new(CallErrorKind::Gone, "no such resource"))?;
        let stuck = to == ProviderState::Provisioned && self.stuck.lock().contains(id);
        if *state != ProviderState::Provisioning || stuck {
            return Err(CallError::new(CallErrorKind::Refused, "wrong state"));
        }
        *state = to;
        Ok(())
    }

    fn number(&self) -> u64 {
        let mut issued = self.issued.lock();
        *issued += 1;
        *issued
    }

    fn next_tokens(&self) -> Tokens {
        Tokens {
            access: format!("access-{}", self.number()).into(),
            expires_in: Duration::from_secs(28_799),
            refresh: Some("refresh".to_owned().into()),
        }
    }
}

impl Provider for Market {
    fn tokens(&self) -> Option<&dyn TokenIssuer> {
        Some(self)
    }
    fn config_push(&self) -> Option<&dyn ConfigPush> {
        Some(self)
    }
    fn log_sink(&self) -> Option<&dyn LogSink> {
        Some(self)
    }
    fn resource_reader(&self) -> Option<&dyn ResourceReader> {
        Some(self)
    }
    fn completion(&self) -> Option<&dyn Completion> {
        Some(self)
    }
}

impl ConfigPush for Market {
    fn push_config<'a>(
        &'a self,
        resource: &'a ExternalId,
        _: Token<'a>,
        values: &'a ConfigValues,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.take(|| {
            let mut vars = self.vars.lock();
            let held = vars
                .get_mut(resource)
                .ok_or_else(|| CallError::new(CallErrorKind::Gone, "no such resource"))?;
            *held = (
                values.username.to_string(),
                values.password.expose().to_owned(),
            );
            Ok(())
        }))
    }
}

impl TokenIssuer for Market {
    fn exchange<'a>(&'a self, code: &'a SecretString) -> BoxFuture<'a, Result<Tokens, CallError>> {
        Box::pin(self.take(|| {
            let fresh = self.spent.lock().insert(code.expose_secret().to_owned());
            match fresh {
                true => Ok(self.next_tokens()),
                false => Err(CallError::new(CallErrorKind::Refused, "a spent code")),
            }
        }))
    }

    fn fresh_code<'a>(
        &'a self,
        _: &'a ExternalId,
    ) -> BoxFuture<'a, Result<Option<SecretString>, CallError>> {
        Box::pin(self.take(|| Ok(Some(format!("fresh-{}", self.number()).into()))))
    }

    fn refresh<'a>(&'a self, _: &'a SecretString) -> BoxFuture<'a, Result<Tokens, CallError>> {
        Box::pin(self.take(|| Ok(self.next_tokens())))
    }
}

impl ResourceReader for Market {
    fn attachments<'a>(
        &'a self,
        _: &'a ExternalId,
        _: Token<'a>,
    ) -> BoxFuture<'a, Result<Vec<AttachedApp>, CallError>> {
        Box::pin(self.take(|| Ok(Vec::new())))
    }

    fn resource<'a>(
        &'a self,
        resource: &'a ExternalId,
        _: Token<'a>,
    ) -> BoxFuture<'a, Result<ResourceNow, CallError>> {
        Box::pin(self.take(|| {
            let state = self.stages.lock().get(resource).copied();
            Ok(ResourceNow {
                name: Some(resource.to_string()),
                state: state.ok_or_else(|| CallError::new(CallErrorKind::Gone, "unknown"))?,
            })
        }))
    }
}

impl Completion for Market {
    fn finish<'a>(
        &'a self,
        resource: &'a ExternalId,
        _: Token<'a>,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.take(|| self.move_on(resource, ProviderState::Provisioned)))
    }

    fn give_up<'a>(
        &'a self,
        resource: &'a ExternalId,
        _: Token<'a>,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.take(|| self.move_on(resource, ProviderState::Deprovisioned)))
    }
}

impl LogSink for Market {
    fn send_log<'a>(
        &'a self,
        _: &'a ExternalId,
        url: &'a SecretString,
        _: &'a str,
        lines: &'a [LogLine],
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(self.take(move || {
            let mut logs = self.logs.lock();
            let log = logs.entry(url.expose_secret().to_owned()).or_default();
            for line in lines {
                writeln!(log, "{}", line.text).expect("a string takes all");
            }
            Ok(())
        }))
    }
}

/// What the outside knows of a live resource.
struct Live {
    owner: Owner,
    log_url: String,
    /// Acknowledged, and not asked to be deleted since.
    credentials: Vec<String>,
    /// The primary; after a request without an answer, what it may be besides.
    primary: Vec<String>,
    /// The text by which each acknowledged flush is found in the log.
    flushes: Vec<String>,
}

struct Model {
    fixture: OutboxFixture,
    market: Arc<Market>,
    outbox: Outbox,
    seed: u64,
    dice: u64,
    live: BTreeMap<ExternalId, Live>,
    dead: Vec<(ExternalId, CacheId)>,
    made: u64,
}

/// Cut off after some polls, as by a crash; `None` when it was.
async fn cut<T>(polls: u64, work: impl Future<Output = T>) -> Option<T> {
    let crash = async {
        for _ in 0..polls {
            yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = crash => None,
        done = work => Some(done),
    }
}

impl Model {
    fn new(fixture: OutboxFixture, seed: u64) -> Model {
        let market = Arc::new(Market {
            faults: Mutex::new(FaultMix::Fair),
            stages: Mutex::default(),
            stuck: Mutex::default(),
            vars: Mutex::default(),
            spent: Mutex::default(),
            issued: Mutex::default(),
            logs: Mutex::default(),
        });
        let (store, clock) = (&fixture.control.store, &fixture.control.clock);
        let outbox = outbox(store, clock, fixture.nodes.clone(), market.clone());
        Model {
            outbox,
            market,
            fixture,
            seed,
            dice: seed,
            live: BTreeMap::new(),
            dead: Vec::new(),
            made: 0,
        }
    }

    /// SplitMix64.
    fn roll(&mut self, below: usize) -> usize {
        self.dice = self.dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % below as u64) as usize
    }

    fn any(&mut self) -> Option<ExternalId> {
        let count = self.live.len();
        let at = self.roll(count.max(1));
        self.live.keys().nth(at).cloned()
    }

    async fn step(&mut self) {
        let pause = Duration::from_millis(200 + self.roll(1_800) as u64);
        self.fixture.control.clock.advance(pause);
        match self.roll(24) {
            0 | 1 if self.live.len() < LIVE_MAX => self.provision().await,
            2 => self.provision_again().await,
            3 => self.change_plan().await,
            4 => self.deprovision().await,
            5 => self.delete().await,
            6 | 7 => self.add().await,
            8..=10 => self.promote(false).await,
            11 => self.promote(true).await,
            12..=14 => self.flush().await,
            15 => self.set_faults(),
            16 => self.fixture.nodes_follow(self.dice.is_multiple_of(2)),
            17 | 18 => self.crash().await,
            19 => self.outbox.tidy().await.expect("tidied"),
            _ => {
                self.outbox.run_due().await.expect("the store answers");
            }
        }
    }

    async fn provision(&mut self) {
        self.made += 1;
        let name = format!("r-{}-{}", self.seed, self.made);
        let log_url = format!("https://token:t.{}@1.us.logplex.io/logs", self.made);
        let granted = code(&format!("code-{name}"), &self.fixture.control.clock);
        // One in three is set up in the background, and some of those are never taken as ready.
        let plan = ["dev", "dev", "slow"][self.roll(3)];
        let ask = || {
            let mut ask = request(&name);
            ask.plan = plan.to_owned();
            ask.grant = Some(GrantCode {
                code: granted.code.clone(),
                expires_at: granted.expires_at,
            });
            ask.log_url = Some(log_url.clone().into());
            ask
        };
        let id = ask().external_id;
        self.market.order(&id);
        if plan == "slow" && self.roll(4) == 0 {
            self.market.stuck.lock().insert(id.clone());
        }
        // The first call may be cut off; the marketplace then asks again.
        let polls = self.roll(400) as u64;
        let mut made = cut(polls, self.fixture.control.provisioning.provision(ask())).await;
        if made.is_none() {
            made = Some(self.fixture.control.provisioning.provision(ask()).await);
        }
        let (cache, username) = match made.expect("asked").expect("a cache") {
            Provisioned::Ready(made) => {
                let username = made.values.username.to_string();
                let vars = (username.clone(), made.values.password.expose().to_owned());
                self.market.vars.lock().insert(id.clone(), vars);
                let moved = self.market.move_on(&id, ProviderState::Provisioned);
                moved.expect("a sound order");
                (made.resource.cache, username)
            }
            Provisioned::Pending(resource) => {
                let primary = self.fixture.control.store.primary(resource.cache).await;
                let (username, _) = primary.expect("read").expect("one");
                (resource.cache, username.to_string())
            }
        };
        let live = Live {
            owner: self.fixture.control.owner(cache, &name).await,
            log_url,
            credentials: vec![username.clone()],
            primary: vec![username],
            flushes: Vec::new(),
        };
        self.live.insert(id, live);
    }

    async fn provision_again(&mut self) {
        let Some(id) = self.any() else { return };
        let again = self
            .fixture
            .control
            .provisioning
            .provision(request(id.as_str()));
        let again = again.await.expect("the same cache");
        let live = &self.live[&id];
        match again {
            Provisioned::Ready(again) => {
                assert_eq!(again.resource.cache, live.owner.cache());
                assert!(live.primary.contains(&again.values.username.to_string()));
            }
            Provisioned::Pending(again) => assert_eq!(again.cache, live.owner.cache()),
        }
    }

    async fn change_plan(&mut self) {
        let Some(id) = self.any() else { return };
        let plan = ["dev", "100"][self.roll(2)];
        let provisioning = &self.fixture.control.provisioning;
        let changed = provisioning.change_plan(HEROKU, &id, plan);
        changed.await.expect("another plan");
    }

    async fn deprovision(&mut self) {
        let Some(id) = self.any() else { return };
        let polls = self.roll(400) as u64;
        let provisioning = self.fixture.control.provisioning.clone();
        let first = cut(polls, provisioning.deprovision(HEROKU, &id)).await;
        match first {
            Some(first) => first.expect("it was live"),
            None => match provisioning.deprovision(HEROKU, &id).await {
                Ok(()) | Err(ProvisioningError::Gone) => {}
                Err(error) => panic!("{error}"),
            },
        }
        self.market.remove(&id);
        let live = self.live.remove(&id).expect("live until now");
        self.dead.push((id, live.owner.cache()));
    }

    async fn add(&mut self) {
        let Some(id) = self.any() else { return };
        let polls = self.roll(600) as u64;
        let (access, owner) = (
            self.fixture.control.access.clone(),
            self.live[&id].owner.clone(),
        );
        match cut(polls, access.create(&owner)).await {
            Some(Ok((credential, _))) => {
                let live = self.live.get_mut(&id).expect("live");
                live.credentials.push(credential.username.to_string());
            }
            Some(Err(AccessError::TooManyCredentials { .. })) | None => {}
            Some(Err(error)) => panic!("{error}"),
        }
    }

    async fn delete(&mut self) {
        let Some(id) = self.any() else { return };
        let owner = self.live[&id].owner.clone();
        let all = self.fixture.control.access.credentials(&owner).await;
        let Some(last) = all.expect("a list").into_iter().skip(1).last() else {
            return;
        };
        let live = self.live.get_mut(&id).expect("live");
        live.credentials
            .retain(|name| *name != last.username.as_str());
        let polls = self.roll(600) as u64;
        let access = self.fixture.control.access.clone();
        match cut(polls, access.remove(&owner, &last.username)).await {
            Some(removed) => {
                removed.expect("a secondary");
            }
            // Either is in order, but not that it goes between a later step's read and its write.
            None => drop(self.behind_the_lock(&owner).await),
        }
    }

    /// A transaction that holds the resource, begun when whatever was cut off before has come to its end: a commit that
    /// nobody waits for any more may still be under way.
    async fn behind_the_lock(&self, owner: &Owner) -> Tx {
        let mut tx = self
            .fixture
            .control
            .store
            .begin()
            .await
            .expect("a transaction");
        let locked = tx.lock_resource(owner.cache()).await.expect("read");
        assert!(locked.is_some());
        tx
    }

    /// Promotes the youngest secondary, or a new credential in one step.
    async fn promote(&mut self, rotate: bool) {
        let Some(id) = self.any() else { return };
        let owner = self.live[&id].owner.clone();
        let access = self.fixture.control.access.clone();
        let all = access.credentials(&owner).await.expect("a list");
        let (first, last) = (&all[0].username, &all[all.len() - 1].username);
        let polls = self.roll(400) as u64;
        let promoted = if rotate {
            cut(polls, access.rotate(&owner, first)).await
        } else {
            let promoting = async {
                access.promote(&owner, last).await?;
                Ok(last.clone())
            };
            cut(polls, promoting).await
        };
        let primary = match promoted {
            Some(Ok(name)) => name,
            Some(Err(AccessError::TooManyCredentials { .. })) => return,
            Some(Err(error)) => panic!("{error}"),
            // Reconcile what came of it; either is in order.
            None => {
                let mut tx = self.behind_the_lock(&owner).await;
                let now = tx.primary_credential(owner.cache()).await.expect("read");
                let found = now.expect("a primary").username;
                assert!(
                    rotate || [first, last].contains(&&found),
                    "{found} of {first}, {last}"
                );
                found
            }
        };
        let live = self.live.get_mut(&id).expect("live");
        live.primary = vec![primary.to_string()];
        if !live.credentials.contains(&live.primary[0]) {
            live.credentials.push(primary.to_string());
        }
    }

    async fn flush(&mut self) {
        let Some(id) = self.any() else { return };
        self.made += 1;
        let word = format!("p{}.example.net", self.made);
        let live = self.live.get_mut(&id).expect("live");
        self.fixture.flush(&live.owner, &word).await;
        live.flushes.push(format!(" proxy={word} "));
    }

    fn set_faults(&mut self) {
        let kinds = [FaultMix::Fair, FaultMix::Down, FaultMix::Forgetful];
        *self.market.faults.lock() = kinds[self.roll(3)];
    }

    /// The worker dies in the middle of what it does; another starts.
    async fn crash(&mut self) {
        let polls = self.roll(1_500) as u64;
        if let Some(done) = cut(polls, self.outbox.run_due()).await {
            done.expect("the store answers");
        }
        let (store, clock) = (&self.fixture.control.store, &self.fixture.control.clock);
        self.outbox = outbox(
            store,
            clock,
            self.fixture.nodes.clone(),
            self.market.clone(),
        );
    }

    /// No faults until nothing is owed any more. Shorter than a line lives.
    async fn settle(&mut self) {
        *self.market.faults.lock() = FaultMix::Fair;
        self.fixture.nodes_follow(true);
        let store = &self.fixture.control.store;
        let (ever, served) = (Timestamp::from_micros(i64::MAX), heroku());
        for _ in 0..40 {
            self.fixture.pass(20);
            while self.outbox.run_due().await.expect("the store answers") > 0 {}
            let owed = store.lines_waiting().await.expect("read")
                + store.config_backlog(&served, ever).await.expect("read").due
                + store.codes_backlog(&served, ever).await.expect("read").due;
            let unfinished = store
                .async_provisions_backlog(&served, ever)
                .await
                .expect("read")
                .due;
            let stuck: Vec<ExternalId> = self.market.stuck.lock().iter().cloned().collect();
            if owed == 0 && unfinished == stuck.len() as u64 {
                return self.wait_for_giving_up(stuck).await;
            }
        }
        panic!("something is owed for ever");
    }

    /// What the provider never takes as ready is given up within half a day.
    async fn wait_for_giving_up(&mut self, stuck: Vec<ExternalId>) {
        if stuck.is_empty() {
            return;
        }
        self.fixture.pass(11 * 3_600);
        for _ in 0..20 {
            self.fixture.pass(300);
            while self.outbox.run_due().await.expect("the store answers") > 0 {}
        }
        for id in stuck {
            let state = self.market.stages.lock().get(&id).copied();
            assert_eq!(
                state,
                Some(ProviderState::Deprovisioned),
                "{id} was given up"
            );
            let live = self.live.remove(&id).expect("live until now");
            self.market.remove(&id);
            self.dead.push((id, live.owner.cache()));
        }
    }

    async fn check(&self) {
        let store = &self.fixture.control.store;
        for (id, live) in &self.live {
            let cache = live.owner.cache();
            let (username, password) = store.primary(cache).await.expect("read").expect("one");
            let ours = (username.to_string(), password.expose().to_owned());
            assert!(
                live.primary.contains(&ours.0),
                "{id}: {} is primary",
                ours.0
            );
            assert_eq!(self.market.vars.lock().get(id), Some(&ours), "{id}");
            let state = self.market.stages.lock().get(id).copied();
            assert_eq!(state, Some(ProviderState::Provisioned), "{id}");
            let resource = store.resource(cache).await.expect("read");
            let state = resource.expect("a row").state;
            assert_eq!(state, ResourceState::Provisioned, "{id}");
            let all = store.credentials(cache).await.expect("read");
            assert_eq!(all.iter().filter(|one| one.primary).count(), 1, "{id}");
            for name in &live.credentials {
                let kept = all.iter().any(|one| one.username.as_str() == name);
                assert!(kept, "{id}: {name} is lost");
            }
            let logs = self.market.logs.lock();
            let log = logs.get(&live.log_url).map_or("", String::as_str);
            for flush in &live.flushes {
                assert!(log.contains(flush), "{id}: no line for{flush}in {log}");
            }
        }
        for (id, cache) in &self.dead {
            assert!(store.primary(*cache).await.expect("read").is_none());
            assert!(store.credentials(*cache).await.expect("read").is_empty());
            assert!(store.config_state(*cache).await.expect("read").is_none());
            assert!(store.grant(*cache).await.expect("read").is_none());
            let provisioning = &self.fixture.control.provisioning;
            let again = provisioning.provision(request(id.as_str())).await;
            assert!(matches!(again, Err(ProvisioningError::Gone)), "{id}");
        }
    }

    async fn run(&mut self, steps: u64) {
        for step in 1..=steps {
            self.step().await;
            if step % STEPS_BETWEEN_CHECKS == 0 || step == steps {
                self.settle().await;
                self.check().await;
                // Long dead ones were checked often enough.
                self.dead.clear();
            }
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Says the seed when it does not end well.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("LARDER_TEST_SEED={} found this", self.0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_history_both_sides_agree() {
    let now = larder::domain::secret::random_bytes::<8>();
    let seed = number("LARDER_TEST_SEED").unwrap_or(u64::from_le_bytes(now));
    let steps = number("LARDER_TEST_STEPS").unwrap_or(10_000);
    on_each(async |db| {
        let steps = if db.is_postgres() { steps / 10 } else { steps };
        for (seed, steps) in FOUND
            .map(|seed| (seed, 400))
            .into_iter()
            .chain([(seed, steps)])
        {
            let _told = Told(seed);
            Model::new(OutboxFixture::start(db).await, seed)
                .run(steps)
                .await;
        }
    })
    .await;
}
