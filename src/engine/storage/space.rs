//! Memory for segments and large values, within the tenant's limit and the ceiling of the process.
//!
//! Whoever needs memory asks here. These functions charge it if it fits, and otherwise make [`super::eviction`] free some
//! first. They also bring the tenant back under a limit that was lowered.

use super::chain::Class;
use super::clock::Expiry;
use super::memory::Memory;
use super::segment::{ChainKind, Queue, SEGMENTS_MAX, Segment, segment_bytes, segment_charge};
use super::shard::{NoRoom, Shard};

/// Bytes of records walked in one step towards a lowered limit.
const STEP_BYTES: usize = 32 * 1024;
/// A segment of a main chain counts access times from this long before it was opened, because the items that are copied
/// into it were accessed earlier.
const MAIN_BASE_SECS: u32 = 3_600;
/// A shard with at least this many segments keeps one more as a spare.
const SEGMENTS_FOR_SPARE: usize = 4;

impl Shard {
    /// An open segment of the chain with room for `bytes`. Evicts until there is one.
    ///
    /// # Errors
    /// When nothing is left to evict in this shard.
    pub(super) fn room_in(
        &mut self,
        queue: Queue,
        expiry: Expiry,
        bytes: usize,
        now: u32,
    ) -> Result<u16, NoRoom> {
        let class = self.class_of(expiry, now);
        if let Some(number) = self.open_with_room(queue, class, bytes) {
            return Ok(number);
        }
        if self.is_worth_compacting(queue) {
            self.compact(queue, now);
        }
        let mut walks = 0;
        // In this order: memory within the limit; else evict and try again; else, when nothing is left to evict, the spare.
        loop {
            if let Some(data) = self.fresh_memory() {
                return self.open_segment(queue, class, data, now).ok_or(NoRoom);
            }
            let held = self.segments.in_use();
            let evicted = self.evict(None, now, &mut walks);
            let freed = self.segments.in_use() < held;
            let data = match evicted {
                true if freed => self.memory_while_lowered(),
                true => None,
                false => self.memory_while_lowered().or_else(|| self.spare.take()),
            };
            match data {
                Some(data) => return self.open_segment(queue, class, data, now).ok_or(NoRoom),
                // Another shard may have freed memory of the tenant meanwhile, so it is tried again.
                None if evicted => {}
                None => return Err(NoRoom),
            }
        }
    }

    pub(super) fn open_with_room(&self, queue: Queue, class: Class, bytes: usize) -> Option<u16> {
        let number = self.chain(queue).open(class)?;
        (self.segments.get(number).room() >= bytes).then_some(number)
    }

    pub(super) fn open_segment(
        &mut self,
        queue: Queue,
        class: Class,
        data: Memory,
        now: u32,
    ) -> Option<u16> {
        let base = match queue.chain {
            ChainKind::Small => now,
            ChainKind::Main => now.saturating_sub(MAIN_BASE_SECS),
        };
        let bytes = data.len();
        let number = self.segments.open(data, queue, base)?;
        self.chain_mut(queue).push_open(class, number, bytes);
        Some(number)
    }

    /// A charged segment within the limit. The spare comes first, so that the next walk can copy.
    fn fresh_memory(&mut self) -> Option<Memory> {
        if self.spare.is_none() && self.segments.in_use() >= SEGMENTS_FOR_SPARE {
            self.spare = Some(self.charged_memory()?);
        }
        self.charged_memory()
    }

    pub(super) fn charged_memory(&mut self) -> Option<Memory> {
        if self.segments.in_use() >= SEGMENTS_MAX {
            return None;
        }
        let bytes = segment_bytes(&self.ledger, self.shards);
        while !self.ledger.try_charge(segment_charge(bytes)) {
            if self.has_retired() {
                self.reclaim(1);
            } else if self.may_exceed_limit {
                self.ledger.charge(segment_charge(bytes));
                break;
            } else {
                return None;
            }
        }
        Some(self.ledger.pool().take(bytes))
    }

    /// A segment in exchange for one that was freed, while a lowered limit is being reached. All shards reach it together
    /// in steps. Without this exchange a store would wait for the other shards, or empty its own shard first.
    pub(super) fn memory_while_lowered(&mut self) -> Option<Memory> {
        if !self.ledger.is_lowered() || self.segments.in_use() >= SEGMENTS_MAX {
            return None;
        }
        let bytes = segment_bytes(&self.ledger, self.shards);
        self.ledger.charge(segment_charge(bytes));
        Some(self.ledger.pool().take(bytes))
    }

    /// Charges `bytes`. Evicts until they fit; while a lowered limit is being reached, until as much was freed. False when
    /// nothing is left to evict.
    pub(super) fn make_room_for(&mut self, bytes: u64, now: u32) -> bool {
        let (mut walks, mut freed) = (0, 0);
        while !self.ledger.try_charge(bytes) {
            if freed >= bytes && self.ledger.is_lowered() {
                self.ledger.charge(bytes);
                break;
            }
            let before = self.ledger.used();
            if self.has_retired() {
                self.reclaim(1);
            } else if !self.evict(None, now, &mut walks) && !self.free_spare() {
                if self.may_exceed_limit {
                    self.ledger.charge(bytes);
                    break;
                }
                return false;
            }
            freed += before.saturating_sub(self.ledger.used());
        }
        self.recharge();
        true
    }

    /// Evicts until about `bytes` are free, for a store in another shard.
    pub(super) fn evict_bytes(&mut self, bytes: u64, now: u32) {
        let target = self.ledger.used().saturating_sub(bytes);
        let mut walks = 0;
        while self.ledger.used() > target && self.evict(None, now, &mut walks) {}
        self.recharge();
    }

    /// After a store into segment `stored`: comes back under the limit, or one step nearer to a lowered one. When nothing
    /// else is left to evict, the next store does it.
    pub(super) fn settle(&mut self, stored: u16, now: u32) {
        if !self.ledger.is_over() {
            return;
        }
        if self.ledger.is_lowered() {
            self.shrink(Some(stored), now);
            return;
        }
        let mut walks = 0;
        while self.ledger.is_over() {
            if self.has_retired() {
                self.reclaim(1);
            } else if !self.evict(Some(stored), now, &mut walks) && !self.free_spare() {
                return;
            }
            self.recharge();
        }
    }

    /// One bounded step towards a lowered limit, without touching segment `except`. False when there is nothing to free.
    pub(super) fn shrink(&mut self, except: Option<u16>, now: u32) -> bool {
        let progress = if self.has_retired() {
            self.reclaim(1);
            true
        } else if let Some(number) = self.victim(except) {
            self.fit_ghost();
            self.walk(number, now, STEP_BYTES, false);
            true
        } else {
            self.free_spare()
        };
        self.recharge();
        progress
    }

    /// Frees the spare segment. False when there is none.
    fn free_spare(&mut self) -> bool {
        let Some(data) = self.spare.take() else {
            return false;
        };
        self.ledger.release(segment_charge(data.len()));
        self.ledger.pool().give_back(data);
        true
    }

    /// Takes a segment without live records out of its chain. Its memory becomes the spare or goes back to the pool.
    pub(super) fn free_segment(&mut self, number: u16) {
        let segment: &Segment = self.segments.get(number);
        let (queue, bytes) = (segment.queue, segment.data.len());
        let dead = self.dead_after_head(number);
        let chain = self.chain_mut(queue);
        chain.remove(number, bytes);
        chain.dead_bytes -= dead;
        let data = self.segments.close(number);
        if self.walking == Some(number) {
            self.walking = None;
        }
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

    /// Dead bytes of the segment that the chain still counts: those behind the point that a walk has reached.
    fn dead_after_head(&self, number: u16) -> u64 {
        let segment = self.segments.get(number);
        u64::from(segment.tail - segment.head - segment.live)
    }
}
