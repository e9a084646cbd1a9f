//! Opening a database: its key, its schema, its files; and the two folders of migrations.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use larder::domain::{CacheId, CameBy, Identity, Marketplace};
use larder::store::db::seal::MasterKey;
use larder::store::{OpenError, Schema, Store, StoreSettings};
use secrecy::ExposeSecret as _;
use sqlx::Connection as _;
use sqlx::migrate::Migrator;

use crate::support::db::{Database, Kind, START, TestDb, on_each, sqlite};

fn key(fill: u8) -> MasterKey {
    let text = base64::engine::general_purpose::STANDARD.encode([fill; 32]);
    MasterKey::from_base64(&text).unwrap()
}

async fn open(settings: &StoreSettings, schema: Schema) -> Result<Store, OpenError> {
    Store::open(settings, schema, START).await
}

async fn by_hand(settings: &StoreSettings, sql: &'static str) {
    let url = settings.url.expose_secret();
    if url.starts_with("sqlite:") {
        let mut c = sqlx::SqliteConnection::connect(url).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut c).await.unwrap();
    } else {
        let mut c = sqlx::PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut c).await.unwrap();
    }
}

#[tokio::test]
async fn another_master_key_is_refused_until_it_is_listed() {
    on_each(async |db| {
        let other = StoreSettings {
            master_key: key(7),
            ..db.settings.clone()
        };
        let refused = open(&other, Schema::Expect).await;
        assert!(matches!(refused, Err(OpenError::WrongMasterKey)));
        let rotated = StoreSettings {
            previous_keys: vec![db.settings.master_key.clone()],
            ..other
        };
        let store = open(&rotated, Schema::Expect).await.unwrap();
        let before = db.store.verifier_key().verifier(b"u", b"p");
        let after = store.verifier_key().verifier(b"u", b"p");
        assert!(before.matches(&after), "clients' passwords go on working");
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    on_each(async |db| {
        by_hand(
            &db.settings,
            "UPDATE _sqlx_migrations SET version = version + 1000",
        )
        .await;
        for schema in [Schema::Expect, Schema::Migrate] {
            let refused = open(&db.settings, schema).await;
            assert!(
                matches!(refused, Err(OpenError::Newer { .. })),
                "{refused:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn an_older_schema_waits_for_migrate() {
    on_each(async |db| {
        by_hand(
            &db.settings,
            "UPDATE _sqlx_migrations SET version = version - 1000",
        )
        .await;
        let refused = open(&db.settings, Schema::Expect).await;
        assert!(
            matches!(refused, Err(OpenError::Older { .. })),
            "{refused:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_wrong_master_key_moves_no_schema() {
    on_each(async |db| {
        let older = set_up_by(db, |newest| newest - 1).await;
        let other = StoreSettings {
            master_key: key(7),
            ..older.clone()
        };
        let refused = open(&other, Schema::Migrate).await;
        assert!(
            matches!(refused, Err(OpenError::WrongMasterKey)),
            "{refused:?}"
        );
        let unmoved = open(&older, Schema::Expect).await;
        assert!(
            matches!(unmoved, Err(OpenError::Older { .. })),
            "{unmoved:?}"
        );
        open(&older, Schema::Migrate).await.unwrap().close().await;
    })
    .await;
}

/// What a release wrote before events had fields and an actor, and one that is newer than this.
const OF_OTHER_RELEASES: [&str; 2] = [
    r#"INSERT INTO clusters (name, region, created_at) VALUES ('c1', 'us', 1);
    INSERT INTO resources (cache_id, id, marketplace, external_id, name, label, plan, region, cluster, state, created_at)
        VALUES (7, 'res_1', 'heroku', 'r-1', 'n', 'AAAAAA', 'dev', 'us', 'c1', 'provisioned', 1);
    INSERT INTO events (id, cache_id, at, kind, line) VALUES
        ('evt_2', 7, 2, 'credentials_created', 'event=credentials_created cache=AAAAAA credential=BBBBBB'),
        ('evt_1', 7, 1, 'setup_began', 'event=setup_began cache=AAAAAA plan=dev');
    INSERT INTO audit (cache_id, at, actor, action, detail, remote) VALUES
        (7, 1, 'heroku', 'a', '', NULL), (7, 2, 'o"hara\x@example.com', 'b', '', '10.0.0.1'),
        (7, 3, 'dashboard', 'c', '', NULL), (7, 4, 'operator', 'd', '', NULL)"#,
    r#"INSERT INTO events (id, cache_id, at, kind, fields, actor)
        VALUES ('evt_3', 7, 3, 'levitated', '{"height_mm":7,"by":"a robot"}', '{"kind":"robot"}')"#,
];

#[tokio::test]
async fn what_other_releases_wrote_is_shown_as_it_is() {
    on_each(async |db| {
        let older = set_up_by(db, |_| 9).await;
        by_hand(&older, OF_OTHER_RELEASES[0]).await;
        let store = open(&older, Schema::Migrate).await.unwrap();
        by_hand(&older, OF_OTHER_RELEASES[1]).await;
        let events = store.events(CacheId(7), 10).await.unwrap();
        let shown: Vec<_> = events
            .iter()
            .map(|event| {
                let actor = event.actor.as_ref().map(|actor| actor.identity.to_string());
                (event.kind.as_str(), event.detail(), actor)
            })
            .collect();
        let robot = Some(r#"{"kind":"robot"}"#.to_owned());
        let old = |rest: &str| format!("event={rest}");
        assert_eq!(
            shown,
            [
                ("levitated", r#"height_mm=7 by="a robot""#.to_owned(), robot),
                (
                    "credential_added",
                    old("credentials_created cache=AAAAAA credential=BBBBBB"),
                    None
                ),
                (
                    "async_provision_began",
                    old("setup_began cache=AAAAAA plan=dev"),
                    None
                ),
            ]
        );
        let audit = store.audit_of(CacheId(7), 10).await.unwrap();
        let actors = audit.iter().rev().map(|row| &row.entry.actor.identity);
        let heroku = || "heroku".parse::<Marketplace>().unwrap();
        let browser = |person: Option<&str>, came_by| Identity::Browser {
            person: person.map(str::to_owned),
            came_by,
        };
        let ohara = Some(r#"o"hara\x@example.com"#);
        assert_eq!(
            actors.cloned().collect::<Vec<_>>(),
            [
                Identity::Marketplace(heroku()),
                browser(ohara, CameBy::Marketplace(heroku())),
                browser(None, CameBy::Link),
                Identity::Operator,
            ]
        );
        store.close().await;
    })
    .await;
}

/// Empties the database and sets it up again by the migrations up to a number, which is told the newest, with the
/// same keys.
async fn set_up_by(db: &TestDb, last: fn(i64) -> i64) -> StoreSettings {
    const KEYS: &str = "SELECT name, sealed, created_at FROM settings";
    const INSERT: &str = "INSERT INTO settings (name, sealed, created_at) VALUES ($1, $2, $3)";
    type Row = (String, Vec<u8>, i64);
    let owner = db.of_owner();
    let url = owner.url.expose_secret();
    match &db.kind {
        Kind::Sqlite { dir } => {
            let mut c = sqlx::SqliteConnection::connect(url).await.unwrap();
            let keys: Vec<Row> = sqlx::query_as(KEYS).fetch_all(&mut c).await.unwrap();
            let older = format!("sqlite:{}?mode=rwc", dir.path().join("older.db").display());
            let mut c = sqlx::SqliteConnection::connect(&older).await.unwrap();
            let migrator = migrator("sqlite", last).await;
            migrator.run(&mut c).await.unwrap();
            for (name, sealed, at) in keys {
                let row = sqlx::query(INSERT).bind(name).bind(sealed).bind(at);
                row.execute(&mut c).await.unwrap();
            }
            c.close().await.unwrap();
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(dir.path().join("older.db"), private).unwrap();
            StoreSettings {
                url: older.trim_end_matches("?mode=rwc").into(),
                ..db.settings.clone()
            }
        }
        Kind::Postgres { .. } => {
            let mut c = sqlx::PgConnection::connect(url).await.unwrap();
            let keys: Vec<Row> = sqlx::query_as(KEYS).fetch_all(&mut c).await.unwrap();
            for sql in ["DROP SCHEMA public CASCADE", "CREATE SCHEMA public"] {
                sqlx::query(sql).execute(&mut c).await.unwrap();
            }
            let migrator = migrator("postgres", last).await;
            migrator.run(&mut c).await.unwrap();
            for (name, sealed, at) in keys {
                let row = sqlx::query(INSERT).bind(name).bind(sealed).bind(at);
                row.execute(&mut c).await.unwrap();
            }
            owner
        }
    }
}

async fn migrator(folder: &str, last: fn(i64) -> i64) -> Migrator {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("migrations")
        .join(folder);
    let mut migrator = Migrator::new(folder).await.unwrap();
    let mut migrations = migrator.migrations.into_owned();
    let newest = migrations.iter().map(|migration| migration.version).max();
    let last = last(newest.unwrap());
    migrations.retain(|migration| migration.version <= last);
    migrator.migrations = migrations.into();
    migrator
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_processes_may_set_up_one_database() {
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/larder.db");
        set_up_by_several(&format!("sqlite:{}", path.display())).await;
        if let Some(database) = Database::postgres().await {
            set_up_by_several(database.url()).await;
            database.drop().await;
        }
    }
}

async fn set_up_by_several(url: &str) {
    let settings = unopened(url);
    let mut openings = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let settings = settings.clone();
        openings.spawn(async move { open(&settings, Schema::Expect).await });
    }
    let opened = openings.join_all().await;
    let stores: Vec<Store> = opened.into_iter().map(Result::unwrap).collect();
    let one = stores[0].verifier_key().verifier(b"u", b"p");
    for store in stores {
        assert!(one.matches(&store.verifier_key().verifier(b"u", b"p")));
        store.close().await;
    }
}

fn unopened(url: &str) -> StoreSettings {
    StoreSettings {
        url: url.to_owned().into(),
        master_key: key(1),
        previous_keys: vec![],
        connections_max: 1,
    }
}

#[tokio::test]
async fn files_are_for_this_user_alone() {
    let db = sqlite().await;
    let Kind::Sqlite { dir } = &db.kind else {
        panic!("a file");
    };
    let path = dir.path().join("larder.db");
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    db.store.ping().await.unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
    db.store.close().await;
    let wal = dir.path().join("larder.db-wal");
    std::fs::write(&wal, "").unwrap();
    let of_files = [0o040, 0o020, 0o010, 0o004, 0o002, 0o001, 0o055];
    let of_folders = [0o020, 0o002, 0o077];
    for (path, good, wider) in [
        (path.as_path(), 0o600, &of_files[..]),
        (&wal, 0o600, &of_files),
        (dir.path(), 0o755, &of_folders),
    ] {
        for bits in wider {
            let wide = good | bits;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(wide)).unwrap();
            let refused = open(&db.settings, Schema::Expect).await;
            assert!(
                matches!(&refused, Err(OpenError::TooOpen { mode, path: told }) if *mode == wide && told == path),
                "{refused:?}"
            );
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(good)).unwrap();
    }
    let store = open(&db.settings, Schema::Expect)
        .await
        .expect("closed to others again");
    store.close().await;
}

/// A schema that another program made under the same numbers is not ours, also for whoever only serves.
#[tokio::test]
async fn a_migration_that_was_changed_afterwards_is_refused() {
    on_each(async |db| {
        by_hand(
            &db.settings,
            "UPDATE _sqlx_migrations SET checksum = substr(checksum, 2) WHERE version = 1",
        )
        .await;
        for schema in [Schema::Expect, Schema::Require, Schema::Migrate] {
            let refused = open(&db.settings, schema).await;
            assert!(
                matches!(refused, Err(OpenError::Migration(_))),
                "{schema:?}: {refused:?}"
            );
        }
    })
    .await;
}

/// Whatever umask the program is started with.
#[tokio::test]
async fn a_new_folder_is_for_this_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/larder.db");
    let settings = StoreSettings {
        url: format!("sqlite:{}", path.display()).into(),
        master_key: key(1),
        previous_keys: vec![],
        connections_max: 1,
    };
    let store = open(&settings, Schema::Expect)
        .await
        .expect("a new database");
    for (path, expected) in [("a", 0o700), ("a/b", 0o700), ("a/b/larder.db", 0o600)] {
        let metadata = folder.path().join(path).metadata().unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, expected, "{path}");
    }
    store.close().await;
}

#[tokio::test]
async fn a_database_of_another_kind_is_named_in_the_refusal() {
    let settings = StoreSettings {
        url: "mysql://user:secret@db/larder".to_owned().into(),
        master_key: key(1),
        previous_keys: vec![],
        connections_max: 1,
    };
    let refused = open(&settings, Schema::Expect).await.unwrap_err();
    assert!(matches!(refused, OpenError::UnknownDatabase));
    assert!(!format!("{refused} {refused:?} {settings:?}").contains("secret@"));
}

/// The two folders differ in identity columns and in the type of bytes, and in nothing else.
#[test]
fn the_migrations_are_the_same() {
    let folder = |name: &str| {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("migrations")
            .join(name)
    };
    let read = |name: &str| {
        let mut files: Vec<(String, String)> = std::fs::read_dir(folder(name))
            .unwrap()
            .map(|file| file.unwrap())
            .map(|file| {
                let text = std::fs::read_to_string(file.path()).unwrap();
                (file.file_name().into_string().unwrap(), text)
            })
            .collect();
        files.sort();
        files
    };
    let translated: Vec<(String, String)> = read("postgres")
        .into_iter()
        .map(|(name, text)| {
            let text = text
                .replace(
                    "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
                    "INTEGER PRIMARY KEY AUTOINCREMENT",
                )
                .replace("BYTEA", "BLOB")
                .replace("bytea", "blobs");
            (name, text)
        })
        .collect();
    assert_eq!(read("sqlite"), translated);
}

/// Tools write PostgreSQL's addresses with either scheme.
#[tokio::test]
async fn both_schemes_of_postgresql_are_known() {
    on_each(async |db| {
        let url = db.settings.url.expose_secret();
        if !db.is_postgres() {
            return;
        }
        let (_, rest) = url.split_once("://").unwrap();
        for scheme in ["postgres", "postgresql"] {
            let settings = StoreSettings {
                url: format!("{scheme}://{rest}").into(),
                ..db.settings.clone()
            };
            let store = open(&settings, Schema::Require).await.unwrap();
            store.close().await;
        }
        let other = StoreSettings {
            url: format!("mysql://{rest}").into(),
            ..db.settings.clone()
        };
        let refused = open(&other, Schema::Require).await;
        assert!(matches!(refused, Err(OpenError::UnknownDatabase)));
    })
    .await;
}
