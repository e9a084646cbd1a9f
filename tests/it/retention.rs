//! What grows, and what bounds it: each table is bounded by its parent, by retention, or for a reason that stands here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use larder::access::AccessSettings;
use larder::domain::{Clock as _, Identity};
use larder::store::service::sessions::SESSIONS_MAX;
use secrecy::ExposeSecret as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::outbox_fixture::OutboxFixture;
use crate::support::control_plane::ControlPlane;
use crate::support::db::{TestDb, on_each};

enum Bound {
    /// So many rows per row of another table, and gone or bounded with it.
    Parent,
    /// A row from long ago, which housekeeping removes.
    Age(&'static str),
    Reason,
}

use Bound::{Age, Parent, Reason};

/// Why each table does not grow for ever. `{cache}` is the number of a live cache.
const TABLES: &[(&str, Bound, &str)] = &[
    ("_sqlx_migrations", Reason, "one per migration"),
    ("async_provisions", Parent, "one per resource"),
    ("attachments", Parent, "one per attached app"),
    (
        "audit",
        Age(
            "INSERT INTO audit (cache_id, at, actor, action, detail) VALUES ({cache}, 1, 'x', 'x', '')",
        ),
        "LARDER_AUDIT_DAYS",
    ),
    ("authorities", Reason, "one in nine years"),
    ("cache_figures", Parent, "one per cache and node"),
    (
        "certificates",
        Age(
            "INSERT INTO certificates (fingerprint, credential_id, created_at, expires_at) \
             SELECT 'f', id, 1, 2 FROM credentials WHERE cache_id = {cache}",
        ),
        "five good ones per credential; expired ones for 30 days",
    ),
    (
        "changes",
        Reason,
        "one per live cache; of dead ones until every node knows",
    ),
    ("clusters", Reason, "an operator's"),
    ("config_sync", Parent, "one per resource"),
    (
        "credentials",
        Parent,
        "the plan's number per cache, and a hundred a day; a removed one keeps its name, which is given once",
    ),
    (
        "deliveries",
        Parent,
        "a thousand per attached app, for a quarter of an hour",
    ),
    (
        "deliveries_done",
        Age("INSERT INTO deliveries_done \
             (id, cache_id, kind, order_key, payload, attempt, outcome, created_at, done_at) \
             VALUES ('dlv_old', {cache}, 'x', 'x', '{}', 0, 'delivered', 1, 1)"),
        "thirty days, and the newest ten thousand of a cache",
    ),
    (
        "early_deprovisions",
        Age(
            "INSERT INTO early_deprovisions (marketplace, external_id, ended_at) VALUES ('heroku', 'x', 1)",
        ),
        "a day",
    ),
    (
        "events",
        Age(
            "INSERT INTO events (id, cache_id, at, kind, fields) VALUES ('evt_old', {cache}, 1, 'x', '{}')",
        ),
        "LARDER_EVENTS_DAYS, and the newest ten thousand of a cache",
    ),
    ("flush_reports", Parent, "one per node and flush"),
    (
        "flushes",
        Age(
            "INSERT INTO flushes (id, cache_id, origin, times, ordered_at, done_at) \
             VALUES ('fl_old', {cache}, 'web interface', 1, 1, 1)",
        ),
        "as their events; orders that wait are withdrawn with their cache",
    ),
    ("grants", Parent, "one per resource"),
    ("inventories", Reason, "one per marketplace"),
    ("lanes", Parent, "one per attached app"),
    (
        "node_reports",
        Age("INSERT INTO node_reports (id, seen_at) VALUES ('evt_old', 1)"),
        "a day",
    ),
    ("nodes", Reason, "an operator's machines"),
    ("outbox_workers", Reason, "one per process that runs"),
    ("placements", Parent, "one per cache and node"),
    ("reconciles", Parent, "one per resource"),
    (
        "resources",
        Reason,
        "tombstones stay, so that an id never means another cache",
    ),
    ("revision", Reason, "one row"),
    ("rotations", Parent, "one per resource"),
    (
        "sessions",
        Age(
            "INSERT INTO sessions (digest, cache_id, opened_by, csrf_sealed, created_at, seen_at) \
             SELECT 'old', {cache}, 'link', sealed, 1, 1 FROM settings WHERE name = 'canary'",
        ),
        "fifty per cache and way, for twelve hours",
    ),
    ("settings", Reason, "a few per installation"),
    (
        "sso_uses",
        Age("INSERT INTO sso_uses (digest, used_at) VALUES ('old', 1)"),
        "two days",
    ),
    (
        "webhook_events",
        Age("INSERT INTO webhook_events (id, seen_at) VALUES ('old', 1)"),
        "eight days",
    ),
];

/// The texts that a query gives, read beside the service.
pub async fn names(db: &TestDb, sql: String) -> Vec<String> {
    let url = db.settings.url.expose_secret();
    let query = sqlx::query_scalar(AssertSqlSafe(sql.clone()));
    if db.is_postgres() {
        let mut c = PgConnection::connect(url).await.expect("connects");
        query.fetch_all(&mut c).await.expect("read")
    } else {
        let query = sqlx::query_scalar(AssertSqlSafe(sql));
        let mut c = SqliteConnection::connect(url).await.expect("connects");
        query.fetch_all(&mut c).await.expect("read")
    }
}

pub async fn by_hand(db: &TestDb, sql: String) {
    let url = db.settings.url.expose_secret();
    if db.is_postgres() {
        let mut c = PgConnection::connect(url).await.expect("connects");
        let done = sqlx::query(AssertSqlSafe(sql.clone()))
            .execute(&mut c)
            .await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    } else {
        let mut c = SqliteConnection::connect(url).await.expect("connects");
        let done = sqlx::query(AssertSqlSafe(sql.clone()))
            .execute(&mut c)
            .await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// Tables with the tables that their rows belong to.
async fn schema(db: &TestDb) -> BTreeMap<String, Vec<String>> {
    let (tables, parents) = if db.is_postgres() {
        (
            "SELECT CAST(table_name AS TEXT) FROM information_schema.tables WHERE table_schema = 'public'",
            "SELECT CAST(confrelid::regclass AS TEXT) FROM pg_constraint WHERE contype = 'f' \
             AND conrelid = '{table}'::regclass",
        )
    } else {
        (
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
            "SELECT \"table\" FROM pragma_foreign_key_list('{table}')",
        )
    };
    let mut found = BTreeMap::new();
    for table in names(db, tables.to_owned()).await {
        let of = names(db, parents.replace("{table}", &table)).await;
        found.insert(table, of);
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_is_bounded() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let control = &fixture.control;
        let cache = control.provision("r-1").await.resource.cache;
        let schema = schema(db).await;
        let listed: Vec<&str> = TABLES.iter().map(|(table, ..)| *table).collect();
        assert_eq!(
            schema.keys().collect::<Vec<_>>(),
            listed,
            "a table joins here"
        );
        for (table, bound, why) in TABLES {
            match bound {
                Parent => assert!(!schema[*table].is_empty(), "{table}: {why}"),
                Age(row) => by_hand(db, row.replace("{cache}", &cache.to_string())).await,
                Reason => {}
            }
        }
        control.cluster.tidy().await.expect("tidied");
        control.access.tidy().await.expect("tidied");
        control.provisioning.tidy().await.expect("tidied");
        fixture.outbox.tidy().await.expect("tidied");
        let old = "SELECT CAST(count(*) AS TEXT) FROM ";
        for (table, place) in [
            ("audit", "at < 1000"),
            ("certificates", "expires_at < 1000"),
            ("deliveries_done", "done_at < 1000"),
            ("early_deprovisions", "ended_at < 1000"),
            ("events", "at < 1000"),
            ("flushes", "ordered_at < 1000"),
            ("node_reports", "seen_at < 1000"),
            ("sessions", "created_at < 1000"),
            ("sso_uses", "used_at < 1000"),
            ("webhook_events", "seen_at < 1000"),
        ] {
            let left = names(db, format!("{old}{table} WHERE {place}")).await;
            assert_eq!(left, ["0"], "{table} keeps what is old");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_opened_without_end_fills_nothing() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let owner = control.owner(cache, "visit").await;
        let hash = control.store.sso_secret(cache).await.expect("answers");
        let hash = hash.expect("a hash");
        let opened = u64::from(SESSIONS_MAX) + 10;
        let remote = Some([203, 0, 113, 7].into());
        let mut cookies = Vec::new();
        for _ in 0..opened {
            let session = control.access.open_by_link(&hash, |_| None, remote).await;
            cookies.push(session.expect("answers").expect("a session").cookie);
        }
        let count = "SELECT CAST(count(*) AS TEXT) FROM sessions WHERE opened_by = 'link'";
        let left = names(db, count.to_owned()).await;
        assert_eq!(left, [SESSIONS_MAX.to_string()]);
        let alive = async |at: usize| {
            let found = control.access.signed_in(&cookies[at], cache, remote).await;
            found.expect("answers").is_some()
        };
        assert!(alive(cookies.len() - 1).await, "the newest stays");
        assert!(
            control.access.rotate_sso(&owner).await.is_ok(),
            "who came by sign-on is not pushed out"
        );
        let audit = control.store.audit_of(cache, 100).await.expect("an audit");
        let by_link = |action: &str| action == "session.open.link";
        let rows: Vec<_> = audit
            .iter()
            .filter(|row| by_link(&row.entry.action))
            .collect();
        assert_eq!(rows.len(), 1, "one row for a source and a minute");
        assert_eq!(rows[0].times, opened);
        assert!(matches!(
            rows[0].entry.actor.identity,
            Identity::Browser { person: None, .. }
        ));
        assert_eq!(rows[0].entry.actor.remote, remote);

        control.clock.advance(Duration::from_secs(61));
        let session = control.access.open_by_link(&hash, |_| None, remote).await;
        assert!(
            session.expect("answers").is_none(),
            "the secret was rotated"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_and_timeline_go_back_as_far_as_is_set() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let day = Duration::from_secs(86_400);
        let cache = control.provision("r-1").await.resource.cache;
        let access = control.access.clone().with_settings(AccessSettings {
            audit_kept: day,
            events_kept: 2 * day,
            ..AccessSettings::default()
        });
        let left = async || {
            access.tidy().await.expect("tidied");
            let audit = control.store.audit_of(cache, 10).await.expect("an audit");
            let events = control.store.events(cache, 10).await.expect("a timeline");
            (audit.len(), events.len())
        };
        assert_eq!(left().await, (1, 1), "{}", control.clock.now());
        control.clock.advance(day + Duration::from_secs(1));
        assert_eq!(left().await, (0, 1));
        control.clock.advance(day);
        assert_eq!(left().await, (0, 0));
    })
    .await;
}

/// Whoever has one address of an IPv6 network of 64 bits has all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_addresses_of_one_network_are_one_row_of_the_audit() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let hash = control.store.sso_secret(cache).await.expect("answers");
        let hash = hash.expect("a hash");
        let host =
            |network: u16, host: u16| IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, host]);
        for number in 1..=20 {
            for network in [7, 8] {
                let from = Some(host(network, number));
                let opened = control.access.open_by_link(&hash, |_| None, from).await;
                opened.expect("answers").expect("a session");
            }
        }
        let audit = control.store.audit_of(cache, 100).await.expect("an audit");
        let opened = audit.iter().rev();
        let opened = opened.filter(|row| row.entry.action == "session.open.link");
        let rows: Vec<_> = opened
            .map(|row| (row.entry.actor.remote, row.times))
            .collect();
        // Each has the address that came first.
        assert_eq!(rows, [(Some(host(7, 1)), 20), (Some(host(8, 1)), 20)]);
    })
    .await;
}

/// What a deleted row held is not in the files any more, while the service runs on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_is_overwritten() {
    let db = crate::support::db::sqlite().await;
    let crate::support::db::Kind::Sqlite { dir } = &db.kind else {
        panic!("it is SQLite");
    };
    let control = ControlPlane::start(&db).await;
    let cache = control.provision("r-1").await.resource.cache;
    control.owner(cache, "visit").await;
    let holds = |name: &str| {
        let file = std::fs::read(dir.path().join(name)).unwrap_or_default();
        file.windows(15).any(|part| part == b"ann@example.com")
    };
    assert!(holds("larder.db-wal"), "the person's address is in the log");
    control.access.tidy().await.expect("tidied");
    assert!(holds("larder.db"), "it is in the database");
    control.clock.advance(Duration::from_secs(500 * 86_400));
    control.access.tidy().await.expect("tidied");
    assert!(!holds("larder.db") && !holds("larder.db-wal"));
    control.stop.cancel();
}
