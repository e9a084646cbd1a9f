//! What nodes must know, in order. Every change of a cache raises one counter and leaves the cache's number under
//! the new revision; nodes ask for everything after the revision they have.
//!
//! The counter is one row, and raising it locks that row until the transaction ends. So a transaction that gets
//! revision n commits after the one that got n-1, and who reads the counter at n finds everything up to n
//! committed. (A sequence would hand out n before n-1 has committed, and a reader would skip n-1 for ever.)

use std::collections::HashMap;

use crate::domain::secret::Verifier;
use crate::domain::{
    Authority, CacheId, CacheSpec, CertificateSpec, CredentialSpec, FlushOrder, NodeId, PlanSlug,
    Plans, Revision, Timestamp,
};
use crate::store::caches::credentials::capabilities;
use crate::store::db::dialect::{exec, read, run};
use crate::store::db::row::{parse, row};
use crate::store::service::tables::{AtEnd, TableRules};
use crate::store::{Store, StoreError, Tx};

/// What a node must do to stand at `revision`.
#[derive(Clone, Debug)]
pub struct Changes {
    pub revision: Revision,
    /// The list is all there is: the node forgets each cache that is not on it.
    pub complete: bool,
    pub caches: Vec<CacheChange>,
    /// All CAs whose client certificates are to be believed. They are never taken back.
    pub authorities: Vec<Authority>,
    /// User names of changed caches by which nobody logs in on this node: of caches on other nodes, and those whose
    /// credential was removed. They are never given out again.
    pub usernames: Vec<String>,
}

/// The credentials of changed caches, as one node needs them.
#[derive(Default)]
struct ChangedCredentials {
    /// Of caches on this node.
    here: HashMap<CacheId, Vec<CredentialSpec>>,
    /// The user names of the others and of removed credentials.
    names_only: Vec<String>,
}

/// The present truth about one cache, for one node.
#[derive(Clone, Debug)]
pub enum CacheChange {
    Serve(CacheSpec),
    /// Deprovisioned, or not on this node any more.
    Forget(CacheId),
}

row! {
    struct ChangedRow {
        cache_id: i64,
        label: String,
        plan: String,
        state: String,
        node_id: Option<String>,
    }
}

row! {
    struct SpecRow {
        cache_id: i64,
        username: String,
        /// Of a cache on another node and of a removed credential, none.
        verifier: Option<Vec<u8>>,
        capabilities: i64,
        fingerprint: Option<String>,
        expires_at: Option<i64>,
    }
}

impl SpecRow {
    fn certificate(&self) -> Result<Option<CertificateSpec>, StoreError> {
        let (Some(fingerprint), Some(expires_at)) = (&self.fingerprint, self.expires_at) else {
            return Ok(None);
        };
        Ok(Some(CertificateSpec {
            fingerprint: parse("certificates.fingerprint", fingerprint)?,
            expires_at: Timestamp::from_micros(expires_at),
        }))
    }
}

impl ChangedCredentials {
    /// Rows of one credential follow each other, one for each of its certificates.
    fn add(&mut self, row: SpecRow) -> Result<(), StoreError> {
        let certificate = row.certificate()?;
        let Some(verifier) = row.verifier else {
            self.names_only.push(row.username);
            return Ok(());
        };
        let of_cache = self.here.entry(CacheId(row.cache_id)).or_default();
        if let Some(credential) = of_cache.last_mut()
            && credential.username.as_str() == row.username
        {
            credential.certificates.extend(certificate);
            return Ok(());
        }
        let bytes: [u8; 32] = verifier
            .try_into()
            .map_err(|_| StoreError::BadRow("credentials.verifier: not 32 bytes".to_owned()))?;
        of_cache.push(CredentialSpec {
            username: parse("credentials.username", &row.username)?,
            verifier: Verifier::from_bytes(bytes),
            capabilities: capabilities(row.capabilities)?,
            certificates: certificate.into_iter().collect(),
        });
        Ok(())
    }
}

row! {
    struct OrderRow {
        cache_id: i64,
        id: String,
        origin: String,
        reason: Option<String>,
    }
}

impl OrderRow {
    fn into_domain(self) -> Result<FlushOrder, StoreError> {
        Ok(FlushOrder {
            id: parse("flushes.id", &self.id)?,
            origin: parse("flushes.origin", &self.origin)?,
            reason: self.reason,
        })
    }
}

impl Store {
    /// The newest committed revision.
    pub async fn revision(&self) -> Result<Revision, StoreError> {
        let value: i64 =
            read!(self, c => sqlx::query_scalar("SELECT value FROM revision").fetch_one(c))?;
        Ok(Revision(value))
    }

    /// The revision of a cache's latest change.
    pub async fn last_change(&self, cache: CacheId) -> Result<Revision, StoreError> {
        let newest: Option<i64> = read!(self, c =>
            sqlx::query_scalar("SELECT max(revision) FROM changes WHERE cache_id = $1").bind(cache.0).fetch_one(c))?;
        Ok(Revision(newest.unwrap_or(0)))
    }

    /// What has changed for `node` since `known`; everything it must hold when `known` is zero or from another
    /// history than this database's (a restored backup).
    ///
    /// Each query looks up the few changed caches first and says so (`MATERIALIZED`): left to itself PostgreSQL walked
    /// all caches of the node, for tens of milliseconds, until it had statistics of a table that had just grown.
    ///
    /// The revision is read first and the caches after it, so they are at least as new as the revision says. What
    /// commits in between has a higher revision and comes again. A node that was away for so long that a change was
    /// dropped without it gets everything, too; that is read last, since a change may be dropped meanwhile.
    pub async fn changes_since(
        &self,
        node: &NodeId,
        known: Revision,
        plans: &Plans,
    ) -> Result<Changes, StoreError> {
        let revision = self.revision().await?;
        let complete = known == Revision::default() || known > revision;
        let changes = self.read_changes(node, known, revision, complete, plans);
        let changes = changes.await?;
        if complete || known == revision || known >= self.pruned().await? {
            return Ok(changes);
        }
        self.read_changes(node, known, revision, true, plans).await
    }

    /// The newest revision whose change was dropped. A node that has not applied it may hold caches that are gone.
    async fn pruned(&self) -> Result<Revision, StoreError> {
        let value: i64 =
            read!(self, c => sqlx::query_scalar("SELECT pruned FROM revision").fetch_one(c))?;
        Ok(Revision(value))
    }

    async fn read_changes(
        &self,
        node: &NodeId,
        known: Revision,
        revision: Revision,
        complete: bool,
        plans: &Plans,
    ) -> Result<Changes, StoreError> {
        let since = if complete { 0 } else { known.0 };
        if !complete && known == revision {
            return Ok(Changes {
                revision,
                complete,
                caches: Vec::new(),
                authorities: Vec::new(),
                usernames: Vec::new(),
            });
        }
        let changed: Vec<ChangedRow> = read!(self, c => sqlx::query_as(
            "SELECT h.cache_id, r.label, r.plan, r.state, p.node_id FROM changes h \
             JOIN resources r ON r.cache_id = h.cache_id \
             LEFT JOIN placements p ON p.cache_id = h.cache_id AND p.node_id = $2 \
             WHERE h.revision > $1 ORDER BY h.revision")
            .bind(since).bind(node.as_str()).fetch_all(c))?;
        let mut credentials = self.changed_credentials(node, since).await?;
        let mut orders = self.open_orders(node, since).await?;

        let mut caches = Vec::with_capacity(changed.len());
        for row in changed {
            let cache = CacheId(row.cache_id);
            if row.state == "deprovisioned" || row.node_id.is_none() {
                if !complete {
                    caches.push(CacheChange::Forget(cache));
                }
                continue;
            }
            let plan = plans.find_or_smallest(&parse::<PlanSlug>("resources.plan", &row.plan)?);
            caches.push(CacheChange::Serve(CacheSpec {
                cache,
                label: row.label,
                limit_bytes: plan.limit_bytes(),
                connections_max: plan.connections_max,
                credentials: credentials.here.remove(&cache).unwrap_or_default(),
                flush_orders: orders.remove(&cache).unwrap_or_default(),
            }));
        }
        Ok(Changes {
            revision,
            complete,
            caches,
            authorities: self.authorities().await?,
            usernames: credentials.names_only,
        })
    }

    async fn changed_credentials(
        &self,
        node: &NodeId,
        since: i64,
    ) -> Result<ChangedCredentials, StoreError> {
        let rows: Vec<SpecRow> = read!(self, c => sqlx::query_as(
            "WITH h AS MATERIALIZED (SELECT cache_id FROM changes WHERE revision > $1) \
             SELECT k.cache_id, k.username, k.capabilities, f.fingerprint, f.expires_at, \
             CASE WHEN p.node_id IS NULL OR k.removed_at IS NOT NULL THEN NULL ELSE k.verifier END AS verifier FROM h \
             JOIN credentials k ON k.cache_id = h.cache_id \
             LEFT JOIN placements p ON p.cache_id = h.cache_id AND p.node_id = $2 \
             LEFT JOIN certificates f ON f.credential_id = k.id AND p.node_id IS NOT NULL AND k.removed_at IS NULL \
             ORDER BY k.created_at, k.id, f.fingerprint")
            .bind(since).bind(node.as_str()).fetch_all(c))?;
        let mut changed = ChangedCredentials::default();
        for row in rows {
            changed.add(row)?;
        }
        Ok(changed)
    }

    /// Ordered flushes that this node has not reported.
    async fn open_orders(
        &self,
        node: &NodeId,
        since: i64,
    ) -> Result<HashMap<CacheId, Vec<FlushOrder>>, StoreError> {
        let rows: Vec<OrderRow> = read!(self, c => sqlx::query_as(
            "WITH h AS MATERIALIZED (SELECT cache_id FROM changes WHERE revision > $1) \
             SELECT f.cache_id, f.id, f.origin, f.reason FROM h \
             JOIN flushes f ON f.cache_id = h.cache_id \
             WHERE f.done_at IS NULL AND NOT EXISTS \
             (SELECT 1 FROM flush_reports d WHERE d.flush_id = f.id AND d.node_id = $2) \
             ORDER BY f.ordered_at, f.id")
            .bind(since).bind(node.as_str()).fetch_all(c))?;
        let mut by_cache: HashMap<CacheId, Vec<FlushOrder>> = HashMap::new();
        for row in rows {
            let cache = CacheId(row.cache_id);
            by_cache.entry(cache).or_default().push(row.into_domain()?);
        }
        Ok(by_cache)
    }
}

pub(in crate::store) const TABLES: &[TableRules] = &[
    TableRules::apart("revision"),
    TableRules::of_resource(
        "changes",
        AtEnd::Stay("nodes learn from them to forget the cache, and then they are pruned"),
    ),
];

impl Tx {
    /// Tells the cache's nodes that something about it has changed. As late in the transaction as possible: from
    /// here to the commit, every other change in the installation waits.
    pub async fn bump(&mut self, cache: CacheId) -> Result<Revision, StoreError> {
        let revision: i64 = run!(self, c =>
            sqlx::query_scalar("UPDATE revision SET value = value + 1 WHERE one = 1 RETURNING value").fetch_one(c))?;
        // One row per cache: a newer change says all that an older one did.
        exec!(
            self,
            sqlx::query("DELETE FROM changes WHERE cache_id = $1").bind(cache.0)
        )?;
        exec!(
            self,
            sqlx::query("INSERT INTO changes (revision, cache_id) VALUES ($1, $2)")
                .bind(revision)
                .bind(cache.0)
        )?;
        Ok(Revision(revision))
    }
}
