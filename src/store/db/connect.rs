//! Opening a database: the settings that each one needs, and its files.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::SqlitePool;
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::time::Instant;

use super::setup::set_up;
use crate::domain::Timestamp;
use crate::store::db::dialect::{Db, read};
use crate::store::db::file_lock::{FileLock, FileLockError};
use crate::store::db::seal::{KeyRing, MasterKey, SealError};
use crate::store::{Store, StoreError};

const POOL_WAIT: Duration = Duration::from_secs(2);
const SQLITE_BUSY: Duration = Duration::from_secs(5);
const SQLITE_RETRY: Duration = Duration::from_millis(10);
const SQLITE_CODE_BUSY: i32 = 5;
const SQLITE_READERS: u32 = 4;

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

impl StoreSettings {
    /// Claims a SQLite file for this process: services in two processes would answer for each other's caches. Nothing
    /// is claimed of PostgreSQL, which is made to be shared, nor by commands beside a running service.
    pub fn claim(&self, holder: &str) -> Result<Option<FileLock>, OpenError> {
        let url = self.url.expose_secret();
        if !url.starts_with("sqlite:") || url.contains(":memory:") {
            return Ok(None);
        }
        let options = SqliteConnectOptions::from_str(url)?;
        let file = options.get_filename();
        make_parent(file)?;
        // One file has one lock, by whatever way it is named.
        let real = file.canonicalize();
        let mut lock = real.unwrap_or_else(|_| file.to_owned()).into_os_string();
        lock.push(".lock");
        Ok(Some(FileLock::take(&PathBuf::from(lock), holder)?))
    }
}

/// What to do about the schema when opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Set up an empty database, refuse an older or newer one: what `serve` does.
    Expect,
    /// Bring an older one up to date: what `migrate` and `dev` do.
    Migrate,
    /// Refuse an empty one too, and make no file: what `check-config` does.
    Require,
}

/// Why a database could not be opened.
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
    #[error("the database has not been set up yet: `larder serve` does that")]
    Empty,
    #[error("the master key does not belong to this database; nothing was changed")]
    WrongMasterKey,
    #[error(
        "{path} is open to other users of this machine (mode {mode:o}): database files must be 0600 and their folder 0700: \
          `chmod go= {path}`"
    )]
    TooOpen { path: PathBuf, mode: u32 },
    #[error("cannot prepare {path}")]
    Directory {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the database is served by another larder, and SQLite is for one: {0}")]
    Claimed(#[from] FileLockError),
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
            open_sqlite(url, schema).await?
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
async fn open_sqlite(url: &str, schema: Schema) -> Result<Db, OpenError> {
    let options = SqliteConnectOptions::from_str(url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(SQLITE_BUSY)
        .foreign_keys(true)
        // What is deleted is overwritten: nobody's address stays behind in the free pages of a copied file.
        .pragma("secure_delete", "ON")
        .optimize_on_close(true, None);
    if schema == Schema::Require && !options.get_filename().exists() {
        return Err(OpenError::Empty);
    }
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

/// The host of a PostgreSQL on another machine to which this URL does not insist on TLS. The library says so: the mode has
/// several names in a URL, `PGSSLMODE` counts as well, and without any the library tries TLS and goes on without.
pub fn plain_text_host(url: &SecretString) -> Option<String> {
    let url = url.expose_secret();
    if url.starts_with("sqlite:") {
        return None;
    }
    let options = PgConnectOptions::from_str(url).ok()?;
    let host = options.get_host();
    let is_here = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        // a socket is a file
        Err(_) => host == "localhost" || host.starts_with('/'),
    };
    let insists = matches!(
        options.get_ssl_mode(),
        PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull
    );
    let is_plain = !is_here && options.get_socket().is_none() && !insists;
    is_plain.then(|| host.to_owned())
}

fn make_parent(path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let Some(parent) = parent.filter(|parent| !parent.exists()) else {
        return Ok(());
    };
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent);
    made.map_err(|source| OpenError::Directory {
        path: path.to_owned(),
        source,
    })
}

/// Makes the database file and its directory for this user alone, and refuses ones that others may read.
fn guard_files(path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let failed = |source| OpenError::Directory {
        path: path.to_owned(),
        source,
    };
    make_parent(path)?;
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
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let beside = |end: &str| {
        let mut beside = path.as_os_str().to_owned();
        beside.push(end);
        PathBuf::from(beside)
    };
    // SQLite makes these as the file is, but a backup may have been put back with others.
    let left = [beside("-wal"), beside("-shm")].into_iter();
    let files = [path.to_owned()]
        .into_iter()
        .chain(left.filter(|path| path.exists()));
    let folder = folder.unwrap_or(Path::new(".")).to_owned();
    // Who may only look into the folder sees names. Who may write there puts another file in the place of ours.
    for (path, closed) in files.map(|path| (path, 0o077)).chain([(folder, 0o022)]) {
        let mode = path.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & closed != 0 {
            return Err(OpenError::TooOpen { path, mode });
        }
    }
    Ok(())
}
