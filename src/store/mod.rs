//! Rank 1: the only room that knows SQL.
//!
//! Reads are methods of [`Store`]; writes are methods of [`Tx`], so a caller that changes two things changes
//! both or neither. Rows become domain types here and never leave. One file per aggregate,
//! in five folders:
//!
//! | folder | holds |
//! |---|---|
//! | [`db`] | opening and migrating, the places where SQLite and PostgreSQL differ, sealing of secrets |
//! | [`caches`] | a resource with its credentials, certificates, attachments and rotation; its flushes and events |
//! | [`outbox`] | promises to the outside: config vars, tokens, log lines, reconciliation, asynchronous provisions |
//! | [`fleet`] | nodes, where caches live, and what nodes must know, in order |
//! | [`service`] | browser sessions, audit, what an operator reads, housekeeping |
//!
//! Never hold a [`Tx`] across a network call: on SQLite it is the only writer.

pub mod caches;
pub mod db;
pub mod fleet;
pub mod outbox;
pub mod service;

use std::sync::Arc;

pub use db::connect::{OpenError, Schema, StoreSettings, plain_text_host};
use db::dialect::{Db, DbTx};
pub use db::file_lock::{FileLock, FileLockError};
use db::seal::{KeyRing, SealError};
use outbox::promised::{PromiseKinds, Promised};

use crate::domain::secret::VerifierKey;
use crate::domain::{CacheId, EventKind};

/// PostgreSQL's code for a byte sequence that is no text: `character_not_in_repertoire`.
const BAD_TEXT: &str = "22021";

/// The database, with the keys that open what is sealed in it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
    keys: Arc<KeyRing>,
    verifier_key: VerifierKey,
    promised: Arc<Promised>,
}

impl Store {
    /// Whether several processes may work on this database at once.
    pub fn is_shared(&self) -> bool {
        matches!(self.db, Db::Pg(_))
    }
}

/// An open transaction. Dropped without [`commit`](Tx::commit), it leaves no trace.
pub struct Tx {
    db_tx: DbTx,
    keys: Arc<KeyRing>,
    /// Woken after the commit, of the kinds that this transaction promises.
    promised: Arc<Promised>,
    promises: PromiseKinds,
    /// Told in the log once they are true.
    recorded: Vec<Recorded>,
}

/// An event of a cache, on its way to the operator's log.
struct Recorded {
    cache: CacheId,
    kind: EventKind,
    by: String,
    fields: String,
}

/// Why the store gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A uniqueness rule refused the row: somebody else was first.
    #[error("already taken: {0}")]
    Taken(String),
    #[error("the database answers with something this version does not understand: {0}")]
    BadRow(String),
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The database is away, slow or full. Trying again may help.
    #[error("the database is not available: {0}")]
    Unavailable(sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        match &error {
            sqlx::Error::Database(refused) if refused.is_unique_violation() => {
                StoreError::Taken(refused.constraint().unwrap_or(refused.message()).to_owned())
            }
            // A rule of the schema that the code should have kept: trying again will not help.
            sqlx::Error::Database(refused)
                if refused.is_check_violation() || refused.is_foreign_key_violation() =>
            {
                StoreError::BadRow(refused.message().to_owned())
            }
            // A text with a NUL, which PostgreSQL takes in no column: it will not take it the next time either.
            sqlx::Error::Database(refused) if refused.code().as_deref() == Some(BAD_TEXT) => {
                StoreError::BadRow("a text with a character that PostgreSQL cannot hold".to_owned())
            }
            sqlx::Error::Decode(why) => StoreError::BadRow(why.to_string()),
            sqlx::Error::ColumnDecode { index, source } => {
                StoreError::BadRow(format!("{index}: {source}"))
            }
            _ => StoreError::Unavailable(error),
        }
    }
}

impl Store {
    /// Begins a writing transaction. On SQLite it takes the write lock at once: a transaction that reads first
    /// and writes later would fail when another wrote in between.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let db_tx = match &self.db {
            Db::Lite { write, .. } => DbTx::Lite(write.begin_with("BEGIN IMMEDIATE").await?),
            Db::Pg(pool) => DbTx::Pg(pool.begin().await?),
        };
        Ok(Tx {
            db_tx,
            keys: Arc::clone(&self.keys),
            promised: Arc::clone(&self.promised),
            promises: PromiseKinds::default(),
            recorded: Vec::new(),
        })
    }

    /// Wakes the outbox of this process after each commit that leaves something to send.
    pub fn promised(&self) -> &Promised {
        &self.promised
    }

    /// The key that turns passwords into verifiers; the same for the life of the installation.
    pub fn verifier_key(&self) -> &VerifierKey {
        &self.verifier_key
    }

    fn db(&self) -> &Db {
        &self.db
    }
}

impl Tx {
    pub async fn commit(self) -> Result<(), StoreError> {
        match self.db_tx {
            DbTx::Lite(transaction) => transaction.commit().await?,
            DbTx::Pg(transaction) => transaction.commit().await?,
        }
        self.promised.wake(self.promises);
        for Recorded {
            cache,
            kind,
            by,
            fields,
        } in self.recorded
        {
            tracing::info!(
                cache = cache.0,
                event = kind.as_str(),
                by,
                fields,
                "recorded"
            );
        }
        Ok(())
    }

    fn db_tx(&mut self) -> &mut DbTx {
        &mut self.db_tx
    }
}
