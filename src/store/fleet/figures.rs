//! What nodes said last of their caches, for processes that cannot ask them.

use serde::Serialize;
use sqlx::types::Json;

use crate::domain::{CacheId, NodeId, Timestamp};
use crate::store::db::dialect::{exec, read};
use crate::store::db::row::parse;
use crate::store::service::tables::{AtEnd, ClockSetBack, TableRules};
use crate::store::{Store, StoreError, Tx};

pub(in crate::store) const TABLES: &[TableRules] = &[TableRules {
    // Figures of a time ahead would count as new for long.
    clock_set_back: ClockSetBack::Run("UPDATE cache_figures SET at = $1 WHERE at > $2"),
    ..TableRules::of_resource(
        "cache_figures",
        AtEnd::Run(&["DELETE FROM cache_figures WHERE cache_id = $1"]),
    )
}];

/// What one node said last of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedFigures {
    pub node: NodeId,
    /// When it came.
    pub at: Timestamp,
    /// JSON, as it was given to [`Tx::record_figures`].
    pub figures: String,
}

/// A row on its way into the statement.
#[derive(Serialize)]
struct Given<'a> {
    cache_id: i64,
    figures: &'a str,
}

/// Of live caches that are on the node, in the order of their numbers, as two reports of a node may come at once.
macro_rules! record {
    ($given:literal) => {
        concat!(
            "WITH given AS (",
            $given,
            ") INSERT INTO cache_figures (cache_id, node_id, at, figures)
               SELECT p.cache_id, p.node_id, CAST($3 AS BIGINT), given.figures FROM given
               JOIN placements p ON p.cache_id = given.cache_id
               JOIN resources r ON r.cache_id = p.cache_id
               WHERE p.node_id = $2 AND r.state <> 'deprovisioned' ORDER BY p.cache_id
               ON CONFLICT (cache_id, node_id) DO UPDATE SET at = excluded.at, figures = excluded.figures"
        )
    };
}

impl Store {
    /// What the nodes of a cache said last, in the order of their ids. A node that it has left may still be among them.
    pub async fn figures_of(&self, cache: CacheId) -> Result<Vec<ReportedFigures>, StoreError> {
        let rows: Vec<(String, i64, String)> = read!(self, c => sqlx::query_as(
            "SELECT node_id, at, figures FROM cache_figures WHERE cache_id = $1 ORDER BY node_id")
            .bind(cache.0).fetch_all(c))?;
        let reported = |(node, at, figures): (String, i64, String)| {
            Ok(ReportedFigures {
                node: parse("cache_figures.node_id", &node)?,
                at: Timestamp::from_micros(at),
                figures,
            })
        };
        rows.into_iter().map(reported).collect()
    }
}

impl Tx {
    /// Notes what a node says of its caches now, each named once, in the place of what it said before. Caches that are
    /// not on the node, or are gone, are passed over.
    pub async fn record_figures(
        &mut self,
        node: &NodeId,
        figures: &[(CacheId, String)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = self.db_tx.choose(
            record!("SELECT * FROM jsonb_to_recordset($1) AS told (cache_id BIGINT, figures TEXT)"),
            record!(
                "SELECT value ->> 'cache_id' AS cache_id, value ->> 'figures' AS figures FROM json_each($1)"
            ),
        );
        let given: Vec<Given<'_>> = figures
            .iter()
            .map(|(cache, figures)| Given {
                cache_id: cache.0,
                figures,
            })
            .collect();
        exec!(
            self,
            sqlx::query(sql)
                .bind(Json(&given))
                .bind(node.as_str())
                .bind(now.micros())
        )?;
        Ok(())
    }

    /// Drops what a node said in an earlier life: its caches are empty now.
    pub(in crate::store) async fn drop_figures_of(
        &mut self,
        node: &NodeId,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("DELETE FROM cache_figures WHERE node_id = $1").bind(node.as_str())
        )?;
        Ok(())
    }

    /// Drops what nodes said of caches that are on them no more, and of those whose end met a report on its way. Gives
    /// the number.
    pub async fn prune_figures(&mut self) -> Result<u64, StoreError> {
        Ok(exec!(
            self,
            sqlx::query(
                "DELETE FROM cache_figures WHERE NOT EXISTS ( \
                     SELECT 1 FROM placements p JOIN resources r ON r.cache_id = p.cache_id \
                     WHERE p.cache_id = cache_figures.cache_id AND p.node_id = cache_figures.node_id \
                     AND r.state <> 'deprovisioned')"
            )
        )?)
    }
}
