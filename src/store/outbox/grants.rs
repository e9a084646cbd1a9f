//! The provider's tokens, one pair per resource, sealed.
//!
//! A grant begins as a one-time code (`pending`), becomes a token pair (`active`), or ends `broken`, when only a
//! new code or a working refresh token brings it back. A pending one whose code is spent waits for a fresh code. The
//! lease makes exchange and refresh single-flight over all processes.

use secrecy::{ExposeSecret, SecretString};

use crate::domain::{CacheId, ExternalId, Marketplace, Timestamp, WorkerId};
use crate::store::db::dialect::{exec, read, run};
use crate::store::db::row::row;
use crate::store::db::seal::Place;
use crate::store::outbox::claims::{Backlog, Served, Terms, backlog, claim};
use crate::store::outbox::promised::PromiseKind;
use crate::store::service::tables::{AtEnd, ClockSetBack, TableRules, leased};
use crate::store::{Store, StoreError, Tx};

/// The right to exchange a code, until the lease ends.
#[derive(Debug)]
pub struct CodeClaim {
    pub cache: CacheId,
    pub marketplace: Marketplace,
    pub external_id: ExternalId,
    /// `None` once it is spent: only a fresh one can bring tokens.
    pub code: Option<SecretString>,
    /// When the provider stops taking the code.
    pub expires_at: Timestamp,
    pub fence: i64,
    pub attempt: u32,
}

/// A token pair just obtained.
#[derive(Debug)]
pub struct FreshTokens {
    pub access: SecretString,
    pub expires_at: Timestamp,
    /// `None` when the provider keeps the old one valid.
    pub refresh: Option<SecretString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantState {
    Pending,
    Active,
    Broken,
}

impl GrantState {
    fn from_row(text: &str) -> Result<GrantState, StoreError> {
        match text {
            "pending" => Ok(GrantState::Pending),
            "active" => Ok(GrantState::Active),
            "broken" => Ok(GrantState::Broken),
            other => Err(StoreError::BadRow(format!("grant state {other}"))),
        }
    }
}

/// A resource's grant as it stands.
#[derive(Debug)]
pub struct Grant {
    pub state: GrantState,
    pub access: Option<SecretString>,
    pub access_expires_at: Option<Timestamp>,
    pub refresh: Option<SecretString>,
    pub fence: i64,
    pub lease_until: Option<Timestamp>,
    pub last_error: Option<String>,
}

fn place<'a>(column: &'static str, row: &'a str) -> Place<'a> {
    Place {
        table: "grants",
        column,
        row,
    }
}

pub(in crate::store) const TABLES: &[TableRules] = &[TableRules {
    table: "grants",
    at_end: AtEnd::Run(&["DELETE FROM grants WHERE cache_id = $1"]),
    clock_set_back: ClockSetBack::Run(
        "UPDATE grants SET next_attempt_at = $1, updated_at = $1 WHERE state = 'pending' AND updated_at > $2",
    ),
    leases: leased!("grants"),
}];

/// Codes of one resource that are remembered.
const CODES_MAX: usize = 16;

/// The digests with that of `code` after them; `None` when it is among them.
fn with_code(digests: &str, code: &SecretString) -> Option<String> {
    let digest = crate::domain::secret::digest_hex(code.expose_secret().as_bytes());
    let mut all: Vec<&str> = digests.split_whitespace().collect();
    if all.contains(&digest.as_str()) {
        return None;
    }
    all.push(&digest);
    Some(all[all.len().saturating_sub(CODES_MAX)..].join(" "))
}

impl Tx {
    /// Takes a code to exchange. A working token pair is kept. A code that was taken before is not taken again, however
    /// often it is sent: it is good for one exchange, which is under way or has been.
    pub async fn insert_grant(
        &mut self,
        cache: CacheId,
        code: &SecretString,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let taken: Option<Option<String>> = run!(self, c => sqlx::query_scalar(
                "SELECT code_digests FROM grants WHERE cache_id = $1")
            .bind(cache.0).fetch_optional(c))?;
        let Some(digests) = with_code(taken.flatten().as_deref().unwrap_or_default(), code) else {
            return Ok(());
        };
        let row = cache.to_string();
        let sealed = self
            .keys
            .seal(place("code_sealed", &row), code.expose_secret().as_bytes())?;
        exec!(self, sqlx::query(
                "INSERT INTO grants (cache_id, state, code_sealed, code_expires_at, attempt, next_attempt_at, fence,
                    updated_at, code_digests) VALUES ($1, 'pending', $2, $3, 0, $4, 0, $4, $5)
                 ON CONFLICT (cache_id) DO UPDATE SET state = 'pending', code_sealed = excluded.code_sealed,
                    code_expires_at = excluded.code_expires_at, attempt = 0, next_attempt_at = excluded.next_attempt_at,
                    lease_until = NULL, fence = grants.fence + 1, updated_at = excluded.updated_at,
                    code_digests = excluded.code_digests
                 WHERE grants.state <> 'active'")
            .bind(cache.0).bind(&sealed).bind(expires_at.micros()).bind(now.micros()).bind(&digests))?;
        self.promises.add(PromiseKind::Grants);
        Ok(())
    }

    /// Takes due codes under a lease.
    pub async fn claim_codes(&mut self, terms: &Terms) -> Result<Vec<CodeClaim>, StoreError> {
        let rows: Vec<CodeRow> = claim!(self, terms => "grants" of "cache_id" per marketplace,
            open while "state = 'pending'", returning "cache_id, code_sealed, code_expires_at, fence, attempt")?;
        let mut claims = Vec::with_capacity(rows.len());
        for row in rows {
            let cache = row.cache_id;
            let bad = |what: &str| StoreError::BadRow(format!("{what} of cache {cache}"));
            let (marketplace, external_id): (String, String) = run!(self, c => sqlx::query_as(
                    "SELECT marketplace, external_id FROM resources WHERE cache_id = $1")
                .bind(cache).fetch_one(c))?;
            let row_name = cache.to_string();
            let place = place("code_sealed", &row_name);
            let code = row
                .code_sealed
                .map(|sealed| self.keys.open_text(place, &sealed));
            // One that does not open must not hold up the others.
            let Ok(code) = code.transpose() else {
                let error = "the stored code does not open with the master keys given";
                self.record_grant_failed(CacheId(cache), row.fence, error, None, terms.now)
                    .await?;
                continue;
            };
            claims.push(CodeClaim {
                cache: CacheId(cache),
                marketplace: marketplace.parse().map_err(|_| bad("marketplace"))?,
                external_id: external_id.parse().map_err(|_| bad("external id"))?,
                code,
                expires_at: row
                    .code_expires_at
                    .map_or(terms.now, Timestamp::from_micros),
                fence: row.fence,
                attempt: u32::try_from(row.attempt).unwrap_or(0),
            });
        }
        Ok(claims)
    }

    /// Stores a token pair, before anybody relies on it. Taken even when the lease was lost, as long as there is
    /// no working pair: a code and a rotated refresh token are good for one answer only. False when nothing was
    /// stored.
    pub async fn record_tokens(
        &mut self,
        cache: CacheId,
        fence: i64,
        tokens: &FreshTokens,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let row = cache.to_string();
        let seal = |column, secret: &SecretString| {
            self.keys
                .seal(place(column, &row), secret.expose_secret().as_bytes())
        };
        let access = seal("access_sealed", &tokens.access)?;
        let refresh = tokens
            .refresh
            .as_ref()
            .map(|token| seal("refresh_sealed", token))
            .transpose()?;
        let rows = exec!(self, sqlx::query(
                "UPDATE grants SET state = 'active', access_sealed = $3, access_expires_at = $4,
                    refresh_sealed = COALESCE($5, refresh_sealed), code_sealed = NULL, lease_until = NULL, attempt = 0,
                    last_error = NULL, fence = fence + 1, updated_at = $6
                 WHERE cache_id = $1 AND (fence = $2 OR state <> 'active')")
            .bind(cache.0).bind(fence).bind(&access).bind(tokens.expires_at.micros()).bind(&refresh)
            .bind(now.micros()))?;
        Ok(rows == 1)
    }

    /// Records a failed exchange; without a next attempt the grant is broken.
    pub async fn record_grant_failed(
        &mut self,
        cache: CacheId,
        fence: i64,
        error: &str,
        next_attempt_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let rows = match next_attempt_at {
            Some(next) => exec!(
                self,
                sqlx::query(
                    "UPDATE grants SET attempt = attempt + 1, next_attempt_at = $3, last_error = $4,
                    lease_until = NULL, updated_at = $5 WHERE cache_id = $1 AND fence = $2"
                )
                .bind(cache.0)
                .bind(fence)
                .bind(next.micros())
                .bind(error)
                .bind(now.micros())
            )?,
            None => exec!(
                self,
                sqlx::query(
                    "UPDATE grants SET state = 'broken', code_sealed = NULL, access_sealed = NULL,
                    last_error = $3, lease_until = NULL, updated_at = $4 WHERE cache_id = $1 AND fence = $2"
                )
                .bind(cache.0)
                .bind(fence)
                .bind(error)
                .bind(now.micros())
            )?,
        };
        Ok(rows == 1)
    }

    /// Forgets a code that is spent, so that nobody sends it again: from here on only a fresh one is asked for.
    pub async fn forget_code(&mut self, cache: CacheId, fence: i64) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "UPDATE grants SET code_sealed = NULL WHERE cache_id = $1 AND fence = $2 AND state = 'pending'"
            )
            .bind(cache.0)
            .bind(fence)
        )?;
        Ok(())
    }

    /// Takes the lease for a refresh, if nobody holds it and nothing happened since `seen`. Gives the new fence.
    pub async fn lease_grant(
        &mut self,
        cache: CacheId,
        seen: i64,
        now: Timestamp,
        lease_until: Timestamp,
        holder: WorkerId,
    ) -> Result<Option<i64>, StoreError> {
        Ok(run!(self, c => sqlx::query_scalar(
                "UPDATE grants SET lease_until = $3, lease_by = $5, fence = fence + 1
                 WHERE cache_id = $1 AND fence = $2 AND (lease_until IS NULL OR lease_until <= $4) RETURNING fence")
            .bind(cache.0).bind(seen).bind(lease_until.micros()).bind(now.micros()).bind(holder.to_string())
            .fetch_optional(c))?)
    }

    /// Gives the lease back without a change, after a refresh that may work later.
    pub async fn release_grant(
        &mut self,
        cache: CacheId,
        fence: i64,
        error: &str,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "UPDATE grants SET lease_until = NULL, last_error = $3 WHERE cache_id = $1 AND fence = $2"
            )
            .bind(cache.0)
            .bind(fence)
            .bind(error)
        )?;
        Ok(())
    }
}

row! {
    struct CodeRow {
        cache_id: i64,
        code_sealed: Option<Vec<u8>>,
        code_expires_at: Option<i64>,
        fence: i64,
        attempt: i64,
    }
}

type GrantRow = (
    String,
    Option<Vec<u8>>,
    Option<i64>,
    Option<Vec<u8>>,
    i64,
    Option<i64>,
    Option<String>,
);

impl Store {
    /// Whether there is a token, or a code that may still become one.
    pub async fn has_token(&self, cache: CacheId) -> Result<bool, StoreError> {
        let found: Option<i64> = read!(self, c => sqlx::query_scalar(
                "SELECT cache_id FROM grants WHERE cache_id = $1 AND state <> 'broken'")
            .bind(cache.0).fetch_optional(c))?;
        Ok(found.is_some())
    }

    /// Codes that are due.
    pub async fn codes_backlog(
        &self,
        served: &Served,
        now: Timestamp,
    ) -> Result<Backlog, StoreError> {
        backlog!(self, served, now => "grants", open while "state = 'pending'")
    }

    /// The grant of a resource, opened; `None` when no code ever came.
    pub async fn grant(&self, cache: CacheId) -> Result<Option<Grant>, StoreError> {
        let row: Option<GrantRow> = read!(self, c => sqlx::query_as(
                "SELECT state, access_sealed, access_expires_at, refresh_sealed, fence, lease_until, last_error
                 FROM grants WHERE cache_id = $1")
            .bind(cache.0).fetch_optional(c))?;
        let Some((state, access, expires_at, refresh, fence, lease_until, last_error)) = row else {
            return Ok(None);
        };
        let row = cache.to_string();
        let open = |column, sealed: Vec<u8>| self.keys.open_text(place(column, &row), &sealed);
        Ok(Some(Grant {
            state: GrantState::from_row(&state)?,
            access: access
                .map(|sealed| open("access_sealed", sealed))
                .transpose()?,
            access_expires_at: expires_at.map(Timestamp::from_micros),
            refresh: refresh
                .map(|sealed| open("refresh_sealed", sealed))
                .transpose()?,
            fence,
            lease_until: lease_until.map(Timestamp::from_micros),
            last_error,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A code is known for as long as somebody may send it again, and the column does not grow with each.
    #[test]
    fn the_latest_codes_are_remembered() {
        let code = |number: usize| SecretString::from(format!("code-{number}"));
        let mut digests = String::new();
        for number in 0..CODES_MAX + 4 {
            digests = with_code(&digests, &code(number)).unwrap();
        }
        assert_eq!(digests.split(' ').count(), CODES_MAX);
        for number in 0..CODES_MAX + 4 {
            let is_known = with_code(&digests, &code(number)).is_none();
            assert_eq!(is_known, number >= 4, "code {number}");
        }
    }
}
