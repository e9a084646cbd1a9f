//! What the dashboard shows beside credentials. Nothing here changes anything.

use super::{Access, AccessError, ConfigState, Owner};
use crate::cluster::FiguresSource;
use crate::domain::RecordedEvent;
use crate::store::outbox::config_sync::ConfigSyncState;

impl Access {
    pub async fn config_state(&self, owner: &Owner) -> Result<ConfigState, AccessError> {
        let row = self.store.config_state(owner.cache()).await?;
        let row = row.ok_or(AccessError::Gone)?;
        let abilities = self.abilities.of(owner.resource().marketplace);
        Ok(match abilities.config_push {
            true => config_state(row),
            false => ConfigState::NotPushed,
        })
    }

    /// Whether the provider can be called about the cache, or soon will be. A marketplace without tokens lacks none.
    pub async fn has_token(&self, owner: &Owner) -> Result<bool, AccessError> {
        let abilities = self.abilities.of(owner.resource().marketplace);
        Ok(!abilities.tokens || self.store.has_token(owner.cache()).await?)
    }

    /// The latest `most` entries of the cache's timeline, newest first.
    pub async fn timeline(
        &self,
        owner: &Owner,
        most: u32,
    ) -> Result<Vec<RecordedEvent>, AccessError> {
        Ok(self.store.events(owner.cache(), most).await?)
    }

    /// Figures of the cache, or which node has them.
    pub async fn figures(&self, owner: &Owner) -> Result<FiguresSource, AccessError> {
        Ok(self.cluster.figures(owner.cache()).await?)
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
