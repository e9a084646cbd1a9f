//! What the dashboard shows beside credentials. Nothing here changes anything.

use super::{Access, AccessError, ConfigState, HistoryEntry, Owner};
use crate::cluster::Figures;
use crate::store::config_sync::ConfigSyncState;
use crate::store::events::EventRow;

impl Access {
    pub async fn config_state(&self, owner: &Owner) -> Result<ConfigState, AccessError> {
        let row = self.store.config_state(owner.cache()).await?;
        row.map(config_state).ok_or(AccessError::Gone)
    }

    /// Whether the provider can be called about the cache, or soon will be.
    pub async fn has_token(&self, owner: &Owner) -> Result<bool, AccessError> {
        Ok(self.store.has_token(owner.cache()).await?)
    }

    pub async fn history(
        &self,
        owner: &Owner,
        most: u32,
    ) -> Result<Vec<HistoryEntry>, AccessError> {
        let rows = self.store.events(owner.cache(), most).await?;
        let entry = |row: EventRow| HistoryEntry {
            at: row.at,
            kind: row.kind,
            line: row.line,
        };
        Ok(rows.into_iter().map(entry).collect())
    }

    /// Figures from the nodes that hold the cache; `None` while none answers.
    pub async fn figures(&self, owner: &Owner) -> Option<Figures> {
        self.cluster.figures(owner.cache())
    }

    /// The value of the SERVERS variable.
    pub async fn servers(&self, owner: &Owner) -> Result<String, AccessError> {
        Ok(self.cluster.servers(owner.cache()).await?)
    }
}

fn config_state(row: ConfigSyncState) -> ConfigState {
    if row.applied >= row.desired {
        return ConfigState::Applied;
    }
    let since = row.pending_since.unwrap_or(row.next_attempt_at);
    match row.dead_at {
        Some(since) => ConfigState::Refused {
            last_error: row.last_error.unwrap_or_default(),
            since,
        },
        None => ConfigState::Pending {
            since,
            last_error: row.last_error,
            next_attempt: row.next_attempt_at,
        },
    }
}
