//! Stores: what becomes of a value, by its command and what is there already.

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
            return self.refuse_too_large(key, request.mode == StoreMode::Set);
        }
        let found = self.find_living(key);
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
        } else if request.invalidate && wanted < old.cas {
            self.shard.counters.cas_hits += 1;
            let meta = Meta {
                stale: true,
                token_sent: old.token_sent,
                ..self.fresh(request.flags, old.expiry, request.new_cas)
            };
            self.put_counting(key, found, &meta, request.value)
        } else {
            self.shard.counters.cas_badval += 1;
            StoreOutcome::Exists
        }
    }

    /// `append` and `prepend`: flags and life stay those of the old item.
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
            self.shard.counters.cas_badval += 1;
            return StoreOutcome::Exists;
        }
        let (kept, added) = (
            self.shard.value(at, self.shard.header(at)),
            request.value.as_slice(),
        );
        if key.as_bytes().len() + kept.len() + added.len() > ITEM_BYTES_MAX {
            self.shard.counters.store_too_large += 1;
            return StoreOutcome::NotStored;
        }
        let joined = match request.mode {
            StoreMode::Prepend => [added, kept.as_slice()].concat(),
            _ => [kept.as_slice(), added].concat(),
        };
        let meta = self.fresh(old.flags, old.expiry, request.new_cas);
        self.put_counting(key, found, &meta, NewValue::Bytes(&joined))
    }

    /// A store whose announced size passes the limit, so that its value was never read. `removes_old` for the
    /// commands whose too-large store ends the old value (text `set`, all of `ms`, binary SET).
    pub fn refuse_too_large(&mut self, key: &HashedKey<'_>, removes_old: bool) -> StoreOutcome {
        self.shard.counters.store_too_large += 1;
        if removes_old {
            self.drop_old(key);
        }
        StoreOutcome::TooLarge
    }

    /// A store that found no memory for its upload. `removes_old` as above.
    pub fn refuse_no_memory(&mut self, key: &HashedKey<'_>, removes_old: bool) -> StoreOutcome {
        self.shard.counters.store_no_memory += 1;
        if removes_old {
            self.drop_old(key);
        }
        StoreOutcome::NoMemory
    }

    fn drop_old(&mut self, key: &HashedKey<'_>) {
        if let Some(old) = self.shard.find(key) {
            self.shard.remove(old);
        }
    }
}
