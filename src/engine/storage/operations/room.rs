//! Putting a record in place, and asking other shards of the tenant to evict when this one has nothing left.

use super::ShardGuard;
use crate::engine::storage::item::Meta;
use crate::engine::storage::key::HashedKey;
use crate::engine::storage::large::charge_of;
use crate::engine::storage::pool::SEGMENT_BYTES_MAX;
use crate::engine::storage::record::StoredValue;
use crate::engine::storage::request::{NewValue, StoreOutcome, StoreRequest};
use crate::engine::storage::segment::Address;
use crate::engine::storage::shard::{NoRoom, Shard};

/// How often one store asks the other shards to evict.
const RELIEF_TRIES: u32 = 8;

impl ShardGuard<'_> {
    /// Stores an item without marks.
    pub(super) fn put_fresh(
        &mut self,
        key: &HashedKey<'_>,
        found: Option<Address>,
        request: StoreRequest<'_>,
    ) -> StoreOutcome {
        let expiry = self.tenant.clock().expiry(request.exptime);
        let meta = self.fresh(request.flags, expiry, request.new_cas);
        self.put_or_refuse(key, found, &meta, request.value, request.removes_old)
    }

    pub(super) fn put_or_refuse(
        &mut self,
        key: &HashedKey<'_>,
        found: Option<Address>,
        meta: &Meta,
        value: NewValue<'_>,
        removes_old: bool,
    ) -> StoreOutcome {
        match self.put_counting(key, found, meta, value) {
            Ok(stored) => stored,
            Err(NoRoom) => self.refuse_no_memory(key, removes_old),
        }
    }

    /// Stores an item and counts it.
    pub(super) fn put_counting(
        &mut self,
        key: &HashedKey<'_>,
        found: Option<Address>,
        meta: &Meta,
        value: NewValue<'_>,
    ) -> Result<StoreOutcome, NoRoom> {
        let value_bytes = value.as_slice().len() as u32;
        self.put(key, found, meta, value)?;
        self.shard.counters.total_items += 1;
        Ok(StoreOutcome::Stored {
            cas: meta.cas,
            value_bytes,
        })
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
                // Making room may have evicted the item that was found.
                let found = self.shard.find(key);
                self.put_value(key, found, meta, StoredValue::Large(large))
            }
            NewValue::Bytes(bytes) => self.put_value(key, found, meta, StoredValue::Inline(bytes)),
            NewValue::Upload(upload) if self.shard.is_large(key_bytes, upload.len()) => {
                self.put_value(key, found, meta, StoredValue::Large(upload.finish()))
            }
            NewValue::Upload(upload) => {
                self.put_value(key, found, meta, StoredValue::Inline(upload.as_slice()))
            }
        }
    }

    fn put_value(
        &mut self,
        key: &HashedKey<'_>,
        found: Option<Address>,
        meta: &Meta,
        value: StoredValue<'_>,
    ) -> Result<(), NoRoom> {
        // Only the first attempt may use `found`: an attempt that fails may have evicted that item.
        let mut found = Some(found);
        self.with_relief(SEGMENT_BYTES_MAX as u64, |shard, now| {
            let old = found.take().unwrap_or_else(|| shard.find(key));
            shard.put(key, old, meta, value.clone(), now)
        })
    }

    /// Makes an attempt that needs room. When this shard has nothing left to evict, the tenant's other shards evict and
    /// the attempt is repeated.
    ///
    /// Another shard may be busy, perhaps with a thread that the kernel has suspended. Then the attempt may exceed the
    /// limit by what it needs; the next store in any shard, or the next housekeeping pass, comes back under it.
    fn with_relief<T>(
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
            self.shard.may_exceed_limit = !reached_all;
            outcome = attempt(&mut self.shard, self.now);
            self.shard.may_exceed_limit = false;
        }
        outcome
    }
}
