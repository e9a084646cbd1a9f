//! Background work: items past their life, a lowered limit, half-dead chains, an index grown too wide.

use super::segment::{Address, Queue};
use super::shard::Shard;

/// Items removed from one segment under one hold of the lock.
const REMOVED_MAX: usize = 2_000;
/// Index tables looked at per segment of the budget.
const TABLES_PER_SEGMENT: u32 = 4;

impl Shard {
    /// One slice of background work, of about `budget` segments; true when more is waiting.
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

    /// Looks at the headers of all segments, from where the last turn stopped, and walks up to `budget` of those
    /// in which an item's life may be over. True when it came round.
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
                // The next turn begins with this segment again.
                self.next_swept = self.next_swept.checked_sub(1).unwrap_or(count - 1);
                return false;
            }
            walked += 1;
        }
        true
    }

    /// Removes what is over in one segment, but only so much at once; true when that was all.
    fn sweep_segment(&mut self, number: u16, now: u32) -> bool {
        let segment = self.segments.get_mut(number);
        let (mut at, tail) = (segment.head, segment.tail);
        segment.clear_expiry();
        let mut over = Vec::new();
        let mut last = now;
        while at < tail {
            let header = segment.header(at as usize);
            let expiry = header.expiry();
            if !header.is_dead() && expiry.is_over(now) {
                if over.len() == REMOVED_MAX {
                    segment.note_expiry(expiry);
                    break;
                }
                over.push(Address::new(number, at));
            } else if !header.is_dead() {
                segment.note_expiry(expiry);
                last = last.max(expiry.raw());
            }
            at += header.record_bytes() as u32;
        }
        // A segment of many lives is not walked for every item that ends.
        let pause = 1 + (last - now) / 8;
        let all = at >= tail;
        if all {
            segment.sweep_at = segment.expiry_min.max(now.saturating_add(pause));
        } else {
            // What was not looked at may never end.
            segment.expiry_max = u32::MAX;
        }
        for address in over {
            let header = self.header(address);
            self.count_end(header, true);
            self.remove(address);
        }
        all
    }
}
