//! What an operator does at the database while the service runs elsewhere.

use std::fs::File;
use std::process::{Output, Stdio};
use std::time::Duration;

use base64::Engine as _;
use larder::access::{Access, AccessError, DONE_WAIT, FlushResult, Replaced};
use larder::cluster::{Cluster, ClusterSettings};
use larder::domain::{Actor, CacheId, Clock as _, Identity, RecordedEvent};
use larder::store::db::rekey::Rekeyed;
use larder::store::db::seal::MasterKey;
use larder::store::{OpenError, Schema, Store, StoreSettings};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::outbox_fixture::code;
use crate::support::HEROKU;
use crate::support::claims::terms;
use crate::support::control_plane::{ControlPlane, plans, ready, request};
use crate::support::db::{START, TestDb, on_each};
use crate::support::panics;

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
        let control = ControlPlane::start(db).await;
        let mut before = Vec::new();
        for number in 0..12 {
            let mut ask = request(&format!("r-{number}"));
            ask.grant = Some(code("code", &control.clock));
            let made = ready(control.provisioning.provision(ask).await.expect("a cache"));
            before.push((
                made.resource.cache,
                secrets(&control.store, made.resource.cache).await,
            ));
        }
        let cache = before[0].0;
        let hash = control.store.sso_secret(cache).await.expect("answers");
        let session = control
            .access
            .open_by_link(&hash.expect("a hash"), |_| None, None)
            .await;
        let session = session.expect("answers").expect("a session");
        let owner = control.owner(cache, "visit").await;
        let names = control.access.credentials(&owner).await.expect("a list");
        let (issued, _) = control
            .access
            .issue_certificate(&owner, &names[0].username, None)
            .await
            .expect("answers")
            .expect("a certificate");
        control.stop.cancel();

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
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        control.stop.cancel();
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
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let store = db.opened_again().await;
        let (clock, settings) = (control.clock.clone(), ClusterSettings::default());
        let cluster = Cluster::new(store.clone(), plans(), clock.clone(), settings);
        let access = Access::new(store, cluster, plans(), clock);
        let patience = Duration::from_secs(30);
        let operator = access.for_operator(cache).await.expect("a live cache");
        let reason = Some("a load test went astray");
        let flushed = access.flush(&operator, reason, patience).await;
        let expected = FlushResult::Done {
            items: 3,
            bytes: 300,
        };
        assert_eq!(flushed.expect("ordered"), expected);
        let events = control.store.events(cache, 10).await.expect("a history");
        let told = "origin=\"admin operation\"";
        let lines: Vec<String> = events.iter().map(RecordedEvent::detail).collect();
        assert!(lines[0].contains(told), "{lines:?}");
        assert!(
            lines[0].contains("reason=\"a load test went astray\""),
            "{lines:?}"
        );
        let audit = control.store.audit_of(cache, 1).await.expect("an audit");
        let operator = Actor::local(Identity::Operator);
        assert_eq!(audit[0].entry.actor, operator);
        assert_eq!(events[0].actor, Some(operator));
        let unknown = access.for_operator(CacheId(99)).await;
        assert!(matches!(unknown, Err(AccessError::Gone)));
    })
    .await;
}

fn command(db: &TestDb, words: &[&str]) -> Command {
    let master_key = base64::engine::general_purpose::STANDARD.encode([42; 32]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command
        .arg("admin")
        .args(words)
        .env_clear()
        .env("LARDER_DATABASE_URL", db.settings.url.expose_secret())
        .env("LARDER_MASTER_KEY", master_key)
        .env("LARDER_LOG", "error")
        .current_dir(std::env::temp_dir());
    command
}

async fn admin(db: &TestDb, words: &[&str]) -> Output {
    let output = command(db, words).output().await.expect("larder runs");
    panics::none_in(&String::from_utf8_lossy(&output.stderr));
    output
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
        let control = ControlPlane::start(db).await;
        let made = control.provision("r-1").await;
        let cache = made.resource.cache.to_string();

        let caches = told(db, &["caches"]).await;
        assert!(caches.contains(&made.resource.label), "{caches}");
        assert!(caches.contains("\n1 live cache."), "{caches}");
        let none = admin(db, &["caches", "no-such-thing"]).await;
        let refused = String::from_utf8_lossy(&none.stderr).into_owned();
        assert!(
            !none.status.success(),
            "a wish that fits nothing is a mistake"
        );
        assert!(
            refused.contains("no live cache has \"no-such-thing\""),
            "{refused}"
        );
        let json = told(db, &["caches", "--json"]).await;
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["caches"][0]["cache"], made.resource.cache.0, "{json}");
        assert_eq!(json["caches"][0]["label"], made.resource.label, "{json}");
        assert!(json["remarks"].is_array(), "{json}");
        let json = told(db, &["--json", "nodes"]).await;
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["nodes"][0]["caches"], 1, "{json}");
        let nodes = told(db, &["nodes"]).await;
        assert!(nodes.contains("p1.example.net:11211"), "{nodes}");
        let plans = told(db, &["plans"]).await;
        assert!(
            plans.lines().any(|line| line.starts_with("dev ")),
            "{plans}"
        );

        let flushed = told(db, &["flush", &cache, "--reason", "moving house"]).await;
        assert!(flushed.contains("is empty: 3 items are gone"), "{flushed}");
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
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let owner = control.owner(cache, "visit").await;
        let (credential, _) = control.access.create(&owner).await.expect("a credential");
        control.hang();
        let promoted = control.access.promote(&owner, &credential.username).await;
        promoted.expect("promoted");
        control
            .access
            .flush(&owner, None, DONE_WAIT)
            .await
            .expect("ordered");
        let now = control.clock.now();
        let mut tx = control.store.begin().await.expect("a transaction");
        let claims = tx
            .claim_config(&terms(now, now, 1, 1))
            .await
            .expect("a claim");
        let failure = larder::store::outbox::config_sync::ConfigFailure {
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
        assert!(caches.contains("1 flush is ordered"), "{caches}");
        control.go_on();
    })
    .await;
}

/// One that the marketplace has missed for a day, two that it lists and we do not have, and none of it before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn installs_known_to_one_side_stand_in_the_list() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        control.provision("r-2").await;
        let caches = told(db, &["caches"]).await;
        assert!(!caches.contains("UNKNOWN THERE"), "{caches}");
        assert!(!caches.contains("in the marketplace's list"), "{caches}");

        let (heroku, now) = (HEROKU, control.clock.now());
        let mut tx = control.store.begin().await.expect("a transaction");
        for _ in 0..2 {
            tx.record_miss(cache, now, now).await.expect("noted");
        }
        let due = tx.take_inventory(heroku, now, now, now).await;
        assert!(due.expect("an inventory"));
        tx.record_unknown_installs(heroku, 2).await.expect("noted");
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
        let unknown_installs = "! 2 installs are in the marketplace's list";
        assert!(caches.contains(unknown_installs), "{caches}");
        let none = admin(db, &["caches", "no-such-thing"]).await;
        let none = String::from_utf8(none.stdout).expect("text");
        assert!(
            none.contains(unknown_installs),
            "whatever is looked for: {none}"
        );
    })
    .await;
}

/// The day after a leak: every primary made before it is replaced, once, by the operator, and its owner can read so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_replaces_old_primaries_and_can_go_on_where_it_stopped() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let mut caches = Vec::new();
        for number in 0..3 {
            let mut ask = request(&format!("r-{number}"));
            ask.grant = (number < 2).then(|| code("code", &control.clock));
            let made = control.provisioning.provision(ask).await.expect("a cache");
            caches.push(ready(made).resource.cache);
        }
        let leak = control.clock.now().plus(Duration::from_secs(1)).to_string();
        let planned = told(db, &["rotate", "--all", "--made-before", &leak, "--plan"]).await;
        assert!(planned.starts_with("3 caches would get"), "{planned}");
        let verb = [
            "rotate",
            "--all",
            "--made-before",
            &leak,
            "--plan",
            "--json",
        ];
        let planned: Value = serde_json::from_str(&told(db, &verb).await).expect("JSON");
        let figures = ["caches", "replaced", "left"].map(|name| planned[name].clone());
        assert_eq!(figures, [json!(3), json!(0), json!(0)]);

        let owner = control.owner(caches[0], "visit").await;
        let early = control.clock.now().plus(Duration::from_secs(2));
        control.clock.advance(Duration::from_secs(3));
        let access = &control.access;
        let operator = access.for_operator(caches[0]).await.expect("an owner");
        let first = access
            .replace_older(&operator, early)
            .await
            .expect("answers");
        assert_eq!(first, Replaced::Done);

        let verb = [
            "rotate",
            "--marketplace",
            "heroku",
            "--made-before",
            &leak,
            "--rate",
            "6000",
        ];
        let run = admin(db, &verb).await;
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        let wrong = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(said.contains("1 cache has a new primary"), "{said}{wrong}");
        assert!(said.contains("cannot be called about it"), "{said}{wrong}");
        assert!(
            !run.status.success() && wrong.contains("1 cache keeps its primary"),
            "{wrong}"
        );

        let mut again = verb.to_vec();
        again.push("--json");
        let again = admin(db, &again).await;
        let again: Value = serde_json::from_slice(&again.stdout).expect("JSON");
        let figures = ["caches", "replaced", "left"].map(|name| again[name].clone());
        assert_eq!(figures, [json!(1), json!(0), json!(1)], "{again}");

        assert_eq!(access.credentials(&owner).await.expect("a list").len(), 2);
        let events = control
            .store
            .events(caches[1], 10)
            .await
            .expect("a timeline");
        let by = Some(Actor::local(Identity::Operator));
        let kinds: Vec<&str> = events
            .iter()
            .filter(|event| event.actor == by)
            .map(|event| event.kind.as_str())
            .collect();
        assert_eq!(kinds, ["credentials_promoted", "credential_added"]);
        let nobody = admin(db, &["rotate", "--cluster", "c9"]).await;
        assert!(!nobody.status.success(), "an unknown cluster is no success");
    })
    .await;
}

/// Whatever an operator has at hand names a cache, and never two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verbs_take_what_people_have_at_hand() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let mut same_name = request("r-2");
        same_name.name = "shop".to_owned();
        let mut named = request("r-1");
        named.name = "shop".to_owned();
        let made = ready(
            control
                .provisioning
                .provision(named)
                .await
                .expect("a cache"),
        );
        let (cache, username) = (
            made.resource.cache.to_string(),
            made.values.username.to_string(),
        );
        for called in [&cache, "r-1", "shop", &username, &username.to_lowercase()] {
            let pushed = told(db, &["push", called]).await;
            assert!(pushed.contains("is tried now"), "{called}: {pushed}");
        }
        control
            .provisioning
            .provision(same_name)
            .await
            .expect("a cache");
        // The list has no such care: all that hold a text are meant, in any case of letters.
        let label = made.resource.label.to_lowercase();
        for (called, caches) in [
            (&*username, 1),
            (&username.to_lowercase(), 1),
            (&label, 1),
            ("R-1", 1),
            ("Shop", 2),
        ] {
            let listed: Value =
                serde_json::from_str(&told(db, &["caches", called, "--json"]).await).expect("JSON");
            let rows = listed["caches"].as_array().expect("a list");
            assert_eq!(rows.len(), caches, "{called}: {listed}");
        }
        for (called, why) in [
            ("shop", "more than one cache"),
            ("nowhere", "no live cache nowhere"),
        ] {
            let output = admin(db, &["push", called]).await;
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && errors.contains(why), "{errors}");
        }
    })
    .await;
}

/// Names come from customers: none of them turns the direction of writing, ends a line or commands the terminal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_cannot_steer_the_operator_s_terminal() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let sly = "shop\u{202e}gnp\u{2028}x";
        for id in ["r-1", "r-2"] {
            let mut named = request(id);
            named.name = sly.to_owned();
            control
                .provisioning
                .provision(named)
                .await
                .expect("a cache");
        }
        let listed = admin(db, &["caches"]).await;
        let several = admin(db, &["push", sly]).await;
        let told = |output: &Output| {
            let both = [output.stdout.clone(), output.stderr.clone()].concat();
            String::from_utf8(both).expect("UTF-8")
        };
        for (told, names) in [(told(&listed), 2), (told(&several), 2)] {
            assert!(!told.contains(['\u{202e}', '\u{2028}']), "{told:?}");
            assert!(told.matches("shop?gnp?x").count() >= names, "{told}");
        }
    })
    .await;
}

/// As in `larder admin caches | head -1`; `settings` has the commands without a database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_has_had_enough_is_no_failure_and_a_full_disk_is_one() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache.to_string();
        for words in [
            &["caches"][..],
            &["caches", "--json"],
            &["nodes"],
            &["plans"],
            &["push", &cache],
            &["flush", &cache, "--reason", "moving house"],
            &["rotate", "--all", "--plan"],
            &["rekey"],
        ] {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            let cut = printing_to(db, words, writer.into()).await;
            let told = String::from_utf8_lossy(&cut.stderr);
            assert!(cut.status.success(), "{words:?}: {told}");
            assert!(!told.contains("panicked"), "{words:?}: {told}");

            let full = File::options().write(true).open("/dev/full");
            let full = printing_to(db, words, full.expect("Linux has it").into()).await;
            let told = String::from_utf8_lossy(&full.stderr);
            assert_eq!(full.status.code(), Some(1), "{words:?}: {told}");
            assert!(
                told.contains("cannot write to standard output"),
                "{words:?}: {told}"
            );
        }
    })
    .await;
}

/// Runs a verb with its standard output there.
async fn printing_to(db: &TestDb, words: &[&str], stdout: Stdio) -> Output {
    let mut command = command(db, words);
    command.stdout(stdout).stderr(Stdio::piped());
    let child = command.spawn().expect("larder starts");
    child.wait_with_output().await.expect("it ends")
}
