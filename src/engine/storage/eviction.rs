//! Making room: S3-FIFO over the two chains.
//!
//! ```text
//!  new ──▶ small chain ──read twice──▶ main chain ──read──▶ its own end
//!            │ otherwise                 │ otherwise
//!            ▼                           ▼
//!          ghost ──comes back──▶ main   dropped
//! ```
//!
//! The oldest segment of the chain that is over its share is walked from its front; what stays is copied to the
//! open segment of the main chain. Large values lie elsewhere, but their records are walked like all others.

use super::chain::Class;
use super::clock::Expiry;
use super::ghost::Ghost;
use super::item::Header;
use super::segment::{Address, ChainKind, Segment, segment_bytes, segment_charge};
use super::shard::{NoRoom, Shard};

/// The small chain's share is one in so many bytes.
pub(super) const SMALL_PART: u64 = 10;
/// An item over this part of the shard's share must have been read once more to stay.
const BIG_PART: u64 = 512;
/// So many segments are walked for one request before everything in the next is dropped.
const WALKS_MAX: u32 = 4;
/// Over the limit by more than this part of it: the limit was lowered, and is reached in bounded steps.
const LOWERED_PART: u64 = 64;
/// Such steps in one store.
const LOWERED_WALKS: u32 = 2;
/// How far back a main segment counts access times: items come there with a past.
const MAIN_BASE_SECS: u32 = 3_600;
/// From so many segments on, one is kept back for copying.
const SEGMENTS_FOR_SPARE: usize = 4;

/// Why an item goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Keep { hits: u8 },
    Evict,
    Expired,
}

impl Shard {
    /// An open segment of the chain with room for `bytes`.
    pub(super) fn room_in(
        &mut self,
        kind: ChainKind,
        expiry: Expiry,
        bytes: usize,
        now: u32,
    ) -> Result<u16, NoRoom> {
        let class = self.class_of(expiry, now);
        if let Some(number) = self.open_with_room(kind, class, bytes) {
            return Ok(number);
        }
        if self.is_worth_compacting(kind) {
            self.compact(kind, now);
        }
        let mut walks = 0;
        loop {
            if let Some(data) = self.fresh_memory() {
                return self.open_segment(kind, class, data, now).ok_or(NoRoom);
            }
            if !self.evict(now, &mut walks) {
                let data = self.spare.take().ok_or(NoRoom)?;
                return self.open_segment(kind, class, data, now).ok_or(NoRoom);
            }
        }
    }

    fn open_with_room(&self, kind: ChainKind, class: Class, bytes: usize) -> Option<u16> {
        let number = self.chain(kind).open(class)?;
        (self.segments.get(number).room() >= bytes).then_some(number)
    }

    fn open_segment(
        &mut self,
        kind: ChainKind,
        class: Class,
        data: Box<[u8]>,
        now: u32,
    ) -> Option<u16> {
        let base = match kind {
            ChainKind::Small => now,
            ChainKind::Main => now.saturating_sub(MAIN_BASE_SECS),
        };
        let bytes = data.len();
        let number = self.segments.open(data, kind, base)?;
        self.chain_mut(kind).push_open(class, number, bytes);
        Some(number)
    }

    /// A charged segment within the limit, after the spare has been filled.
    fn fresh_memory(&mut self) -> Option<Box<[u8]>> {
        if self.spare.is_none() && self.segments.in_use() >= SEGMENTS_FOR_SPARE {
            self.spare = Some(self.charged_memory()?);
        }
        self.charged_memory()
    }

    fn charged_memory(&mut self) -> Option<Box<[u8]>> {
        let bytes = segment_bytes(&self.ledger, self.shards);
        while !self.ledger.try_charge(segment_charge(bytes)) {
            if !self.has_retired() {
                return None;
            }
            self.reclaim(1);
        }
        Some(self.ledger.pool().take(bytes))
    }

    /// Charges `bytes`, evicting until they fit. False when nothing is left to evict.
    pub(super) fn make_room_for(&mut self, bytes: u64, now: u32) -> bool {
        let mut walks = 0;
        while !self.ledger.try_charge(bytes) {
            if self.has_retired() {
                self.reclaim(1);
            } else if !self.evict(now, &mut walks) && !self.give_up_spare() {
                return false;
            }
        }
        self.recharge();
        true
    }

    /// Evicts until about `bytes` have come free, for another shard's need.
    pub(super) fn evict_bytes(&mut self, bytes: u64, now: u32) {
        let target = self.ledger.used().saturating_sub(bytes);
        let mut walks = 0;
        while self.ledger.used() > target && self.evict(now, &mut walks) {}
        self.recharge();
    }

    /// After a store: comes back under the limit, by a bounded step when that was lowered.
    pub(super) fn settle(&mut self, now: u32) {
        let mut walks = 0;
        for step in 0.. {
            let (used, limit) = (self.ledger.used(), self.ledger.limit());
            let lowered = used.saturating_sub(limit) > limit / LOWERED_PART;
            if used <= limit || lowered && step >= LOWERED_WALKS || !self.shrink(now, &mut walks) {
                return;
            }
        }
    }

    /// Gives back one segment's worth of memory in one way or another; false when there is nothing to give.
    pub(super) fn shrink(&mut self, now: u32, walks: &mut u32) -> bool {
        let progress = if self.has_retired() {
            self.reclaim(1);
            true
        } else {
            self.evict(now, walks) || self.give_up_spare()
        };
        self.recharge();
        progress
    }

    fn give_up_spare(&mut self) -> bool {
        let Some(data) = self.spare.take() else {
            return false;
        };
        self.ledger.release(segment_charge(data.len()));
        self.ledger.pool().give_back(data);
        true
    }

    /// Walks the oldest segment of the chain that is over its share, to its end or to the first large value
    /// dropped. `walks` counts segments walked for one need. False when the shard holds no segment.
    fn evict(&mut self, now: u32, walks: &mut u32) -> bool {
        self.filling = false;
        self.fit_ghost();
        let all = self.small.bytes + self.main.bytes;
        let small_first = self.small.bytes * SMALL_PART > all || self.main.queue.is_empty();
        let first = if small_first {
            ChainKind::Small
        } else {
            ChainKind::Main
        };
        let oldest = self.chain(first).queue.front();
        let Some(&number) = oldest.or(self.main.queue.front()) else {
            return false;
        };
        if self.walk(number, now, *walks >= WALKS_MAX) {
            *walks += 1;
        }
        true
    }

    /// The ghost knows about as many keys as there are items, in steps of a factor.
    fn fit_ghost(&mut self) {
        let items = self.counters.curr_items as usize;
        let capacity = self.ghost.capacity();
        if capacity > items * 2 + 64 || capacity < items / 2 {
            self.ghost.resize(items);
            debug_assert_eq!(self.ghost.bytes(), Ghost::bytes_for(items));
        }
    }

    /// True when the segment was walked to its end and freed.
    fn walk(&mut self, number: u16, now: u32, force: bool) -> bool {
        let segment = self.segments.get_mut(number);
        let (kind, base, tail) = (segment.chain, segment.base, segment.tail as usize);
        let mut at = segment.head as usize;
        // Taken out while records go from here to other segments.
        let data = std::mem::take(&mut segment.data);
        self.chain_mut(kind).seal(number);
        while at < tail {
            let record = &data[at..];
            let header = Header::read(record);
            let bytes = header.record_bytes();
            let record = &record[..bytes];
            let address = Address::new(number, at as u32);
            at += bytes;
            self.segments.get_mut(number).head = at as u32;
            if header.is_dead() {
                self.chain_mut(kind).dead_bytes -= bytes as u64;
                continue;
            }
            self.segments.get_mut(number).live -= bytes as u32;
            let verdict = self.judge(kind, header, now, force);
            let kept = match verdict {
                Verdict::Keep { hits } => {
                    self.promote(address, record, header.with_hits(hits), base, now)
                }
                _ => false,
            };
            if !kept {
                self.drop_walked(kind, address, record, verdict == Verdict::Expired);
                if header.is_large() {
                    break;
                }
            }
        }
        self.segments.get_mut(number).data = data;
        if at >= tail {
            self.free_segment(number);
        }
        at >= tail
    }

    fn judge(&self, kind: ChainKind, header: Header, now: u32, force: bool) -> Verdict {
        if header.expiry().is_over(now) {
            return Verdict::Expired;
        }
        let share = self.ledger.limit() / self.shards as u64;
        let surcharge = u8::from(header.item_bytes() > share / BIG_PART);
        let (needed, left) = match kind {
            ChainKind::Small => (2 + surcharge, 0),
            ChainKind::Main => (1 + surcharge, header.hits().saturating_sub(1 + surcharge)),
        };
        if force || header.hits() < needed {
            Verdict::Evict
        } else {
            Verdict::Keep { hits: left }
        }
    }

    /// Copies a record to the end of the main chain. False when no memory can be had for it.
    fn promote(
        &mut self,
        from: Address,
        record: &[u8],
        header: Header,
        base: u32,
        now: u32,
    ) -> bool {
        let class = self.class_of(header.expiry(), now);
        let number = match self.open_with_room(ChainKind::Main, class, record.len()) {
            Some(number) => number,
            None => match self.memory_for_copies() {
                Some(data) => match self.open_segment(ChainKind::Main, class, data, now) {
                    Some(number) => number,
                    None => return false,
                },
                None => return false,
            },
        };
        let hash = self.hasher.hash(header.key(record));
        self.copy_record(hash, from, record, header, base, number);
        true
    }

    fn memory_for_copies(&mut self) -> Option<Box<[u8]>> {
        match self.spare.take() {
            Some(data) => Some(data),
            None => self.charged_memory(),
        }
    }

    /// Appends a record that is no longer counted in its old segment to segment `to`, and points the index there.
    pub(super) fn copy_record(
        &mut self,
        hash: u64,
        from: Address,
        record: &[u8],
        header: Header,
        base: u32,
        to: u16,
    ) {
        let segment = self.segments.get_mut(to);
        let place = Address::new(to, segment.tail);
        let room = &mut segment.data[place.offset()..place.offset() + record.len()];
        room.copy_from_slice(record);
        header.rebased(base, segment.base).write(room);
        segment.tail += record.len() as u32;
        segment.live += record.len() as u32;
        segment.note_expiry(header.expiry());
        self.index.relocate(hash, from.raw(), place.raw());
        if header.is_large() && from.segment() != to {
            let value = self.large.get(header.slot(record));
            let charged = value.map_or(0, |value| value.charged());
            self.move_large_bytes(from.segment(), charged, 0);
            self.move_large_bytes(to, 0, charged);
        }
    }

    /// Removes an item whose record is being walked.
    fn drop_walked(&mut self, kind: ChainKind, at: Address, record: &[u8], expired: bool) {
        let header = Header::read(record);
        let hash = self.hasher.hash(header.key(record));
        self.index.remove(hash, at.raw());
        let slot = header.is_large().then(|| header.slot(record));
        self.forget(header, at.segment(), slot);
        self.count_end(header, expired);
        if kind == ChainKind::Small && !expired {
            self.ghost.remember(hash);
        }
    }

    pub(super) fn count_end(&mut self, header: Header, expired: bool) {
        let unfetched = u64::from(!header.is_fetched());
        if expired {
            self.counters.expired += 1;
            self.counters.expired_unfetched += unfetched;
        } else {
            self.counters.evictions += 1;
            self.counters.evicted_unfetched += unfetched;
        }
    }

    /// Takes a segment without living records out of its chain. Its memory becomes the spare or goes back.
    pub(super) fn free_segment(&mut self, number: u16) {
        let segment: &Segment = self.segments.get(number);
        let (kind, bytes) = (segment.chain, segment.data.len());
        let buried = self.dead_after_head(number);
        let chain = self.chain_mut(kind);
        chain.remove(number, bytes);
        chain.dead_bytes -= buried;
        let data = self.segments.close(number);
        let wanted = self.spare.is_none()
            && !self.ledger.is_over()
            && bytes == segment_bytes(&self.ledger, self.shards);
        if wanted {
            self.spare = Some(data);
        } else {
            self.ledger.release(segment_charge(bytes));
            self.ledger.pool().give_back(data);
        }
    }

    /// Dead bytes that the chain still counts for this segment.
    fn dead_after_head(&self, number: u16) -> u64 {
        let segment = self.segments.get(number);
        u64::from(segment.tail - segment.head - segment.live)
    }
}
