//! What becomes of logins, sign-ons and calls whose proof does not hold: the owner, the operator and the audit are told of
//! them, at a bounded rate, and nobody is told a password.

use std::net::IpAddr;
use std::time::Duration;

use larder::domain::Identity;
use larder::marketplace::heroku;
use larder::sandbox::ProvisionOptions;
use larder::web::RefusedCall;
use reqwest::{Client, StatusCode};

use crate::support::control_plane::{ControlPlane, eventually};
use crate::support::dashboard::{Dashboard, visible_text};
use crate::support::db::{Database, on_each};
use crate::support::full_service::{FullService, PASSWORD, Wishes, free_port, setting, settings};
use crate::support::on_both_databases;
use crate::support::plain::Plain;
use crate::support::process::Process;

on_both_databases!(the_owner_reads_of_an_app_with_a_wrong_password);
on_both_databases!(the_owner_reads_of_an_app_with_a_deleted_credential);
on_both_databases!(the_log_names_address_and_user_and_no_password);
on_both_databases!(refused_sign_ons_and_calls_are_audited_by_their_address);

const WRONG: &str = "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF";
const REFUSED: &str = "CLIENT_ERROR authentication failure";
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

async fn with_metrics(database: Database) -> (FullService, String) {
    let addr = format!("127.0.0.1:{}", free_port());
    let wishes = Wishes {
        settings: vec![("LARDER_METRICS_ADDR".to_owned(), addr.clone())],
        ..Wishes::default()
    };
    let service = FullService::start(database, wishes).await;
    (service, format!("http://{addr}/metrics"))
}

/// The value of a series, whose name and labels it begins with.
pub async fn metric(url: &str, series: &str) -> u64 {
    let text = reqwest::get(url).await.expect("answered").text().await;
    let text = text.expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    let count = line.and_then(|rest| rest.trim().parse().ok());
    count.unwrap_or_else(|| panic!("{series} is missing\n{text}"))
}

/// Shop's worker was deployed with an old password and tries all day.
async fn the_owner_reads_of_an_app_with_a_wrong_password(database: Database) {
    let (service, metrics) = with_metrics(database).await;
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let made = service
        .sandbox
        .provision(shop, "dev", ProvisionOptions::default());
    let addon = made.await.expect("a cache").id;
    let vars = service.sandbox.config_vars(shop);
    let (servers, user) = (&vars["MEMCACHIER_SERVERS"], &vars["MEMCACHIER_USERNAME"]);
    for _ in 0..200 {
        let mut client = Plain::connect(servers).await;
        assert_eq!(client.login(user, WRONG).await, REFUSED);
        assert_eq!(client.login("C0FFEE", WRONG).await, REFUSED);
    }
    // Services of one process share the recorder, which keeps the highest count.
    let refused = metric(&metrics, "larder_engine_logins_refused_total ").await;
    assert!(refused >= 400, "{refused}");

    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    eventually("the event is stored", async || {
        owner.page().await.contains("Logins refused")
    })
    .await;
    let page = owner.page().await;
    let text = visible_text(&page);
    let told = format!("credential={user} remote=127.0.0.1 refused=1 window=600s");
    assert!(text.contains(&told), "{text}");
    assert!(text.contains("an app uses a wrong password"), "{text}");
    assert!(!page.contains(WRONG));
    // Of two hundred attempts the table has one row so far; the rest is told in ten minutes, as one.
    let rows = "SELECT count(*) FROM events WHERE kind = 'logins_refused'";
    assert_eq!(service.database.number(rows).await, 1);
    service.stop().await;
}

/// Shop's worker goes on with a credential that its owner has deleted.
async fn the_owner_reads_of_an_app_with_a_deleted_credential(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let made = service
        .sandbox
        .provision(shop, "dev", ProvisionOptions::default());
    let addon = made.await.expect("a cache").id;
    let vars = service.sandbox.config_vars(shop);
    let servers = &vars["MEMCACHIER_SERVERS"];
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    let second = owner.add_credentials().await;
    let password = owner.reveal(&second).await;
    let mut client = Plain::connect(servers).await;
    assert_eq!(client.login(&second, &password).await, "STORED");
    assert!(owner.delete(&second).await.status.is_redirection());
    eventually("the login is refused", async || {
        let mut client = Plain::connect(servers).await;
        client.login(&second, &password).await == REFUSED
    })
    .await;
    let told = format!("credential={second} remote=127.0.0.1 refused=1 window=600s");
    eventually("the owner is told", async || {
        visible_text(&owner.page().await).contains(&told)
    })
    .await;
    for _ in 0..20 {
        let mut client = Plain::connect(servers).await;
        assert_eq!(client.login(&second, &password).await, REFUSED);
        assert_eq!(client.login("C0FFEE", &password).await, REFUSED);
    }
    let rows = "SELECT count(*) FROM events WHERE kind = 'logins_refused'";
    assert_eq!(service.database.number(rows).await, 1);
    service.stop().await;
}

/// Somebody without the marketplace's secrets tries the ways in.
async fn refused_sign_ons_and_calls_are_audited_by_their_address(database: Database) {
    let (service, metrics) = with_metrics(database).await;
    let client = Client::new();
    let series = |call: &str| format!("larder_refused_calls_total{{call=\"{call}\"}} ");
    let calls = ["api", "sign_on", "webhook", "link"];
    let mut before = Vec::new();
    for call in calls {
        before.push(metric(&metrics, &series(call)).await);
    }
    let form = [
        ("resource_id", "x"),
        ("timestamp", "1"),
        ("resource_token", "0"),
    ];
    for _ in 0..20 {
        let order = client.post(format!("{}/heroku/resources", service.base));
        let order = order.basic_auth("larder", Some("guess")).body("{}").send();
        assert_eq!(
            order.await.expect("answered").status(),
            StatusCode::UNAUTHORIZED
        );
        let sign_on = client.post(format!("{}/heroku/sso", service.base));
        let sign_on = sign_on.form(&form).send().await;
        assert_eq!(sign_on.expect("answered").status(), StatusCode::FORBIDDEN);
        let webhook = client.post(format!("{}/heroku/webhooks", service.base));
        let webhook = webhook.body("{}").send().await;
        assert_eq!(
            webhook.expect("answered").status(),
            StatusCode::UNAUTHORIZED
        );
        let link = client.get(format!("{}/d/{WRONG}", service.base)).send();
        assert_eq!(
            link.await.expect("answered").status(),
            StatusCode::NOT_FOUND
        );
    }
    for (call, before) in calls.iter().zip(before) {
        assert!(
            metric(&metrics, &series(call)).await >= before + 20,
            "{call}"
        );
    }
    let store = service.store().await;
    eventually("all four are audited", async || {
        store.audit_of_none(10).await.expect("an audit").len() == calls.len()
    })
    .await;
    // The rest of their first minute is written when the service stops.
    service.service.stop().await;
    let audit = store.audit_of_none(100).await.expect("an audit");
    for call in calls {
        let action = format!("{call}.refused");
        let rows = audit.iter().filter(|row| row.entry.action == action);
        assert_eq!(rows.clone().map(|row| row.times).sum::<u64>(), 20, "{call}");
        for row in rows {
            assert_eq!(row.entry.actor.remote, Some(HERE));
            assert_eq!(row.entry.actor.identity, Identity::Unproven);
            let of_heroku = if call == "link" { "" } else { "heroku" };
            assert_eq!(row.entry.detail, of_heroku);
        }
    }
    assert!(audit.len() <= 2 * calls.len(), "{audit:?}");
    store.close().await;
    service.sandbox.stop().await;
    service.database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_is_one_row_a_minute_and_sources_are_bounded() {
    on_each(async |db| {
        let world = ControlPlane::start(db).await;
        let refused = world.access.refused_calls();
        let note = |from: u32| {
            let [_, high, middle, low] = from.to_be_bytes();
            let from = Some(IpAddr::from([10, high, middle, low]));
            let now = larder::domain::Clock::now(&*world.clock);
            refused.note(RefusedCall::SignOn, Some(heroku::NAME), from, now);
        };
        for _ in 0..2 {
            for from in 0..5_000 {
                note(from);
            }
            world.access.record_refused_calls().await.expect("written");
        }
        world.clock.advance(Duration::from_secs(60));
        world.access.record_refused_calls().await.expect("written");
        let audit = world.store.audit_of_none(10_000).await.expect("an audit");
        assert_eq!(audit.iter().map(|row| row.times).sum::<u64>(), 10_000);
        assert!(audit.len() <= 2 * 257, "{}", audit.len());
        let unknown = audit.iter().filter(|row| row.entry.actor.remote.is_none());
        assert!(unknown.map(|row| row.times).sum::<u64>() > 9_000);
    })
    .await;
}

/// While the table is away nothing can be written; the rest of the database answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_while_the_database_is_away_is_audited_when_it_is_back() {
    on_each(async |db| {
        let world = ControlPlane::start(db).await;
        let refused = world.access.refused_calls();
        let note = |call, last| {
            let from = Some(IpAddr::from([10, 0, 0, last]));
            let now = larder::domain::Clock::now(&*world.clock);
            refused.note(call, Some(heroku::NAME), from, now);
        };
        db.execute("ALTER TABLE audit RENAME TO audit_away").await;
        for _ in 0..3 {
            for last in 1..=20 {
                note(RefusedCall::Api, last);
                note(RefusedCall::SignOn, last);
            }
            assert!(world.access.record_refused_calls().await.is_err());
            world.clock.advance(Duration::from_secs(70));
        }
        db.execute("ALTER TABLE audit_away RENAME TO audit").await;
        note(RefusedCall::Api, 1);
        world.access.record_refused_calls().await.expect("written");
        world.access.record_refused_calls().await.expect("written");
        let audit = world.store.audit_of_none(1_000).await.expect("an audit");
        assert_eq!(audit.len(), 40, "one row for each source: {audit:?}");
        let times = |call: &str, last| {
            let of = |row: &&larder::store::service::audit::AuditRecord| {
                row.entry.action == format!("{call}.refused")
                    && row.entry.actor.remote == Some(IpAddr::from([10, 0, 0, last]))
            };
            audit.iter().find(of).map(|row| row.times)
        };
        assert_eq!(times("api", 1), Some(4));
        assert_eq!(times("api", 2), Some(3));
        assert_eq!(times("sign_on", 20), Some(3));
    })
    .await;
}

async fn the_log_names_address_and_user_and_no_password(database: Database) {
    let folder = tempfile::tempdir().expect("a folder");
    let base = format!("http://127.0.0.1:{}", free_port());
    let all = settings(&base, "http://127.0.0.1:9", &database, &folder);
    let all = setting(&all, "LARDER_LOG_FORMAT", "json");
    let memcached = all.iter().find(|(name, _)| name == "LARDER_MEMCACHED_ADDR");
    let memcached = memcached.expect("a setting").1.clone();
    let log = folder.path().join("log");
    let process = Process::start_logging(&base, &all, &log).await;
    for _ in 0..50 {
        let mut client = Plain::connect(&memcached).await;
        assert_eq!(client.login("C0FFEE\u{1b}[2J", WRONG).await, REFUSED);
        let order = Client::new().post(format!("{base}/heroku/resources"));
        let order = order.basic_auth("larder", Some(WRONG)).send().await;
        assert_eq!(order.expect("answered").status(), StatusCode::UNAUTHORIZED);
    }
    assert!(process.terminate().await.success());
    let text = std::fs::read_to_string(&log).expect("UTF-8");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let lines: Vec<serde_json::Value> = lines.collect();
    let of = |message: &str| {
        let fields = lines.iter().map(|line| &line["fields"]);
        let found: Vec<_> = fields
            .filter(|fields| fields["message"] == message)
            .collect();
        found
    };
    let logins = of("memcached logins refused");
    assert_eq!(logins.len(), 1, "{text}");
    assert_eq!(logins[0]["remote"], "127.0.0.1");
    assert_eq!(logins[0]["username"], "C0FFEE\\x1b[2J");
    // One at once, and the rest of the minute when the service stops.
    let calls = of("calls without a valid proof refused");
    let times = calls
        .iter()
        .map(|fields| fields["refused"].as_u64().expect("a number"));
    assert_eq!((calls.len(), times.sum::<u64>()), (2, 50), "{text}");
    assert_eq!(calls[0]["remote"], "127.0.0.1");
    assert!(!text.contains(WRONG) && !text.contains(PASSWORD));
    database.drop().await;
}
