//! What an operator does at the database while the service runs elsewhere.

use std::process::Output;
use std::time::Duration;

use base64::Engine as _;
use larder::access::{Access, AccessError, FlushResult};
use larder::cluster::{Cluster, ClusterSettings};
use larder::domain::{CacheId, Clock as _, Marketplace};
use larder::store::rekey::Rekeyed;
use larder::store::seal::MasterKey;
use larder::store::{OpenError, Schema, Store, StoreSettings};
use secrecy::ExposeSecret as _;
use tokio::process::Command;

use crate::outbox_bed::code;
use crate::support::db::{START, TestDb, on_each};
use crate::support::world::{World, plans, ready, request};

fn key(fill: u8) -> MasterKey {
    let text = base64::engine::general_purpose::STANDARD.encode([fill; 32]);
    MasterKey::from_base64(&text).expect("a key")
}

/// The same database as a process with these keys opens it.
async fn open_with(db: &TestDb, current: u8, previous: &[u8]) -> Result<Store, OpenError> {
    let settings = StoreSettings {
        master_key: key(current),
        previous_keys: previous.iter().map(|fill| key(*fill)).collect(),
        ..db.settings.clone()
    };
    Store::open(&settings, Schema::Expect, START).await
}

/// Everything that is sealed about a cache, opened.
async fn secrets(store: &Store, cache: CacheId) -> Vec<String> {
    let primary = store.primary(cache).await.expect("answers");
    let (_, password) = primary.expect("a primary");
    let sso = store.sso_secret(cache).await.expect("answers");
    vec![
        password.expose().to_owned(),
        sso.expect("a secret").expose().to_owned(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_master_key_takes_over_in_steps() {
    on_each(async |db| {
        let world = World::start(db).await;
        let mut before = Vec::new();
        for number in 0..12 {
            let mut ask = request(&format!("r-{number}"));
            ask.grant = Some(code("code", &world.clock));
            let made = ready(world.provisioning.provision(ask).await.expect("a cache"));
            before.push((
                made.resource.cache,
                secrets(&world.store, made.resource.cache).await,
            ));
        }
        let cache = before[0].0;
        let hash = world.store.sso_secret(cache).await.expect("answers");
        let session = world
            .access
            .open_by_link(&hash.expect("a hash"), None)
            .await;
        let session = session.expect("answers").expect("a session");
        let owner = world.owner(cache, "visit").await;
        let names = world.access.credentials(&owner).await.expect("a list");
        let (issued, _) = world
            .access
            .issue_certificate(&owner, &names[0].username, None)
            .await
            .expect("answers")
            .expect("a certificate");
        world.stop.cancel();

        let both = open_with(db, 43, &[42]).await.expect("opens with both");
        let in_all = both.sealed_elsewhere().await.expect("counts");
        assert_eq!(
            in_all,
            12 * 4 + 2 + 1 + 2,
            "per cache four, two sessions, the CA, settings"
        );
        let stopped = both.rekey(5, |_| false).await.expect("a first step");
        assert_eq!(stopped.sealed_again, 5);
        assert_eq!(stopped.left, in_all - 5);
        let too_early = open_with(db, 43, &[]).await;
        assert!(matches!(too_early, Err(OpenError::WrongMasterKey)));

        let done = both.rekey(5, |_| true).await.expect("the rest");
        let rest = Rekeyed {
            sealed_again: in_all - 5,
            left: 0,
            unreadable: 0,
        };
        assert_eq!(done, rest);
        let new = open_with(db, 43, &[]).await.expect("opens with the new");
        for (cache, held) in &before {
            assert_eq!(&secrets(&new, *cache).await, held);
        }
        let grant = new.grant(cache).await.expect("opens");
        assert!(grant.is_some());
        let kept = new.session(&session.cookie.digest()).await.expect("opens");
        assert!(kept.is_some());
        let mut tx = new.begin().await.expect("a transaction");
        let authority = tx.newest_authority().await.expect("opens");
        assert!(authority.expect("a CA").expires_at > issued.certificate.expires_at);
        drop(tx);
        let old = open_with(db, 42, &[]).await;
        assert!(matches!(old, Err(OpenError::WrongMasterKey)));
        let again = new.rekey(5, |_| true).await.expect("nothing to do");
        assert_eq!(again, Rekeyed::default());
    })
    .await;
}

/// One damaged value neither stops the others nor lets the old key go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_does_not_open_keeps_the_old_key_in_use() {
    on_each(async |db| {
        let world = World::start(db).await;
        let cache = world.provision("r-1").await.resource.cache;
        world.stop.cancel();
        crate::store_battery::by_hand(
            db,
            "UPDATE attachments SET log_url_sealed = (SELECT password_sealed FROM credentials)",
        )
        .await;
        let both = open_with(db, 43, &[42]).await.expect("opens with both");
        let done = both.rekey(1, |_| true).await.expect("goes on");
        assert_eq!((done.unreadable, done.left), (1, 3), "it and the settings");
        let without = open_with(db, 43, &[]).await;
        assert!(matches!(without, Err(OpenError::WrongMasterKey)));
        assert_eq!(secrets(&both, cache).await.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_in_another_process_flushes() {
    on_each(async |db| {
        let world = World::start(db).await;
        let cache = world.provision("r-1").await.resource.cache;
        let store = db.opened_again().await;
        let (clock, settings) = (world.clock.clone(), ClusterSettings::default());
        let cluster = Cluster::new(store.clone(), plans(), clock.clone(), settings);
        let access = Access::new(store, cluster, plans(), clock);
        let patience = Duration::from_secs(30);
        let flushed = access
            .flush_as_operator(cache, "a load test went astray", patience)
            .await;
        let expected = FlushResult::Done {
            items: 3,
            bytes: 300,
        };
        assert_eq!(flushed.expect("ordered"), expected);
        let events = world.store.events(cache, 10).await.expect("a history");
        let told = "origin=\"admin operation\"";
        let lines: Vec<&str> = events.iter().map(|event| event.line.as_str()).collect();
        assert!(lines[0].contains(told), "{lines:?}");
        assert!(
            lines[0].contains("reason=\"a load test went astray\""),
            "{lines:?}"
        );
        let audit = world.store.audit_of(cache, 1).await.expect("an audit");
        assert_eq!(audit[0].1.actor, "operator");
        let unknown = access.flush_as_operator(CacheId(99), "x", patience).await;
        assert!(matches!(unknown, Err(AccessError::Gone)));
    })
    .await;
}

async fn admin(db: &TestDb, words: &[&str]) -> Output {
    let master_key = base64::engine::general_purpose::STANDARD.encode([42; 32]);
    Command::new(env!("CARGO_BIN_EXE_larder"))
        .arg("admin")
        .args(words)
        .env_clear()
        .env("LARDER_DATABASE_URL", db.settings.url.expose_secret())
        .env("LARDER_MASTER_KEY", master_key)
        .env("LARDER_LOG", "error")
        .current_dir(std::env::temp_dir())
        .output()
        .await
        .expect("larder runs")
}

async fn told(db: &TestDb, words: &[&str]) -> String {
    let output = admin(db, words).await;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_tell_what_is_and_what_to_do() {
    on_each(async |db| {
        let world = World::start(db).await;
        let made = world.provision("r-1").await;
        let cache = made.resource.cache.to_string();

        let caches = told(db, &["caches"]).await;
        assert!(caches.contains(&made.resource.label), "{caches}");
        assert!(caches.contains("1 live cache(s)."), "{caches}");
        let none = told(db, &["caches", "no-such-thing"]).await;
        assert!(none.contains("0 live cache(s)."), "{none}");
        let nodes = told(db, &["nodes"]).await;
        assert!(nodes.contains("p1.example.net:11211"), "{nodes}");
        let plans = told(db, &["plans"]).await;
        assert!(
            plans.lines().any(|line| line.starts_with("dev ")),
            "{plans}"
        );

        let flushed = told(db, &["flush", &cache, "--reason", "moving house"]).await;
        assert!(flushed.contains("is empty: 3 item(s)"), "{flushed}");
        let rekeyed = told(db, &["rekey"]).await;
        assert!(rekeyed.contains("under the current key"), "{rekeyed}");

        for (words, why) in [
            (&["flush", "99", "--reason", "x"][..], "admin caches"),
            (&["flush", &cache, "--reason", " "], "--reason must say"),
            (&["flush", &cache], "--reason"),
        ] {
            let output = admin(db, words).await;
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{words:?}");
            assert!(errors.contains(why), "{words:?}: {errors}");
        }
    })
    .await;
}

/// A push that its provider refuses, a flush that no node reports: both stand in the lists.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_amiss_stands_in_the_list() {
    on_each(async |db| {
        let world = World::start(db).await;
        let cache = world.provision("r-1").await.resource.cache;
        let owner = world.owner(cache, "visit").await;
        let (credential, _) = world.access.create(&owner).await.expect("a credential");
        world.hang();
        let promoted = world.access.promote(&owner, &credential.username).await;
        promoted.expect("promoted");
        world.access.flush(&owner).await.expect("ordered");
        let now = world.clock.now();
        let mut tx = world.store.begin().await.expect("a transaction");
        let caps = larder::store::claims::Caps {
            take: 1,
            per_destination: 1,
        };
        let claims = tx.claim_config(now, now, caps).await.expect("a claim");
        let failure = larder::store::config_sync::ConfigFailure {
            error: "no such add-on".to_owned(),
            next_attempt_at: now,
            dead: true,
        };
        tx.record_config_failed(&claims[0], &failure, now)
            .await
            .expect("recorded");
        tx.commit().await.expect("a commit");

        let caches = told(db, &["caches"]).await;
        assert!(caches.contains("REFUSED"), "{caches}");
        assert!(
            caches.contains("no such add-on. Tried again every hour"),
            "{caches}"
        );
        assert!(caches.contains("1 flush(es) ordered"), "{caches}");
        world.go_on();
    })
    .await;
}

/// One that the marketplace has missed for a day, two that it lists and we do not have, and none of it before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn installs_known_to_one_side_stand_in_the_list() {
    on_each(async |db| {
        let world = World::start(db).await;
        let cache = world.provision("r-1").await.resource.cache;
        world.provision("r-2").await;
        let caches = told(db, &["caches"]).await;
        assert!(!caches.contains("UNKNOWN THERE"), "{caches}");
        assert!(!caches.contains("install(s)"), "{caches}");

        let (heroku, now) = (Marketplace::Heroku, world.clock.now());
        let mut tx = world.store.begin().await.expect("a transaction");
        for _ in 0..2 {
            tx.record_miss(cache, now, now).await.expect("noted");
        }
        let due = tx.take_census(heroku, now, now).await;
        assert!(due.expect("a census"));
        tx.record_strangers(heroku, 2).await.expect("noted");
        tx.commit().await.expect("a commit");

        let caches = told(db, &["caches"]).await;
        let missed: Vec<&str> = caches
            .lines()
            .filter(|line| line.contains("UNKNOWN THERE"))
            .collect();
        assert_eq!(missed.len(), 1, "{caches}");
        assert!(missed[0].contains("heroku r-1 "), "{caches}");
        let remark = format!("! cache {cache}: its provider has not known it");
        assert!(caches.contains(&remark), "{caches}");
        let strangers = "! 2 install(s) stand in the marketplace's list";
        assert!(caches.contains(strangers), "{caches}");
        let none = told(db, &["caches", "no-such-thing"]).await;
        assert!(none.contains(strangers), "whatever is looked for: {none}");
    })
    .await;
}
