//! What clients can do with a locked shard. Semantics as in `memcached-protocol.md` §2 and §3.

use crate::engine::sync::MutexGuard;

use super::clock::Expiry;
use super::exptime::Exptime;
use super::item::{Header, Meta};
use super::key::HashedKey;
use super::large::charge_of;
use super::pool::SEGMENT_BYTES_MAX;
use super::request::{
    ArithDirection, ArithOutcome, ArithRequest, DeleteOutcome, DeleteRequest, GetOptions,
    ITEM_BYTES_MAX, NewValue, StoreMode, StoreOutcome, StoreRequest, Touched,
};
use super::segment::Address;
use super::shard::{Incoming, NoRoom, Shard};
use super::tenant::Tenant;
use super::view::{ItemView, Marks, Value};

/// How often the other shards are asked to give way for one store.
const RELIEF_TRIES: u32 = 8;

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
    // With options that are known where it is called, most of it falls away.
    #[inline(always)]
    pub fn get(&mut self, key: &HashedKey<'_>, options: GetOptions) -> Option<ItemView<'_>> {
        let Some(at) = self.shard.find(key) else {
            return self.missed(key, &options);
        };
        let expiry = options.touch.map(|life| self.tenant.clock().expiry(life));
        let before = self.shard.header(at);
        if before.expiry().is_over(self.now) {
            self.remove_expired(at);
            self.shard.counters.get_expired += u64::from(!options.uncounted);
            return self.missed(key, &options);
        }
        let mut after = before;
        if let Some(expiry) = expiry {
            after = after.with_expiry(expiry);
            self.shard.note_expiry(at, expiry);
        }
        let mut marks = Marks::default();
        if options.recaches {
            marks = self.marks(before, after, options.recache_below_secs);
        }
        if marks.won {
            after = after.with_token_sent();
        }
        let shard = &mut *self.shard;
        shard.counters.count_read(&options, true);
        let segment = shard.segments.get_mut(at.segment());
        let base = segment.base;
        if !options.no_bump {
            after = after.after_read(self.now, base);
        }
        let record = segment.record_mut(at.offset());
        if after != before {
            after.write(record);
        }
        Some(ItemView {
            value: shard.large.value(after, record),
            marks,
            record,
            before,
            after,
            base,
            now: self.now,
        })
    }

    #[inline]
    fn missed(&mut self, key: &HashedKey<'_>, options: &GetOptions) -> Option<ItemView<'_>> {
        self.shard.counters.count_read(options, false);
        self.vivified(key, options.vivify?)
    }

    #[inline]
    fn marks(&self, before: Header, after: Header, recache_below: Option<u32>) -> Marks {
        let runs_out = match (recache_below, after.expiry().remaining(self.now)) {
            (Some(below), Some(left)) => left < below,
            _ => false,
        };
        Marks {
            won: !before.is_token_sent() && (before.is_stale() || runs_out),
            stale: before.is_stale(),
            token_sent: before.is_token_sent(),
        }
    }

    /// Makes the empty item which the reader of a miss has won.
    fn vivified(&mut self, key: &HashedKey<'_>, exptime: Exptime) -> Option<ItemView<'_>> {
        let expiry = self.tenant.clock().expiry(exptime);
        let meta = Meta {
            token_sent: true,
            ..self.fresh(0, expiry, None)
        };
        self.put(key, None, &meta, NewValue::Bytes(&[])).ok()?;
        self.shard.counters.total_items += 1;
        let at = self.shard.find(key)?;
        let (record, base) = self.shard.record(at);
        let header = Header::read(record);
        Some(ItemView {
            value: Value::Inline(&[]),
            marks: Marks {
                won: true,
                ..Marks::default()
            },
            record,
            before: header,
            after: header,
            base,
            now: self.now,
        })
    }

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

    /// `incr`, `decr` and meta `ma`.
    pub fn arith(&mut self, key: &HashedKey<'_>, request: ArithRequest) -> ArithOutcome {
        let found = self.find_living(key);
        self.count_arith(request.direction, found.is_some());
        let Some(at) = found else {
            let Some((value, exptime)) = request.initial else {
                return ArithOutcome::NotFound;
            };
            let expiry = self.tenant.clock().expiry(exptime);
            let meta = self.fresh(0, expiry, request.new_cas);
            return self.put_number(key, None, &meta, value, 0);
        };
        let old = self.shard.meta(at);
        if request.cas.is_some_and(|wanted| wanted != old.cas) {
            return ArithOutcome::Exists;
        }
        let text = self.shard.value(at, self.shard.header(at));
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
        self.put_number(key, found, &meta, value, len)
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
        found: Option<Address>,
        meta: &Meta,
        value: u64,
        len_min: usize,
    ) -> ArithOutcome {
        let mut text = value.to_string();
        while text.len() < len_min {
            text.push(' ');
        }
        match self.put(key, found, meta, NewValue::Bytes(text.as_bytes())) {
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
            flags: item.flags(),
            cas: item.cas(),
        })
    }

    /// Removes an item, or marks or empties it.
    pub fn delete(&mut self, key: &HashedKey<'_>, request: DeleteRequest) -> DeleteOutcome {
        self.shard.counters.cmd_delete += 1;
        let Some(at) = self.find_living(key) else {
            self.shard.counters.delete_misses += 1;
            return DeleteOutcome::NotFound;
        };
        let old = self.shard.meta(at);
        if request.cas.is_some_and(|wanted| wanted != old.cas) {
            self.shard.counters.cas_badval += 1;
            return DeleteOutcome::Exists;
        }
        self.shard.counters.delete_hits += 1;
        if !request.empty && !request.mark_stale {
            self.shard.remove(at);
            return DeleteOutcome::Deleted;
        }
        self.mark(key, at, old, &request);
        DeleteOutcome::Deleted
    }

    fn mark(&mut self, key: &HashedKey<'_>, at: Address, old: Meta, request: &DeleteRequest) {
        let expiry = match request.exptime {
            Some(exptime) => self.tenant.clock().expiry(exptime),
            None if request.empty => Expiry::NEVER,
            None => old.expiry,
        };
        let marked = Meta {
            cas: self.unique(request.new_cas),
            expiry,
            stale: request.mark_stale,
            token_sent: false,
            ..old
        };
        let put = if request.empty {
            let emptied = Meta { flags: 0, ..marked };
            self.put(key, Some(at), &emptied, NewValue::Bytes(&[]))
        } else if marked.is_wide() || old.is_wide() {
            // A unique of another width shifts the whole record.
            let header = self.shard.header(at);
            let value = self.shard.value(at, header).as_slice().to_vec();
            self.put(key, Some(at), &marked, NewValue::Bytes(&value))
        } else {
            let (_, base) = self.shard.record(at);
            let header = self.shard.header(at).with_meta(&marked, base);
            self.shard.set_header(at, header);
            self.shard.note_expiry(at, expiry);
            Ok(())
        };
        if put.is_err() {
            self.shard.counters.store_no_memory += 1;
        }
    }

    fn put_fresh(
        &mut self,
        key: &HashedKey<'_>,
        found: Option<Address>,
        request: StoreRequest<'_>,
    ) -> StoreOutcome {
        let expiry = self.tenant.clock().expiry(request.exptime);
        let meta = self.fresh(request.flags, expiry, request.new_cas);
        self.put_counting(key, found, &meta, request.value)
    }

    fn put_counting(
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
    fn put(
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

    fn put_incoming(
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

    /// Tries what needs room; when this shard has nothing left to evict, the tenant's others give way.
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
            self.tenant.evict_elsewhere(self.number, bytes);
            outcome = attempt(&mut self.shard, self.now);
        }
        outcome
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

    /// A refused `add` still counts as an access for eviction.
    fn bump(&mut self, at: Address) {
        let (_, base) = self.shard.record(at);
        let header = self.shard.header(at);
        let bumped = header
            .with_hits(header.hits() + 1)
            .with_access(self.now, base);
        self.shard.set_header(at, bumped);
    }

    /// Finds a living item; one past its life is removed on the way.
    #[inline]
    fn find_living(&mut self, key: &HashedKey<'_>) -> Option<Address> {
        let at = self.shard.find(key)?;
        if self.shard.header(at).expiry().is_over(self.now) {
            self.remove_expired(at);
            return None;
        }
        Some(at)
    }

    #[cold]
    fn remove_expired(&mut self, at: Address) {
        let header = self.shard.header(at);
        self.shard.count_end(header, true);
        self.shard.remove(at);
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
