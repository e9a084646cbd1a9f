//! P4: what was acknowledged survives. `larder serve` is killed with SIGKILL at random moments while a marketplace
//! provisions and owners promote and flush; a ledger of acknowledged requests is held against what is there after
//! each restart. `scripts/kill-loop COUNT` runs more kills than the default.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use larder::sandbox::{AddonId, AppId, ProvisionOptions, Sandbox};
use parking_lot::Mutex;
use tokio::sync::RwLock;
use tokio::time::sleep;

use crate::support::dashboard::Dashboard;
use crate::support::db::Database;
use crate::support::needs;
use crate::support::process::Process;
use crate::support::scene::{free_port, lines_of, sandbox_settings, settings};

const OWNERS: usize = 4;
const CACHES_PER_OWNER: usize = 12;
/// What was under way in a process that was killed is taken up again when its lease of a minute ends.
const DELIVERED_WITHIN: Duration = Duration::from_secs(120);

/// What the outside was told about one cache.
#[derive(Clone, Debug, Default)]
struct Told {
    app: Option<AppId>,
    /// The primary last acknowledged.
    primary: String,
    /// A promotion that was sent and not answered: it may or may not have happened.
    maybe: Option<String>,
    /// User names whose creation was acknowledged.
    credentials: Vec<String>,
    flushes: usize,
    deprovisioned: bool,
    /// A deprovisioning that was sent and not answered.
    maybe_deprovisioned: bool,
}

/// Everything acknowledged so far.
type Ledger = Arc<Mutex<BTreeMap<AddonId, Told>>>;

/// What owners act on. They hold `alive` for reading; the inspector takes it for writing.
#[derive(Clone)]
struct Stage {
    sandbox: Arc<Sandbox>,
    base: String,
    ledger: Ledger,
    alive: Arc<RwLock<()>>,
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
    // of equal names the last one wins in a process's environment
    settings.reverse();
    sandbox.set_provider(
        &format!("{base}/heroku/resources"),
        &format!("{base}/heroku/sso"),
    );
    let stage = Stage {
        sandbox: Arc::new(sandbox),
        base,
        ledger: Ledger::default(),
        alive: Arc::default(),
    };

    let mut process = Process::start(&stage.base, &settings).await;
    let owners: Vec<_> = (0..OWNERS)
        .map(|number| tokio::spawn(owner(stage.clone(), number)))
        .collect();
    for kill in 0..kills {
        sleep(Duration::from_millis(random(2_000))).await;
        process.kill().await;
        process = Process::start(&stage.base, &settings).await;
        let _nobody_acts = stage.alive.write().await;
        inspect(&stage, kill).await;
    }
    for owner in owners {
        owner.abort();
    }
    settle(&stage).await;
    assert!(
        process.terminate().await.success(),
        "SIGTERM winds down cleanly"
    );
    stage.sandbox.stop().await;
    database.drop().await;
}

/// Makes caches and works on them for ever. Whatever fails is tried on another cache.
async fn owner(stage: Stage, number: usize) {
    for round in 0.. {
        let _alive = stage.alive.read().await;
        let mine: Vec<AddonId> = {
            let ledger = stage.ledger.lock();
            ledger
                .iter()
                .filter(|(_, told)| !told.deprovisioned && !told.maybe_deprovisioned)
                .map(|(id, _)| *id)
                .collect()
        };
        let work = stage.clone();
        // a task of its own, because a killed service makes it panic
        let done = if mine.len() < OWNERS * 2 || random(10) == 0 && round < CACHES_PER_OWNER * 100 {
            tokio::spawn(provision(work, format!("app-{number}-{round}"))).await
        } else {
            let addon = mine[random(mine.len() as u64) as usize];
            match random(12) {
                0 => tokio::spawn(deprovision(work, addon)).await,
                1..5 => tokio::spawn(flush(work, addon)).await,
                _ => tokio::spawn(promote(work, addon)).await,
            }
        };
        if done.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn provision(stage: Stage, name: String) {
    let app = stage.sandbox.create_app(&name).expect("a new name");
    let addon = stage
        .sandbox
        .provision(app, "dev", ProvisionOptions::default())
        .await
        .expect("an answer");
    let primary = addon.config["MEMCACHIER_USERNAME"].clone();
    let told = Told {
        app: Some(app),
        credentials: vec![primary.clone()],
        primary,
        ..Told::default()
    };
    stage.ledger.lock().insert(addon.id, told);
}

async fn promote(stage: Stage, addon: AddonId) {
    let mut dashboard = Dashboard::open(&stage.sandbox, addon, &stage.base).await;
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
    });
}

async fn flush(stage: Stage, addon: AddonId) {
    let mut dashboard = Dashboard::open(&stage.sandbox, addon, &stage.base).await;
    assert!(dashboard.flush().await.status.is_redirection());
    note(&stage, addon, |told| told.flushes += 1);
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
            [200, 201].contains(&reply.status),
            "kill {kill}: {addon:?} is lost: {reply:?}"
        );
        note(stage, addon, |told| told.maybe_deprovisioned = false);
        let mut dashboard = Dashboard::open(&stage.sandbox, addon, &stage.base).await;
        let names = dashboard.usernames().await;
        let primary = names.first().expect("a primary").clone();
        let possible = [Some(told.primary.clone()), told.maybe.clone()];
        assert!(
            possible.contains(&Some(primary.clone())),
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
        note(stage, addon, |told| {
            told.primary = primary;
            told.maybe = None;
        });
    }
}

/// Lets everything promised arrive: variables equal to the primary, a line for every flush.
async fn settle(stage: &Stage) {
    let ledger = stage.ledger.lock().clone();
    for (addon, told) in ledger
        .iter()
        .filter(|(_, told)| !told.deprovisioned && !told.maybe_deprovisioned)
    {
        let mut dashboard = Dashboard::open(&stage.sandbox, *addon, &stage.base).await;
        let primary = dashboard.usernames().await.remove(0);
        let app = told.app.expect("known since the provision");
        let arrived = stage
            .sandbox
            .wait_for_var(app, "MEMCACHIER_USERNAME", &primary, DELIVERED_WITHIN)
            .await;
        arrived.unwrap_or_else(|late| panic!("{late}: {addon:?} never got its primary {primary}"));
        let lines = stage.sandbox.wait_for(DELIVERED_WITHIN, |market| {
            let log: Vec<_> = market.app(app)?.log.iter().cloned().collect();
            let lines = lines_of(&log, "flush").len();
            (lines >= told.flushes).then_some(lines)
        });
        lines.await.unwrap_or_else(|late| {
            panic!(
                "{late}: {} flushes of {addon:?} were acknowledged",
                told.flushes
            )
        });
    }
}

/// Random moments need no seed: a kill cannot be replayed to the instruction anyway.
fn random(below: u64) -> u64 {
    let bytes = larder::domain::secret::random_bytes::<8>();
    u64::from_le_bytes(bytes) % below.max(1)
}
