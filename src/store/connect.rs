//! Opening a database: the settings each one needs, the schema it must have, the key it must know.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use sqlx::SqlitePool;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::dialect::{Db, DbTx, exec, read, run};
use super::seal::{KeyRing, MasterKey, Place, SealError};
use super::{Store, StoreError, Tx};
use crate::domain::Timestamp;
use crate::domain::secret::{VerifierKey, hex_lower, random_bytes};

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

const POOL_WAIT: Duration = Duration::from_secs(2);
const SQLITE_BUSY: Duration = Duration::from_secs(5);
const SQLITE_RETRY: Duration = Duration::from_millis(10);
const SQLITE_CODE_BUSY: i32 = 5;
const SQLITE_READERS: u32 = 4;
const CANARY: &[u8] = b"larder";
/// PostgreSQL's advisory lock for setting up, "larder" in ASCII: any number that nothing else in the database uses.
const SET_UP_LOCK: i64 = 0x6c61_7264_6572;

/// What the store needs to open.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// `sqlite:PATH` or `postgres://…`; may hold a password.
    pub url: SecretString,
    pub master_key: MasterKey,
    /// Older master keys whose values must still open.
    pub previous_keys: Vec<MasterKey>,
    /// Upper bound of PostgreSQL connections of this process.
    pub connections_max: u32,
}

/// What to do about the schema when opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Set up an empty database, refuse an older or newer one: what `serve` does.
    Expect,
    /// Bring an older one up to date: what `migrate` and `dev` do.
    Migrate,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("LARDER_DATABASE_URL must start with sqlite: or postgres://")]
    UnknownDatabase,
    #[error(
        "the database schema is older than this program (at {at}, expected {expected}): run `larder migrate`"
    )]
    Older { at: i64, expected: i64 },
    #[error(
        "the database schema is newer than this program (at {at}, expected {expected}): run a newer larder"
    )]
    Newer { at: i64, expected: i64 },
    #[error("the master key does not belong to this database; nothing was changed")]
    WrongMasterKey,
    #[error("{path} can be read by others (mode {mode:o}): it must be 0600 and its directory 0700")]
    TooOpen { path: PathBuf, mode: u32 },
    #[error("cannot prepare {path}")]
    Directory {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("a migration failed")]
    Migration(#[from] MigrateError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> OpenError {
        OpenError::Store(error.into())
    }
}

impl Store {
    /// Opens the database, sees to its schema, and checks the master key against the sealed canary before
    /// anything is written under it.
    pub async fn open(
        settings: &StoreSettings,
        schema: Schema,
        now: Timestamp,
    ) -> Result<Store, OpenError> {
        let keys = Arc::new(KeyRing::new(&settings.master_key, &settings.previous_keys)?);
        let url = settings.url.expose_secret();
        let db = if url.starts_with("sqlite:") {
            open_sqlite(url).await?
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            open_postgres(url, settings.connections_max).await?
        } else {
            return Err(OpenError::UnknownDatabase);
        };
        let verifier_key = match set_up(&db, schema, &keys, now).await {
            Ok(key) => key,
            // A database that is refused is left as it was: without closing, SQLite leaves files beside it.
            Err(error) => {
                db.close().await;
                return Err(error);
            }
        };
        Ok(Store {
            db,
            keys,
            verifier_key,
            promised: Arc::default(),
        })
    }

    /// Whether the database answers: what `/readyz` asks.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let _: i64 =
            read!(self, c => sqlx::query_scalar("SELECT value FROM revision").fetch_one(c))?;
        Ok(())
    }

    /// Waits for open statements and closes; afterwards every call fails.
    pub async fn close(&self) {
        self.db.close().await;
    }
}

/// WAL with full synchronisation: NORMAL may lose the last commits on power loss, and what we acknowledged must
/// survive. One writing connection: SQLite has one writer anyway, and this way waiting is ours to bound.
async fn open_sqlite(url: &str) -> Result<Db, OpenError> {
    let options = SqliteConnectOptions::from_str(url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(SQLITE_BUSY)
        .foreign_keys(true)
        .optimize_on_close(true, None);
    guard_files(options.get_filename())?;
    let write = open_writer(&options).await?;
    let read = SqlitePoolOptions::new()
        .max_connections(SQLITE_READERS)
        .acquire_timeout(POOL_WAIT)
        .connect_lazy_with(options.read_only(true).create_if_missing(false));
    Ok(Db::Lite { write, read })
}

/// Of two processes that switch one new file to WAL at once, SQLite turns one away without waiting its busy time:
/// that one tries again.
async fn open_writer(options: &SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let give_up = Instant::now() + SQLITE_BUSY;
    loop {
        let opened = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(SQLITE_BUSY)
            .connect_with(options.clone())
            .await;
        match opened {
            Err(error) if is_busy(&error) && Instant::now() < give_up => {
                tokio::time::sleep(SQLITE_RETRY).await;
            }
            opened => return opened,
        }
    }
}

/// SQLITE_BUSY in any of its kinds: the low byte of an extended result code is the code itself.
fn is_busy(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code()?.parse::<i32>().ok())
        .is_some_and(|code| code & 0xff == SQLITE_CODE_BUSY)
}

async fn open_postgres(url: &str, connections_max: u32) -> Result<Db, OpenError> {
    let options = PgConnectOptions::from_str(url)?
        .application_name("larder")
        .options([("statement_timeout", "5s"), ("synchronous_commit", "on")]);
    let pool = PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(POOL_WAIT)
        .connect_with(options)
        .await?;
    Ok(Db::Pg(pool))
}

/// Makes the database file and its directory for this user alone, and refuses ones that others may read.
fn guard_files(path: &std::path::Path) -> Result<(), OpenError> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
    let failed = |source| OpenError::Directory {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        && !parent.exists()
    {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(failed)?;
    }
    // Only a file that is not there yet is opened: to close one gives up the locks this process has on it.
    let made = std::fs::OpenOptions::new()
        .create_new(true)
        .append(true)
        .mode(0o600)
        .open(path);
    match made {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(failed(error));
        }
        _ => {}
    }
    let mode = path.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(OpenError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// Sees to the schema and the keys in one transaction that other processes wait for: who starts while another sets
/// up the same database finds it ready, never half done; and a refusal, or a kill, leaves it as it was.
async fn set_up(
    db: &Db,
    schema: Schema,
    keys: &Arc<KeyRing>,
    now: Timestamp,
) -> Result<VerifierKey, OpenError> {
    let mut tx = Tx {
        db_tx: begin_alone(db).await?,
        keys: Arc::clone(keys),
        promised: Arc::default(),
        promises: false,
    };
    see_to_schema(&mut tx.db_tx, schema).await?;
    let key = check_keys(&mut tx, now).await?;
    tx.commit().await?;
    Ok(key)
}

/// A transaction that no other process setting up this database has at the same time. SQLite has one writer;
/// PostgreSQL needs a lock of its own, as a database without tables has none to take.
async fn begin_alone(db: &Db) -> Result<DbTx, OpenError> {
    Ok(match db {
        Db::Lite { write, .. } => DbTx::Lite(write.begin_with("BEGIN IMMEDIATE").await?),
        Db::Pg(pool) => {
            let mut transaction = pool.begin().await?;
            sqlx::query("SELECT pg_advisory_xact_lock($1)")
                .bind(SET_UP_LOCK)
                .execute(&mut *transaction)
                .await?;
            DbTx::Pg(transaction)
        }
    })
}

async fn see_to_schema(tx: &mut DbTx, schema: Schema) -> Result<(), OpenError> {
    let migrator = match tx {
        DbTx::Lite(_) => &SQLITE_MIGRATIONS,
        DbTx::Pg(_) => &POSTGRES_MIGRATIONS,
    };
    let expected = migrator
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0);
    match schema_version(tx).await? {
        Some(at) if at > expected => return Err(OpenError::Newer { at, expected }),
        Some(at) if at < expected && schema == Schema::Expect => {
            return Err(OpenError::Older { at, expected });
        }
        _ => {}
    }
    // `Migrator::run` does not compile for a connection borrowed in a future that must be `Send`; this is what sqlx
    // has for that case, though its documentation leaves it out.
    match tx {
        DbTx::Lite(transaction) => migrator.run_direct(None, &mut **transaction, false).await?,
        DbTx::Pg(transaction) => migrator.run_direct(None, &mut **transaction, false).await?,
    }
    Ok(())
}

/// The newest migration applied, `None` for an empty database.
async fn schema_version(tx: &mut DbTx) -> Result<Option<i64>, OpenError> {
    const NEWEST: &str = "SELECT max(version) FROM _sqlx_migrations WHERE success";
    let version = match tx {
        DbTx::Lite(transaction) => {
            let c = &mut **transaction;
            let table =
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'";
            match sqlx::query(table).fetch_optional(&mut *c).await? {
                Some(_) => sqlx::query_scalar(NEWEST).fetch_one(c).await?,
                None => None,
            }
        }
        DbTx::Pg(transaction) => {
            let c = &mut **transaction;
            let table = "SELECT 1 WHERE to_regclass('_sqlx_migrations') IS NOT NULL";
            match sqlx::query(table).fetch_optional(&mut *c).await? {
                Some(_) => sqlx::query_scalar(NEWEST).fetch_one(c).await?,
                None => None,
            }
        }
    };
    Ok(version)
}

/// Proves the master key on the canary, or seals the canary and the verifier key into a new database.
async fn check_keys(tx: &mut Tx, now: Timestamp) -> Result<VerifierKey, OpenError> {
    let canary = tx.setting_or_insert("canary", CANARY, now).await?;
    if canary.expose_secret() != CANARY {
        return Err(OpenError::WrongMasterKey);
    }
    let stored = tx
        .setting_or_insert("verifier_key", &random_bytes::<32>(), now)
        .await?;
    let bytes: [u8; 32] = stored
        .expose_secret()
        .try_into()
        .map_err(|_| StoreError::BadRow("verifier_key".to_owned()))?;
    Ok(VerifierKey::from_bytes(&bytes))
}

impl Store {
    /// A random secret of this installation, 64 hexadecimal characters: made when first asked for, sealed, the
    /// same in every process from then on.
    pub async fn installation_secret(
        &self,
        name: &'static str,
        now: Timestamp,
    ) -> Result<SecretString, OpenError> {
        let mut tx = self.begin().await?;
        let fresh = hex_lower(&random_bytes::<32>());
        let stored = tx.setting_or_insert(name, fresh.as_bytes(), now).await?;
        tx.commit().await?;
        let text = std::str::from_utf8(stored.expose_secret())
            .map_err(|_| StoreError::BadRow(name.to_owned()))?;
        Ok(text.to_owned().into())
    }
}

impl Tx {
    async fn setting_or_insert(
        &mut self,
        name: &'static str,
        fresh: &[u8],
        now: Timestamp,
    ) -> Result<secrecy::SecretSlice<u8>, OpenError> {
        let place = Place {
            table: "settings",
            column: "sealed",
            row: name,
        };
        let sealed = self.keys.seal(place, fresh)?;
        exec!(self, sqlx::query(
            "INSERT INTO settings (name, sealed, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING")
            .bind(name).bind(sealed).bind(now.micros()))?;
        let stored: Vec<u8> = run!(self, c =>
            sqlx::query_scalar("SELECT sealed FROM settings WHERE name = $1").bind(name).fetch_one(c))?;
        self.keys
            .open(place, &stored)
            .map_err(|_| OpenError::WrongMasterKey)
    }
}
