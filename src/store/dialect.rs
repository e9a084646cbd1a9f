//! Each place where SQLite and PostgreSQL differ, and why. Everything else is one SQL text for both.
//!
//! Three things differ: the migration folder, identity columns (inside the migrations), and how a claim skips
//! rows that another worker holds.

use sqlx::{PgPool, Postgres, Sqlite, SqlitePool, Transaction};

/// The two databases we run on. Reads and writes are split on SQLite because it has one writer: a writer that
/// waits must never hold up a page.
#[derive(Clone, Debug)]
pub(super) enum Db {
    Lite { write: SqlitePool, read: SqlitePool },
    Pg(PgPool),
}

impl Db {
    /// Waits for open statements and closes.
    pub async fn close(&self) {
        match self {
            Db::Lite { write, read } => {
                read.close().await;
                write.close().await;
            }
            Db::Pg(pool) => pool.close().await,
        }
    }
}

/// An open transaction on either database.
pub(super) enum DbTx {
    Lite(Transaction<'static, Sqlite>),
    Pg(Transaction<'static, Postgres>),
}

/// Runs a query expression on a reading connection: `read!(db, c => sqlx::query(..).fetch_all(c))`.
macro_rules! read {
    ($store:expr, $c:ident => $query:expr) => {
        match $store.db() {
            $crate::store::dialect::Db::Lite { read: $c, .. } => $query.await,
            $crate::store::dialect::Db::Pg($c) => $query.await,
        }
    };
}

/// Runs a query expression inside a transaction: `run!(tx, c => sqlx::query(..).fetch_one(c))`.
macro_rules! run {
    ($tx:expr, $c:ident => $query:expr) => {
        match $tx.db_tx() {
            $crate::store::dialect::DbTx::Lite(transaction) => {
                let $c = &mut **transaction;
                $query.await
            }
            $crate::store::dialect::DbTx::Pg(transaction) => {
                let $c = &mut **transaction;
                $query.await
            }
        }
    };
}

/// Runs a statement inside a transaction and gives the number of rows it touched:
/// `exec!(tx, sqlx::query(..).bind(..))`.
macro_rules! exec {
    ($tx:expr, $query:expr) => {
        match $tx.db_tx() {
            $crate::store::dialect::DbTx::Lite(transaction) => $query
                .execute(&mut **transaction)
                .await
                .map(|done| done.rows_affected()),
            $crate::store::dialect::DbTx::Pg(transaction) => $query
                .execute(&mut **transaction)
                .await
                .map(|done| done.rows_affected()),
        }
    };
}

pub(super) use {exec, read, run};

impl DbTx {
    /// The text for this database, for the few statements that differ. PostgreSQL lets several workers claim
    /// at once with `FOR UPDATE SKIP LOCKED`; SQLite has one writer, so nothing is ever locked by another.
    pub(super) fn choose(&self, postgres: &'static str, sqlite: &'static str) -> &'static str {
        match self {
            DbTx::Lite(_) => sqlite,
            DbTx::Pg(_) => postgres,
        }
    }
}
