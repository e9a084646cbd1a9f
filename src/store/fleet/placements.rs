//! Which cache lives on which node.

use std::collections::{BTreeSet, HashSet};

use sqlx::types::Json;

use super::nodes::NodeStatus;
use crate::domain::{CacheId, NodeId, NodePhase, NodeStanding, Revision, Timestamp};
use crate::store::db::dialect::{Db, exec, read, run};
use crate::store::db::row::{number, parse, row};
use crate::store::service::tables::{AtEnd, TableRules};
use crate::store::{Store, StoreError, Tx};

pub(in crate::store) const TABLES: &[TableRules] = &[TableRules::of_resource(
    "placements",
    AtEnd::Stay("they tell which nodes must forget the cache, and then they are pruned"),
)];

/// A node of one cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedNode {
    pub id: NodeId,
    pub proxy_hostname: String,
    pub proxy_port: u16,
    /// The last revision the node has told the control plane; it may be further.
    pub applied: Revision,
    pub phase: NodePhase,
    pub standing: NodeStanding,
    pub seen_at: Timestamp,
}

impl PlacedNode {
    /// As in SERVERS.
    pub fn address(&self) -> String {
        format!("{}:{}", self.proxy_hostname, self.proxy_port)
    }

    pub fn status(&self) -> NodeStatus {
        NodeStatus {
            phase: self.phase,
            standing: self.standing,
            seen_at: self.seen_at,
        }
    }
}

row! {
    struct PlacedRow {
        id: String,
        proxy_hostname: String,
        proxy_port: i64,
        applied_revision: i64,
        phase: String,
        standing: String,
        seen_at: i64,
    }
}

impl PlacedRow {
    fn into_domain(self) -> Result<PlacedNode, StoreError> {
        Ok(PlacedNode {
            id: parse("nodes.id", &self.id)?,
            proxy_hostname: self.proxy_hostname,
            proxy_port: number("nodes.proxy_port", self.proxy_port)?,
            applied: Revision(self.applied_revision),
            phase: parse("nodes.phase", &self.phase)?,
            standing: parse("nodes.standing", &self.standing)?,
            seen_at: Timestamp::from_micros(self.seen_at),
        })
    }
}

/// A node by its id and by its name in SERVERS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeName {
    pub id: NodeId,
    pub address: String,
}

/// A cache on a node that was retired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranded {
    pub cache: CacheId,
    pub node: NodeName,
}

fn node_name((id, host, port): (String, String, i64)) -> Result<NodeName, StoreError> {
    Ok(NodeName {
        id: parse("nodes.id", &id)?,
        address: format!("{host}:{port}"),
    })
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
            "SELECT n.id, n.proxy_hostname, n.proxy_port, n.applied_revision, n.phase, n.standing, n.seen_at \
             FROM placements p JOIN nodes n ON n.id = p.node_id WHERE p.cache_id = $1 \
             ORDER BY n.proxy_hostname, n.proxy_port")
            .bind(cache.0).fetch_all(c))?;
        rows.into_iter().map(PlacedRow::into_domain).collect()
    }

    /// Those of `caches` that are on a node.
    pub async fn placed_on_node(
        &self,
        node: &NodeId,
        caches: &BTreeSet<CacheId>,
    ) -> Result<HashSet<CacheId>, StoreError> {
        // The databases differ in how they read a list of JSON.
        let sql = match self.db() {
            Db::Lite { .. } => {
                "SELECT cache_id FROM placements WHERE node_id = $1 \
                 AND cache_id IN (SELECT value FROM json_each($2))"
            }
            Db::Pg(_) => {
                "SELECT cache_id FROM placements WHERE node_id = $1 \
                 AND cache_id IN (SELECT CAST(value AS BIGINT) FROM jsonb_array_elements_text($2))"
            }
        };
        let numbers: Vec<i64> = caches.iter().map(|cache| cache.0).collect();
        let rows: Vec<i64> = read!(self, c =>
            sqlx::query_scalar(sql).bind(node.as_str()).bind(Json(&numbers)).fetch_all(c))?;
        Ok(rows.into_iter().map(CacheId).collect())
    }

    /// The caches behind `after` up to `last`, each with a node that it is on, for a list.
    pub async fn placed_between(
        &self,
        after: CacheId,
        last: CacheId,
    ) -> Result<Vec<(CacheId, NodeId)>, StoreError> {
        let rows: Vec<(i64, String)> = read!(self, c => sqlx::query_as(
            "SELECT cache_id, node_id FROM placements WHERE cache_id > $1 AND cache_id <= $2 \
             ORDER BY cache_id, node_id")
            .bind(after.0).bind(last.0).fetch_all(c))?;
        let placed = |(cache, node): (i64, String)| {
            Ok((CacheId(cache), parse("placements.node_id", &node)?))
        };
        rows.into_iter().map(placed).collect()
    }

    /// Live caches on nodes that were retired, at most `most`.
    pub async fn stranded(&self, after: CacheId, most: u32) -> Result<Vec<Stranded>, StoreError> {
        let rows: Vec<(i64, String, String, i64)> = read!(self, c => sqlx::query_as(
            "SELECT p.cache_id, n.id, n.proxy_hostname, n.proxy_port FROM nodes n \
             JOIN placements p ON p.node_id = n.id \
             JOIN resources r ON r.cache_id = p.cache_id AND r.state <> 'deprovisioned' \
             WHERE n.standing = 'retired' AND p.cache_id > $1 ORDER BY p.cache_id LIMIT $2")
            .bind(after.0).bind(i64::from(most)).fetch_all(c))?;
        let stranded = |(cache, id, host, port): (i64, String, String, i64)| {
            Ok(Stranded {
                cache: CacheId(cache),
                node: node_name((id, host, port))?,
            })
        };
        rows.into_iter().map(stranded).collect()
    }
}

impl Tx {
    /// The value of the SERVERS variable, as this transaction sees it.
    pub(in crate::store) async fn servers(&mut self, cache: CacheId) -> Result<String, StoreError> {
        let rows: Vec<(String, i64)> =
            run!(self, c => sqlx::query_as(SERVERS).bind(cache.0).fetch_all(c))?;
        Ok(join_servers(&rows))
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

    /// Takes a cache off a node. False when it was not on it.
    pub async fn unplace(&mut self, cache: CacheId, node: &NodeId) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query("DELETE FROM placements WHERE cache_id = $1 AND node_id = $2")
                .bind(cache.0)
                .bind(node.as_str())
        )?;
        Ok(rows == 1)
    }

    /// The nodes of a cache, as this transaction sees them.
    pub async fn placed_on(&mut self, cache: CacheId) -> Result<Vec<NodeName>, StoreError> {
        let rows: Vec<(String, String, i64)> = run!(self, c => sqlx::query_as(
            "SELECT n.id, n.proxy_hostname, n.proxy_port FROM placements p JOIN nodes n ON n.id = p.node_id \
             WHERE p.cache_id = $1 ORDER BY n.id")
            .bind(cache.0).fetch_all(c))?;
        rows.into_iter().map(node_name).collect()
    }

    /// Whether somebody has ever logged in to the cache. Its nodes report logins within a second.
    pub async fn is_used(&mut self, cache: CacheId) -> Result<bool, StoreError> {
        let used: i64 = run!(self, c => sqlx::query_scalar(
            "SELECT count(*) FROM credentials WHERE cache_id = $1 AND last_used_at IS NOT NULL")
            .bind(cache.0).fetch_one(c))?;
        Ok(used > 0)
    }

    pub async fn is_placed(&mut self, cache: CacheId) -> Result<bool, StoreError> {
        Ok(self.count_nodes_of(cache).await? > 0)
    }

    /// How many nodes hold the cache, as this transaction sees it.
    pub(in crate::store) async fn count_nodes_of(
        &mut self,
        cache: CacheId,
    ) -> Result<i64, StoreError> {
        Ok(run!(self, c =>
            sqlx::query_scalar("SELECT count(*) FROM placements WHERE cache_id = $1").bind(cache.0).fetch_one(c))?)
    }
}
