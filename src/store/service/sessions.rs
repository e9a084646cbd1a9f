//! Browser sessions, by the digest of their cookie, and the sign-on proofs that were used up.

use secrecy::ExposeSecret as _;

use crate::domain::secret::BearerSecret;
use crate::domain::{CacheId, Timestamp};
use crate::store::db::dialect::{exec, read, run};
use crate::store::db::row::row;
use crate::store::db::seal::Place;
use crate::store::service::tables::{AtEnd, TableRules};
use crate::store::{Store, StoreError, Tx};

/// Sessions that a cache may have, by its link and by sign-on each: whoever has the link could open any number.
pub const SESSIONS_MAX: u32 = 50;

/// How a session was opened, as the store keeps it: the marketplace is that of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenedBy {
    Sso,
    Link,
}

impl OpenedBy {
    const fn as_str(self) -> &'static str {
        match self {
            OpenedBy::Sso => "sso",
            OpenedBy::Link => "link",
        }
    }
}

/// A session as it is opened.
#[derive(Debug)]
pub struct NewSessionRow<'a> {
    /// Of the cookie's value, which itself is never stored.
    pub digest: &'a str,
    pub cache: CacheId,
    pub opened_by: OpenedBy,
    pub person: Option<&'a str>,
    pub context_app: Option<&'a str>,
    pub csrf: &'a BearerSecret,
}

/// A stored session; whether it is still alive is for the caller to say.
#[derive(Clone, Debug)]
pub struct StoredSession {
    pub cache: CacheId,
    pub opened_by: OpenedBy,
    pub person: Option<String>,
    pub context_app: Option<String>,
    pub csrf: BearerSecret,
    pub created_at: Timestamp,
    pub seen_at: Timestamp,
}

row! {
    struct SessionRow {
        cache_id: i64,
        opened_by: String,
        person: Option<String>,
        context_app: Option<String>,
        csrf_sealed: Vec<u8>,
        created_at: i64,
        seen_at: i64,
    }
}

fn csrf_place(digest: &str) -> Place<'_> {
    Place {
        table: "sessions",
        column: "csrf_sealed",
        row: digest,
    }
}

impl Store {
    pub async fn session(&self, digest: &str) -> Result<Option<StoredSession>, StoreError> {
        let row: Option<SessionRow> = read!(self, c => sqlx::query_as(
            "SELECT cache_id, opened_by, person, context_app, csrf_sealed, created_at, seen_at FROM sessions WHERE digest = $1")
            .bind(digest).fetch_optional(c))?;
        row.map(|row| {
            let csrf = self.keys.open_text(csrf_place(digest), &row.csrf_sealed)?;
            Ok(StoredSession {
                cache: CacheId(row.cache_id),
                opened_by: match row.opened_by.as_str() {
                    "sso" => OpenedBy::Sso,
                    _ => OpenedBy::Link,
                },
                person: row.person,
                context_app: row.context_app,
                csrf: BearerSecret::presented(csrf.expose_secret()),
                created_at: Timestamp::from_micros(row.created_at),
                seen_at: Timestamp::from_micros(row.seen_at),
            })
        })
        .transpose()
    }
}

pub(in crate::store) const TABLES: &[TableRules] = &[
    TableRules::of_resource(
        "sessions",
        AtEnd::Run(&["DELETE FROM sessions WHERE cache_id = $1"]),
    ),
    TableRules::apart("sso_uses"),
];

impl Tx {
    /// Writes a session. Of more than [`SESSIONS_MAX`] that a cache has by the same way the oldest end.
    pub async fn insert_session(
        &mut self,
        new: &NewSessionRow<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sealed = self
            .keys
            .seal(csrf_place(new.digest), new.csrf.expose().as_bytes())?;
        exec!(
            self,
            sqlx::query(
                "INSERT INTO sessions (digest, cache_id, opened_by, person, context_app, csrf_sealed, created_at, \
                 seen_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7)"
            )
            .bind(new.digest)
            .bind(new.cache.0)
            .bind(new.opened_by.as_str())
            .bind(new.person)
            .bind(new.context_app)
            .bind(&sealed)
            .bind(now.micros())
        )?;
        exec!(
            self,
            sqlx::query(
                "DELETE FROM sessions WHERE cache_id = $1 AND opened_by = $2 AND digest <> $3 AND digest NOT IN \
                 (SELECT digest FROM sessions WHERE cache_id = $1 AND opened_by = $2 AND digest <> $3 \
                 ORDER BY created_at DESC, digest LIMIT $4)"
            )
            .bind(new.cache.0)
            .bind(new.opened_by.as_str())
            .bind(new.digest)
            .bind(i64::from(SESSIONS_MAX - 1))
        )?;
        Ok(())
    }

    pub async fn touch_session(&mut self, digest: &str, now: Timestamp) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("UPDATE sessions SET seen_at = $1 WHERE digest = $2 AND seen_at < $1")
                .bind(now.micros())
                .bind(digest)
        )?;
        Ok(())
    }

    pub async fn delete_session(&mut self, digest: &str) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("DELETE FROM sessions WHERE digest = $1").bind(digest)
        )?;
        Ok(())
    }

    /// Ends the sessions of a cache, but for the one of `keep`. Gives how many ended.
    pub async fn delete_sessions_of(
        &mut self,
        cache: CacheId,
        keep: Option<&str>,
    ) -> Result<u64, StoreError> {
        Ok(exec!(
            self,
            sqlx::query("DELETE FROM sessions WHERE cache_id = $1 AND digest <> $2")
                .bind(cache.0)
                .bind(keep.unwrap_or(""))
        )?)
    }

    /// Ends the sessions of all caches of a marketplace, or of all caches there are.
    pub async fn delete_all_sessions(
        &mut self,
        marketplace: Option<&str>,
    ) -> Result<u64, StoreError> {
        Ok(exec!(
            self,
            sqlx::query(
                "DELETE FROM sessions WHERE $1 = '' OR cache_id IN (SELECT cache_id FROM resources WHERE marketplace = $1)"
            )
            .bind(marketplace.unwrap_or(""))
        )?)
    }

    /// Uses up a sign-on proof; false when it was used before, on whichever process.
    pub async fn use_proof(&mut self, digest: &str, now: Timestamp) -> Result<bool, StoreError> {
        let inserted = exec!(
            self,
            sqlx::query(
                "INSERT INTO sso_uses (digest, used_at) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING"
            )
            .bind(digest)
            .bind(now.micros())
        )?;
        Ok(inserted == 1)
    }

    /// Whether a proof of that name was used up.
    pub async fn is_proof_used(&mut self, digest: &str) -> Result<bool, StoreError> {
        let row: Option<(String,)> = run!(self, c =>
            sqlx::query_as("SELECT digest FROM sso_uses WHERE digest = $1").bind(digest).fetch_optional(c))?;
        Ok(row.is_some())
    }
}
