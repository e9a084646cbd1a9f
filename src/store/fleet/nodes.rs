//! Clusters and nodes: what each said of itself, and what the operator wants of it.

use crate::domain::{ClusterName, NodeId, NodePhase, NodeStanding, PlanSlug, Revision, Timestamp};
use crate::store::db::dialect::{exec, read, run};
use crate::store::db::row::{number, parse, row, stored};
use crate::store::service::tables::{ClockSetBack, TableRules};
use crate::store::{Store, StoreError, Tx};

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
    /// The data folder that it runs from, and where that is.
    pub home_id: String,
    pub home_path: String,
}

/// Where a node was last started, and when it was heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRun {
    pub status: NodeStatus,
    /// As in SERVERS.
    pub address: String,
    /// Id and path of its data folder; `None` for a node that was last started by an older release.
    pub home: Option<(String, String)>,
}

/// A node that announces a certain address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAt {
    pub id: NodeId,
    pub cluster: ClusterName,
}

/// What came of registering a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    Done,
    /// Other nodes of its cluster are in this region. Nothing was written.
    ClusterIsIn(String),
}

/// What became of a node's sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    Noted,
    Retired,
    /// A process with another data folder runs the node by now.
    TakenOver,
}

/// What decides over a node's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    pub phase: NodePhase,
    pub standing: NodeStanding,
    pub seen_at: Timestamp,
}

/// How far a node says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeProgress {
    pub phase: NodePhase,
    /// Everything up to this revision is in force on the node.
    pub applied: Revision,
    /// It serves what its snapshot had, and has not heard the control plane since it started.
    pub on_snapshot: bool,
}

/// What stands on a node, for choosing where the next cache goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLoad {
    pub id: NodeId,
    pub cluster: ClusterName,
    pub region: String,
    /// As in SERVERS.
    pub address: String,
    pub memory_bytes: u64,
    pub status: NodeStatus,
    /// Live caches per plan.
    pub caches: Vec<(PlanSlug, u64)>,
}

row! {
    struct LoadRow {
        id: String,
        cluster: String,
        region: String,
        proxy_hostname: String,
        proxy_port: i64,
        memory_bytes: i64,
        phase: String,
        standing: String,
        seen_at: i64,
        plan: Option<String>,
        caches: i64,
    }
}

row! {
    struct RunRow {
        proxy_hostname: String,
        proxy_port: i64,
        phase: String,
        standing: String,
        seen_at: i64,
        home_id: Option<String>,
        home_path: Option<String>,
    }
}

impl RunRow {
    fn into_domain(self) -> Result<NodeRun, StoreError> {
        Ok(NodeRun {
            status: NodeStatus {
                phase: parse("nodes.phase", &self.phase)?,
                standing: parse("nodes.standing", &self.standing)?,
                seen_at: Timestamp::from_micros(self.seen_at),
            },
            address: format!("{}:{}", self.proxy_hostname, self.proxy_port),
            home: self.home_id.zip(self.home_path),
        })
    }
}

impl Store {
    /// The nodes of all clusters that announce this address and were not retired, the one heard of last first. Letter
    /// case makes no other host name (RFC 4343); it is compared here, as `lower` follows the database's language.
    pub async fn nodes_at(
        &self,
        proxy_hostname: &str,
        proxy_port: u16,
    ) -> Result<Vec<NodeAt>, StoreError> {
        let rows: Vec<(String, String, String)> = read!(self, c => sqlx::query_as(
            "SELECT id, cluster, proxy_hostname FROM nodes WHERE proxy_port = $1 AND standing <> 'retired' \
             ORDER BY seen_at DESC, id")
            .bind(i64::from(proxy_port)).fetch_all(c))?;
        let here = rows
            .iter()
            .filter(|(.., host)| host.eq_ignore_ascii_case(proxy_hostname));
        here.map(|(id, cluster, _)| {
            Ok(NodeAt {
                id: parse("nodes.id", id)?,
                cluster: parse("nodes.cluster", cluster)?,
            })
        })
        .collect()
    }

    /// Every node with the caches that stand on it. They are counted before the nodes are joined: SQLite would sort a
    /// node's whole row once for each of its caches.
    pub async fn node_loads(&self) -> Result<Vec<NodeLoad>, StoreError> {
        let rows: Vec<LoadRow> = read!(self, c => sqlx::query_as(
            "WITH counted AS MATERIALIZED ( \
                 SELECT p.node_id, r.plan, count(*) AS caches FROM placements p \
                 JOIN resources r ON r.cache_id = p.cache_id WHERE r.state <> 'deprovisioned' \
                 GROUP BY p.node_id, r.plan) \
             SELECT n.id, n.cluster, k.region, n.proxy_hostname, n.proxy_port, n.memory_bytes, n.phase, n.standing, \
                 n.seen_at, counted.plan, COALESCE(counted.caches, 0) AS caches \
             FROM nodes n JOIN clusters k ON k.name = n.cluster LEFT JOIN counted ON counted.node_id = n.id \
             ORDER BY n.id")
            .fetch_all(c))?;
        let mut loads: Vec<NodeLoad> = Vec::new();
        for row in rows {
            let id: NodeId = parse("nodes.id", &row.id)?;
            if loads.last().is_none_or(|load| load.id != id) {
                loads.push(NodeLoad {
                    id,
                    cluster: parse("nodes.cluster", &row.cluster)?,
                    region: row.region,
                    address: format!("{}:{}", row.proxy_hostname, row.proxy_port),
                    memory_bytes: number("nodes.memory_bytes", row.memory_bytes)?,
                    status: NodeStatus {
                        phase: parse("nodes.phase", &row.phase)?,
                        standing: parse("nodes.standing", &row.standing)?,
                        seen_at: Timestamp::from_micros(row.seen_at),
                    },
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

    /// The regions of the clusters that have a node which was not retired.
    pub async fn regions_served(&self) -> Result<Vec<String>, StoreError> {
        let rows: Vec<(String,)> = read!(self, c => sqlx::query_as(
            "SELECT DISTINCT k.region FROM nodes n JOIN clusters k ON k.name = n.cluster \
             WHERE n.standing <> 'retired' ORDER BY k.region")
            .fetch_all(c))?;
        Ok(rows.into_iter().map(|(region,)| region).collect())
    }

    /// Where a node runs, or ran; `None` for one that was never there.
    pub async fn node_run(&self, node: &NodeId) -> Result<Option<NodeRun>, StoreError> {
        let row: Option<RunRow> = read!(self, c => sqlx::query_as(
            "SELECT proxy_hostname, proxy_port, phase, standing, seen_at, home_id, home_path FROM nodes WHERE id = $1")
            .bind(node.as_str()).fetch_optional(c))?;
        row.map(RunRow::into_domain).transpose()
    }

    /// Whether a node with this id was retired; false for one that was never there.
    pub async fn is_retired(&self, node: &NodeId) -> Result<bool, StoreError> {
        let count: i64 = read!(self, c =>
            sqlx::query_scalar("SELECT count(*) FROM nodes WHERE id = $1 AND standing = 'retired'")
            .bind(node.as_str()).fetch_one(c))?;
        Ok(count > 0)
    }
}

pub(in crate::store) const TABLES: &[TableRules] = &[
    TableRules::apart("clusters"),
    TableRules {
        // A time ahead would keep a node that is gone among those that serve.
        clock_set_back: ClockSetBack::Run("UPDATE nodes SET seen_at = $1 WHERE seen_at > $2"),
        ..TableRules::apart("nodes")
    },
];

impl Tx {
    /// Writes down a node as it starts. It knows nothing yet, whatever it knew in an earlier life, so its applied
    /// revision begins at zero. It counts as on its snapshot only once it says so. When it comes with another address than before, the config vars of its caches are
    /// due for a push. It is refused when its cluster is in another region.
    pub async fn register_node(
        &mut self,
        node: &NodeRecord,
        now: Timestamp,
    ) -> Result<Registered, StoreError> {
        let region = self.settle_region(node, now).await?;
        if region != node.region {
            return Ok(Registered::ClusterIsIn(region));
        }
        let before: Option<(String, i64)> = run!(self, c => sqlx::query_as(
                "SELECT proxy_hostname, proxy_port FROM nodes WHERE id = $1")
            .bind(node.id.as_str()).fetch_optional(c))?;
        let address = (node.proxy_hostname.clone(), i64::from(node.proxy_port));
        self.drop_figures_of(&node.id).await?;
        exec!(
            self,
            sqlx::query(
                "INSERT INTO nodes (id, cluster, proxy_hostname, proxy_port, memory_bytes, applied_revision, phase, seen_at, \
                 home_id, home_path) VALUES ($1, $2, $3, $4, $5, 0, 'joining', $6, $7, $8) \
                 ON CONFLICT (id) DO UPDATE SET cluster = excluded.cluster, proxy_hostname = excluded.proxy_hostname, \
                 proxy_port = excluded.proxy_port, memory_bytes = excluded.memory_bytes, applied_revision = 0, \
                 phase = 'joining', on_snapshot = 0, seen_at = excluded.seen_at, home_id = excluded.home_id, \
                 home_path = excluded.home_path"
            )
            .bind(node.id.as_str())
            .bind(node.cluster.as_str())
            .bind(node.proxy_hostname.as_str())
            .bind(i64::from(node.proxy_port))
            .bind(stored(node.memory_bytes))
            .bind(now.micros())
            .bind(node.home_id.as_str())
            .bind(node.home_path.as_str())
        )?;
        if before.is_some_and(|before| before != address) {
            self.want_config_of_node(&node.id, now).await?;
        }
        Ok(Registered::Done)
    }

    /// The region of a node's cluster, which follows the node while no other one is in it: all its nodes count as being
    /// there. The first statement locks the cluster's row, so that of two nodes that join at once one sees the other.
    async fn settle_region(
        &mut self,
        node: &NodeRecord,
        now: Timestamp,
    ) -> Result<String, StoreError> {
        let (cluster, wanted) = (node.cluster.as_str(), node.region.as_str());
        let region: String = run!(self, c => sqlx::query_scalar(
                "INSERT INTO clusters (name, region, created_at) VALUES ($1, $2, $3) \
                 ON CONFLICT (name) DO UPDATE SET created_at = clusters.created_at RETURNING region")
            .bind(cluster).bind(wanted).bind(now.micros()).fetch_one(c))?;
        if region == wanted {
            return Ok(region);
        }
        let moved = exec!(
            self,
            sqlx::query(
                "UPDATE clusters SET region = $2 WHERE name = $1 AND NOT EXISTS ( \
                     SELECT 1 FROM nodes WHERE cluster = $1 AND id <> $3 AND standing <> 'retired')"
            )
            .bind(cluster)
            .bind(wanted)
            .bind(node.id.as_str())
        )?;
        Ok(match moved {
            0 => region,
            _ => wanted.to_owned(),
        })
    }

    /// Notes that a node was heard of, and how far it is. A report of a start that is over by now changes no phase:
    /// two reports of a node may arrive in either order. `home` is the data folder of whoever reports.
    pub async fn record_heartbeat(
        &mut self,
        node: &NodeId,
        home: &str,
        progress: NodeProgress,
        now: Timestamp,
    ) -> Result<Heartbeat, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "UPDATE nodes SET applied_revision = $1, seen_at = $2, on_snapshot = $6, \
                 phase = CASE WHEN $4 = 'joining' THEN phase ELSE $4 END \
                 WHERE id = $3 AND standing <> 'retired' AND home_id = $5"
            )
            .bind(progress.applied.0)
            .bind(now.micros())
            .bind(node.as_str())
            .bind(progress.phase.as_str())
            .bind(home)
            .bind(i64::from(progress.on_snapshot))
        )?;
        if rows == 1 {
            return Ok(Heartbeat::Noted);
        }
        let retired: i64 = run!(self, c => sqlx::query_scalar(
            "SELECT count(*) FROM nodes WHERE id = $1 AND standing = 'retired'")
            .bind(node.as_str()).fetch_one(c))?;
        Ok(match retired {
            0 => Heartbeat::TakenOver,
            _ => Heartbeat::Retired,
        })
    }

    /// Opens a node to new caches or closes it. False for one that was retired.
    pub async fn set_drained(&mut self, node: &NodeId, drained: bool) -> Result<bool, StoreError> {
        let standing = match drained {
            true => NodeStanding::Drained,
            false => NodeStanding::Open,
        };
        let rows = exec!(
            self,
            sqlx::query("UPDATE nodes SET standing = $2 WHERE id = $1 AND standing <> 'retired'")
                .bind(node.as_str())
                .bind(standing.as_str())
        )?;
        Ok(rows == 1)
    }

    /// Retires a node that has stopped or was not heard of since `silent_since`. False for one that lives.
    pub async fn retire_node(
        &mut self,
        node: &NodeId,
        silent_since: Timestamp,
    ) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "UPDATE nodes SET standing = 'retired' WHERE id = $1 \
                 AND (standing = 'retired' OR phase = 'stopped' OR seen_at <= $2)"
            )
            .bind(node.as_str())
            .bind(silent_since.micros())
        )?;
        Ok(rows == 1)
    }
}
