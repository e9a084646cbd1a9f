//! A flush happens in one step; its memory is freed in many.

use super::ghost::Ghost;
use super::index::Index;
use super::large::LargeTable;
use super::segment::{Segments, segment_charge};
use super::shard::Shard;
use super::tenant::Flushed;

/// How many large values or index tables are freed as one segment's worth of work.
const PER_SEGMENT: usize = 8;

/// What a flush took out of use. It is still charged and no longer reachable.
#[derive(Debug)]
pub(super) struct Retired {
    segments: Segments,
    large: LargeTable,
    index: Index,
    ghost: Ghost,
}

impl Retired {
    fn table_bytes(&self) -> u64 {
        self.large.bytes() + self.index.bytes() + self.ghost.bytes()
    }
}

impl Shard {
    /// Removes all items. It moves a few pointers, however many items there are.
    pub(super) fn flush(&mut self) -> Flushed {
        let flushed = Flushed {
            items: self.counters.curr_items,
            bytes: self.counters.bytes,
        };
        self.recharge();
        self.counters.curr_items = 0;
        self.counters.bytes = 0;
        self.inline_tier = Default::default();
        self.large_tier = Default::default();
        self.large_share = Default::default();
        self.filling = true;
        self.walking = None;
        let retired = Retired {
            segments: std::mem::take(&mut self.segments),
            large: std::mem::take(&mut self.large),
            index: std::mem::take(&mut self.index),
            ghost: std::mem::take(&mut self.ghost),
        };
        self.tables_charged = 0;
        self.retired.push(retired);
        flushed
    }

    /// Whether flushed memory is still to be freed.
    pub(super) fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Frees up to `budget` segments' worth of flushed memory.
    pub(super) fn reclaim(&mut self, budget: u32) {
        for _ in 0..budget {
            let Some(retired) = self.retired.last_mut() else {
                return;
            };
            let before = retired.table_bytes();
            let done = match retired.segments.pop() {
                Some(data) => {
                    self.ledger.release(segment_charge(data.len()));
                    self.ledger.pool().give_back(data);
                    retired.large.dismantle(PER_SEGMENT);
                    false
                }
                None => {
                    retired.large.dismantle(PER_SEGMENT) && retired.index.dismantle(PER_SEGMENT)
                }
            };
            if done {
                self.retired.pop();
                self.ledger.release(before);
            } else {
                self.ledger.release(before - retired.table_bytes());
            }
        }
    }
}

#[cfg(test)]
impl Shard {
    /// What flushed memory is still charged.
    pub(super) fn retired_bytes(&self) -> u64 {
        self.retired
            .iter()
            .map(|retired| {
                let segments = (0..retired.segments.numbers())
                    .map(|number| retired.segments.get(number).data.len())
                    .filter(|&bytes| bytes > 0)
                    .map(segment_charge);
                segments.sum::<u64>() + retired.large.charged() + retired.table_bytes()
            })
            .sum()
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.flush();
        while self.has_retired() {
            self.reclaim(u32::MAX);
        }
        if let Some(data) = self.spare.take() {
            self.ledger.release(segment_charge(data.len()));
            self.ledger.pool().give_back(data);
        }
    }
}
