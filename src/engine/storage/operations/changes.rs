//! `incr`, `decr` and `delete`: changes of an item that exists.

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
        let Some(at) = self.find_live(key) else {
            return self.make_number(key, &request);
        };
        let text = self.shard.value(at, self.shard.header(at));
        let (len, number) = (text.len(), parse_number(text.as_slice()));
        let old = self.shard.meta(at);
        // Memcached looks at an empty value before it looks at the CAS value, and at what stands in one behind.
        if len > 0 && request.cas.is_some_and(|wanted| wanted != old.cas) {
            return ArithOutcome::Exists;
        }
        let Some(number) = number else {
            return ArithOutcome::NonNumeric;
        };
        let value = match request.direction {
            ArithDirection::Increment => number.wrapping_add(request.delta),
            ArithDirection::Decrement => number.saturating_sub(request.delta),
        };
        self.count_arith(request.direction, true);
        let expiry = match request.exptime {
            Some(exptime) => self.tenant.clock().expiry(exptime),
            None => old.expiry,
        };
        let told = if request.order.tells_before_touch() {
            old.expiry
        } else {
            expiry
        };
        let cas = self.cas_for(request.new_cas);
        let meta = Meta { cas, expiry, ..old };
        self.put_number(key, Some(at), &meta, value, len, told)
    }

    /// The counter that a miss makes, if it is to.
    fn make_number(&mut self, key: &HashedKey<'_>, request: &ArithRequest) -> ArithOutcome {
        let Some((value, exptime)) = request.initial else {
            self.count_arith(request.direction, false);
            return ArithOutcome::NotFound;
        };
        let as_of = |place| request.order.made_exptime(exptime, request.exptime, place);
        let clock = self.tenant.clock();
        let (made, told) = (
            clock.expiry(as_of(u8::MAX)),
            clock.expiry(as_of(request.order.told_place())),
        );
        let meta = self.fresh(0, made, request.new_cas);
        self.put_number(key, None, &meta, value, 0, told)
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

    /// Stores `value` as decimal text. It is padded behind with blanks to the old length `len_min`, as in memcached.
    fn put_number(
        &mut self,
        key: &HashedKey<'_>,
        found: Option<Address>,
        meta: &Meta,
        value: u64,
        len_min: usize,
        told: Expiry,
    ) -> ArithOutcome {
        let digits = Decimal::of(value);
        // A longer number is a new item in memcached, without the marks of the old; a shorter one is written over it.
        let mut meta = *meta;
        if digits.as_bytes().len() > len_min {
            self.shard.counters.total_items += 1;
            meta = Meta {
                stale: false,
                token_sent: false,
                fetched: false,
                accessed: self.now,
                ..meta
            };
        }
        match self.put(key, found, &meta, NewValue::Bytes(&digits.padded(len_min))) {
            Ok(_) => ArithOutcome::Done {
                value,
                cas: meta.cas,
                ttl_secs: told.remaining(self.now),
            },
            Err(_) => ArithOutcome::NoMemory,
        }
    }

    /// Removes an item, or marks it stale, or empties it.
    pub fn delete(&mut self, key: &HashedKey<'_>, request: DeleteRequest) -> DeleteOutcome {
        self.shard.counters.cmd_delete += 1;
        let Some(at) = self.find_live(key) else {
            self.shard.counters.delete_misses += 1;
            return DeleteOutcome::NotFound;
        };
        let old = self.shard.meta(at);
        if request.cas.is_some_and(|wanted| wanted != old.cas) {
            self.shard.counters.delete_misses += u64::from(request.mismatch_is_miss);
            return DeleteOutcome::Exists;
        }
        // Marked is not deleted.
        self.shard.counters.delete_hits += u64::from(!request.mark_stale);
        if !request.empty && !request.mark_stale {
            self.shard.remove(at);
            return DeleteOutcome::Deleted;
        }
        self.mark(key, at, old, &request);
        DeleteOutcome::Deleted
    }

    /// Keeps the item, but stale or empty (meta `I` and `x`).
    fn mark(&mut self, key: &HashedKey<'_>, at: Address, old: Meta, request: &DeleteRequest) {
        let expiry = match request.exptime {
            Some(exptime) => self.tenant.clock().expiry(exptime),
            None if request.empty => Expiry::NEVER,
            None => old.expiry,
        };
        let marked = Meta {
            cas: self.cas_for(request.new_cas),
            expiry,
            stale: request.mark_stale,
            token_sent: false,
            ..old
        };
        let put = if request.empty {
            let emptied = Meta {
                flags: request.flags,
                fetched: false,
                accessed: self.now,
                ..marked
            };
            self.shard.counters.total_items += 1;
            self.put(key, Some(at), &emptied, NewValue::Bytes(&[]))
        } else if marked.is_wide() || old.is_wide() {
            // A wide CAS value takes two more bytes in the record, so the header cannot be changed in place.
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
        // The client has asked to get rid of this value, so it must not stay when there is no memory for the change.
        if put.is_err() {
            self.refuse_no_memory(key, true);
        }
    }
}

/// A number in decimal digits, with nothing behind it but blanks.
fn parse_number(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii_end();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
