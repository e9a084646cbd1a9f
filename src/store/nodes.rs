//! Clusters, nodes, and which cache lives on which node.

use super::dialect::{exec, read, run};
use super::row::{number, parse, stored};
use super::{Store, StoreError, Tx};
use crate::domain::{CacheId, ClusterName, NodeId, PlanSlug, Revision, Timestamp};

/// A node as it describes itself when it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    pub id: NodeId,
    pub cluster: ClusterName,
    pub region: String,
    /// The host name customers connect to.
    pub proxy_hostname: String,
    pub proxy_port: u16,
    /// The engine's ceiling over all caches.
    pub memory_bytes: u64,
}

/// A node of one cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedNode {
    pub id: NodeId,
    pub proxy_hostname: String,
    pub proxy_port: u16,
    /// The last revision the node has told the control plane; it may be further.
    pub applied: Revision,
    pub seen_at: Timestamp,
}

/// What stands on a node, for choosing where the next cache goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLoad {
    pub id: NodeId,
    pub cluster: ClusterName,
    pub region: String,
    pub memory_bytes: u64,
    /// Live caches per plan.
    pub caches: Vec<(PlanSlug, u64)>,
}

#[derive(sqlx::FromRow)]
struct PlacedRow {
    id: String,
    proxy_hostname: String,
    proxy_port: i64,
    applied_revision: i64,
    seen_at: i64,
}

impl PlacedRow {
    fn into_domain(self) -> Result<PlacedNode, StoreError> {
        Ok(PlacedNode {
            id: parse("nodes.id", &self.id)?,
            proxy_hostname: self.proxy_hostname,
            proxy_port: number("nodes.proxy_port", self.proxy_port)?,
            applied: Revision(self.applied_revision),
            seen_at: Timestamp::from_micros(self.seen_at),
        })
    }
}

#[derive(sqlx::FromRow)]
struct LoadRow {
    id: String,
    cluster: String,
    region: String,
    memory_bytes: i64,
    plan: Option<String>,
    caches: i64,
}

/// In a fixed order, so that an unchanged cluster never looks changed.
const SERVERS: &str =
    "SELECT n.proxy_hostname, n.proxy_port FROM placements p JOIN nodes n ON n.id = p.node_id
    WHERE p.cache_id = $1 ORDER BY n.proxy_hostname, n.proxy_port";

fn join_servers(rows: &[(String, i64)]) -> String {
    let server = |(host, port): &(String, i64)| format!("{host}:{port}");
    rows.iter().map(server).collect::<Vec<_>>().join(",")
}

impl Store {
    /// The value of the SERVERS variable; empty for a cache without a node.
    pub async fn servers(&self, cache: CacheId) -> Result<String, StoreError> {
        let rows: Vec<(String, i64)> =
            read!(self, c => sqlx::query_as(SERVERS).bind(cache.0).fetch_all(c))?;
        Ok(join_servers(&rows))
    }

    /// The nodes a cache lives on, in the order of the SERVERS variable.
    pub async fn nodes_of(&self, cache: CacheId) -> Result<Vec<PlacedNode>, StoreError> {
        let rows: Vec<PlacedRow> = read!(self, c => sqlx::query_as(
            "SELECT n.id, n.proxy_hostname, n.proxy_port, n.applied_revision, n.seen_at \
             FROM placements p JOIN nodes n ON n.id = p.node_id WHERE p.cache_id = $1 \
             ORDER BY n.proxy_hostname, n.proxy_port")
            .bind(cache.0).fetch_all(c))?;
        rows.into_iter().map(PlacedRow::into_domain).collect()
    }

    /// The node that announced itself under this name before, if any.
    pub async fn node_at(
        &self,
        cluster: &ClusterName,
        proxy_hostname: &str,
        proxy_port: u16,
    ) -> Result<Option<NodeId>, StoreError> {
        let row: Option<(String,)> = read!(self, c => sqlx::query_as(
            "SELECT id FROM nodes WHERE cluster = $1 AND proxy_hostname = $2 AND proxy_port = $3 \
             ORDER BY seen_at DESC, id LIMIT 1")
            .bind(cluster.as_str()).bind(proxy_hostname).bind(i64::from(proxy_port)).fetch_optional(c))?;
        row.map(|(id,)| parse("nodes.id", &id)).transpose()
    }

    /// Every node with the caches that stand on it.
    pub async fn node_loads(&self) -> Result<Vec<NodeLoad>, StoreError> {
        let rows: Vec<LoadRow> = read!(self, c => sqlx::query_as(
            "SELECT n.id, n.cluster, k.region, n.memory_bytes, r.plan, count(r.cache_id) AS caches \
             FROM nodes n JOIN clusters k ON k.name = n.cluster \
             LEFT JOIN placements p ON p.node_id = n.id \
             LEFT JOIN resources r ON r.cache_id = p.cache_id AND r.state <> 'deprovisioned' \
             GROUP BY n.id, n.cluster, k.region, n.memory_bytes, r.plan ORDER BY n.id")
            .fetch_all(c))?;
        let mut loads: Vec<NodeLoad> = Vec::new();
        for row in rows {
            let id: NodeId = parse("nodes.id", &row.id)?;
            if loads.last().is_none_or(|load| load.id != id) {
                loads.push(NodeLoad {
                    id,
                    cluster: parse("nodes.cluster", &row.cluster)?,
                    region: row.region,
                    memory_bytes: number("nodes.memory_bytes", row.memory_bytes)?,
                    caches: Vec::new(),
                });
            }
            if let (Some(plan), Some(load)) = (row.plan, loads.last_mut()) {
                let caches = number("count of caches", row.caches)?;
                load.caches.push((parse("resources.plan", &plan)?, caches));
            }
        }
        Ok(loads)
    }
}

impl Tx {
    /// The value of the SERVERS variable, as this transaction sees it.
    pub(super) async fn servers(&mut self, cache: CacheId) -> Result<String, StoreError> {
        let rows: Vec<(String, i64)> =
            run!(self, c => sqlx::query_as(SERVERS).bind(cache.0).fetch_all(c))?;
        Ok(join_servers(&rows))
    }

    /// Writes down a node as it starts. It knows nothing yet, whatever it knew in an earlier life, so its applied
    /// revision begins at zero. When it comes with another address than before, the config vars of its caches are
    /// due for a push.
    pub async fn register_node(
        &mut self,
        node: &NodeRecord,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "INSERT INTO clusters (name, region, created_at) VALUES ($1, $2, $3) \
                 ON CONFLICT (name) DO UPDATE SET region = excluded.region"
            )
            .bind(node.cluster.as_str())
            .bind(node.region.as_str())
            .bind(now.micros())
        )?;
        let before: Option<(String, i64)> = run!(self, c => sqlx::query_as(
                "SELECT proxy_hostname, proxy_port FROM nodes WHERE id = $1")
            .bind(node.id.as_str()).fetch_optional(c))?;
        let address = (node.proxy_hostname.clone(), i64::from(node.proxy_port));
        exec!(
            self,
            sqlx::query(
                "INSERT INTO nodes (id, cluster, proxy_hostname, proxy_port, memory_bytes, applied_revision, seen_at) \
                 VALUES ($1, $2, $3, $4, $5, 0, $6) \
                 ON CONFLICT (id) DO UPDATE SET cluster = excluded.cluster, proxy_hostname = excluded.proxy_hostname, \
                 proxy_port = excluded.proxy_port, memory_bytes = excluded.memory_bytes, applied_revision = 0, \
                 seen_at = excluded.seen_at"
            )
            .bind(node.id.as_str())
            .bind(node.cluster.as_str())
            .bind(node.proxy_hostname.as_str())
            .bind(i64::from(node.proxy_port))
            .bind(stored(node.memory_bytes))
            .bind(now.micros())
        )?;
        if before.is_some_and(|before| before != address) {
            self.want_config_of_node(&node.id, now).await?;
        }
        Ok(())
    }

    pub async fn record_applied(
        &mut self,
        node: &NodeId,
        revision: Revision,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("UPDATE nodes SET applied_revision = $1, seen_at = $2 WHERE id = $3")
                .bind(revision.0)
                .bind(now.micros())
                .bind(node.as_str())
        )?;
        Ok(())
    }

    pub async fn place(&mut self, cache: CacheId, node: &NodeId) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "INSERT INTO placements (cache_id, node_id) VALUES ($1, $2) ON CONFLICT (cache_id, node_id) DO NOTHING"
            )
            .bind(cache.0)
            .bind(node.as_str())
        )?;
        Ok(())
    }

    pub async fn is_placed(&mut self, cache: CacheId) -> Result<bool, StoreError> {
        Ok(self.count_nodes_of(cache).await? > 0)
    }

    /// How many nodes hold the cache, as this transaction sees it.
    pub(super) async fn count_nodes_of(&mut self, cache: CacheId) -> Result<i64, StoreError> {
        Ok(run!(self, c =>
            sqlx::query_scalar("SELECT count(*) FROM placements WHERE cache_id = $1").bind(cache.0).fetch_one(c))?)
    }
}
