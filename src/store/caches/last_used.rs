//! When each credential was last used: many logins noted at once, for nodes tell of all their caches together.

use serde::Serialize;
use sqlx::types::Json;

use crate::domain::credential::LastUse;
use crate::domain::{CacheId, Username};
use crate::store::db::dialect::exec;
use crate::store::{StoreError, Tx};

/// A login to be noted.
#[derive(Clone, Copy, Debug)]
pub struct Use<'a> {
    pub cache: CacheId,
    pub username: &'a Username,
    pub last: &'a LastUse,
}

/// A [`Use`] on its way into the statement.
#[derive(Serialize)]
struct Seen<'a> {
    cache_id: i64,
    username: &'a str,
    at: i64,
    origin: &'a str,
}

/// The resources are held like those of any change, in the order of their numbers: each other transaction holds one.
macro_rules! note {
    ($seen:literal, $hold:literal) => {
        concat!(
            "WITH seen AS (",
            $seen,
            "), held AS MATERIALIZED (
                SELECT cache_id FROM resources WHERE cache_id IN (SELECT cache_id FROM seen) ORDER BY cache_id",
            $hold,
            ") UPDATE credentials SET last_used_at = seen.at, last_used_from = seen.origin
               FROM seen JOIN held ON held.cache_id = seen.cache_id
               WHERE credentials.cache_id = seen.cache_id AND credentials.username = seen.username
                 AND removed_at IS NULL AND (last_used_at IS NULL OR last_used_at < seen.at)"
        )
    };
}

impl Tx {
    /// Notes logins, at most one of each credential. Reports may come late and twice; only a later one counts, and
    /// only of a credential that is still there.
    pub async fn record_last_used(&mut self, uses: &[Use<'_>]) -> Result<(), StoreError> {
        let sql = self.db_tx.choose(
            note!(
                "SELECT * FROM jsonb_to_recordset($1)
                 AS given (cache_id BIGINT, username TEXT, at BIGINT, origin TEXT)",
                " FOR NO KEY UPDATE"
            ),
            note!(
                "SELECT value ->> 'cache_id' AS cache_id, value ->> 'username' AS username,
                    value ->> 'at' AS at, value ->> 'origin' AS origin FROM json_each($1)",
                ""
            ),
        );
        let seen: Vec<Seen<'_>> = uses
            .iter()
            .map(|seen| Seen {
                cache_id: seen.cache.0,
                username: seen.username.as_str(),
                at: seen.last.at.micros(),
                origin: &seen.last.from,
            })
            .collect();
        exec!(self, sqlx::query(sql).bind(Json(&seen)))?;
        Ok(())
    }
}
