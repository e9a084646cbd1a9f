//! How SQLite and PostgreSQL are told apart. Nearly all SQL is one text for both; where it is not, `choose` takes one of two
//! texts: in `outbox/claims.rs` (a claim skips rows that another worker holds), `caches/last_used.rs` and
//! `fleet/figures.rs` (a list of JSON), `caches/resources.rs` (a row lock) and `db/rekey.rs`. Identity columns differ inside the migrations.

use sqlx::{PgPool, Postgres, Sqlite, SqlitePool, Transaction};

/// The two databases we run on. Reads and writes are split on SQLite because it has one writer: a writer that
/// waits must never hold up a page.
#[derive(Clone, Debug)]
pub(in crate::store) enum Db {
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
pub(in crate::store) enum DbTx {
    Lite(Transaction<'static, Sqlite>),
    Pg(Transaction<'static, Postgres>),
}

/// Runs a query expression on a reading connection: `read!(db, c => sqlx::query(..).fetch_all(c))`.
macro_rules! read {
    ($store:expr, $c:ident => $query:expr) => {
        match $store.db() {
            $crate::store::db::dialect::Db::Lite { read: $c, .. } => $query.await,
            $crate::store::db::dialect::Db::Pg($c) => $query.await,
        }
    };
}

/// Runs a query expression inside a transaction: `run!(tx, c => sqlx::query(..).fetch_one(c))`.
macro_rules! run {
    ($tx:expr, $c:ident => $query:expr) => {
        match $tx.db_tx() {
            $crate::store::db::dialect::DbTx::Lite(transaction) => {
                let $c = &mut **transaction;
                $query.await
            }
            $crate::store::db::dialect::DbTx::Pg(transaction) => {
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
            $crate::store::db::dialect::DbTx::Lite(transaction) => $query
                .execute(&mut **transaction)
                .await
                .map(|done| done.rows_affected()),
            $crate::store::db::dialect::DbTx::Pg(transaction) => $query
                .execute(&mut **transaction)
                .await
                .map(|done| done.rows_affected()),
        }
    };
}

pub(in crate::store) use {exec, read, run};

impl DbTx {
    /// The text for this database, for the few statements that differ. PostgreSQL lets several workers claim
    /// at once with `FOR UPDATE SKIP LOCKED`; SQLite has one writer, so nothing is ever locked by another.
    pub(in crate::store) fn choose(
        &self,
        postgres: &'static str,
        sqlite: &'static str,
    ) -> &'static str {
        match self {
            DbTx::Lite(_) => sqlite,
            DbTx::Pg(_) => postgres,
        }
    }
}
