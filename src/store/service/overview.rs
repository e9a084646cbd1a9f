//! What an operator looks at: caches and nodes, with whatever is not as it should be.

use crate::domain::{CacheId, Elsewhere, Marketplace, NodeId, PlanSlug, Revision, Timestamp};
use crate::store::db::dialect::read;
use crate::store::db::row::{number, parse, row};
use crate::store::fleet::nodes::NodeStatus;
use crate::store::{Store, StoreError};

/// A live cache in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheOverview {
    pub cache: CacheId,
    /// The short name in log lines.
    pub label: String,
    pub name: String,
    pub marketplace: Marketplace,
    pub external_id: String,
    pub plan: PlanSlug,
    pub cluster: String,
    /// The region of the cluster.
    pub served_from: String,
    /// Set when that is not where it was ordered.
    pub elsewhere: Option<Elsewhere>,
    pub credentials: u64,
    pub push: PushOverview,
    /// Why its provider cannot be called about it, where it cannot.
    pub no_token: Option<String>,
    /// Its provider has not known it for a day or more.
    pub missed: bool,
    /// While its provider waits for the completion call.
    pub async_provision: Option<AsyncProvisionOverview>,
    /// Flushes that were ordered and not yet reported done.
    pub flushes_ordered: u64,
}

/// How far an asynchronous provision is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncProvisionOverview {
    pub giving_up: bool,
    /// Of the last attempt; empty before the first.
    pub error: String,
}

/// Whether the provider's config vars follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushOverview {
    Applied,
    /// The marketplace cannot be pushed to. The store does not know that: `app::operator` sets it.
    NotPushed,
    Pending {
        error: Option<String>,
    },
    /// The operator has to act.
    Dead {
        error: String,
    },
}

/// A node in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeOverview {
    pub id: NodeId,
    pub cluster: String,
    pub region: String,
    /// As in SERVERS.
    pub address: String,
    pub memory_bytes: u64,
    pub applied: Revision,
    pub status: NodeStatus,
    /// It serves what its snapshot had, and has not heard the control plane since it started.
    pub on_snapshot: bool,
}

row! {
    struct CacheRow {
        cache_id: i64,
        label: String,
        name: String,
        marketplace: String,
        external_id: String,
        plan: String,
        cluster: String,
        region: String,
        served_from: String,
        credentials: i64,
        flushes: i64,
        desired: Option<i64>,
        applied: Option<i64>,
        dead_at: Option<i64>,
        last_error: Option<String>,
        grant_state: Option<String>,
        grant_error: Option<String>,
        candidate_at: Option<i64>,
        goal: Option<String>,
        async_provision_error: Option<String>,
    }
}

impl CacheRow {
    fn into_overview(self) -> Result<CacheOverview, StoreError> {
        let push = match self.dead_at {
            _ if self.applied >= self.desired => PushOverview::Applied,
            None => PushOverview::Pending {
                error: self.last_error,
            },
            Some(_) => PushOverview::Dead {
                error: self.last_error.unwrap_or_default(),
            },
        };
        Ok(CacheOverview {
            cache: CacheId(self.cache_id),
            label: self.label,
            name: self.name,
            marketplace: parse("resources.marketplace", &self.marketplace)?,
            external_id: self.external_id,
            plan: parse("resources.plan", &self.plan)?,
            cluster: self.cluster,
            elsewhere: Elsewhere::found(&self.region, &self.served_from),
            served_from: self.served_from,
            credentials: number("count of credentials", self.credentials)?,
            push,
            no_token: match self.grant_state.as_deref() {
                None => Some("its provider has given none".to_owned()),
                Some("broken") => Some(self.grant_error.unwrap_or_default()),
                Some(_) => None,
            },
            missed: self.candidate_at.is_some(),
            async_provision: self.goal.map(|goal| AsyncProvisionOverview {
                giving_up: goal == "give_up",
                error: self.async_provision_error.unwrap_or_default(),
            }),
            flushes_ordered: number("count of flushes", self.flushes)?,
        })
    }
}

row! {
    struct NodeRow {
        id: String,
        cluster: String,
        region: String,
        proxy_hostname: String,
        proxy_port: i64,
        memory_bytes: i64,
        applied_revision: i64,
        phase: String,
        standing: String,
        seen_at: i64,
        on_snapshot: i64,
    }
}

impl NodeRow {
    fn into_overview(self) -> Result<NodeOverview, StoreError> {
        Ok(NodeOverview {
            id: parse("nodes.id", &self.id)?,
            cluster: self.cluster,
            region: self.region,
            address: format!("{}:{}", self.proxy_hostname, self.proxy_port),
            memory_bytes: number("nodes.memory_bytes", self.memory_bytes)?,
            applied: Revision(self.applied_revision),
            status: NodeStatus {
                phase: parse("nodes.phase", &self.phase)?,
                standing: parse("nodes.standing", &self.standing)?,
                seen_at: Timestamp::from_micros(self.seen_at),
            },
            on_snapshot: self.on_snapshot != 0,
        })
    }
}

impl Store {
    /// The live caches behind `after` in the order of their numbers, at most `most`.
    pub async fn cache_overviews(
        &self,
        after: CacheId,
        most: u32,
    ) -> Result<Vec<CacheOverview>, StoreError> {
        let rows: Vec<CacheRow> = read!(self, c => sqlx::query_as(
            "SELECT r.cache_id, r.label, r.name, r.marketplace, r.external_id, r.plan, r.cluster, r.region, \
             (SELECT h.region FROM clusters h WHERE h.name = r.cluster) AS served_from, \
             (SELECT count(*) FROM credentials k WHERE k.cache_id = r.cache_id AND k.removed_at IS NULL) AS credentials, \
             (SELECT count(*) FROM flushes f WHERE f.cache_id = r.cache_id AND f.done_at IS NULL) AS flushes, \
             s.desired, s.applied, s.dead_at, s.last_error, u.goal, u.last_error AS async_provision_error, \
             g.state AS grant_state, g.last_error AS grant_error, w.candidate_at \
             FROM resources r LEFT JOIN config_sync s ON s.cache_id = r.cache_id \
             LEFT JOIN async_provisions u ON u.cache_id = r.cache_id LEFT JOIN grants g ON g.cache_id = r.cache_id \
             LEFT JOIN reconciles w ON w.cache_id = r.cache_id \
             WHERE r.cache_id > $1 AND r.state <> 'deprovisioned' ORDER BY r.cache_id LIMIT $2")
            .bind(after.0).bind(i64::from(most)).fetch_all(c))?;
        rows.into_iter().map(CacheRow::into_overview).collect()
    }

    /// Every node, by cluster and address.
    pub async fn node_overviews(&self) -> Result<Vec<NodeOverview>, StoreError> {
        let rows: Vec<NodeRow> = read!(self, c => sqlx::query_as(
            "SELECT n.id, n.cluster, k.region, n.proxy_hostname, n.proxy_port, n.memory_bytes, n.applied_revision, \
             n.phase, n.standing, n.seen_at, n.on_snapshot FROM nodes n JOIN clusters k ON k.name = n.cluster \
             ORDER BY n.cluster, n.proxy_hostname, n.proxy_port, n.id")
            .fetch_all(c))?;
        rows.into_iter().map(NodeRow::into_overview).collect()
    }

    /// Live caches per plan, whether the plan table still knows it or not.
    pub async fn caches_by_plan(&self) -> Result<Vec<(PlanSlug, u64)>, StoreError> {
        let rows: Vec<(String, i64)> = read!(self, c => sqlx::query_as(
            "SELECT plan, count(*) FROM resources WHERE state <> 'deprovisioned' GROUP BY plan ORDER BY plan")
            .fetch_all(c))?;
        let counted = |(plan, caches): (String, i64)| {
            Ok((
                parse("resources.plan", &plan)?,
                number("count of caches", caches)?,
            ))
        };
        rows.into_iter().map(counted).collect()
    }
}
