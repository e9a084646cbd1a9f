//! How far the provider's config vars are from the current primary: one row per resource, level-triggered.
//!
//! `desired` counts changes, `applied` is the count that the provider is known to hold. A worker claims a row by
//! lease and fence, reads what is wanted *then*, and records it only while its fence is the row's.

use crate::domain::secret::Password;
use crate::domain::{CacheId, ExternalId, Marketplace, NodeId, Revision, Timestamp, Username};
use crate::store::caches::credentials::open_password;
use crate::store::db::dialect::{exec, read, run};
use crate::store::db::row::row;
use crate::store::outbox::claims::{Backlog, Served, Terms, backlog, claim};
use crate::store::outbox::promised::PromiseKind;
use crate::store::service::tables::{TableRules, promises};
use crate::store::{Store, StoreError, Tx};

/// What the dashboard tells of the push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSyncState {
    pub desired: i64,
    pub applied: i64,
    /// When the oldest change not yet at the provider was made.
    pub pending_since: Option<Timestamp>,
    pub last_error: Option<String>,
    pub next_attempt_at: Timestamp,
    /// Set while the operator has to act; attempts go on hourly.
    pub dead_at: Option<Timestamp>,
}

/// The right to push one resource's variables, until the lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigClaim {
    pub cache: CacheId,
    pub fence: i64,
    /// What was wanted when it was claimed.
    pub desired: i64,
    /// The nodes must have applied this before a push of what was wanted then (P3).
    pub needs: Revision,
    /// Attempts that failed in a row before this one.
    pub attempt: u32,
    pub pending_since: Timestamp,
    pub dead: bool,
}

/// What the provider must hold as of one moment, and what that moment asks for.
#[derive(Clone, Debug)]
pub struct ConfigWanted {
    pub desired: i64,
    /// The nodes must have applied this before the push (P3).
    pub needs: Revision,
    pub marketplace: Marketplace,
    pub external_id: ExternalId,
    pub username: Username,
    pub password: Password,
    /// Value of the SERVERS variable.
    pub servers: String,
    /// The provider holds exactly these values already.
    pub unchanged: bool,
}

impl ConfigWanted {
    /// Names the values without their secret: a password never changes under its user name.
    fn fingerprint(&self) -> String {
        fingerprint(self.username.as_str(), &self.servers)
    }
}

fn fingerprint(username: &str, servers: &str) -> String {
    format!("{username} {servers}")
}

/// Why an attempt failed and when the next one is.
#[derive(Clone, Debug)]
pub struct ConfigFailure {
    pub error: String,
    pub next_attempt_at: Timestamp,
    pub dead: bool,
}

/// Counts one more change for some rows. A push already waiting keeps its schedule, so that a provider which asked
/// for patience is not hurried by the customer's clicks.
///
/// The CASE arms read `dead_at` as it was before this statement: a push that had been given up starts anew with its
/// back-off and its day of retries, and one that was never due becomes due now. `needs_revision` only grows, since a
/// change that commits later may have drawn its revision earlier.
macro_rules! want {
    ($which:literal) => {
        concat!(
            "UPDATE config_sync SET desired = desired + 1, scheduled_at = $3,
                needs_revision = CASE WHEN needs_revision > $2 THEN needs_revision ELSE $2 END,
                next_attempt_at = CASE WHEN pending_since IS NULL OR dead_at IS NOT NULL THEN $3
                                       ELSE next_attempt_at END,
                attempt = CASE WHEN dead_at IS NULL THEN attempt ELSE 0 END,
                pending_since = CASE WHEN dead_at IS NULL THEN COALESCE(pending_since, $3) ELSE $3 END,
                dead_at = NULL
             WHERE cache_id ",
            $which
        )
    };
}

pub(in crate::store) const TABLES: &[TableRules] = &[promises!("config_sync")];

impl Tx {
    /// Starts a resource's row, with nothing to be pushed yet. `told`: the first values travel in the provision
    /// reply. Call it after the primary credential and the placement are written: they are what the provider then
    /// holds.
    pub async fn insert_config_sync(
        &mut self,
        cache: CacheId,
        told: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let applied_as = match told {
            true => self.told_fingerprint(cache).await?,
            false => None,
        };
        exec!(self, sqlx::query(
                "INSERT INTO config_sync (cache_id, desired, applied, needs_revision, attempt, next_attempt_at, scheduled_at,
                    fence, applied_as) VALUES ($1, 1, 1, 0, 0, $2, $2, 0, $3)")
            .bind(cache.0).bind(now.micros()).bind(&applied_as))?;
        Ok(())
    }

    /// What an answer with the present values tells the provider; `None` for a cache without a node.
    async fn told_fingerprint(&mut self, cache: CacheId) -> Result<Option<String>, StoreError> {
        let username: Option<String> = run!(self, c => sqlx::query_scalar(
                "SELECT username FROM credentials WHERE cache_id = $1 AND is_primary = 1")
            .bind(cache.0).fetch_optional(c))?;
        let servers = self.servers(cache).await?;
        Ok(username
            .filter(|_| !servers.is_empty())
            .map(|username| fingerprint(&username, &servers)))
    }

    /// Notes that the answer on its way tells other first values than those that were noted, so that nothing has to
    /// be pushed. A change that waits for its push is left to it.
    pub async fn tell_config(&mut self, cache: CacheId) -> Result<(), StoreError> {
        let applied_as = self.told_fingerprint(cache).await?;
        exec!(
            self,
            sqlx::query(
                "UPDATE config_sync SET applied_as = $2 WHERE cache_id = $1 AND applied = desired"
            )
            .bind(cache.0)
            .bind(applied_as)
        )?;
        Ok(())
    }

    /// Notes one more change, which the nodes must have applied at `needs` before it is pushed.
    pub async fn want_config_sync(
        &mut self,
        cache: CacheId,
        needs: Revision,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(want!("= $1"))
                .bind(cache.0)
                .bind(needs.0)
                .bind(now.micros())
        )?;
        self.promises.add(PromiseKind::ConfigSync);
        Ok(())
    }

    /// Notes a change of every cache on a node: its address is another one.
    pub(in crate::store) async fn want_config_of_node(
        &mut self,
        node: &NodeId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const ON_NODE: &str = want!("IN (SELECT cache_id FROM placements WHERE node_id = $1)");
        exec!(
            self,
            sqlx::query(ON_NODE)
                .bind(node.as_str())
                .bind(Revision::default().0)
                .bind(now.micros())
        )?;
        self.promises.add(PromiseKind::ConfigSync);
        Ok(())
    }

    /// Tries a waiting push at once: a person asked, or a token has come.
    pub async fn hasten_config(
        &mut self,
        cache: CacheId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(self, sqlx::query(
                "UPDATE config_sync SET next_attempt_at = $2, scheduled_at = $2, attempt = 0, dead_at = NULL, pending_since = $2
                 WHERE cache_id = $1 AND applied < desired AND (dead_at IS NOT NULL OR next_attempt_at > $2)")
            .bind(cache.0).bind(now.micros()))?;
        self.promises.add(PromiseKind::ConfigSync);
        Ok(())
    }

    /// Takes due rows under a lease.
    pub async fn claim_config(&mut self, terms: &Terms) -> Result<Vec<ConfigClaim>, StoreError> {
        let rows: Vec<ClaimRow> = claim!(self, terms => "config_sync" of "cache_id" per marketplace,
            open while "applied < desired", returning "cache_id, fence, desired, needs_revision, attempt, pending_since, dead_at")?;
        let claim = |row: ClaimRow| ConfigClaim {
            cache: CacheId(row.cache_id),
            fence: row.fence,
            desired: row.desired,
            needs: Revision(row.needs_revision),
            attempt: u32::try_from(row.attempt).unwrap_or(0),
            pending_since: row.pending_since.map_or(terms.now, Timestamp::from_micros),
            dead: row.dead_at.is_some(),
        };
        Ok(rows.into_iter().map(claim).collect())
    }

    /// Notes that a push is about to leave: from here until its end is recorded, nobody can tell what the provider
    /// holds, and a push that broke off may have arrived. False when the lease was lost to another worker.
    pub async fn begin_config_push(&mut self, claim: &ConfigClaim) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "UPDATE config_sync SET applied_as = NULL WHERE cache_id = $1 AND fence = $2"
            )
            .bind(claim.cache.0)
            .bind(claim.fence)
        )?;
        Ok(rows == 1)
    }

    /// Records what the provider holds now. When more was wanted meanwhile the row stays due, and what the provider
    /// holds counts as uncertain: one of those who wanted more may be a worker that pushed late. False when the
    /// lease was lost to another worker.
    pub async fn record_config_applied(
        &mut self,
        claim: &ConfigClaim,
        wanted: &ConfigWanted,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "UPDATE config_sync SET applied = $3, lease_until = NULL, attempt = 0, last_error = NULL, dead_at = NULL,
                next_attempt_at = $5, scheduled_at = $5, applied_as = CASE WHEN desired = $3 THEN $4 END,
                pending_since = CASE WHEN desired = $3 THEN NULL ELSE $5 END
             WHERE cache_id = $1 AND fence = $2"
            )
            .bind(claim.cache.0)
            .bind(claim.fence)
            .bind(wanted.desired)
            .bind(wanted.fingerprint())
            .bind(now.micros())
        )?;
        if rows == 1 {
            self.begin_overlap(claim.cache, claim.pending_since, now)
                .await?;
            self.hasten_async_provision(claim.cache, now).await?;
        }
        Ok(rows == 1)
    }

    /// Records a failed attempt and gives the lease back. A newer change than the one that failed for good gets
    /// its own chance at once: hence the arms on `desired > $7`, the count that the attempt had read. False when the
    /// lease was lost to another worker.
    pub async fn record_config_failed(
        &mut self,
        claim: &ConfigClaim,
        failure: &ConfigFailure,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "UPDATE config_sync SET lease_until = NULL, attempt = attempt + 1, last_error = $3,
                scheduled_at = $6, next_attempt_at = CASE WHEN $5 = 1 AND desired > $7 THEN $6 ELSE $4 END,
                dead_at = CASE WHEN $5 = 0 OR desired > $7 THEN NULL ELSE COALESCE(dead_at, $6) END
             WHERE cache_id = $1 AND fence = $2"
            )
            .bind(claim.cache.0)
            .bind(claim.fence)
            .bind(&failure.error)
            .bind(failure.next_attempt_at.micros())
            .bind(i64::from(failure.dead))
            .bind(now.micros())
            .bind(claim.desired)
        )?;
        Ok(rows == 1)
    }

    /// What the provider holds is no longer certain: the answer that told it may not have arrived.
    pub async fn doubt_config(&mut self, cache: CacheId) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("UPDATE config_sync SET applied_as = NULL WHERE cache_id = $1")
                .bind(cache.0)
        )?;
        Ok(())
    }

    /// What the provider holds is no longer certain: a worker has sent `sent` after its lease had ended, perhaps
    /// over a newer value. One more round puts it right, and whoever is sending now loses the lease, since its
    /// record would speak of a state that was overwritten.
    pub async fn distrust_config(
        &mut self,
        cache: CacheId,
        sent: &ConfigWanted,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "UPDATE config_sync SET desired = desired + 1, applied_as = NULL, fence = fence + 1,
                lease_until = NULL, pending_since = COALESCE(pending_since, $2)
             WHERE cache_id = $1 AND (applied_as IS NULL OR applied_as <> $3 OR lease_until > $2)"
            )
            .bind(cache.0)
            .bind(now.micros())
            .bind(sent.fingerprint())
        )?;
        self.promises.add(PromiseKind::ConfigSync);
        Ok(())
    }
}

row! {
    struct ClaimRow {
        cache_id: i64,
        fence: i64,
        desired: i64,
        needs_revision: i64,
        attempt: i64,
        pending_since: Option<i64>,
        dead_at: Option<i64>,
    }
}

row! {
    struct StateRow {
        desired: i64,
        applied: i64,
        pending_since: Option<i64>,
        last_error: Option<String>,
        next_attempt_at: i64,
        dead_at: Option<i64>,
    }
}

row! {
    struct WantedRow {
        desired: i64,
        needs_revision: i64,
        applied_as: Option<String>,
        marketplace: String,
        external_id: String,
        credential: String,
        username: String,
        password_sealed: Vec<u8>,
    }
}

impl Store {
    pub async fn config_state(
        &self,
        cache: CacheId,
    ) -> Result<Option<ConfigSyncState>, StoreError> {
        let row: Option<StateRow> = read!(self, c => sqlx::query_as(
                "SELECT desired, applied, pending_since, last_error, next_attempt_at, dead_at
                 FROM config_sync WHERE cache_id = $1")
            .bind(cache.0).fetch_optional(c))?;
        Ok(row.map(|row| ConfigSyncState {
            desired: row.desired,
            applied: row.applied,
            pending_since: row.pending_since.map(Timestamp::from_micros),
            last_error: row.last_error,
            next_attempt_at: Timestamp::from_micros(row.next_attempt_at),
            dead_at: row.dead_at.map(Timestamp::from_micros),
        }))
    }

    /// The truth as of now; `None` when the resource is gone. The count is read first and the servers after it, so
    /// they are at least as new as the count says.
    pub async fn config_wanted(&self, cache: CacheId) -> Result<Option<ConfigWanted>, StoreError> {
        let row: Option<WantedRow> = read!(self, c => sqlx::query_as(
                "SELECT s.desired, s.needs_revision, s.applied_as, r.marketplace, r.external_id, k.id AS credential,
                    k.username, k.password_sealed
                 FROM config_sync s JOIN resources r ON r.cache_id = s.cache_id
                 JOIN credentials k ON k.cache_id = s.cache_id AND k.is_primary = 1
                 WHERE s.cache_id = $1")
            .bind(cache.0).fetch_optional(c))?;
        let Some(row) = row else {
            return Ok(None);
        };
        let servers = self.servers(cache).await?;
        let bad = |what: &str| StoreError::BadRow(format!("{what} of cache {cache}"));
        let mut wanted = ConfigWanted {
            desired: row.desired,
            needs: Revision(row.needs_revision),
            marketplace: row.marketplace.parse().map_err(|_| bad("marketplace"))?,
            external_id: row.external_id.parse().map_err(|_| bad("external id"))?,
            username: row.username.parse().map_err(|_| bad("user name"))?,
            password: open_password(&self.keys, &row.credential, &row.password_sealed)?,
            servers,
            unchanged: false,
        };
        wanted.unchanged = row.applied_as == Some(wanted.fingerprint());
        Ok(Some(wanted))
    }

    /// Pushes that are due and not done.
    pub async fn config_backlog(
        &self,
        served: &Served,
        now: Timestamp,
    ) -> Result<Backlog, StoreError> {
        backlog!(self, served, now => "config_sync", open while "applied < desired")
    }
}
