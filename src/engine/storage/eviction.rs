//! Eviction: S3-FIFO over two chains of segments.
//!
//! ```text
//!  new ──▶ small chain ──read──▶ end of the main chain ──read──▶ end of the main chain again
//!            │ not read             │ not read
//!            ▼                      ▼
//!         evicted                evicted        both leave a fingerprint in the ghost;
//!                                               a key that comes back soon goes to the main chain
//! ```
//!
//! Why S3-FIFO: most items are never read again, and the small chain lets them go soon, before they displace items of the
//! main chain. Over 39 combinations of trace and memory it had the lowest mean miss ratio of eight policies. It needs
//! two bits per item and no work on a hit beside setting them.
//!
//! Eviction takes the oldest segment of the chain that is over its share and walks its records from the front. Items that
//! were read are copied to the open segment of the main chain; the others are dropped. At the end the segment is free.
//! Large values have their own allocations, but their records are in segments and are walked like all others.

use super::adaptive_shares::large_min;
use super::ghost::Ghost;
use super::item::Header;
use super::memory::Memory;
use super::segment::{Address, ChainKind, Queue, TierKind, segment_bytes, segment_charge};
use super::shard::Shard;

/// After this many walks in a row that freed no memory, the next walk drops every item. This bounds the work of a store
/// in a cache whose items are all read often.
const WALKS_MAX: u32 = 4;
/// Bytes of records walked ahead for each byte stored. Three are enough as long as a third of what is walked is dropped.
const WALK_AHEAD: usize = 3;

/// What a walk does with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Keep { hits: u8 },
    Evict,
    Expired,
}

impl Shard {
    /// Walks the oldest segment of the chain that is over its share, to its end or until it has dropped a large value.
    /// `walks` counts walks in a row that freed no memory. False when the shard has no segment but `except`.
    pub(super) fn evict(&mut self, except: Option<u16>, now: u32, walks: &mut u32) -> bool {
        self.filling = false;
        self.fit_ghost();
        let Some(number) = self.victim(except) else {
            return false;
        };
        let before = self.ledger.used();
        self.walk(number, now, usize::MAX, *walks >= WALKS_MAX);
        if self.ledger.used() < before {
            *walks = 0;
        } else {
            *walks += 1;
        }
        true
    }

    /// The segment to walk next. Never `except`, which holds the item that was just stored: a store must not evict itself.
    ///
    /// A walk in the inline tier is finished before another begins. Each walk may use the spare segment for its copies and
    /// frees a segment only at its end, so two half-finished walks could both need a segment that nobody has.
    pub(super) fn victim(&self, except: Option<u16>) -> Option<u16> {
        if self.walking.is_some() {
            return self.walking;
        }
        let (inline, large) = (self.inline_tier.bytes(), self.large_tier.bytes());
        // The tier that is over its share gives first; the other one only when that has nothing left.
        let victim = |tier| match tier {
            TierKind::Inline => self.inline_tier.victim(0, except),
            TierKind::Large => self
                .large_tier
                .victim(large_min(inline + large) / 2, except),
        };
        let (first, second) = match large > self.large_share.of(inline + large) {
            true => (TierKind::Large, TierKind::Inline),
            false => (TierKind::Inline, TierKind::Large),
        };
        victim(first).or_else(|| victim(second))
    }

    /// Sizes the ghost to about as many keys as there are items. A resize copies it, so it happens only when the ghost is
    /// more than twice too large or too small.
    pub(super) fn fit_ghost(&mut self) {
        let items = self.counters.curr_items as usize;
        let capacity = self.ghost.capacity();
        if capacity > items * 2 + 64 || capacity < items / 2 {
            self.ghost.resize(items);
            debug_assert_eq!(self.ghost.bytes(), Ghost::bytes_for(items));
        }
    }

    /// Evicts a little with every store into a full shard. The next segment is then free by the time it is needed, and no
    /// single store has to walk a whole segment.
    pub(super) fn walk_ahead(&mut self, stored: u16, stored_bytes: usize, now: u32) {
        if self.filling || self.has_retired() {
            return;
        }
        let wanted = segment_charge(segment_bytes(&self.ledger, self.shards));
        if !self.ledger.has_room_for(wanted)
            && let Some(number) = self.victim(Some(stored))
        {
            self.walk(number, now, stored_bytes * WALK_AHEAD, false);
        }
    }

    /// Walks a segment from where the last walk stopped: to its end, over `budget` bytes of records, or until it has
    /// dropped a large value (which frees memory without waiting for the end). At its end the segment is freed. With
    /// `force` every item is dropped.
    pub(super) fn walk(&mut self, number: u16, now: u32, budget: usize, force: bool) {
        let segment = self.segments.get_mut(number);
        let (queue, base, tail) = (segment.queue, segment.base, segment.tail as usize);
        let mut at = segment.head as usize;
        let stop = tail.min(at.saturating_add(budget));
        // Taken out of the segment so that records can be copied from it to other segments of the same table.
        let data = std::mem::take(&mut segment.data);
        // No new record may be appended behind the walk.
        self.chain_mut(queue).seal(number);
        while at < stop {
            let record = &data[at..];
            let header = Header::read(record);
            let bytes = header.record_bytes();
            let record = &record[..bytes];
            let address = Address::new(number, at as u32);
            at += bytes;
            self.segments.get_mut(number).head = at as u32;
            // Records before `head` count neither as live nor as dead.
            if header.is_dead() {
                self.chain_mut(queue).dead_bytes -= bytes as u64;
                continue;
            }
            self.segments.get_mut(number).live -= bytes as u32;
            let verdict = self.judge(queue, header, now, force);
            let kept = match verdict {
                Verdict::Keep { hits } => {
                    self.promote(address, record, header.with_hits(hits), base, now)
                }
                _ => false,
            };
            if !kept {
                self.drop_walked(queue, address, record, verdict == Verdict::Expired);
                if header.is_large() {
                    break;
                }
            }
        }
        self.segments.get_mut(number).data = data;
        if at >= tail {
            self.free_segment(number);
        } else if queue.tier == TierKind::Inline {
            self.walking = Some(number);
        }
    }

    /// Decides what happens to an item.
    fn judge(&mut self, queue: Queue, header: Header, now: u32, force: bool) -> Verdict {
        if header.expiry().has_passed(now) {
            return Verdict::Expired;
        }
        // One read is enough to stay, in either chain. S3-FIFO asks for two reads in the small chain; over ten traces one
        // read gained up to 0.4 points of hit ratio (web07) and lost up to 0.2 (zipf 0.8, orm-busy).
        let needed = 1 + self.tier_mut(queue.tier).surcharge(header.item_bytes());
        // An item that comes from the small chain starts in the main chain without hits. One that goes round the main
        // chain again pays for it with the hits that were needed.
        let left = match queue.chain {
            ChainKind::Small => 0,
            ChainKind::Main => header.hits().saturating_sub(needed),
        };
        if force || header.hits() < needed {
            Verdict::Evict
        } else {
            Verdict::Keep { hits: left }
        }
    }

    /// Copies a record to the end of the main chain. False when there is no memory for it; the item is dropped then.
    fn promote(
        &mut self,
        from: Address,
        record: &[u8],
        header: Header,
        base: u32,
        now: u32,
    ) -> bool {
        let class = self.class_of(header.expiry(), now);
        let queue = self.segments.get(from.segment()).queue.main();
        let number = match self.open_with_room(queue, class, record.len()) {
            Some(number) => number,
            None => match self.memory_for_copies() {
                Some(data) => match self.open_segment(queue, class, data, now) {
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

    /// A segment to copy items into. A walk frees its segment only at its end, so it may have to use the spare first.
    fn memory_for_copies(&mut self) -> Option<Memory> {
        match self.spare.take() {
            Some(data) => Some(data),
            None => self
                .charged_memory()
                .or_else(|| self.memory_while_lowered()),
        }
    }

    /// Appends a record to segment `to` and points the index there. The caller has taken it out of the counts of its old
    /// segment.
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

    /// Removes an item during a walk. An evicted one leaves a fingerprint in the ghost.
    fn drop_walked(&mut self, queue: Queue, at: Address, record: &[u8], expired: bool) {
        let header = Header::read(record);
        let hash = self.hasher.hash(header.key(record));
        self.index.remove(hash, at.raw());
        let slot = header.is_large().then(|| header.slot(record));
        self.forget(header, at.segment(), slot);
        self.count_removal(header, expired);
        if !expired {
            self.ghost.remember(hash, queue);
            self.tier_mut(queue.tier).share.note_eviction(queue.chain);
            self.large_share
                .note_eviction(queue.tier, header.item_bytes());
        }
    }

    /// Counts an item that was evicted or has expired.
    pub(super) fn count_removal(&mut self, header: Header, expired: bool) {
        let unfetched = u64::from(!header.is_fetched());
        if expired {
            self.counters.expired += 1;
            self.counters.expired_unfetched += unfetched;
        } else {
            self.counters.evictions += 1;
            self.counters.evicted_unfetched += unfetched;
        }
    }
}
