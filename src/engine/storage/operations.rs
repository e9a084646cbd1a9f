//! What clients can do with a locked shard. Semantics as in `memcached-protocol.md` §2 and §3.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::clock::Expiry;
use super::exptime::Exptime;
use super::key::HashedKey;
use super::large::{Upload, charge_of};
use super::request::{
    ArithDirection, ArithOutcome, ArithRequest, DeleteOutcome, DeleteRequest, GetOptions,
    ITEM_BYTES_MAX, NewValue, StoreMode, StoreOutcome, StoreRequest, Touched,
};
use super::shard::{Meta, Place, Shard};
use super::tenant::Tenant;
use super::view::{ItemView, Marks};

/// A locked shard. Short-lived: hold it over a run of commands that are already in memory, never over a wait.
#[derive(Debug)]
pub struct ShardGuard<'t> {
    tenant: &'t Tenant,
    number: usize,
    shard: MutexGuard<'t, Shard>,
    now: u32,
}

impl<'t> ShardGuard<'t> {
    #[inline]
    pub(super) fn new(
        tenant: &'t Tenant,
        number: usize,
        shard: MutexGuard<'t, Shard>,
    ) -> ShardGuard<'t> {
        let now = tenant.clock().now();
        ShardGuard {
            tenant,
            number,
            shard,
            now,
        }
    }

    /// Whether `key` of the same tenant lives in this shard.
    #[inline]
    pub fn serves(&self, key: &HashedKey<'_>) -> bool {
        key.shard(self.tenant.shard_count()) == self.number
    }

    /// Reads one item. Counts as a get, or as a touch when `options` hold a new life.
    pub fn get(&mut self, key: &HashedKey<'_>, options: GetOptions) -> Option<ItemView<'_>> {
        let found = self.find_counting_expired(key);
        self.count_read(&options, found.is_some());
        let Some(place) = found else {
            return self.vivified(key, options.vivify?);
        };
        let before = self.shard.meta(place);
        let mut after = before;
        if let Some(exptime) = options.touch {
            after.expiry = self.tenant.clock().expiry(exptime);
        }
        let marks = self.marks(&before, &after, options.recache_below_secs);
        after.token_sent |= marks.won;
        if !options.no_bump {
            after.fetched = true;
            after.accessed = self.now;
        }
        self.shard.set_meta(place, after);
        Some(ItemView {
            value: self.shard.value(place),
            flags: before.flags,
            cas: before.cas,
            ttl_secs: after.expiry.remaining(self.now),
            fetched: before.fetched,
            last_access_secs: self.now.saturating_sub(before.accessed),
            marks,
        })
    }

    fn count_read(&mut self, options: &GetOptions, hit: bool) {
        if options.uncounted {
            return;
        }
        let counters = &mut self.shard.counters;
        let counter = match (options.touch.is_some(), hit) {
            (false, true) => &mut counters.get_hits,
            (false, false) => &mut counters.get_misses,
            (true, true) => &mut counters.touch_hits,
            (true, false) => &mut counters.touch_misses,
        };
        *counter += 1;
    }

    fn marks(&self, before: &Meta, after: &Meta, recache_below: Option<u32>) -> Marks {
        let runs_out = match (recache_below, after.expiry.remaining(self.now)) {
            (Some(below), Some(left)) => left < below,
            _ => false,
        };
        Marks {
            won: !before.token_sent && (before.stale || runs_out),
            stale: before.stale,
            token_sent: before.token_sent,
        }
    }

    /// Makes the empty item which the reader of a miss has won.
    fn vivified(&mut self, key: &HashedKey<'_>, exptime: Exptime) -> Option<ItemView<'_>> {
        let expiry = self.tenant.clock().expiry(exptime);
        let meta = Meta {
            token_sent: true,
            ..self.fresh(0, expiry, None)
        };
        let place = self.put(key, None, meta, NewValue::Bytes(&[])).ok()?;
        Some(ItemView {
            value: self.shard.value(place),
            flags: 0,
            cas: meta.cas,
            ttl_secs: expiry.remaining(self.now),
            fetched: false,
            last_access_secs: 0,
            marks: Marks {
                won: true,
                ..Marks::default()
            },
        })
    }

    /// Stores one item.
    pub fn store(&mut self, key: &HashedKey<'_>, request: StoreRequest<'_>) -> StoreOutcome {
        self.shard.counters.cmd_set += 1;
        if key.as_bytes().len() + request.value.as_slice().len() > ITEM_BYTES_MAX {
            return self.refuse_too_large(key, request.mode == StoreMode::Set);
        }
        let found = self.find_counting_expired(key);
        match request.mode {
            StoreMode::Append | StoreMode::Prepend => self.join(key, found, request),
            StoreMode::Add if found.is_some() => {
                self.bump(found);
                StoreOutcome::NotStored
            }
            StoreMode::Replace if found.is_none() && request.cas.is_none() => {
                StoreOutcome::NotStored
            }
            StoreMode::Add => self.put_fresh(key, None, request),
            StoreMode::Set | StoreMode::Replace => self.set(key, found, request),
        }
    }

    fn set(
        &mut self,
        key: &HashedKey<'_>,
        found: Option<Place>,
        request: StoreRequest<'_>,
    ) -> StoreOutcome {
        let Some(wanted) = request.cas else {
            return self.put_fresh(key, found, request);
        };
        let Some(place) = found else {
            self.shard.counters.cas_misses += 1;
            return StoreOutcome::NotFound;
        };
        let old = self.shard.meta(place);
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
            self.put_counting(key, found, meta, request.value)
        } else {
            self.shard.counters.cas_badval += 1;
            StoreOutcome::Exists
        }
    }

    /// `append` and `prepend`: flags and life stay those of the old item.
    fn join(
        &mut self,
        key: &HashedKey<'_>,
        found: Option<Place>,
        request: StoreRequest<'_>,
    ) -> StoreOutcome {
        let Some(place) = found else {
            let Some(exptime) = request.vivify else {
                return StoreOutcome::NotStored;
            };
            return self.put_fresh(key, None, StoreRequest { exptime, ..request });
        };
        let old = self.shard.meta(place);
        if request.cas.is_some_and(|wanted| wanted != old.cas) {
            self.shard.counters.cas_badval += 1;
            return StoreOutcome::Exists;
        }
        let (kept, added) = (self.shard.value(place), request.value.as_slice());
        if key.as_bytes().len() + kept.len() + added.len() > ITEM_BYTES_MAX {
            self.shard.counters.store_too_large += 1;
            return StoreOutcome::NotStored;
        }
        let joined = match request.mode {
            StoreMode::Prepend => [added, kept.as_slice()].concat(),
            _ => [kept.as_slice(), added].concat(),
        };
        let meta = self.fresh(old.flags, old.expiry, request.new_cas);
        self.put_counting(key, found, meta, NewValue::Bytes(&joined))
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

    /// `incr`, `decr` and meta `ma`.
    pub fn arith(&mut self, key: &HashedKey<'_>, request: ArithRequest) -> ArithOutcome {
        let found = self.find_counting_expired(key);
        self.count_arith(request.direction, found.is_some());
        let Some(place) = found else {
            let Some((value, exptime)) = request.initial else {
                return ArithOutcome::NotFound;
            };
            let expiry = self.tenant.clock().expiry(exptime);
            let meta = self.fresh(0, expiry, request.new_cas);
            return self.put_number(key, None, meta, value, 0);
        };
        let old = self.shard.meta(place);
        if request.cas.is_some_and(|wanted| wanted != old.cas) {
            return ArithOutcome::Exists;
        }
        let text = self.shard.value(place);
        let (len, Some(number)) = (text.len(), parse_number(text.as_slice())) else {
            return ArithOutcome::NonNumeric;
        };
        let value = match request.direction {
            ArithDirection::Increment => number.wrapping_add(request.delta),
            ArithDirection::Decrement => number.saturating_sub(request.delta),
        };
        let expiry = match request.exptime {
            Some(exptime) => self.tenant.clock().expiry(exptime),
            None => old.expiry,
        };
        let cas = self.unique(request.new_cas);
        let meta = Meta { cas, expiry, ..old };
        self.put_number(key, found, meta, value, len)
    }

    fn count_arith(&mut self, direction: ArithDirection, hit: bool) {
        let counters = &mut self.shard.counters;
        let counter = match (direction, hit) {
            (ArithDirection::Increment, true) => &mut counters.incr_hits,
            (ArithDirection::Increment, false) => &mut counters.incr_misses,
            (ArithDirection::Decrement, true) => &mut counters.decr_hits,
            (ArithDirection::Decrement, false) => &mut counters.decr_misses,
        };
        *counter += 1;
    }

    /// Stores `value` as decimal text, padded behind with blanks to `len_min` bytes, the old length.
    fn put_number(
        &mut self,
        key: &HashedKey<'_>,
        old: Option<Place>,
        meta: Meta,
        value: u64,
        len_min: usize,
    ) -> ArithOutcome {
        let mut text = value.to_string();
        while text.len() < len_min {
            text.push(' ');
        }
        match self.put(key, old, meta, NewValue::Bytes(text.as_bytes())) {
            Ok(_) => ArithOutcome::Done {
                value,
                cas: meta.cas,
                ttl_secs: meta.expiry.remaining(self.now),
            },
            Err(_) => ArithOutcome::NoMemory,
        }
    }

    /// Gives an item a new life.
    pub fn touch(&mut self, key: &HashedKey<'_>, exptime: Exptime) -> Option<Touched> {
        let options = GetOptions {
            touch: Some(exptime),
            ..GetOptions::default()
        };
        self.get(key, options).map(|item| Touched {
            flags: item.flags,
            cas: item.cas,
        })
    }

    /// Removes an item, or marks or empties it.
    pub fn delete(&mut self, key: &HashedKey<'_>, request: DeleteRequest) -> DeleteOutcome {
        self.shard.counters.cmd_delete += 1;
        let Some(place) = self.find_counting_expired(key) else {
            self.shard.counters.delete_misses += 1;
            return DeleteOutcome::NotFound;
        };
        let old = self.shard.meta(place);
        if request.cas.is_some_and(|wanted| wanted != old.cas) {
            self.shard.counters.cas_badval += 1;
            return DeleteOutcome::Exists;
        }
        self.shard.counters.delete_hits += 1;
        if !request.empty && !request.mark_stale {
            self.shard.remove(place);
            return DeleteOutcome::Deleted;
        }
        self.mark(key, place, old, &request);
        DeleteOutcome::Deleted
    }

    fn mark(&mut self, key: &HashedKey<'_>, place: Place, old: Meta, request: &DeleteRequest) {
        let expiry = match request.exptime {
            Some(exptime) => self.tenant.clock().expiry(exptime),
            None if request.empty => Expiry::NEVER,
            None => old.expiry,
        };
        let cas = self.unique(request.new_cas);
        let marked = Meta {
            cas,
            expiry,
            stale: request.mark_stale,
            token_sent: false,
            ..old
        };
        if request.empty {
            let emptied = Meta { flags: 0, ..marked };
            let put = self.put(key, Some(place), emptied, NewValue::Bytes(&[]));
            if put.is_err() {
                self.shard.counters.store_no_memory += 1;
            }
        } else {
            self.shard.set_meta(place, marked);
        }
    }

    fn put_fresh(
        &mut self,
        key: &HashedKey<'_>,
        old: Option<Place>,
        request: StoreRequest<'_>,
    ) -> StoreOutcome {
        let expiry = self.tenant.clock().expiry(request.exptime);
        let meta = self.fresh(request.flags, expiry, request.new_cas);
        self.put_counting(key, old, meta, request.value)
    }

    fn put_counting(
        &mut self,
        key: &HashedKey<'_>,
        old: Option<Place>,
        meta: Meta,
        value: NewValue<'_>,
    ) -> StoreOutcome {
        let value_bytes = value.as_slice().len() as u32;
        self.shard.counters.total_items += 1;
        match self.put(key, old, meta, value) {
            Ok(_) => StoreOutcome::Stored {
                cas: meta.cas,
                value_bytes,
            },
            Err(_) => self.refuse_no_memory(key, true),
        }
    }

    fn put(
        &mut self,
        key: &HashedKey<'_>,
        old: Option<Place>,
        meta: Meta,
        value: NewValue<'_>,
    ) -> Result<Place, super::shard::NoRoom> {
        let ledger = self.tenant.ledger();
        let value = match value {
            NewValue::Bytes(bytes)
                if super::shard::is_large(key.as_bytes().len(), bytes.len())
                    && ledger.try_charge(charge_of(bytes.len())) =>
            {
                let mut upload = Upload::charged(bytes.len(), Arc::clone(ledger));
                upload.extend(bytes);
                NewValue::Upload(upload)
            }
            other => other,
        };
        self.shard.put(key, old, meta, value, ledger)
    }

    /// A new item's data, without marks.
    fn fresh(&mut self, flags: u32, expiry: Expiry, new_cas: Option<u64>) -> Meta {
        Meta {
            flags,
            cas: self.unique(new_cas),
            expiry,
            stale: false,
            token_sent: false,
            fetched: false,
            accessed: self.now,
        }
    }

    fn unique(&mut self, given: Option<u64>) -> u64 {
        match given {
            Some(unique) if unique != 0 => unique,
            _ => self.shard.next_unique(),
        }
    }

    fn bump(&mut self, found: Option<Place>) {
        if let Some(place) = found {
            let mut meta = self.shard.meta(place);
            meta.accessed = self.now;
            self.shard.set_meta(place, meta);
        }
    }

    /// Finds a living item; one past its life is removed on the way.
    fn find_counting_expired(&mut self, key: &HashedKey<'_>) -> Option<Place> {
        let place = self.shard.find(key)?;
        let meta = self.shard.meta(place);
        if !meta.expiry.is_over(self.now) {
            return Some(place);
        }
        self.shard.counters.expired += 1;
        if !meta.fetched {
            self.shard.counters.expired_unfetched += 1;
        }
        self.shard.counters.get_expired += 1;
        self.shard.remove(place);
        None
    }
}

/// Decimal digits, then perhaps blanks; the whole of it.
fn parse_number(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii_end();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
