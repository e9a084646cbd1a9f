//! Opening a database: the settings each one needs, the schema it must have, the key it must know.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
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
const SQLITE_READERS: u32 = 4;
const CANARY: &[u8] = b"larder";

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
        let checked = async {
            see_to_schema(&db, schema).await?;
            check_keys(&db, &keys, now).await
        };
        let verifier_key = match checked.await {
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
    let write = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(SQLITE_BUSY)
        .connect_with(options.clone())
        .await?;
    let read = SqlitePoolOptions::new()
        .max_connections(SQLITE_READERS)
        .acquire_timeout(POOL_WAIT)
        .connect_lazy_with(options.read_only(true).create_if_missing(false));
    Ok(Db::Lite { write, read })
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
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(OpenError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

async fn see_to_schema(db: &Db, schema: Schema) -> Result<(), OpenError> {
    let migrator = match db {
        Db::Lite { .. } => &SQLITE_MIGRATIONS,
        Db::Pg(_) => &POSTGRES_MIGRATIONS,
    };
    let expected = migrator
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0);
    let mut at = schema_version(db).await?;
    match at {
        Some(at) if at > expected => return Err(OpenError::Newer { at, expected }),
        Some(at) if at < expected && schema == Schema::Expect => {
            return Err(OpenError::Older { at, expected });
        }
        _ => {}
    }
    loop {
        let run = match db {
            Db::Lite { write, .. } => migrator.run(write).await,
            Db::Pg(pool) => migrator.run(pool).await,
        };
        let Err(error) = run else {
            return Ok(());
        };
        // Nothing keeps two processes from setting up one SQLite file at once. Who comes second fails, and finds
        // the first one's work done when it looks again.
        let meanwhile = schema_version(db).await?;
        if meanwhile == at {
            return Err(error.into());
        }
        at = meanwhile;
    }
}

/// The newest migration applied, `None` for an empty database.
async fn schema_version(db: &Db) -> Result<Option<i64>, OpenError> {
    const NEWEST: &str = "SELECT max(version) FROM _sqlx_migrations WHERE success";
    let version = match db {
        Db::Lite { write, .. } => {
            let table =
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'";
            match sqlx::query(table).fetch_optional(write).await? {
                Some(_) => sqlx::query_scalar(NEWEST).fetch_one(write).await?,
                None => None,
            }
        }
        Db::Pg(pool) => {
            let table = "SELECT 1 WHERE to_regclass('_sqlx_migrations') IS NOT NULL";
            match sqlx::query(table).fetch_optional(pool).await? {
                Some(_) => sqlx::query_scalar(NEWEST).fetch_one(pool).await?,
                None => None,
            }
        }
    };
    Ok(version)
}

/// Proves the master key on the canary, or seals the canary and the verifier key into a new database. Two
/// processes that start on one empty database agree: the first insert wins and both read it back.
async fn check_keys(
    db: &Db,
    keys: &Arc<KeyRing>,
    now: Timestamp,
) -> Result<VerifierKey, OpenError> {
    let begin = match db {
        Db::Lite { write, .. } => DbTx::Lite(write.begin_with("BEGIN IMMEDIATE").await?),
        Db::Pg(pool) => DbTx::Pg(pool.begin().await?),
    };
    let mut tx = Tx {
        db_tx: begin,
        keys: Arc::clone(keys),
        promised: Arc::default(),
        promises: false,
    };
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
    tx.commit().await?;
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
