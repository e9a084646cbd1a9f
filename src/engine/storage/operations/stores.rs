//! Stores: what becomes of a value, by its command and the item that is there.

use super::ShardGuard;
use crate::engine::storage::item::Meta;
use crate::engine::storage::key::HashedKey;
use crate::engine::storage::request::{
    ITEM_BYTES_MAX, NewValue, StoreMode, StoreOutcome, StoreRequest,
};
use crate::engine::storage::segment::Address;

impl ShardGuard<'_> {
    /// Stores one item.
    pub fn store(&mut self, key: &HashedKey<'_>, request: StoreRequest<'_>) -> StoreOutcome {
        self.shard.counters.cmd_set += 1;
        if key.as_bytes().len() + request.value.as_slice().len() > ITEM_BYTES_MAX {
            return self.refuse_too_large(key, request.removes_old);
        }
        let found = self.find_live(key);
        match request.mode {
            StoreMode::Append | StoreMode::Prepend => self.join(key, found, request),
            StoreMode::Replace if found.is_none() && request.cas.is_none() => {
                StoreOutcome::NotStored
            }
            StoreMode::Add if let Some(at) = found => {
                self.bump(at);
                StoreOutcome::NotStored
            }
            StoreMode::Add => self.put_fresh(key, None, request),
            StoreMode::Set | StoreMode::Replace => self.set(key, found, request),
        }
    }

    fn set(
        &mut self,
        key: &HashedKey<'_>,
        found: Option<Address>,
        request: StoreRequest<'_>,
    ) -> StoreOutcome {
        let Some(wanted) = request.cas else {
            return self.put_fresh(key, found, request);
        };
        let Some(at) = found else {
            self.shard.counters.cas_misses += 1;
            return StoreOutcome::NotFound;
        };
        let old = self.shard.meta(at);
        if wanted == old.cas {
            self.shard.counters.cas_hits += 1;
            self.put_fresh(key, found, request)
        } else if request.invalidate && wanted != 0 && wanted < old.cas {
            self.shard.counters.cas_hits += 1;
            let meta = Meta {
                stale: true,
                token_sent: old.token_sent,
                ..self.fresh(request.flags, old.expiry, request.new_cas)
            };
            self.put_or_refuse(key, found, &meta, request.value, request.removes_old)
        } else {
            self.shard.counters.cas_badval += 1;
            StoreOutcome::Exists
        }
    }

    /// `append` and `prepend`. Flags and exptime of the old item stay.
    fn join(
        &mut self,
        key: &HashedKey<'_>,
        found: Option<Address>,
        request: StoreRequest<'_>,
    ) -> StoreOutcome {
        let Some(at) = found else {
            let Some(exptime) = request.vivify else {
                return StoreOutcome::NotStored;
            };
            return self.put_fresh(key, None, StoreRequest { exptime, ..request });
        };
        let old = self.shard.meta(at);
        if request.cas.is_some_and(|wanted| wanted != old.cas) {
            return StoreOutcome::Exists;
        }
        let kept = self.shard.value(at, self.shard.header(at));
        let added = request.value.as_slice();
        if key.as_bytes().len() + kept.len() + added.len() > ITEM_BYTES_MAX {
            self.shard.counters.store_too_large += 1;
            return StoreOutcome::NotStored;
        }
        let joined = match request.mode {
            StoreMode::Prepend => [added, kept.as_slice()].concat(),
            _ => [kept.as_slice(), added].concat(),
        };
        let meta = self.fresh(old.flags, old.expiry, request.new_cas);
        // As in memcached, a joined value that finds no memory is not stored, and the old one stays.
        match self.put_counting(key, found, &meta, NewValue::Bytes(&joined)) {
            Ok(stored) => stored,
            Err(_) => {
                self.shard.counters.store_no_memory += 1;
                StoreOutcome::NotStored
            }
        }
    }

    /// Refuses a store for its size. `removes_old` is as in [`StoreRequest`]. Called directly when the announced size
    /// is over the limit, so that the value was never read.
    pub fn refuse_too_large(&mut self, key: &HashedKey<'_>, removes_old: bool) -> StoreOutcome {
        self.shard.counters.store_too_large += 1;
        if removes_old {
            self.remove_old(key);
        }
        StoreOutcome::TooLarge
    }

    /// Refuses a store for want of memory. `removes_old` is as in [`StoreRequest`].
    pub fn refuse_no_memory(&mut self, key: &HashedKey<'_>, removes_old: bool) -> StoreOutcome {
        self.shard.counters.store_no_memory += 1;
        if removes_old {
            self.remove_old(key);
        }
        StoreOutcome::NoMemory
    }

    pub(super) fn remove_old(&mut self, key: &HashedKey<'_>) {
        if let Some(old) = self.shard.find(key) {
            self.shard.remove(old);
        }
    }
}
