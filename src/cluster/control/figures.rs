//! What is known of a cache's contents. The node of this process is asked. Others cannot be: what they have reported stands
//! in the database. They report what changes, so that it is in force as long as they are heard of. A node that starts anew
//! begins without rows.

use std::time::Duration;

use super::Cluster;
use crate::cluster::figures::{CacheFigures, FiguresSource};
use crate::cluster::link::wire::Figures;
use crate::domain::{CacheId, Timestamp, Username};
use crate::store::StoreError;
use crate::store::fleet::figures::ReportedFigures;
use crate::store::fleet::placements::PlacedNode;

/// A change of figures is reported within that time, so those of a node are at least as new as its last report less this.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

impl Cluster {
    /// Whether other processes may read what this one stores.
    pub(in crate::cluster) fn is_shared(&self) -> bool {
        self.0.store.is_shared()
    }

    pub async fn figures(&self, cache: CacheId) -> Result<FiguresSource, StoreError> {
        if let Some(figures) = self.local_figures(cache) {
            return Ok(FiguresSource::Here(Box::new(figures)));
        }
        let nodes = self.0.store.nodes_of(cache).await?;
        if let Some(away) = nodes.iter().find(|node| self.is_away(node)) {
            return Ok(FiguresSource::Away {
                node: away.address(),
                seen_at: away.seen_at,
            });
        }
        let elsewhere = |node: &&PlacedNode| self.local_node() != Some(&node.id);
        let Some(node) = nodes.iter().rfind(elsewhere).map(PlacedNode::address) else {
            return Ok(FiguresSource::Nowhere);
        };
        let reported = self.reported_figures(cache, &nodes).await?;
        Ok(match reported {
            Some((figures, at)) => FiguresSource::Reported {
                figures: Box::new(figures),
                node,
                at,
            },
            None => FiguresSource::Elsewhere { node },
        })
    }

    /// Connections open with one credential; `None` when that is not known: a node of the cache is not this process's, and is
    /// away or has not told of the cache yet.
    pub async fn connections_with(
        &self,
        cache: CacheId,
        username: &Username,
    ) -> Result<Option<u64>, StoreError> {
        let nodes = self.0.store.nodes_of(cache).await?;
        let figures = if nodes.iter().all(|node| self.local_node() == Some(&node.id)) {
            self.local_figures(cache)
        } else if nodes.iter().any(|node| self.is_away(node)) {
            None
        } else {
            let reported = self.reported_figures(cache, &nodes).await?;
            reported.map(|(figures, _)| figures)
        };
        let open = |figures: CacheFigures| {
            let by_credential = &figures.connections_by_credential;
            let found = by_credential.iter().find(|(name, _)| name == username);
            found.map_or(0, |(_, number)| *number)
        };
        Ok(figures.map(open))
    }

    fn local_figures(&self, cache: CacheId) -> Option<CacheFigures> {
        self.0.local.get()?.plane.figures(cache)
    }

    /// What the nodes have reported, summed, and at least how new it is. `None` unless each of them has told of the cache
    /// since it started, in a form that this release can read. The caller has seen that none is away.
    async fn reported_figures(
        &self,
        cache: CacheId,
        nodes: &[PlacedNode],
    ) -> Result<Option<(CacheFigures, Timestamp)>, StoreError> {
        let rows = self.0.store.figures_of(cache).await?;
        let of_node = |node: &PlacedNode| {
            let row = rows.iter().find(|row| row.node == node.id)?;
            let at = row.at.max(node.seen_at.minus(TOLD_WITHIN));
            Some((read(row)?, at))
        };
        let each: Option<Vec<(CacheFigures, Timestamp)>> = nodes.iter().map(of_node).collect();
        Ok(each.and_then(|each| each.into_iter().reduce(sum)))
    }
}

fn read(row: &ReportedFigures) -> Option<CacheFigures> {
    let figures: Figures = serde_json::from_str(&row.figures).ok()?;
    figures.taken().ok()
}

fn sum(
    (mut figures, at): (CacheFigures, Timestamp),
    (more, more_at): (CacheFigures, Timestamp),
) -> (CacheFigures, Timestamp) {
    figures.add(more);
    (figures, at.min(more_at))
}
