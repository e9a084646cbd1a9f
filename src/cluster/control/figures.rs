//! What is known of a cache's contents. The figures of a node in another process cannot be asked for, so that it is
//! named instead.

use super::Cluster;
use crate::cluster::figures::{CacheFigures, FiguresSource};
use crate::domain::{CacheId, Username};
use crate::store::StoreError;

impl Cluster {
    pub async fn figures(&self, cache: CacheId) -> Result<FiguresSource, StoreError> {
        if let Some(figures) = self.local_figures(cache) {
            return Ok(FiguresSource::Here(Box::new(figures)));
        }
        let nodes = self.0.store.nodes_of(cache).await?;
        let mut elsewhere = None;
        for node in nodes {
            let (away, name) = (self.is_away(&node), node.address());
            if away {
                let seen_at = node.seen_at;
                return Ok(FiguresSource::Away {
                    node: name,
                    seen_at,
                });
            }
            if self.local_node() != Some(&node.id) {
                elsewhere = Some(name);
            }
        }
        Ok(
            elsewhere.map_or(FiguresSource::Nowhere, |node| FiguresSource::Elsewhere {
                node,
            }),
        )
    }

    /// Connections open with one credential; `None` when a node of the cache is not this process's, so that they
    /// cannot be counted.
    pub async fn connections_with(
        &self,
        cache: CacheId,
        username: &Username,
    ) -> Result<Option<u64>, StoreError> {
        let nodes = self.0.store.nodes_of(cache).await?;
        if nodes.iter().any(|node| self.local_node() != Some(&node.id)) {
            return Ok(None);
        }
        let open = |figures: CacheFigures| {
            let by_credential = &figures.connections_by_credential;
            let found = by_credential.iter().find(|(name, _)| name == username);
            found.map_or(0, |(_, number)| *number)
        };
        Ok(self.local_figures(cache).map(open))
    }

    fn local_figures(&self, cache: CacheId) -> Option<CacheFigures> {
        self.0.local.get()?.plane.figures(cache)
    }
}
