//! The items of one shard: records in segments, found by the index, queued in chains.
//!
//! This file has the primitives. `operations` implements commands with them; `space.rs`, `eviction.rs`, `compaction.rs`,
//! `sweep.rs` and `reclaim.rs` make room. A shard has no lock of its own: the tenant keeps it behind a mutex.

use std::sync::Arc;

use super::adaptive_shares::LargeShare;
use super::chain::{Chain, Class, Tier};
use super::clock::Expiry;
use super::counters::Counters;
use super::ghost::Ghost;
use super::index::Index;
use super::item::{Header, Meta};
use super::key::{HashedKey, Hasher};
use super::large::{LargeTable, SharedValue, Upload, charge_of};
use super::ledger::Ledger;
use super::memory::Memory;
use super::reclaim::Retired;
use super::record::{StoredValue, record_bytes, write_record};
use super::segment::{
    Address, ChainKind, Hashed, Queue, Segments, TierKind, WithKey, segment_bytes,
};
use super::view::Value;

/// A value whose record would take more than this part of a segment gets its own allocation. Otherwise too much of each
/// segment would be lost at its end, where the next record does not fit.
const LARGE_PART: usize = 8;

/// There is no memory for an item, and nothing left to evict in this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

/// The fields that a get reads come last, next to the lock that encloses the shard: one cache line fewer per get.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Shard {
    next_cas: u64,
    /// Number of shards of the tenant. Each shard hands out every n-th CAS value, so no two shards hand out the same.
    pub(super) shards: usize,
    pub(super) hasher: Hasher,
    pub(super) ledger: Arc<Ledger>,
    pub(super) inline_tier: Tier,
    pub(super) large_tier: Tier,
    pub(super) large_share: LargeShare,
    pub(super) ghost: Ghost,
    pub(super) large: LargeTable,
    /// A charged segment kept in reserve, so that eviction can copy items before it frees a segment.
    pub(super) spare: Option<Memory>,
    /// What is charged for index, ghost and the table of large values.
    pub(super) tables_charged: u64,
    pub(super) retired: Vec<Retired>,
    /// Nothing was evicted since the start, a flush, or a raise of the limit.
    pub(super) filling: bool,
    /// Set for the duration of one store: it may exceed the limit, because shards that could evict are busy.
    pub(super) may_exceed_limit: bool,
    pub(super) next_swept: u16,
    /// A segment that eviction has walked in part. Its walk is finished before another begins.
    pub(super) walking: Option<u16>,
    pub counters: Counters,
    pub(super) segments: Segments,
    pub(super) index: Index,
}

impl Shard {
    pub(super) fn new(cas_start: u64, shards: usize, ledger: &Arc<Ledger>) -> Shard {
        Shard {
            counters: Counters::default(),
            next_cas: cas_start,
            shards,
            hasher: Hasher::of_process(),
            ledger: Arc::clone(ledger),
            segments: Segments::default(),
            index: Index::default(),
            inline_tier: Tier::default(),
            large_tier: Tier::default(),
            large_share: LargeShare::default(),
            ghost: Ghost::default(),
            large: LargeTable::default(),
            spare: None,
            tables_charged: 0,
            retired: Vec::new(),
            filling: true,
            may_exceed_limit: false,
            next_swept: 0,
            walking: None,
        }
    }

    pub(super) fn next_cas(&mut self) -> u64 {
        let cas = self.next_cas;
        self.next_cas += self.shards as u64;
        cas
    }

    #[inline(always)]
    pub(super) fn find(&self, key: &HashedKey<'_>) -> Option<Address> {
        let sought = WithKey {
            key: key.as_bytes(),
            segments: &self.segments,
        };
        self.index.find(key.hash(), &sought).map(Address::from_raw)
    }

    #[inline]
    pub(super) fn header(&self, at: Address) -> Header {
        self.segments.header(at)
    }

    /// The record, and the time from which its segment counts access times.
    #[inline]
    pub(super) fn record(&self, at: Address) -> (&[u8], u32) {
        let segment = self.segments.get(at.segment());
        (segment.record(at.offset()), segment.base)
    }

    pub(super) fn meta(&self, at: Address) -> Meta {
        let (record, base) = self.record(at);
        Header::read(record).meta(record, base)
    }

    /// Overwrites the header of a record. A new expiry must also be noted with [`Shard::note_expiry`].
    #[inline]
    pub(super) fn set_header(&mut self, at: Address, header: Header) {
        self.segments.set_header(at, header);
    }

    pub(super) fn note_expiry(&mut self, at: Address, expiry: Expiry) {
        self.segments.get_mut(at.segment()).note_expiry(expiry);
    }

    #[inline]
    pub(super) fn value(&self, at: Address, header: Header) -> Value<'_> {
        self.large.value(header, self.segments.record(at))
    }

    pub(super) fn is_large(&self, key_bytes: usize, value_bytes: usize) -> bool {
        is_large(&self.ledger, self.shards, key_bytes, value_bytes)
    }

    /// Copies a value into its own, charged allocation. Evicts until it fits.
    pub(super) fn large_copy(&mut self, bytes: &[u8], now: u32) -> Result<SharedValue, NoRoom> {
        if !self.make_room_for(charge_of(bytes.len()), now) {
            return Err(NoRoom);
        }
        let mut upload = Upload::charged(bytes.len(), Arc::clone(&self.ledger));
        upload.extend(bytes);
        Ok(upload.finish())
    }

    /// Stores an item over the `old` one under its key. Evicts as much as it needs; the address of every other item may
    /// change.
    pub(super) fn put(
        &mut self,
        key: &HashedKey<'_>,
        old: Option<Address>,
        meta: &Meta,
        value: StoredValue<'_>,
        now: u32,
    ) -> Result<(), NoRoom> {
        debug_assert_eq!(old, self.find(key));
        let bytes = record_bytes(meta, key.as_bytes().len(), &value.body(0));
        if let Some(at) = old
            && self.fits_in_place(at, &value, bytes)
        {
            self.overwrite(at, key, meta, value);
            self.settle(at.segment(), now);
        } else {
            let tier = value.tier();
            let chain = match old {
                Some(at) => self.segments.get(at.segment()).queue.chain,
                None => self.chain_for_new(key.hash(), tier),
            };
            let number = self.room_in(Queue { tier, chain }, meta.expiry, bytes, now)?;
            // Making room may have moved or evicted the old item.
            let old = self.find(key);
            self.append(number, key, meta, value, bytes, old);
            self.walk_ahead(number, bytes, now);
            self.recharge();
            self.settle(number, now);
        }
        Ok(())
    }

    /// The chain for a new item. A key that was evicted a short while ago goes to the main chain: it was evicted too early.
    /// So does every item while nothing has to be evicted and the small chain already has its share.
    fn chain_for_new(&mut self, hash: u64, tier: TierKind) -> ChainKind {
        if let Some(from) = self.ghost.recall(hash) {
            self.tier_mut(from.tier).share.note_return(from.chain);
            self.large_share.note_return(from.tier);
            return ChainKind::Main;
        }
        let all = self.ledger.limit() / self.shards as u64;
        let tier = self.tier(tier);
        if self.filling && tier.small.bytes >= tier.share.of(all) {
            ChainKind::Main
        } else {
            ChainKind::Small
        }
    }

    /// Whether the new record can overwrite the old one.
    fn fits_in_place(&self, at: Address, value: &StoredValue<'_>, bytes: usize) -> bool {
        let old = self.header(at);
        old.is_large() == matches!(value, StoredValue::Large(_)) && old.record_bytes() == bytes
    }

    /// Overwrites a record of the same size. The item keeps its place in the queue; the overwrite counts as a hit. Nobody
    /// can be reading the old value: inline values are copied out under the shard's lock.
    fn overwrite(&mut self, at: Address, key: &HashedKey<'_>, meta: &Meta, value: StoredValue<'_>) {
        let old = self.header(at);
        let segment = self.segments.get_mut(at.segment());
        let room = &mut segment.data[at.offset()..];
        let slot = if old.is_large() { old.slot(room) } else { 0 };
        let body = value.body(slot);
        let new = write_record(
            room,
            meta,
            key.as_bytes(),
            &body,
            segment.base,
            old.hits() + 1,
        );
        segment.note_expiry(meta.expiry);
        self.counters.bytes = self.counters.bytes - old.item_bytes() + new.item_bytes();
        if let StoredValue::Large(shared) = value {
            let slot = new.slot(self.segments.record(at));
            let added = shared.charged();
            let removed = self.large.replace(slot, shared);
            self.move_large_bytes(at.segment(), removed, added);
        }
    }

    /// Appends a record to segment `number`, which has room for it.
    fn append(
        &mut self,
        number: u16,
        key: &HashedKey<'_>,
        meta: &Meta,
        value: StoredValue<'_>,
        bytes: usize,
        old: Option<Address>,
    ) {
        let (charged, slot) = match &value {
            StoredValue::Inline(_) => (0, 0),
            StoredValue::Large(shared) => (shared.charged(), self.large.add(shared.clone())),
        };
        let segment = self.segments.get_mut(number);
        let at = Address::new(number, segment.tail);
        let room = &mut segment.data[at.offset()..];
        let body = value.body(slot);
        let new = write_record(room, meta, key.as_bytes(), &body, segment.base, 0);
        segment.tail += bytes as u32;
        segment.live += bytes as u32;
        segment.note_expiry(meta.expiry);
        self.move_large_bytes(number, 0, charged);
        self.counters.curr_items += 1;
        self.counters.bytes += new.item_bytes();
        match old {
            Some(old) => {
                let hits = self.header(old).hits() + 1;
                self.set_header(at, new.with_hits(hits));
                self.index.relocate(key.hash(), old.raw(), at.raw());
                self.mark_dead(old);
            }
            None => {
                let items = Hashed {
                    segments: &self.segments,
                    hasher: &self.hasher,
                };
                self.index.insert(key.hash(), at.raw(), &items);
            }
        }
    }

    /// Removes an item.
    pub(super) fn remove(&mut self, at: Address) {
        let record = self.segments.record(at);
        let hash = self.hasher.hash(Header::read(record).key(record));
        self.index.remove(hash, at.raw());
        self.mark_dead(at);
    }

    /// Marks a record dead that the index no longer points to. Frees its segment if it was the last live record there.
    fn mark_dead(&mut self, at: Address) {
        let header = self.header(at);
        self.set_header(at, header.dead());
        self.forget(header, at.segment(), self.slot_of(at, header));
        let bytes = header.record_bytes() as u32;
        let segment = self.segments.get_mut(at.segment());
        segment.live -= bytes;
        let (empty, queue) = (segment.live == 0, segment.queue);
        let chain = self.chain_mut(queue);
        chain.dead_bytes += u64::from(bytes);
        if empty && !chain.is_open(at.segment()) {
            self.free_segment(at.segment());
        }
    }

    /// The slot of the record's large value, if it has one.
    pub(super) fn slot_of(&self, at: Address, header: Header) -> Option<u32> {
        header
            .is_large()
            .then(|| header.slot(self.segments.record(at)))
    }

    /// Takes an item out of the counts, and drops its large value.
    pub(super) fn forget(&mut self, header: Header, segment: u16, slot: Option<u32>) {
        self.counters.curr_items -= 1;
        self.counters.bytes -= header.item_bytes();
        if let Some(slot) = slot {
            let removed = self.large.remove(slot);
            self.move_large_bytes(segment, removed, 0);
        }
    }

    /// Changes how many bytes of large values a segment and its chain stand for.
    pub(super) fn move_large_bytes(&mut self, number: u16, removed: u64, added: u64) {
        let segment = self.segments.get_mut(number);
        segment.large_bytes = segment.large_bytes - removed + added;
        let queue = segment.queue;
        let chain = self.chain_mut(queue);
        chain.bytes = chain.bytes - removed + added;
    }

    pub(super) fn tier(&self, kind: TierKind) -> &Tier {
        match kind {
            TierKind::Inline => &self.inline_tier,
            TierKind::Large => &self.large_tier,
        }
    }

    pub(super) fn tier_mut(&mut self, kind: TierKind) -> &mut Tier {
        match kind {
            TierKind::Inline => &mut self.inline_tier,
            TierKind::Large => &mut self.large_tier,
        }
    }

    pub(super) fn chain(&self, queue: Queue) -> &Chain {
        self.tier(queue.tier).chain(queue.chain)
    }

    pub(super) fn chain_mut(&mut self, queue: Queue) -> &mut Chain {
        self.tier_mut(queue.tier).chain_mut(queue.chain)
    }

    pub(super) fn class_of(&self, expiry: Expiry, now: u32) -> Class {
        Class::of(expiry, now, self.segments.in_use())
    }

    /// Adjusts the charge for index, ghost and table of large values to their present size. They grow and shrink in the
    /// middle of operations, where nothing may fail; so they are charged afterwards.
    pub(super) fn recharge(&mut self) {
        let now = self.index.bytes() + self.ghost.bytes() + self.large.bytes();
        let before = std::mem::replace(&mut self.tables_charged, now);
        if now > before {
            self.ledger.charge(now - before);
        } else if now < before {
            self.ledger.release(before - now);
        }
    }
}

/// Whether a value of this size gets its own allocation.
pub(super) fn is_large(
    ledger: &Ledger,
    shards: usize,
    key_bytes: usize,
    value_bytes: usize,
) -> bool {
    // Computed with the widest header, so that the answer depends on the two lengths alone.
    let record = super::item::HEADER_BYTES + 6 + key_bytes + value_bytes;
    record > segment_bytes(ledger, shards) / LARGE_PART
}
