//! P4: what was acknowledged survives. `larder serve` is killed with SIGKILL at random moments while a marketplace
//! provisions, at once and in the background, changes plans and attaches apps, and owners promote, flush and let the
//! schedule rotate; a ledger of acknowledged requests is held against what is there after each restart. `scripts/kill-loop COUNT` runs more kills than the default.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use larder::domain::{CacheId, Timestamp};
use larder::sandbox::{AddonId, AppId, ProvisionOptions, Sandbox};
use larder::store::seal::MasterKey;
use larder::store::{Schema, Store, StoreSettings};
use parking_lot::Mutex;
use tokio::sync::RwLock;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::support::dashboard::Dashboard;
use crate::support::db::{Database, START};
use crate::support::needs;
use crate::support::process::Process;
use crate::support::scene::{
    PATIENCE, free_port, lines_of, master_key, sandbox_settings, settings,
};

/// A killed process leaves leases of 60 s behind, of a push and of a token's refresh within it.
const LEASES_OVER: Duration = Duration::from_secs(180);
const OWNERS: usize = 4;
const CACHES_PER_OWNER: usize = 12;

/// What the outside was told about one cache.
#[derive(Clone, Debug, Default)]
struct Told {
    /// Who acts on it: one owner per cache, so that the order of what was acknowledged is known.
    owner: usize,
    app: Option<AppId>,
    /// The primary last acknowledged.
    primary: String,
    /// A promotion that was sent and not answered: it may or may not have happened.
    maybe: Option<String>,
    /// User names whose creation was acknowledged.
    credentials: Vec<String>,
    flushes: usize,
    promotions: usize,
    /// A second app that the cache was attached to.
    attached: Option<AppId>,
    /// The plans it may be on: one, and after a change without an answer two.
    plans: Vec<&'static str>,
    /// Whether it was set up in the background.
    slow: bool,
    /// Whether the schedule replaces its primary as well, so that only the service knows it.
    rotating: bool,
    deprovisioned: bool,
    /// A deprovisioning that was sent and not answered.
    maybe_deprovisioned: bool,
}

/// Everything acknowledged so far.
type Ledger = Arc<Mutex<BTreeMap<AddonId, Told>>>;

/// A browser per cache. A session that was acknowledged must outlive the kills like everything else.
type Browsers = Arc<Mutex<BTreeMap<AddonId, Dashboard>>>;

/// `dev` and `100` are provisioned at once, `slow` in the background.
const PLANS: &str = r#"
[[plans]]
slug = "dev"
memory_mib = 25
connections = 50
credentials = 10
sample_grain_secs = 60
history_days = 7
price_cents = 0

[[plans]]
slug = "100"
memory_mib = 100
connections = 50
credentials = 10
sample_grain_secs = 60
history_days = 7
price_cents = 0

[[plans]]
slug = "slow"
memory_mib = 50
connections = 50
credentials = 10
sample_grain_secs = 60
history_days = 7
price_cents = 0
asynchronous = true
"#;

/// What owners act on. They hold `alive` for reading; the inspector takes it for writing.
#[derive(Clone)]
struct Stage {
    sandbox: Arc<Sandbox>,
    base: String,
    /// The service's database, to let a day come.
    database: String,
    ledger: Ledger,
    browsers: Browsers,
    alive: Arc<RwLock<()>>,
    over: CancellationToken,
}

impl Stage {
    /// The browser of a cache, signed in.
    async fn dashboard(&self, addon: AddonId) -> Dashboard {
        let known = self.browsers.lock().get(&addon).cloned();
        if let Some(dashboard) = known {
            return dashboard;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Dashboard::try_open(&self.sandbox, addon, &self.base).await {
                Ok(dashboard) => {
                    self.browsers.lock().insert(addon, dashboard.clone());
                    return dashboard;
                }
                // A sign-on whose answer was lost has used up this second's proof.
                Err(page) => assert!(Instant::now() < deadline, "never let in: {page:?}"),
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test]
async fn sqlite_survives_kills() {
    let kills = kills();
    run(Database::sqlite(), kills).await;
}

#[tokio::test]
async fn postgres_survives_kills() {
    if let Some(database) = needs(Database::postgres().await, "PostgreSQL") {
        run(database, kills() / 5).await;
    }
}

fn kills() -> u32 {
    std::env::var("LARDER_TEST_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(50)
}

async fn run(database: Database, kills: u32) {
    let data = tempfile::tempdir().expect("a folder");
    let sandbox = Sandbox::start(sandbox_settings(None))
        .await
        .expect("the sandbox starts");
    let base = format!("http://127.0.0.1:{}", free_port());
    let mut settings = settings(&base, sandbox.url(), &database, &data);
    settings.insert(0, ("LARDER_ENGINE_MEMORY".to_owned(), "64GiB".to_owned()));
    settings.insert(0, ("LARDER_LOG".to_owned(), "error".to_owned()));
    let folder = data.path().join("home");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("larder.toml"), PLANS).expect("a plan table");
    // of equal names the last one wins in a process's environment
    settings.reverse();
    sandbox.set_provider(
        &format!("{base}/heroku/resources"),
        &format!("{base}/heroku/sso"),
    );
    let stage = Stage {
        sandbox: Arc::new(sandbox),
        base,
        database: database.url().to_owned(),
        ledger: Ledger::default(),
        browsers: Browsers::default(),
        alive: Arc::default(),
        over: CancellationToken::new(),
    };

    let mut process = Process::start_in(&stage.base, &settings, &folder).await;
    let owners: Vec<_> = (0..OWNERS)
        .map(|number| tokio::spawn(owner(stage.clone(), number)))
        .collect();
    for kill in 0..kills {
        sleep(Duration::from_millis(random(2_000))).await;
        process.kill().await;
        process = Process::start_in(&stage.base, &settings, &folder).await;
        let _nobody_acts = stage.alive.write().await;
        inspect(&stage, kill).await;
    }
    stage.over.cancel();
    for owner in owners {
        owner.await.expect("owners only end");
    }
    inspect(&stage, kills).await;
    settle(&stage).await;
    nothing_is_owed(&database).await;
    assert!(
        process.terminate().await.success(),
        "SIGTERM winds down cleanly"
    );
    stage.sandbox.stop().await;
    database.drop().await;
}

async fn open(url: &str) -> Store {
    let settings = StoreSettings {
        url: url.to_owned().into(),
        master_key: MasterKey::from_base64(&master_key()).expect("32 bytes"),
        previous_keys: vec![],
        connections_max: 2,
    };
    let store = Store::open(&settings, Schema::Expect, START).await;
    store.expect("the database opens again")
}

/// Once everything has arrived, the database soon promises nothing more.
async fn nothing_is_owed(database: &Database) {
    let store = open(database.url()).await;
    let ever = Timestamp::from_micros(i64::MAX);
    let deadline = Instant::now() + LEASES_OVER;
    loop {
        let lines = store.lines_waiting().await.expect("readable");
        let lanes = store.lines_backlog(ever).await.expect("readable").due;
        let pushes = store.config_backlog(ever).await.expect("readable").due;
        let setups = store.setups_backlog(ever).await.expect("readable").due;
        if (lines, lanes, pushes, setups) == (0, 0, 0, 0) {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{lines} lines in {lanes} lanes, {pushes} pushes and {setups} words are still owed"
        );
        sleep(Duration::from_millis(100)).await;
    }
    store.close().await;
}

/// Makes caches and works on them until it is over. Whatever fails is tried on another cache.
async fn owner(stage: Stage, number: usize) {
    for round in 0.. {
        let _alive = stage.alive.read().await;
        if stage.over.is_cancelled() {
            return;
        }
        let mine: Vec<AddonId> = {
            let ledger = stage.ledger.lock();
            ledger
                .iter()
                .filter(|(_, told)| told.owner == number)
                .filter(|(_, told)| !told.deprovisioned && !told.maybe_deprovisioned)
                .map(|(id, _)| *id)
                .collect()
        };
        let work = stage.clone();
        // a task of its own, because a killed service makes it panic
        let room = mine.len() < CACHES_PER_OWNER;
        let done = if mine.len() < 2 || room && random(10) == 0 {
            tokio::spawn(provision(work, number, round)).await
        } else {
            let addon = mine[random(mine.len() as u64) as usize];
            match random(16) {
                0 => tokio::spawn(deprovision(work, addon)).await,
                1 => tokio::spawn(change_plan(work, addon)).await,
                2 => tokio::spawn(attach(work, addon)).await,
                3 => tokio::spawn(let_the_day_come(work, addon)).await,
                4..8 => tokio::spawn(flush(work, addon)).await,
                _ => tokio::spawn(promote(work, addon)).await,
            }
        };
        if done.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn provision(stage: Stage, owner: usize, round: usize) {
    let name = format!("app-{owner}-{round}");
    let app = stage.sandbox.create_app(&name).expect("a new name");
    let plan = ["dev", "dev", "slow"][random(3) as usize];
    let addon = stage
        .sandbox
        .provision(app, plan, ProvisionOptions::default())
        .await
        .expect("an answer");
    let primary = match addon.config.get("MEMCACHIER_USERNAME") {
        Some(primary) => primary.clone(),
        // Accepted: the values come later.
        None => stage.dashboard(addon.id).await.usernames().await.remove(0),
    };
    let told = Told {
        owner,
        app: Some(app),
        credentials: vec![primary.clone()],
        primary,
        plans: vec![plan],
        slow: plan == "slow",
        ..Told::default()
    };
    stage.ledger.lock().insert(addon.id, told);
}

async fn promote(stage: Stage, addon: AddonId) {
    let mut dashboard = stage.dashboard(addon).await;
    let names = dashboard.usernames().await;
    // a full table gives up its last secondary first
    if names.len() >= 9 {
        let last = names.last().expect("some").clone();
        note(&stage, addon, |told| {
            told.credentials.retain(|name| *name != last)
        });
        assert!(dashboard.delete(&last).await.status.is_redirection());
    }
    let new = dashboard.add_credentials().await;
    note(&stage, addon, |told| {
        told.credentials.push(new.clone());
        told.maybe = Some(new.clone());
    });
    assert!(dashboard.promote(&new).await.status.is_redirection());
    note(&stage, addon, |told| {
        told.primary = new;
        told.maybe = None;
        told.promotions += 1;
    });
}

async fn flush(stage: Stage, addon: AddonId) {
    let mut dashboard = stage.dashboard(addon).await;
    assert!(dashboard.flush().await.status.is_redirection());
    note(&stage, addon, |told| told.flushes += 1);
}

async fn change_plan(stage: Stage, addon: AddonId) {
    let plan = ["dev", "100"][random(2) as usize];
    note(&stage, addon, |told| told.plans.push(plan));
    let changed = stage.sandbox.change_plan(addon, plan).await;
    changed.expect("an answer");
    note(&stage, addon, |told| told.plans = vec![plan]);
}

/// A second app, which must have the lines of later flushes.
async fn attach(stage: Stage, addon: AddonId) {
    let ledger = stage.ledger.lock().clone();
    if ledger[&addon].attached.is_some() {
        return;
    }
    let name = format!("more-{addon}");
    let Ok(app) = stage.sandbox.create_app(&name) else {
        return;
    };
    // Not while it is provisioning.
    if stage.sandbox.attach(addon, app).is_ok() {
        note(&stage, addon, |told| told.attached = Some(app));
    }
}

/// Switches the schedule on, and makes its next turn due.
async fn let_the_day_come(stage: Stage, addon: AddonId) {
    note(&stage, addon, |told| told.rotating = true);
    let mut dashboard = stage.dashboard(addon).await;
    let set = dashboard.act("rotation", &[("every_days", "30")]).await;
    assert!(set.status.is_redirection());
    let cache = dashboard.path.trim_start_matches("/caches/").parse();
    let cache = CacheId(cache.expect("a number"));
    let store = open(&stage.database).await;
    let mut tx = store.begin().await.expect("a transaction");
    let due = tx.reschedule_rotation(cache, START, None, START).await;
    due.expect("written");
    tx.commit().await.expect("a commit");
    store.close().await;
}

async fn deprovision(stage: Stage, addon: AddonId) {
    note(&stage, addon, |told| told.maybe_deprovisioned = true);
    let reply = stage.sandbox.deprovision(addon).await.expect("an answer");
    assert!([204, 410].contains(&reply.status), "{reply:?}");
    note(&stage, addon, |told| told.deprovisioned = true);
}

fn note(stage: &Stage, addon: AddonId, what: impl FnOnce(&mut Told)) {
    if let Some(told) = stage.ledger.lock().get_mut(&addon) {
        what(told);
    }
}

/// Holds the ledger against the service that was just restarted.
async fn inspect(stage: &Stage, kill: u32) {
    let told: Vec<(AddonId, Told)> = stage
        .ledger
        .lock()
        .iter()
        .map(|(id, told)| (*id, told.clone()))
        .collect();
    for (addon, told) in told {
        let reply = stage
            .sandbox
            .repeat_provision(addon)
            .await
            .expect("an answer");
        if told.deprovisioned {
            assert_eq!(
                reply.status, 410,
                "kill {kill}: {addon:?} came back: {reply:?}"
            );
            continue;
        }
        if told.maybe_deprovisioned && reply.status == 410 {
            note(stage, addon, |told| told.deprovisioned = true);
            continue;
        }
        assert!(
            [200, 201].contains(&reply.status) || (reply.status == 202 && told.slow),
            "kill {kill}: {addon:?} is lost: {reply:?}"
        );
        note(stage, addon, |told| told.maybe_deprovisioned = false);
        let mut dashboard = stage.dashboard(addon).await;
        let names = dashboard.usernames().await;
        let primary = names.first().expect("a primary").clone();
        let possible = [Some(told.primary.clone()), told.maybe.clone()];
        assert!(
            told.rotating || possible.contains(&Some(primary.clone())),
            "kill {kill}: {primary} is primary, told {told:?}"
        );
        for name in &told.credentials {
            assert!(
                names.contains(name),
                "kill {kill}: credential {name} is lost"
            );
        }
        let page = dashboard.page().await;
        assert_eq!(
            page.matches("class=\"is-primary\"").count(),
            1,
            "kill {kill}: one primary"
        );
        let on_plan = |plan: &&str| page.contains(&format!("<dt>Plan</dt><dd>{plan} "));
        assert!(
            told.plans.iter().any(on_plan),
            "kill {kill}: {addon:?} is not on one of {:?}",
            told.plans
        );
        note(stage, addon, |told| {
            told.primary = primary;
            told.maybe = None;
        });
    }
}

/// Lets everything promised arrive: variables equal to the primary, a line for every flush and promotion.
async fn settle(stage: &Stage) {
    let ledger = stage.ledger.lock().clone();
    for (addon, told) in ledger.iter().filter(|(_, told)| !told.deprovisioned) {
        let app = told.app.expect("known since the provision");
        let deadline = Instant::now() + LEASES_OVER;
        let mut dashboard = stage.dashboard(*addon).await;
        loop {
            // The schedule may still be at work.
            let primary = match told.rotating {
                true => dashboard.usernames().await.remove(0),
                false => told.primary.clone(),
            };
            let vars = stage.sandbox.config_vars(app);
            if vars.get("MEMCACHIER_USERNAME") == Some(&primary) {
                break;
            }
            let late = Instant::now() >= deadline;
            assert!(!late, "{addon:?} has {:?}, not {primary}", vars.keys());
            sleep(Duration::from_millis(100)).await;
        }
        if let Some(more) = told.attached {
            hears_of_flushes(stage, &mut dashboard, more).await;
        }
        let lines = stage.sandbox.wait_for(LEASES_OVER, |market| {
            let log: Vec<_> = market.app(app)?.log.iter().cloned().collect();
            let all_there = lines_of(&log, "flush").len() >= told.flushes
                && lines_of(&log, "credentials_promoted").len() >= told.promotions;
            all_there.then_some(())
        });
        let lines = lines.await;
        lines.unwrap_or_else(|late| panic!("{late}: lines of {addon:?} are missing: {told:?}"));
    }
}

/// An attached app gets the lines of flushes once the attachment was seen.
async fn hears_of_flushes(stage: &Stage, dashboard: &mut Dashboard, app: AppId) {
    let deadline = Instant::now() + LEASES_OVER;
    while lines_of(&stage.sandbox.log_lines(app), "flush").is_empty() {
        assert!(Instant::now() < deadline, "{app:?} never hears of a flush");
        assert!(dashboard.flush().await.status.is_redirection());
        sleep(Duration::from_millis(500)).await;
    }
}

/// Random moments need no seed: a kill cannot be replayed to the instruction anyway.
fn random(below: u64) -> u64 {
    let bytes = larder::domain::secret::random_bytes::<8>();
    u64::from_le_bytes(bytes) % below.max(1)
}
