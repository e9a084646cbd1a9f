//! Credentials: user names, sealed passwords and their verifiers. A removed one keeps its row without secrets,
//! so that its user name is never given out again.

use secrecy::ExposeSecret as _;

use crate::domain::credential::LastUse;
use crate::domain::secret::{Password, Verifier};
use crate::domain::{CacheId, Capabilities, Credential, CredentialId, Timestamp, Username};
use crate::store::db::dialect::{exec, read, run};
use crate::store::db::row::{number, parse, row};
use crate::store::db::seal::{KeyRing, Place};
use crate::store::service::tables::{AtEnd, TableRules};
use crate::store::{Store, StoreError, Tx};

/// What a credential starts with.
#[derive(Debug)]
pub struct NewCredential<'a> {
    pub id: CredentialId,
    pub cache: CacheId,
    pub username: &'a Username,
    pub password: &'a Password,
    pub verifier: &'a Verifier,
    pub capabilities: Capabilities,
    pub primary: bool,
}

row! {
    struct CredentialRow {
        id: String,
        cache_id: i64,
        username: String,
        capabilities: i64,
        is_primary: i64,
        created_at: i64,
        last_used_at: Option<i64>,
        last_used_from: Option<String>,
        retired_at: Option<i64>,
    }
}

impl CredentialRow {
    fn into_domain(self) -> Result<Credential, StoreError> {
        let last_used = self.last_used_at.map(|at| LastUse {
            at: Timestamp::from_micros(at),
            from: self.last_used_from.unwrap_or_default(),
        });
        Ok(Credential {
            id: parse("credentials.id", &self.id)?,
            cache: CacheId(self.cache_id),
            username: parse("credentials.username", &self.username)?,
            capabilities: capabilities(self.capabilities)?,
            primary: self.is_primary == 1,
            created_at: Timestamp::from_micros(self.created_at),
            last_used,
            retired_at: self.retired_at.map(Timestamp::from_micros),
        })
    }
}

macro_rules! select_credential {
    ($rest:literal) => {
        concat!(
            "SELECT id, cache_id, username, capabilities, is_primary, created_at, last_used_at, last_used_from, \
             retired_at \
             FROM credentials ",
            $rest
        )
    };
}

pub(in crate::store) fn capabilities(bits: i64) -> Result<Capabilities, StoreError> {
    number("credentials.capabilities", bits).map(Capabilities::from_bits)
}

fn place(id: &str) -> Place<'_> {
    Place {
        table: "credentials",
        column: "password_sealed",
        row: id,
    }
}

pub(in crate::store) fn open_password(
    keys: &KeyRing,
    id: &str,
    sealed: &[u8],
) -> Result<Password, StoreError> {
    let plain = keys.open_text(place(id), sealed)?;
    Ok(Password::from_stored(plain.expose_secret().to_owned()))
}

/// The former primaries of a cache that go by themselves, as this transaction sees them.
pub(in crate::store) async fn going_credentials(
    tx: &mut Tx,
    cache: CacheId,
) -> Result<Vec<Credential>, StoreError> {
    let rows: Vec<CredentialRow> = run!(tx, c => sqlx::query_as(select_credential!(
        "WHERE cache_id = $1 AND goes_unused = 1 AND removed_at IS NULL \
         AND NOT EXISTS (SELECT 1 FROM certificates f WHERE f.credential_id = credentials.id) ORDER BY retired_at, id"))
        .bind(cache.0).fetch_all(c))?;
    rows.into_iter().map(CredentialRow::into_domain).collect()
}

impl Store {
    /// Live credentials of a cache, the primary first, then by age.
    pub async fn credentials(&self, cache: CacheId) -> Result<Vec<Credential>, StoreError> {
        let rows: Vec<CredentialRow> = read!(self, c => sqlx::query_as(select_credential!(
            "WHERE cache_id = $1 AND removed_at IS NULL ORDER BY is_primary DESC, created_at, id"))
            .bind(cache.0).fetch_all(c))?;
        rows.into_iter().map(CredentialRow::into_domain).collect()
    }

    /// The cache that this user name belongs to, or belonged to before its credential was removed.
    pub async fn cache_of_username(
        &self,
        username: &Username,
    ) -> Result<Option<CacheId>, StoreError> {
        let cache: Option<i64> = read!(self, c => sqlx::query_scalar(
            "SELECT cache_id FROM credentials WHERE username = $1")
            .bind(username.as_str()).fetch_optional(c))?;
        Ok(cache.map(CacheId))
    }

    /// The password of a live credential of this cache.
    pub async fn password(
        &self,
        cache: CacheId,
        username: &Username,
    ) -> Result<Option<Password>, StoreError> {
        let row: Option<(String, Vec<u8>)> = read!(self, c => sqlx::query_as(
            "SELECT id, password_sealed FROM credentials \
             WHERE cache_id = $1 AND username = $2 AND removed_at IS NULL")
            .bind(cache.0).bind(username.as_str()).fetch_optional(c))?;
        row.map(|(id, sealed)| open_password(&self.keys, &id, &sealed))
            .transpose()
    }

    /// What the provider's config vars must hold at this moment. `None` once the resource is gone.
    pub async fn primary(
        &self,
        cache: CacheId,
    ) -> Result<Option<(Username, Password)>, StoreError> {
        let row: Option<(String, String, Vec<u8>)> = read!(self, c => sqlx::query_as(
            "SELECT id, username, password_sealed FROM credentials \
             WHERE cache_id = $1 AND is_primary = 1 AND removed_at IS NULL")
            .bind(cache.0).fetch_optional(c))?;
        row.map(|(id, username, sealed)| {
            let password = open_password(&self.keys, &id, &sealed)?;
            Ok((parse("credentials.username", &username)?, password))
        })
        .transpose()
    }
}

/// A removed credential keeps its row, without its secret, so that its user name is never given out again.
pub(in crate::store) const TABLES: &[TableRules] = &[TableRules::of_resource(
    "credentials",
    AtEnd::RunAt(&[
        "UPDATE credentials SET password_sealed = NULL, verifier = NULL, is_primary = 0, goes_unused = 0, removed_at = $2
         WHERE cache_id = $1 AND removed_at IS NULL",
    ]),
)];

impl Tx {
    /// Writes a credential; false when its user name was ever used, by whichever cache.
    pub async fn insert_credential(
        &mut self,
        new: &NewCredential<'_>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let id = new.id.to_string();
        let sealed = self
            .keys
            .seal(place(&id), new.password.expose().as_bytes())?;
        let inserted = exec!(
            self,
            sqlx::query(
                "INSERT INTO credentials (id, cache_id, username, password_sealed, verifier, capabilities, is_primary, \
                 created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (username) DO NOTHING"
            )
            .bind(&id)
            .bind(new.cache.0)
            .bind(new.username.as_str())
            .bind(&sealed)
            .bind(&new.verifier.as_bytes()[..])
            .bind(i64::from(new.capabilities.bits()))
            .bind(i64::from(new.primary))
            .bind(now.micros())
        )?;
        Ok(inserted == 1)
    }

    /// A live credential of this cache, as this transaction sees it.
    pub async fn credential(
        &mut self,
        cache: CacheId,
        username: &Username,
    ) -> Result<Option<Credential>, StoreError> {
        let row: Option<CredentialRow> = run!(self, c => sqlx::query_as(select_credential!(
            "WHERE cache_id = $1 AND username = $2 AND removed_at IS NULL"))
            .bind(cache.0).bind(username.as_str()).fetch_optional(c))?;
        row.map(CredentialRow::into_domain).transpose()
    }

    /// Whether this cache once had a credential of that name, since removed.
    pub async fn was_removed(
        &mut self,
        cache: CacheId,
        username: &Username,
    ) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = run!(self, c => sqlx::query_as(
            "SELECT removed_at FROM credentials WHERE cache_id = $1 AND username = $2 AND removed_at IS NOT NULL")
            .bind(cache.0).bind(username.as_str()).fetch_optional(c))?;
        Ok(row.is_some())
    }

    pub async fn count_credentials(&mut self, cache: CacheId) -> Result<u64, StoreError> {
        let count: i64 = run!(self, c => sqlx::query_scalar(
            "SELECT count(*) FROM credentials WHERE cache_id = $1 AND removed_at IS NULL")
            .bind(cache.0).fetch_one(c))?;
        number("count of credentials", count)
    }

    /// When the `nth` newest of the credentials was made that a cache got after `since`, removed ones included; `None` when
    /// there are fewer. What was made after `now`, by a clock that was set back since, does not count.
    pub async fn nth_newest_credential(
        &mut self,
        cache: CacheId,
        nth: u32,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let made_at: Option<i64> = run!(self, c => sqlx::query_scalar(
            "SELECT created_at FROM credentials WHERE cache_id = $1 AND created_at > $2 AND created_at <= $3 \
             ORDER BY created_at DESC LIMIT 1 OFFSET $4")
            .bind(cache.0).bind(since.micros()).bind(now.micros()).bind(i64::from(nth.saturating_sub(1)))
            .fetch_optional(c))?;
        Ok(made_at.map(Timestamp::from_micros))
    }

    /// Moves the primary mark. Two statements, because a unique index is checked for each row as it changes; the
    /// transaction shows others only the end.
    pub async fn move_primary(
        &mut self,
        to: &Credential,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "UPDATE credentials SET is_primary = 0, retired_at = $2 WHERE cache_id = $1 AND is_primary = 1"
            )
            .bind(to.cache.0)
            .bind(now.micros())
        )?;
        exec!(
            self,
            sqlx::query("UPDATE credentials SET is_primary = 1, retired_at = NULL, goes_unused = 0 WHERE id = $1")
                .bind(to.id.to_string())
        )?;
        Ok(())
    }

    /// The provider has taken new values: the overlap of those who were replaced since `since` begins now.
    pub(in crate::store) async fn begin_overlap(
        &mut self,
        cache: CacheId,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "UPDATE credentials SET retired_at = $3 WHERE cache_id = $1 AND retired_at >= $2"
            )
            .bind(cache.0)
            .bind(since.micros())
            .bind(now.micros())
        )?;
        Ok(())
    }

    /// The primary of a cache, as this transaction sees it.
    pub async fn primary_credential(
        &mut self,
        cache: CacheId,
    ) -> Result<Option<Credential>, StoreError> {
        let row: Option<CredentialRow> = run!(self, c => sqlx::query_as(select_credential!(
            "WHERE cache_id = $1 AND is_primary = 1 AND removed_at IS NULL"))
            .bind(cache.0).fetch_optional(c))?;
        row.map(CredentialRow::into_domain).transpose()
    }

    pub async fn set_capabilities(
        &mut self,
        id: CredentialId,
        capabilities: Capabilities,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("UPDATE credentials SET capabilities = $1 WHERE id = $2")
                .bind(i64::from(capabilities.bits()))
                .bind(id.to_string())
        )?;
        Ok(())
    }

    /// Wipes a secondary credential's secrets; the row stays for its name's sake.
    pub async fn remove_credential(
        &mut self,
        id: CredentialId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "UPDATE credentials SET password_sealed = NULL, verifier = NULL, goes_unused = 0, removed_at = $1 WHERE id = $2"
            )
            .bind(now.micros())
            .bind(id.to_string())
        )?;
        self.remove_certificates_of(id).await
    }
}
