//! A fresh database for each test: SQLite in a temporary directory, and PostgreSQL when
//! `LARDER_TEST_POSTGRES_URL` names a server on which databases may be made. On CI its absence is a failure.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use larder::domain::Timestamp;
use larder::store::db::seal::MasterKey;
use larder::store::{Schema, Store, StoreSettings};
use secrecy::ExposeSecret as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

pub const START: Timestamp = Timestamp::from_secs(1_795_372_200);

/// A store, on PostgreSQL with the rights of a role that serves and no more (security.md ST-7).
pub struct TestDb {
    pub store: Store,
    pub kind: Kind,
    pub settings: StoreSettings,
}

pub enum Kind {
    Sqlite {
        dir: tempfile::TempDir,
    },
    /// The address of the database for its owner.
    Postgres {
        owner: String,
    },
}

impl TestDb {
    pub fn is_postgres(&self) -> bool {
        matches!(self.kind, Kind::Postgres { .. })
    }

    /// Everything in it, as [`Database::contents`] has it.
    pub async fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        match &self.kind {
            Kind::Sqlite { dir } => files_of(dir.path()),
            Kind::Postgres { owner } => rows_of(owner).await,
        }
    }

    /// The same database as another process would open it.
    pub async fn opened_again(&self) -> Store {
        Store::open(&self.settings, Schema::Expect, START)
            .await
            .expect("the database opens a second time")
    }

    /// The files of PostgreSQL's tables after its owner has compacted them; nothing on SQLite, whose files are
    /// [`TestDb::contents`]. The owner must be allowed to read the server's files.
    pub async fn files_of_compacted_tables(&self) -> BTreeMap<String, Vec<u8>> {
        let Kind::Postgres { owner } = &self.kind else {
            return BTreeMap::new();
        };
        let mut connection = PgConnection::connect(owner).await.expect("connects");
        for sql in ["VACUUM FULL", "CHECKPOINT"] {
            let done = sqlx::query(sql).execute(&mut connection).await;
            done.expect("the owner may compact");
        }
        let files = "SELECT relname::text, pg_read_binary_file(pg_relation_filepath(oid)) FROM pg_class
             WHERE relkind IN ('r', 't') AND relnamespace IN ('public'::regnamespace, 'pg_toast'::regnamespace)";
        let files: Vec<(String, Vec<u8>)> = sqlx::query_as(files)
            .fetch_all(&mut connection)
            .await
            .expect("the owner may read the server's files");
        files.into_iter().collect()
    }

    /// The settings of the database's owner, who may change the schema.
    pub fn of_owner(&self) -> StoreSettings {
        let mut settings = self.settings.clone();
        if let Kind::Postgres { owner } = &self.kind {
            settings.url = owner.clone().into();
        }
        settings
    }

    /// Changes something behind the store's back.
    pub async fn execute(&self, sql: &'static str) {
        let owner = self.of_owner();
        execute(owner.url.expose_secret(), self.is_postgres(), sql).await;
    }
}

/// Runs a test on a fresh database of each kind.
pub async fn on_each(test: impl AsyncFn(&TestDb)) {
    let sqlite = sqlite().await;
    test(&sqlite).await;
    sqlite.store.close().await;

    let Some(server) = postgres_server() else {
        return;
    };
    let (name, url) = create_on(&server).await;
    let postgres = postgres(url).await;
    test(&postgres).await;
    postgres.store.close().await;
    run(&server, format!("DROP DATABASE {name} WITH (FORCE)")).await;
}

pub async fn sqlite() -> TestDb {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let settings = settings(format!("sqlite:{}", dir.path().join("larder.db").display()));
    TestDb {
        store: opened(&settings).await,
        kind: Kind::Sqlite { dir },
        settings,
    }
}

async fn postgres(owner: String) -> TestDb {
    opened(&settings(owner.clone())).await.close().await;
    let settings = settings(restricted(&owner).await);
    TestDb {
        store: opened(&settings).await,
        kind: Kind::Postgres { owner },
        settings,
    }
}

/// What the README tells the owner of a database to run for the role `larder_run`.
pub fn grants(role: &str) -> String {
    let readme = include_str!("../../../README.md");
    let (_, behind) = readme.split_once("```sql\n").expect("the statements");
    let (sql, _) = behind.split_once("```").expect("their end");
    assert!(sql.contains("larder_run"), "{sql}");
    sql.replace("larder_run", role)
}

/// The address of a database that is set up, for a role that can serve from it and not change its schema.
async fn restricted(owner: &str) -> String {
    const ROLE: &str = "larder_test_run";
    let mut connection = PgConnection::connect(owner).await.expect("connects");
    // Another test may make it at the same time; it stays for the next run.
    let role = format!(
        "DO $$ BEGIN CREATE ROLE {ROLE} LOGIN PASSWORD '{ROLE}'; \
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    );
    for sql in [role, grants(ROLE)] {
        let done = sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await;
        done.expect("the owner may give rights");
    }
    as_role(owner, ROLE)
}

/// The address for whoever connects as this role, whose password is its name.
fn as_role(url: &str, role: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let place = rest.split_once('@').map_or(rest, |(_, place)| place);
    format!("{scheme}://{role}:{role}@{place}")
}

fn postgres_server() -> Option<String> {
    let url = std::env::var("LARDER_TEST_POSTGRES_URL").ok();
    if url.is_none() {
        let on_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!on_ci, "LARDER_TEST_POSTGRES_URL must be set on CI");
        eprintln!("skipped on PostgreSQL: LARDER_TEST_POSTGRES_URL is not set");
    }
    url
}

fn settings(url: String) -> StoreSettings {
    with_key(url, [42; 32])
}

fn with_key(url: String, key: [u8; 32]) -> StoreSettings {
    let key = base64::engine::general_purpose::STANDARD.encode(key);
    StoreSettings {
        url: url.into(),
        master_key: MasterKey::from_base64(&key).expect("32 bytes"),
        previous_keys: vec![],
        connections_max: 10,
    }
}

async fn opened(settings: &StoreSettings) -> Store {
    Store::open(settings, Schema::Expect, START)
        .await
        .expect("an empty database opens")
}

async fn run(server: &str, sql: String) {
    let mut connection = PgConnection::connect(server)
        .await
        .expect("the test server answers");
    sqlx::query(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .expect("a database can be made and dropped");
}

async fn execute(url: &str, is_postgres: bool, sql: &'static str) {
    if is_postgres {
        run(url, sql.to_owned()).await;
        return;
    }
    let mut connection = SqliteConnection::connect(url).await.expect("connects");
    let done = sqlx::query(sql).execute(&mut connection).await;
    done.expect("done");
    connection.close().await.expect("closed");
}

/// A database for a whole service: it opens the database itself, so this is only an address.
pub struct Database {
    url: String,
    /// Its address for whoever looks at it or changes it behind the service's back.
    owner: String,
    /// The server to drop it from.
    server: Option<(String, String)>,
    folder: Option<tempfile::TempDir>,
}

impl Database {
    pub fn sqlite() -> Database {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite:{}", folder.path().join("larder.db").display());
        Database {
            owner: url.clone(),
            url,
            server: None,
            folder: Some(folder),
        }
    }

    /// A fresh database on the test server; `None` where there is none.
    pub async fn postgres() -> Option<Database> {
        let server = postgres_server()?;
        let (name, url) = create_on(&server).await;
        Some(Database {
            owner: url.clone(),
            url,
            server: Some((server, name)),
            folder: None,
        })
    }

    /// The same, set up by its owner for a service with this master key, for a role that can serve and not change the
    /// schema (security.md ST-7).
    pub async fn postgres_restricted(key: [u8; 32]) -> Option<Database> {
        let database = Database::postgres().await?;
        let settings = with_key(database.owner.clone(), key);
        opened(&settings).await.close().await;
        Some(Database {
            url: restricted(&database.owner).await,
            ..database
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same for whoever connects as this role of PostgreSQL, which has to be there.
    pub fn with_role(&self, role: &str) -> Database {
        let url = as_role(&self.url, role);
        Database {
            owner: url.clone(),
            url,
            server: None,
            folder: None,
        }
    }

    /// Runs statements as one, and gives what the database says.
    ///
    /// # Errors
    /// When the database refuses them.
    pub async fn try_execute(&self, sql: &str) -> Result<(), sqlx::Error> {
        let mut connection = PgConnection::connect(&self.owner).await?;
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&mut connection).await.map(drop)
    }

    /// Changes something behind the service's back.
    pub async fn execute(&self, sql: &'static str) {
        execute(&self.owner, self.server.is_some(), sql).await;
    }

    /// Everything in it, to the byte: the files of SQLite, or the rows of every PostgreSQL table as text, with
    /// the bytes of binary columns once more as they are.
    pub async fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        match &self.folder {
            Some(folder) => files_of(folder.path()),
            None => rows_of(&self.owner).await,
        }
    }

    /// The first column of a query's one row, read beside the service.
    pub async fn number(&self, sql: &'static str) -> i64 {
        if self.server.is_some() {
            let mut connection = PgConnection::connect(&self.owner).await.expect("connects");
            let number = sqlx::query_scalar(sql).fetch_one(&mut connection).await;
            number.expect("a number")
        } else {
            let mut connection = SqliteConnection::connect(&self.owner)
                .await
                .expect("connects");
            let number = sqlx::query_scalar(sql).fetch_one(&mut connection).await;
            number.expect("a number")
        }
    }

    pub async fn drop(self) {
        if let Some((server, name)) = self.server {
            run(&server, format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }
}

/// Makes a database with a name of its own; answers that and its address.
async fn create_on(server: &str) -> (String, String) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("larder_test_{}_{count}", std::process::id());
    run(server, format!("CREATE DATABASE {name}")).await;
    let (base, _) = server.rsplit_once('/').expect("a URL with a database");
    let url = format!("{base}/{name}");
    (name, url)
}

/// Without the file beside the database that says which process holds it.
/// Without the lock file, which says who opened the database last.
fn files_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("a readable folder");
    entries
        .filter(|entry| {
            let name = entry.as_ref().expect("an entry").file_name();
            !name.to_string_lossy().ends_with(".lock")
        })
        .map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).expect("a readable file"))
        })
        .filter(|(name, _)| !name.ends_with(".lock"))
        .collect()
}

async fn rows_of(url: &str) -> BTreeMap<String, Vec<u8>> {
    let mut connection = PgConnection::connect(url).await.expect("connects");
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'",
    )
    .fetch_all(&mut connection)
    .await
    .expect("the tables");
    let mut contents = BTreeMap::new();
    for table in tables {
        let sql = format!("SELECT t::text FROM \"{table}\" t ORDER BY 1");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(&mut connection)
            .await
            .expect("the rows");
        let mut bytes = rows.join("\n").into_bytes();
        for binary in rows.iter().flat_map(|row| row.split("\\x").skip(1)) {
            let digits: Vec<u8> = binary
                .bytes()
                .map_while(|byte| (byte as char).to_digit(16).map(|digit| digit as u8))
                .collect();
            bytes.push(b'\n');
            bytes.extend(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
        }
        contents.insert(table, bytes);
    }
    contents
}
