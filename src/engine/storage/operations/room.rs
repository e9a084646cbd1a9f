//! Where a new record goes, and what gives way for it.

use super::ShardGuard;
use crate::engine::storage::item::Meta;
use crate::engine::storage::key::HashedKey;
use crate::engine::storage::large::charge_of;
use crate::engine::storage::pool::SEGMENT_BYTES_MAX;
use crate::engine::storage::request::{NewValue, StoreOutcome, StoreRequest};
use crate::engine::storage::segment::Address;
use crate::engine::storage::shard::{Incoming, NoRoom, Shard};

/// How often the other shards are asked to give way for one store.
const RELIEF_TRIES: u32 = 8;

impl ShardGuard<'_> {
    pub(super) fn put_fresh(
        &mut self,
        key: &HashedKey<'_>,
        found: Option<Address>,
        request: StoreRequest<'_>,
    ) -> StoreOutcome {
        let expiry = self.tenant.clock().expiry(request.exptime);
        let meta = self.fresh(request.flags, expiry, request.new_cas);
        self.put_counting(key, found, &meta, request.value)
    }

    pub(super) fn put_counting(
        &mut self,
        key: &HashedKey<'_>,
        found: Option<Address>,
        meta: &Meta,
        value: NewValue<'_>,
    ) -> StoreOutcome {
        let value_bytes = value.as_slice().len() as u32;
        match self.put(key, found, meta, value) {
            Ok(()) => {
                self.shard.counters.total_items += 1;
                StoreOutcome::Stored {
                    cas: meta.cas,
                    value_bytes,
                }
            }
            Err(NoRoom) => self.refuse_no_memory(key, true),
        }
    }

    /// Stores an item over the one `found` under its key.
    pub(super) fn put(
        &mut self,
        key: &HashedKey<'_>,
        found: Option<Address>,
        meta: &Meta,
        value: NewValue<'_>,
    ) -> Result<(), NoRoom> {
        let key_bytes = key.as_bytes().len();
        match value {
            NewValue::Bytes(bytes) if self.shard.is_large(key_bytes, bytes.len()) => {
                let charge = charge_of(bytes.len());
                let large = self.with_relief(charge, |shard, now| shard.large_copy(bytes, now))?;
                // Room may have been made at the cost of what was found.
                let found = self.shard.find(key);
                self.put_incoming(key, found, meta, Incoming::Large(large))
            }
            NewValue::Bytes(bytes) => self.put_incoming(key, found, meta, Incoming::Inline(bytes)),
            NewValue::Upload(upload) if self.shard.is_large(key_bytes, upload.len()) => {
                self.put_incoming(key, found, meta, Incoming::Large(upload.finish()))
            }
            NewValue::Upload(upload) => {
                self.put_incoming(key, found, meta, Incoming::Inline(upload.as_slice()))
            }
        }
    }

    pub(super) fn put_incoming(
        &mut self,
        key: &HashedKey<'_>,
        found: Option<Address>,
        meta: &Meta,
        value: Incoming<'_>,
    ) -> Result<(), NoRoom> {
        // A first attempt that failed may have dropped it.
        let mut found = Some(found);
        self.with_relief(SEGMENT_BYTES_MAX as u64, |shard, now| {
            let old = found.take().unwrap_or_else(|| shard.find(key));
            shard.put(key, old, meta, value.clone(), now)
        })
    }

    /// Tries what needs room; when this shard has nothing left to evict, the tenant's others give way. Where one of them
    /// is busy, perhaps with a thread that does not run at present, the limit is passed by what is needed here: the
    /// next store in any shard, or the next turn of upkeep, comes back under it.
    pub(super) fn with_relief<T>(
        &mut self,
        bytes: u64,
        mut attempt: impl FnMut(&mut Shard, u32) -> Result<T, NoRoom>,
    ) -> Result<T, NoRoom> {
        let mut outcome = attempt(&mut self.shard, self.now);
        for _ in 0..RELIEF_TRIES {
            if outcome.is_ok() || self.tenant.shard_count() == 1 {
                break;
            }
            let reached_all = self.tenant.evict_elsewhere(self.number, bytes);
            self.shard.overdraws = !reached_all;
            outcome = attempt(&mut self.shard, self.now);
            self.shard.overdraws = false;
        }
        outcome
    }
}
