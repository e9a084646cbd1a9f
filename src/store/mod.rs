//! Rank 1: the only room that knows SQL.
//!
//! Reads are methods of [`Store`]; writes are methods of [`Tx`], so a caller that changes two things changes
//! both or neither. Rows become domain types here and never leave. One file per aggregate:
//!
//! | file | holds |
//! |---|---|
//! | `dialect` | each place SQLite and PostgreSQL differ |
//! | [`seal`] | secrets at rest |
//! | `connect` | opening, migrating and checking a database |
//! | [`resources`], [`credentials`], [`nodes`] | what is, where it lives, who may use it |
//! | [`uses`] | when each credential was last used |
//! | [`certificates`] | our CAs, and the client certificates they issued |
//! | [`changes`] | what nodes must know, in order |
//! | [`flushes`], [`events`], [`audit`] | what happened |
//! | [`sessions`] | browsers signed in |
//! | [`config_sync`] | how far the provider's variables are from the primary |
//! | [`attachments`], [`deliveries`] | apps with their log inputs, and lines on their way there |
//! | [`grants`] | the provider's tokens |
//! | `early_ends` | ids that ended before they began |
//! | [`rotations`] | the schedule by which primaries are replaced |
//! | [`setups`] | resources that were accepted and are not ready yet |
//! | [`watches`] | looks at what the provider knows, and the news that asks for one |
//! | [`censuses`] | installs of a marketplace, theirs against ours |
//! | `outbound` | the end of all that is on its way out |
//! | [`overview`] | what an operator looks at |
//! | [`rekey`] | sealing everything again under a new master key |
//! | `tidy` | what is kept for a while only |
//!
//! Never hold a [`Tx`] across a network call: on SQLite it is the only writer.

pub mod attachments;
pub mod audit;
pub mod censuses;
pub mod certificates;
pub mod changes;
pub mod claims;
pub mod config_sync;
mod connect;
pub mod credentials;
pub mod deliveries;
mod dialect;
mod early_ends;
pub mod events;
pub mod flushes;
pub mod grants;
pub mod nodes;
mod outbound;
pub mod overview;
pub mod rekey;
pub mod resources;
pub mod rotations;
mod row;
pub mod seal;
pub mod sessions;
pub mod setups;
mod tidy;
pub mod uses;
pub mod watches;

use std::sync::Arc;

pub use connect::{OpenError, Schema, StoreSettings};
use dialect::{Db, DbTx};
use seal::{KeyRing, SealError};
use tokio::sync::Notify;

use crate::domain::secret::VerifierKey;

/// The database, with the keys that open what is sealed in it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
    keys: Arc<KeyRing>,
    verifier_key: VerifierKey,
    promised: Arc<Notify>,
}

/// An open transaction. Dropped without [`commit`](Tx::commit), it leaves no trace.
pub struct Tx {
    db_tx: DbTx,
    keys: Arc<KeyRing>,
    /// Woken after the commit when something was promised to the outside.
    promised: Arc<Notify>,
    promises: bool,
}

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
            promises: false,
        })
    }

    /// Woken in this process after each commit that leaves something to send: the outbox waits for it.
    pub fn promised(&self) -> &Notify {
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
        if self.promises {
            self.promised.notify_waiters();
        }
        Ok(())
    }

    fn db_tx(&mut self) -> &mut DbTx {
        &mut self.db_tx
    }
}
