//! Compaction: moves live records together, so that dead ones free a segment. The order of the records stays, because it
//! is their age in the queue.
//!
//! Deletes and overwrites leave dead records in the middle of a chain. Eviction would reach them in time, but until then
//! they take memory from live items.

use super::item::Header;
use super::segment::{Address, Queue};
use super::shard::Shard;

/// Compaction begins when more than one of this many bytes of a chain is dead.
const DEAD_PART: u64 = 4;
/// How many segments one call works on at most to free one of them.
const SPAN: usize = 8;

impl Shard {
    /// Whether so much of a chain is dead that compaction pays.
    pub(super) fn is_worth_compacting(&self, queue: Queue) -> bool {
        let chain = self.chain(queue);
        let Some(&oldest) = chain.queue.front() else {
            return false;
        };
        let segment_bytes = self.segments.get(oldest).data.len() as u64;
        let all = chain.queue.len() as u64 * segment_bytes;
        chain.dead_bytes * DEAD_PART > all && chain.dead_bytes > 2 * segment_bytes
    }

    /// Moves records towards the front of the chain, starting where most bytes are dead, until a segment is free. False
    /// when none became free.
    pub(super) fn compact(&mut self, queue: Queue, now: u32) -> bool {
        let Some(start) = self.deadest_pair(queue) else {
            return false;
        };
        let span: Vec<u16> = self
            .chain(queue)
            .queue
            .range(start..)
            .take(SPAN)
            .copied()
            .collect();
        let mut into = span[0];
        self.slide(into, now);
        for &from in &span[1..] {
            if !self.can_be_compacted(queue, from) {
                break;
            }
            if self.pour(from, into, now) {
                self.free_segment(from);
                return true;
            }
            self.slide(from, now);
            into = from;
        }
        false
    }

    /// Whether a segment may be changed: it takes no new records, and eviction has not begun to walk it.
    fn can_be_compacted(&self, queue: Queue, number: u16) -> bool {
        !self.chain(queue).is_open(number) && self.segments.get(number).head == 0
    }

    /// The position in the queue of those two neighbours that have most dead bytes together.
    fn deadest_pair(&self, queue: Queue) -> Option<usize> {
        let numbers = &self.chain(queue).queue;
        let dead = |number: u16| match self.can_be_compacted(queue, number) {
            true => Some(self.segments.get(number).dead()),
            false => None,
        };
        (1..numbers.len())
            .filter_map(|at| Some((dead(numbers[at - 1])? + dead(numbers[at])?, at - 1)))
            .max_by_key(|&(dead, _)| dead)
            .map(|(_, at)| at)
    }

    /// Moves the live records of a segment together at its front.
    pub(super) fn slide(&mut self, number: u16, now: u32) {
        let segment = self.segments.get_mut(number);
        let (queue, tail) = (segment.queue, segment.tail as usize);
        let mut at = segment.head as usize;
        let dead_before = u64::from(segment.tail - segment.head - segment.live);
        let mut data = std::mem::take(&mut segment.data);
        segment.clear_expiry();
        let mut end = 0;
        while at < tail {
            let header = Header::read(&data[at..]);
            let bytes = header.record_bytes();
            let address = Address::new(number, at as u32);
            if !header.is_dead() && !self.remove_if_expired(address, &data[at..at + bytes], now) {
                if at != end {
                    let hash = self.hasher.hash(header.key(&data[at..]));
                    data.copy_within(at..at + bytes, end);
                    let to = Address::new(number, end as u32);
                    self.index.relocate(hash, address.raw(), to.raw());
                }
                self.segments.get_mut(number).note_expiry(header.expiry());
                end += bytes;
            }
            at += bytes;
        }
        let segment = self.segments.get_mut(number);
        segment.data = data;
        segment.head = 0;
        segment.tail = end as u32;
        segment.live = end as u32;
        self.chain_mut(queue).dead_bytes -= dead_before;
    }

    /// Moves records of `from` behind those of `into` while they fit. True when `from` has no live record left.
    fn pour(&mut self, from: u16, into: u16, now: u32) -> bool {
        let segment = self.segments.get_mut(from);
        let (queue, base, tail) = (segment.queue, segment.base, segment.tail as usize);
        let mut at = segment.head as usize;
        let data = std::mem::take(&mut segment.data);
        let mut emptied = true;
        while at < tail {
            let header = Header::read(&data[at..]);
            let bytes = header.record_bytes();
            let record = &data[at..at + bytes];
            let address = Address::new(from, at as u32);
            if header.is_dead() {
                self.chain_mut(queue).dead_bytes -= bytes as u64;
            } else if self.segments.get(into).room() < bytes {
                emptied = false;
                break;
            } else {
                if !self.remove_if_expired(address, record, now) {
                    let hash = self.hasher.hash(header.key(record));
                    self.copy_record(hash, address, record, header, base, into);
                }
                self.segments.get_mut(from).live -= bytes as u32;
            }
            at += bytes;
            self.segments.get_mut(from).head = at as u32;
        }
        let segment = self.segments.get_mut(from);
        segment.data = data;
        segment.head = at as u32;
        emptied
    }

    /// Removes an item if it has expired. Its record stays; the caller skips it.
    fn remove_if_expired(&mut self, at: Address, record: &[u8], now: u32) -> bool {
        let header = Header::read(record);
        if !header.expiry().has_passed(now) {
            return false;
        }
        let hash = self.hasher.hash(header.key(record));
        self.index.remove(hash, at.raw());
        let slot = header.is_large().then(|| header.slot(record));
        self.forget(header, at.segment(), slot);
        self.count_removal(header, true);
        true
    }
}
