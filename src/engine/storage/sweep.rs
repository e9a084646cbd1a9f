//! Background work of a shard: expired items, a lowered limit, compaction, an index that has become too large.

use super::segment::{Address, Queue};
use super::shard::Shard;

/// The most items removed from one segment under one hold of the lock.
const REMOVED_MAX: usize = 2_000;
/// Index tables checked per segment of the budget.
const TABLES_PER_SEGMENT: u32 = 4;

impl Shard {
    /// One slice of background work, about `budget` segments. True when more work is waiting.
    pub(super) fn maintain(&mut self, budget: u32, now: u32) -> bool {
        self.reclaim(budget);
        for _ in 0..budget {
            if !self.ledger.is_over() || !self.shrink(None, now) {
                break;
            }
        }
        if self.ledger.used() < self.ledger.limit() / 10 * 9 {
            self.filling = true;
        }
        let swept_all = self.sweep(budget, now);
        for queue in Queue::ALL {
            if self.is_worth_compacting(queue) {
                self.compact(queue, now);
            }
        }
        self.tidy_index(budget);
        self.recharge();
        self.has_retired() || self.ledger.is_over() || !swept_all
    }

    fn tidy_index(&mut self, budget: u32) {
        let items = super::segment::Hashed {
            segments: &self.segments,
            hasher: &self.hasher,
        };
        self.index.tidy(budget * TABLES_PER_SEGMENT, &items);
    }

    /// Checks the expiries of all segments, from where the last call stopped, and walks up to `budget` of those in which an
    /// item may have expired. True when it has checked all segments.
    fn sweep(&mut self, budget: u32, now: u32) -> bool {
        let count = self.segments.numbers();
        let mut walked = 0;
        for _ in 0..count {
            self.next_swept = if self.next_swept + 1 < count {
                self.next_swept + 1
            } else {
                0
            };
            let segment = self.segments.get(self.next_swept);
            if segment.data.is_empty() || segment.sweep_at > now {
                continue;
            }
            if walked == budget {
                return false;
            }
            if !self.sweep_segment(self.next_swept, now) {
                // The next call begins with this segment again.
                self.next_swept = self.next_swept.checked_sub(1).unwrap_or(count - 1);
                return false;
            }
            walked += 1;
        }
        true
    }

    /// Removes expired items of one segment, at most [`REMOVED_MAX`]. True when none is left.
    fn sweep_segment(&mut self, number: u16, now: u32) -> bool {
        let segment = self.segments.get_mut(number);
        let (mut at, tail) = (segment.head, segment.tail);
        segment.clear_expiry();
        let mut expired = Vec::new();
        let mut last = now;
        while at < tail {
            let header = segment.header(at as usize);
            let expiry = header.expiry();
            if !header.is_dead() && expiry.has_passed(now) {
                if expired.len() == REMOVED_MAX {
                    segment.note_expiry(expiry);
                    break;
                }
                expired.push(Address::new(number, at));
            } else if !header.is_dead() {
                segment.note_expiry(expiry);
                last = last.max(expiry.raw());
            }
            at += header.record_bytes() as u32;
        }
        // A segment whose items expire one after the other is not walked for each of them. The pause grows with the time
        // until the last one expires.
        let pause = 1 + (last - now) / 8;
        let all = at >= tail;
        if all {
            segment.sweep_at = segment.expiry_min.max(now.saturating_add(pause));
        } else {
            // Items that were not checked may never expire.
            segment.expiry_max = u32::MAX;
        }
        for address in expired {
            let header = self.header(address);
            self.count_removal(header, true);
            self.remove(address);
        }
        all
    }
}
