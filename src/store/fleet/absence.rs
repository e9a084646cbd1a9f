//! Whose owners were told that their cache's node is away.

use crate::domain::{CacheId, NodeId};
use crate::store::db::dialect::{exec, read};
use crate::store::db::row::parse;
use crate::store::{Store, StoreError, Tx};

impl Store {
    /// Live caches on a node whose owners were told that it is away, or were not; at most `most`.
    pub async fn caches_told_away(
        &self,
        node: &NodeId,
        told: bool,
        most: u32,
    ) -> Result<Vec<CacheId>, StoreError> {
        let rows: Vec<i64> = read!(self, c => sqlx::query_scalar(
            "SELECT p.cache_id FROM placements p \
             JOIN resources r ON r.cache_id = p.cache_id AND r.state <> 'deprovisioned' \
             WHERE p.node_id = $1 AND p.told_away = $2 ORDER BY p.cache_id LIMIT $3")
            .bind(node.as_str()).bind(i64::from(told)).bind(i64::from(most)).fetch_all(c))?;
        Ok(rows.into_iter().map(CacheId).collect())
    }

    /// Nodes of which at least one cache's owner was told that they are away.
    pub async fn nodes_told_away(&self) -> Result<Vec<NodeId>, StoreError> {
        let rows: Vec<String> = read!(self, c => sqlx::query_scalar(
            "SELECT DISTINCT node_id FROM placements WHERE told_away = 1").fetch_all(c))?;
        rows.iter()
            .map(|id| parse("placements.node_id", id))
            .collect()
    }
}

impl Tx {
    /// Notes what a cache's owner is told of its node. False when that was noted before, or the cache has left it.
    pub async fn set_told_away(
        &mut self,
        cache: CacheId,
        node: &NodeId,
        told: bool,
    ) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "UPDATE placements SET told_away = $3 WHERE cache_id = $1 AND node_id = $2 AND told_away <> $3"
            )
            .bind(cache.0)
            .bind(node.as_str())
            .bind(i64::from(told))
        )?;
        Ok(rows == 1)
    }
}
