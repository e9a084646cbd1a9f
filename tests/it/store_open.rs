//! Opening a database: its key, its schema, its files; and the two folders of migrations.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use larder::store::seal::MasterKey;
use larder::store::{OpenError, Schema, Store, StoreSettings};
use secrecy::ExposeSecret as _;
use sqlx::Connection as _;

use crate::support::db::{Database, Kind, START, TestDb, on_each, sqlite};

fn key(fill: u8) -> MasterKey {
    let text = base64::engine::general_purpose::STANDARD.encode([fill; 32]);
    MasterKey::from_base64(&text).unwrap()
}

async fn open(settings: &StoreSettings, schema: Schema) -> Result<Store, OpenError> {
    Store::open(settings, schema, START).await
}

async fn by_hand(db: &TestDb, sql: &'static str) {
    let url = db.settings.url.expose_secret();
    match db.kind {
        Kind::Sqlite { .. } => {
            let mut c = sqlx::SqliteConnection::connect(url).await.unwrap();
            sqlx::query(sql).execute(&mut c).await.unwrap();
        }
        Kind::Postgres => {
            let mut c = sqlx::PgConnection::connect(url).await.unwrap();
            sqlx::query(sql).execute(&mut c).await.unwrap();
        }
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
        by_hand(db, "UPDATE _sqlx_migrations SET version = version + 1000").await;
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
        by_hand(db, "UPDATE _sqlx_migrations SET version = version - 1000").await;
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
        by_hand(db, "DROP TABLE early_ends").await;
        by_hand(db, "DELETE FROM _sqlx_migrations WHERE version = 5").await;
        let other = StoreSettings {
            master_key: key(7),
            ..db.settings.clone()
        };
        let refused = open(&other, Schema::Migrate).await;
        assert!(matches!(refused, Err(OpenError::WrongMasterKey)));
        by_hand(
            db,
            "CREATE TABLE early_ends (only_if BIGINT, it_is_absent BIGINT)",
        )
        .await;
        by_hand(db, "DROP TABLE early_ends").await;
        let store = open(&db.settings, Schema::Migrate).await.unwrap();
        store.close().await;
        by_hand(db, "DELETE FROM early_ends").await;
    })
    .await;
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
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = open(&db.settings, Schema::Expect).await;
    assert!(
        matches!(refused, Err(OpenError::TooOpen { mode: 0o644, .. })),
        "{refused:?}"
    );
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
