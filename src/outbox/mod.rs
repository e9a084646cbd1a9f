//! Rank 2: everything promised to the outside, at least once, in order per destination.

#![allow(clippy::todo, unused_variables)]

use crate::domain::{CacheId, Event, Revision, Timestamp};
use crate::store::{StoreError, Tx};

/// Notes, in the transaction of the cause, that the provider's config vars must follow the current primary
/// once every node of the cache has applied `needs`.
pub async fn want_config(
    tx: &mut Tx,
    cache: CacheId,
    needs: Revision,
    now: Timestamp,
) -> Result<(), StoreError> {
    todo!()
}

/// Writes an event into the cache's history and promises a log line to each attached app, where the event is
/// one that apps hear of.
pub async fn announce(
    tx: &mut Tx,
    cache: CacheId,
    label: &str,
    event: &Event,
    now: Timestamp,
) -> Result<(), StoreError> {
    todo!()
}
