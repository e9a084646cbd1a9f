//! Setting a database up: the schema that it must have, and the keys that it must know.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use secrecy::{ExposeSecret, SecretString};
use sqlx::SqlStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::connect::{OpenError, Schema};
use crate::domain::Timestamp;
use crate::domain::secret::{VerifierKey, hex_lower, random_bytes};
use crate::store::db::dialect::{Db, DbTx, exec, run};
use crate::store::db::seal::{KeyRing, Place};
use crate::store::outbox::promised::PromiseKinds;
use crate::store::service::tables::TableRules;
use crate::store::{Store, StoreError, Tx};

static SQLITE_MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| migrator(migrations::SQLITE));
static POSTGRES_MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| migrator(migrations::POSTGRES));

/// Made by `build.rs` from the folder `migrations`.
mod migrations {
    /// A migration's number, what its name says, and its text.
    pub(super) type Text = (i64, &'static str, &'static str);

    include!(concat!(env!("OUT_DIR"), "/migrations.rs"));
}

fn migrator(texts: &'static [migrations::Text]) -> Migrator {
    let migration = |(version, about, sql): &'static migrations::Text| {
        let (about, sql) = (Cow::Borrowed(*about), SqlStr::from_static(sql));
        Migration::new(*version, about, MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations(texts.iter().map(migration).collect())
}

const CANARY: &[u8] = b"larder";
/// PostgreSQL's advisory lock for setting up, "larder" in ASCII: any number that nothing else in the database uses.
const SET_UP_LOCK: i64 = 0x6c61_7264_6572;

pub(in crate::store) const TABLES: &[TableRules] = &[TableRules::apart("settings")];

/// Sees to the schema and the keys in one transaction that other processes wait for: who starts while another sets
/// up the same database finds it ready, never half done; and a refusal, or a kill, leaves it as it was.
pub(super) async fn set_up(
    db: &Db,
    schema: Schema,
    keys: &Arc<KeyRing>,
    now: Timestamp,
) -> Result<VerifierKey, OpenError> {
    let mut tx = Tx {
        db_tx: begin_alone(db).await?,
        keys: Arc::clone(keys),
        promised: Arc::default(),
        promises: PromiseKinds::default(),
        recorded: Vec::new(),
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
    let migrator: &Migrator = match tx {
        DbTx::Lite(_) => &SQLITE_MIGRATIONS,
        DbTx::Pg(_) => &POSTGRES_MIGRATIONS,
    };
    let expected = migrator
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0);
    let version = schema_version(tx).await?;
    match version {
        Some(at) if at > expected => return Err(OpenError::Newer { at, expected }),
        Some(at) if at < expected && schema != Schema::Migrate => {
            return Err(OpenError::Older { at, expected });
        }
        None if schema == Schema::Require => return Err(OpenError::Empty),
        _ => {}
    }
    if version == Some(expected) && schema != Schema::Migrate {
        return check_applied(tx, migrator).await;
    }
    // `Migrator::run` does not compile for a connection borrowed in a future that must be `Send`; this is what sqlx
    // has for that case, though its documentation leaves it out.
    match tx {
        DbTx::Lite(transaction) => migrator.run_direct(None, &mut **transaction, false).await?,
        DbTx::Pg(transaction) => migrator.run_direct(None, &mut **transaction, false).await?,
    }
    Ok(())
}

/// Every migration of this program was applied as it is. The library's own check asks for the right to make a table, which
/// a role that only serves need not have.
async fn check_applied(tx: &mut DbTx, migrator: &Migrator) -> Result<(), OpenError> {
    const APPLIED: &str = "SELECT version, checksum FROM _sqlx_migrations WHERE success";
    let applied: Vec<(i64, Vec<u8>)> = match tx {
        DbTx::Lite(transaction) => {
            sqlx::query_as(APPLIED)
                .fetch_all(&mut **transaction)
                .await?
        }
        DbTx::Pg(transaction) => {
            sqlx::query_as(APPLIED)
                .fetch_all(&mut **transaction)
                .await?
        }
    };
    for migration in migrator.iter() {
        let is_it = |(version, checksum): &(i64, Vec<u8>)| {
            *version == migration.version && checksum.as_slice() == migration.checksum.as_ref()
        };
        if !applied.iter().any(is_it) {
            return Err(MigrateError::VersionMismatch(migration.version).into());
        }
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
        name: &str,
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
        name: &str,
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
