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

/// Changed caches in one part of a list. A node reads and holds a part as a whole before it puts it in force: with ten
/// credentials each, a thousand caches are about two megabytes of JSON.
const PART: u32 = 1_000;

/// Which part of a list of changes is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Only caches with a higher number than this.
    pub after: CacheId,
    /// Changed caches, at most.
    pub most: u32,
}

impl Part {
    pub fn behind(after: CacheId) -> Part {
        Part { after, most: PART }
    }

    pub fn is_first(self) -> bool {
        self.after.0 <= 0
    }
}

/// What a node must do to stand at `revision`, or a part of that. The revision of the first part counts.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub revision: Revision,
    /// The list is all there is: the node forgets each cache that is not on it.
    pub complete: bool,
    /// In the order of their numbers.
    pub caches: Vec<CacheChange>,
    /// All CAs whose client certificates are to be believed. They are never taken back. They come with the first part,
    /// so that they are known before any certificate.
    pub authorities: Vec<Authority>,
    /// User names of changed caches by which nobody logs in on this node: of caches on other nodes, and those whose
    /// credential was removed. They are never given out again.
    pub usernames: Vec<String>,
    /// The list goes on behind this cache.
    pub more_after: Option<CacheId>,
}

/// A part as the database is asked for it.
#[derive(Clone, Copy)]
struct Asked<'a> {
    node: &'a NodeId,
    /// Only caches that changed after this; `None` for all, which make a complete list.
    since: Option<Revision>,
    part: Part,
}

impl Asked<'_> {
    /// What stands for [`Asked::since`] in a query: revisions begin at one.
    fn floor(self) -> i64 {
        self.since.map_or(0, |revision| revision.0)
    }
}

/// A query over `h`: the caches of a list that changed after revision `$1`, with numbers above `$3` and up to `$4`, the
/// first `$5` of them. `$2` is the node.
///
/// The caches are looked up before anything else (`MATERIALIZED`): left to itself PostgreSQL walked all caches of the
/// node, for tens of milliseconds, until it had statistics of a table that had just grown. The plus sign takes an index
/// away from either database. Of a complete list each part is a stretch of the index of numbers. Of any other list the
/// few changed caches are found by revision, as that stretch may hold all caches there are.
macro_rules! of_part {
    ($asked:expr, $query:literal) => {
        match $asked.since {
            None => concat!(
                "WITH h AS MATERIALIZED (SELECT cache_id FROM changes \
                 WHERE +revision > $1 AND cache_id > $3 AND cache_id <= $4 ORDER BY cache_id LIMIT $5) ",
                $query
            ),
            Some(_) => concat!(
                "WITH h AS MATERIALIZED (SELECT cache_id FROM changes \
                 WHERE revision > $1 AND +cache_id > $3 AND +cache_id <= $4 ORDER BY +cache_id LIMIT $5) ",
                $query
            ),
        }
    };
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

    /// A part of what has changed for `node` since `known`; of all it must hold when `known` is zero or from another
    /// history than this database's (a restored backup).
    ///
    /// The revision is read first and the caches after it, so they are at least as new as it says. What commits in
    /// between, or between two parts, has a higher revision than the first part and comes again. A node that was away for
    /// so long that a change was dropped without it gets everything, too; that is read last, since a change may be
    /// dropped meanwhile.
    pub async fn changes_since(
        &self,
        node: &NodeId,
        known: Revision,
        part: Part,
        plans: &Plans,
    ) -> Result<Changes, StoreError> {
        let revision = self.revision().await?;
        let complete = known == Revision::default() || known > revision;
        let mut asked = Asked {
            node,
            since: (!complete).then_some(known),
            part,
        };
        if !complete && known == revision {
            let nothing = Changes::default();
            return Ok(Changes {
                revision,
                ..nothing
            });
        }
        let changes = self.read_part(asked, revision, plans).await?;
        if complete || known >= self.pruned().await? {
            return Ok(changes);
        }
        asked.since = None;
        self.read_part(asked, revision, plans).await
    }

    /// The newest revision whose change was dropped. A node that has not applied it may hold caches that are gone.
    async fn pruned(&self) -> Result<Revision, StoreError> {
        let value: i64 =
            read!(self, c => sqlx::query_scalar("SELECT pruned FROM revision").fetch_one(c))?;
        Ok(Revision(value))
    }

    /// The changed caches are read first. They say where the part ends, which is as far as the other queries go.
    async fn read_part(
        &self,
        asked: Asked<'_>,
        revision: Revision,
        plans: &Plans,
    ) -> Result<Changes, StoreError> {
        let changed = self.changed_caches(asked).await?;
        let (complete, part) = (asked.since.is_none(), asked.part);
        let last = changed.last().map(|row| CacheId(row.cache_id));
        let last = last.unwrap_or(part.after);
        let is_full = i64::try_from(changed.len()) == Ok(i64::from(part.most));
        let mut credentials = self.changed_credentials(asked, last).await?;
        let mut orders = self.open_orders(asked, last).await?;

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
        let authorities = match part.is_first() {
            true => self.authorities().await?,
            false => Vec::new(),
        };
        Ok(Changes {
            revision,
            complete,
            caches,
            authorities,
            usernames: credentials.names_only,
            more_after: is_full.then_some(last),
        })
    }

    async fn changed_caches(&self, asked: Asked<'_>) -> Result<Vec<ChangedRow>, StoreError> {
        let sql = of_part!(
            asked,
            "SELECT h.cache_id, r.label, r.plan, r.state, p.node_id FROM h \
             JOIN resources r ON r.cache_id = h.cache_id \
             LEFT JOIN placements p ON p.cache_id = h.cache_id AND p.node_id = $2 \
             ORDER BY h.cache_id"
        );
        Ok(read!(self, c => sqlx::query_as(sql)
            .bind(asked.floor()).bind(asked.node.as_str())
            .bind(asked.part.after.0).bind(i64::MAX).bind(i64::from(asked.part.most))
            .fetch_all(c))?)
    }

    /// Without a bound on their number: another cache may have changed since those up to `last` were read.
    async fn changed_credentials(
        &self,
        asked: Asked<'_>,
        last: CacheId,
    ) -> Result<ChangedCredentials, StoreError> {
        let sql = of_part!(
            asked,
            "SELECT k.cache_id, k.username, k.capabilities, f.fingerprint, f.expires_at, \
             CASE WHEN p.node_id IS NULL OR k.removed_at IS NOT NULL THEN NULL ELSE k.verifier END AS verifier FROM h \
             JOIN credentials k ON k.cache_id = h.cache_id \
             LEFT JOIN placements p ON p.cache_id = h.cache_id AND p.node_id = $2 \
             LEFT JOIN certificates f ON f.credential_id = k.id AND p.node_id IS NOT NULL AND k.removed_at IS NULL \
             ORDER BY k.created_at, k.id, f.fingerprint"
        );
        let rows: Vec<SpecRow> = read!(self, c => sqlx::query_as(sql)
            .bind(asked.floor()).bind(asked.node.as_str())
            .bind(asked.part.after.0).bind(last.0).bind(i64::MAX)
            .fetch_all(c))?;
        let mut changed = ChangedCredentials::default();
        for row in rows {
            changed.add(row)?;
        }
        Ok(changed)
    }

    /// Ordered flushes that this node has not reported, of all caches up to `last`.
    async fn open_orders(
        &self,
        asked: Asked<'_>,
        last: CacheId,
    ) -> Result<HashMap<CacheId, Vec<FlushOrder>>, StoreError> {
        let sql = of_part!(
            asked,
            "SELECT f.cache_id, f.id, f.origin, f.reason FROM h \
             JOIN flushes f ON f.cache_id = h.cache_id \
             WHERE f.done_at IS NULL AND NOT EXISTS \
             (SELECT 1 FROM flush_reports d WHERE d.flush_id = f.id AND d.node_id = $2) \
             ORDER BY f.ordered_at, f.id"
        );
        let rows: Vec<OrderRow> = read!(self, c => sqlx::query_as(sql)
            .bind(asked.floor()).bind(asked.node.as_str())
            .bind(asked.part.after.0).bind(last.0).bind(i64::MAX)
            .fetch_all(c))?;
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
