//! `incr`, `decr` and `delete`: changes of an item that is there.

use super::ShardGuard;
use crate::engine::decimal::Decimal;
use crate::engine::storage::clock::Expiry;
use crate::engine::storage::item::Meta;
use crate::engine::storage::key::HashedKey;
use crate::engine::storage::request::{
    ArithDirection, ArithOutcome, ArithRequest, DeleteOutcome, DeleteRequest, NewValue,
};
use crate::engine::storage::segment::Address;

impl ShardGuard<'_> {
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
        let digits = Decimal::of(value);
        match self.put(key, found, meta, NewValue::Bytes(&digits.padded(len_min))) {
            Ok(_) => ArithOutcome::Done {
                value,
                cas: meta.cas,
                ttl_secs: meta.expiry.remaining(self.now),
            },
            Err(_) => ArithOutcome::NoMemory,
        }
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
}

/// Decimal digits, then perhaps blanks; the whole of it.
fn parse_number(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii_end();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
