//! The items of one shard: records in segments, found by the index, queued in two chains.
//!
//! Here are the primitives; `operations` gives them their meaning for clients, `eviction.rs`, `compaction.rs`,
//! `sweep.rs` and `reclaim.rs` make room. Plain data without any lock: the tenant holds one around it.

use std::sync::Arc;

use super::balance::LargeShare;
use super::chain::{Chain, Class, Tier};
use super::clock::Expiry;
use super::counters::Counters;
use super::ghost::Ghost;
use super::index::Index;
use super::item::{Body, Header, Meta, record_bytes, write_record};
use super::key::{HashedKey, Hasher};
use super::large::{LargeTable, SharedValue, Upload, charge_of};
use super::ledger::Ledger;
use super::memory::Memory;
use super::reclaim::Retired;
use super::segment::{
    Address, ChainKind, Hashed, Queue, Segments, TierKind, WithKey, segment_bytes,
};
use super::view::Value;

/// A record of more than this part of a segment is kept in its own allocation, since the rest of a segment that
/// the next record does not fit into is lost.
const LARGE_PART: usize = 8;

/// No memory could be had for an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

/// A value on its way into the shard, small or large by the shard's measure.
#[derive(Clone, Debug)]
pub(super) enum Incoming<'a> {
    Inline(&'a [u8]),
    Large(SharedValue),
}

impl Incoming<'_> {
    fn tier(&self) -> TierKind {
        match self {
            Incoming::Inline(_) => TierKind::Inline,
            Incoming::Large(_) => TierKind::Large,
        }
    }

    /// What stands in the record: the bytes, or the number of the large value's slot.
    fn body(&self, slot: u32) -> Body<'_> {
        match self {
            Incoming::Inline(bytes) => Body::Inline(bytes),
            Incoming::Large(shared) => Body::Large {
                slot,
                len: shared.as_slice().len(),
            },
        }
    }
}

/// What a get touches comes last, because the lock stands behind it.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Shard {
    next_unique: u64,
    /// Number of shards of the tenant; each hands out every so-manieth unique.
    pub(super) shards: usize,
    pub(super) hasher: Hasher,
    pub(super) ledger: Arc<Ledger>,
    pub(super) inline_tier: Tier,
    pub(super) large_tier: Tier,
    pub(super) large_share: LargeShare,
    pub(super) ghost: Ghost,
    pub(super) large: LargeTable,
    /// Charged memory kept back, so that eviction can copy what stays before it frees anything.
    pub(super) spare: Option<Memory>,
    /// What is charged for index, ghost and the table of large values.
    pub(super) lists_charged: u64,
    pub(super) retired: Vec<Retired>,
    /// Nothing has been evicted since the start, a flush, or a raise of the limit.
    pub(super) filling: bool,
    /// For the length of one store: may pass the limit, as the shards that could give way are busy.
    pub(super) overdraws: bool,
    pub(super) next_swept: u16,
    /// A segment that eviction has walked in part.
    pub(super) walking: Option<u16>,
    pub counters: Counters,
    pub(super) segments: Segments,
    pub(super) index: Index,
}

impl Shard {
    pub(super) fn new(unique_start: u64, shards: usize, ledger: &Arc<Ledger>) -> Shard {
        Shard {
            counters: Counters::default(),
            next_unique: unique_start,
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
            lists_charged: 0,
            retired: Vec::new(),
            filling: true,
            overdraws: false,
            next_swept: 0,
            walking: None,
        }
    }

    pub(super) fn next_unique(&mut self) -> u64 {
        let unique = self.next_unique;
        self.next_unique += self.shards as u64;
        unique
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

    /// The record, and the time its segment counts accesses from.
    #[inline]
    pub(super) fn record(&self, at: Address) -> (&[u8], u32) {
        let segment = self.segments.get(at.segment());
        (segment.record(at.offset()), segment.base)
    }

    pub(super) fn meta(&self, at: Address) -> Meta {
        let (record, base) = self.record(at);
        Header::read(record).meta(record, base)
    }

    /// Changes what the header holds; the expiry, if new, is noted in the segment.
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

    /// A value in an allocation of its own, charged; evicts until it fits.
    pub(super) fn large_copy(&mut self, bytes: &[u8], now: u32) -> Result<SharedValue, NoRoom> {
        if !self.make_room_for(charge_of(bytes.len()), now) {
            return Err(NoRoom);
        }
        let mut upload = Upload::charged(bytes.len(), Arc::clone(&self.ledger));
        upload.extend(bytes);
        Ok(upload.finish())
    }

    /// Stores an item over the `old` one under its key. Evicts as much as it takes; the place of every other item may
    /// change.
    pub(super) fn put(
        &mut self,
        key: &HashedKey<'_>,
        old: Option<Address>,
        meta: &Meta,
        value: Incoming<'_>,
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
            // Making room may have moved or dropped the old item.
            let old = self.find(key);
            self.append(number, key, meta, value, bytes, old);
            self.walk_ahead(number, bytes, now);
            self.recharge();
            self.settle(number, now);
        }
        Ok(())
    }

    /// A key that was dropped too early before goes to the main chain; so does what comes while there is room
    /// for everything and the small chain has its share.
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

    fn fits_in_place(&self, at: Address, value: &Incoming<'_>, bytes: usize) -> bool {
        let old = self.header(at);
        old.is_large() == matches!(value, Incoming::Large(_)) && old.record_bytes() == bytes
    }

    /// Writes over a record of the same size. The item keeps its place in the queue, with one more hit.
    fn overwrite(&mut self, at: Address, key: &HashedKey<'_>, meta: &Meta, value: Incoming<'_>) {
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
        if let Incoming::Large(shared) = value {
            let slot = new.slot(self.segments.record(at));
            let added = shared.charged();
            let removed = self.large.replace(slot, shared);
            self.move_large_bytes(at.segment(), removed, added);
        }
    }

    fn append(
        &mut self,
        number: u16,
        key: &HashedKey<'_>,
        meta: &Meta,
        value: Incoming<'_>,
        bytes: usize,
        old: Option<Address>,
    ) {
        let (charged, slot) = match &value {
            Incoming::Inline(_) => (0, 0),
            Incoming::Large(shared) => (shared.charged(), self.large.add(shared.clone())),
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
                self.bury(old);
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
        self.bury(at);
    }

    /// Marks a record dead that the index no longer knows, and frees its segment if that was the last one.
    fn bury(&mut self, at: Address) {
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

    pub(super) fn slot_of(&self, at: Address, header: Header) -> Option<u32> {
        header
            .is_large()
            .then(|| header.slot(self.segments.record(at)))
    }

    /// Takes an item out of the counts, and lets go of its large value.
    pub(super) fn forget(&mut self, header: Header, segment: u16, slot: Option<u32>) {
        self.counters.curr_items -= 1;
        self.counters.bytes -= header.item_bytes();
        if let Some(slot) = slot {
            let removed = self.large.remove(slot);
            self.move_large_bytes(segment, removed, 0);
        }
    }

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

    /// Brings the charge for index, ghost and table of large values up to date.
    pub(super) fn recharge(&mut self) {
        let now = self.index.bytes() + self.ghost.bytes() + self.large.bytes();
        let before = std::mem::replace(&mut self.lists_charged, now);
        if now > before {
            self.ledger.charge(now - before);
        } else if now < before {
            self.ledger.release(before - now);
        }
    }
}

pub(super) fn is_large(
    ledger: &Ledger,
    shards: usize,
    key_bytes: usize,
    value_bytes: usize,
) -> bool {
    // With the widest header, so that the answer depends on nothing else.
    let record = super::item::HEADER_BYTES + 6 + key_bytes + value_bytes;
    record > segment_bytes(ledger, shards) / LARGE_PART
}
