//! Sealing everything again under the current master key (security.md ST-3): in small batches, while the service
//! runs, and again from where it was when it is stopped half-way.
//!
//! The settings, with the canary among them, come last and only when nothing else is left. So a process that is
//! started without the old key before that is refused, instead of meeting secrets that it cannot open.

use secrecy::ExposeSecret as _;

use crate::store::db::dialect::{exec, read, run};
use crate::store::db::seal::Place;
use crate::store::{Store, StoreError};

/// One column of sealed values and its statements. `$1` is the current key's id, `$2` the row.
struct Column {
    table: &'static str,
    column: &'static str,
    /// Before the key of every row.
    first: &'static str,
    /// PostgreSQL passes over rows that somebody is changing: we wait for nobody, so nobody waits in a circle.
    batch_postgres: &'static str,
    batch_sqlite: &'static str,
    update: &'static str,
    left: &'static str,
}

/// A sealed value begins with its version and four bytes that name its key (see [`seal`](crate::store::db::seal)).
macro_rules! column {
    ($table:literal, $column:literal, $key:literal, $given:literal, $first:literal) => {
        Column {
            table: $table,
            column: $column,
            first: $first,
            batch_postgres: column!(@batch $table, $column, $key, $given, " FOR UPDATE SKIP LOCKED"),
            batch_sqlite: column!(@batch $table, $column, $key, $given, ""),
            update: concat!(
                "UPDATE ", $table, " SET ", $column, " = $1 WHERE ", $key, " = ", $given, " AND ", $column, " = $3"
            ),
            left: concat!("SELECT count(*) FROM ", $table, " WHERE substr(", $column, ", 2, 4) <> $1"),
        }
    };
    (@batch $table:literal, $column:literal, $key:literal, $given:literal, $lock:literal) => {
        concat!(
            "SELECT CAST(", $key, " AS TEXT), ", $column, " FROM ", $table,
            " WHERE substr(", $column, ", 2, 4) <> $1 AND ", $key, " > ", $given,
            " ORDER BY ", $key, " LIMIT $3", $lock
        )
    };
    (text $table:literal, $column:literal, $key:literal) => {
        column!($table, $column, $key, "$2", "")
    };
    (number $table:literal, $column:literal, $key:literal) => {
        column!($table, $column, $key, "CAST(CAST($2 AS TEXT) AS BIGINT)", "0")
    };
}

const SECRETS: &[Column] = &[
    column!(text "resources", "sso_sealed", "id"),
    column!(text "credentials", "password_sealed", "id"),
    column!(number "grants", "code_sealed", "cache_id"),
    column!(number "grants", "access_sealed", "cache_id"),
    column!(number "grants", "refresh_sealed", "cache_id"),
    column!(text "attachments", "log_url_sealed", "id"),
    column!(text "sessions", "csrf_sealed", "digest"),
    column!(number "authorities", "key_sealed", "number"),
];
const SETTINGS: &Column = &column!(text "settings", "sealed", "name");

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rekeyed {
    /// Values now sealed under the current key that were not before.
    pub sealed_again: u64,
    /// Values that are still under another key.
    pub left: u64,
    /// Those among them that open with none of the keys given.
    pub unreadable: u64,
}

struct Batch {
    /// The last row looked at; `None` at the end of the column.
    last: Option<String>,
    sealed_again: u64,
    unreadable: u64,
}

impl Store {
    /// Seals again whatever is not under the current key, `batch` values at a time. After each batch `go_on` is told
    /// how many that makes so far and may end it there.
    pub async fn rekey(
        &self,
        batch: u32,
        mut go_on: impl FnMut(u64) -> bool,
    ) -> Result<Rekeyed, StoreError> {
        let mut done = Rekeyed::default();
        loop {
            let before = done.sealed_again;
            done.unreadable = 0;
            for column in SECRETS {
                if !self
                    .rekey_column(column, batch, &mut done, &mut go_on)
                    .await?
                {
                    done.left = self.sealed_elsewhere().await?;
                    return Ok(done);
                }
            }
            done.left = self.sealed_elsewhere().await?;
            let settings_left = self.left_in(SETTINGS).await?;
            if done.left == settings_left {
                self.rekey_column(SETTINGS, batch, &mut done, &mut go_on)
                    .await?;
                done.left = self.sealed_elsewhere().await?;
                return Ok(done);
            }
            // What somebody was changing just then is met in the next round.
            if done.sealed_again == before {
                return Ok(done);
            }
        }
    }

    /// Values that are not sealed under the current key.
    pub async fn sealed_elsewhere(&self) -> Result<u64, StoreError> {
        let mut left = self.left_in(SETTINGS).await?;
        for column in SECRETS {
            left += self.left_in(column).await?;
        }
        Ok(left)
    }

    async fn left_in(&self, column: &Column) -> Result<u64, StoreError> {
        let id = self.keys.current_id()?;
        let left: i64 = read!(self, c =>
            sqlx::query_scalar(column.left).bind(&id[..]).fetch_one(c))?;
        Ok(u64::try_from(left).unwrap_or(0))
    }

    /// False when `go_on` said that it is enough.
    async fn rekey_column(
        &self,
        column: &Column,
        batch: u32,
        done: &mut Rekeyed,
        go_on: &mut impl FnMut(u64) -> bool,
    ) -> Result<bool, StoreError> {
        let mut after = column.first.to_owned();
        loop {
            let step = self.rekey_batch(column, &after, batch).await?;
            done.sealed_again += step.sealed_again;
            done.unreadable += step.unreadable;
            let Some(last) = step.last else {
                return Ok(true);
            };
            if !go_on(done.sealed_again) {
                return Ok(false);
            }
            after = last;
        }
    }

    async fn rekey_batch(
        &self,
        column: &Column,
        after: &str,
        batch: u32,
    ) -> Result<Batch, StoreError> {
        let id = self.keys.current_id()?;
        let mut tx = self.begin().await?;
        let sql = tx
            .db_tx()
            .choose(column.batch_postgres, column.batch_sqlite);
        let rows: Vec<(String, Vec<u8>)> = run!(tx, c => sqlx::query_as(sql)
            .bind(&id[..]).bind(after).bind(i64::from(batch)).fetch_all(c))?;
        let mut step = Batch {
            last: rows.last().map(|(row, _)| row.clone()),
            sealed_again: 0,
            unreadable: 0,
        };
        for (row, sealed) in rows {
            let place = Place {
                table: column.table,
                column: column.column,
                row: &row,
            };
            let Ok(plain) = self.keys.open(place, &sealed) else {
                step.unreadable += 1;
                continue;
            };
            let fresh = self.keys.seal(place, plain.expose_secret())?;
            step.sealed_again += exec!(
                tx,
                sqlx::query(column.update)
                    .bind(&fresh)
                    .bind(&row)
                    .bind(&sealed)
            )?;
        }
        tx.commit().await?;
        Ok(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A column that is sealed and not listed here would be lost with the old key.
    #[test]
    fn every_sealed_column_of_the_schema_is_listed() {
        let mut wanted = Vec::new();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite");
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let mut table = String::new();
            for line in text.lines() {
                if let Some(rest) = line.strip_prefix("CREATE TABLE ") {
                    table = rest.trim_end_matches(" (").to_owned();
                }
                let column = line.split_whitespace().next().unwrap_or_default();
                if line.contains(" BLOB") && column.ends_with("sealed") {
                    wanted.push(format!("{table}.{column}"));
                }
            }
        }
        let listed = SECRETS.iter().chain([SETTINGS]);
        let mut listed: Vec<String> = listed
            .map(|column| format!("{}.{}", column.table, column.column))
            .collect();
        wanted.sort();
        listed.sort();
        assert_eq!(listed, wanted);
    }
}
