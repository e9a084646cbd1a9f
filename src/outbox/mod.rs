//! Rank 2: everything promised to the outside, at least once, in order per destination.
//!
//! A promise is a row written in the transaction of its cause ([`want_config`], [`announce()`]); a worker attempts it:
//! claims with a lease and a fence, calls the provider outside any transaction, records what came of it.

mod announce;
mod async_provision;
pub mod backoff;
mod config_sync;
mod grant_exchange;
mod heartbeat;
mod inventory;
mod log_lines;
pub mod ports;
mod promise;
mod reconcile;
mod tokens;
mod worker;

pub use announce::announce;
pub use promise::OutboxSettings;
pub use worker::Outbox;

use crate::domain::{CacheId, Revision, Timestamp};
use crate::store::{StoreError, Tx};

/// Notes, in the transaction of the cause, that the provider's config vars must follow the current primary
/// once every node of the cache has applied `needs`.
pub async fn want_config(
    tx: &mut Tx,
    cache: CacheId,
    needs: Revision,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.want_config_sync(cache, needs, now).await
}
