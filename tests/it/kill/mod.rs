//! P4: what was acknowledged survives. `larder serve` is killed with SIGKILL at random moments while a marketplace
//! provisions, at once and in the background, changes plans and attaches apps, and owners promote, flush and let the
//! schedule rotate; a ledger of acknowledged requests is held against what is there after each restart. `scripts/kill-loop COUNT` runs more kills than the default.

//!
//! | file | holds |
//! |---|---|
//! | here | the kills, and what is owed at the end |
//! | `owners` | those who act, and the ledger of what they were told |
//! | `inspect` | the ledger against the service |

mod inspect;
mod owners;

use std::sync::Arc;
use std::time::Duration;

use larder::domain::Timestamp;
use larder::sandbox::Sandbox;
use larder::store::db::seal::MasterKey;
use larder::store::{Schema, Store, StoreSettings};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::inspect::{inspect, settle};
use self::owners::{Browsers, KillFixture, Ledger, owner};
use crate::support::claims::heroku;
use crate::support::db::{Database, START};
use crate::support::full_service::{free_port, master_key, plan, sandbox_settings, settings};
use crate::support::needs;
use crate::support::process::Process;

/// A killed process leaves leases of 60 s behind, of a push and of a token's refresh within it.
const LEASES_OVER: Duration = Duration::from_secs(180);
const OWNERS: usize = 4;

/// `dev` and `100` are provisioned at once, `slow` in the background.
fn plan_table() -> String {
    let (dev, larger) = (plan("dev", 25, 50), plan("100", 100, 50));
    let slow = plan("slow", 50, 50) + "asynchronous = true\n";
    [dev, larger, slow].concat()
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
    std::fs::write(folder.join("larder.toml"), plan_table()).expect("a plan table");
    // of equal names the last one wins in a process's environment
    settings.reverse();
    sandbox.set_provider(
        &format!("{base}/heroku/resources"),
        &format!("{base}/heroku/sso"),
    );
    let fixture = KillFixture {
        sandbox: Arc::new(sandbox),
        base,
        database: database.url().to_owned(),
        ledger: Ledger::default(),
        browsers: Browsers::default(),
        alive: Arc::default(),
        over: CancellationToken::new(),
    };

    let mut process = Process::start_in(&fixture.base, &settings, &folder).await;
    let owners: Vec<_> = (0..OWNERS)
        .map(|number| tokio::spawn(owner(fixture.clone(), number)))
        .collect();
    for kill in 0..kills {
        sleep(Duration::from_millis(random(2_000))).await;
        process.kill().await;
        process = Process::start_in(&fixture.base, &settings, &folder).await;
        let _nobody_acts = fixture.alive.write().await;
        inspect(&fixture, kill).await;
    }
    fixture.over.cancel();
    for owner in owners {
        owner.await.expect("owners only end");
    }
    inspect(&fixture, kills).await;
    settle(&fixture).await;
    nothing_is_owed(&database).await;
    assert!(
        process.terminate().await.success(),
        "SIGTERM winds down cleanly"
    );
    fixture.sandbox.stop().await;
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
    let (ever, served) = (Timestamp::from_micros(i64::MAX), heroku());
    let deadline = Instant::now() + LEASES_OVER;
    loop {
        let lines = store.lines_waiting().await.expect("readable");
        let lanes = store
            .lines_backlog(&served, ever)
            .await
            .expect("readable")
            .due;
        let pushes = store
            .config_backlog(&served, ever)
            .await
            .expect("readable")
            .due;
        let completions = store
            .async_provisions_backlog(&served, ever)
            .await
            .expect("readable")
            .due;
        if (lines, lanes, pushes, completions) == (0, 0, 0, 0) {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{lines} lines in {lanes} lanes, {pushes} pushes and {completions} completion calls are still owed"
        );
        sleep(Duration::from_millis(100)).await;
    }
    store.close().await;
}

/// Random moments need no seed: a kill cannot be replayed to the instruction anyway.
fn random(below: u64) -> u64 {
    let bytes = larder::domain::secret::random_bytes::<8>();
    u64::from_le_bytes(bytes) % below.max(1)
}
