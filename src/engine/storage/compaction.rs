//! Squeezing dead records out of a chain, in order, without changing the age of what lives.

use super::item::Header;
use super::segment::{Address, Queue};
use super::shard::Shard;

/// Compaction begins when one in so many bytes of a chain is dead.
const DEAD_PART: u64 = 4;
/// Segments looked into for one that comes free.
const SPAN: usize = 8;

impl Shard {
    pub(super) fn is_worth_compacting(&self, queue: Queue) -> bool {
        let chain = self.chain(queue);
        let Some(&oldest) = chain.queue.front() else {
            return false;
        };
        let segment_bytes = self.segments.get(oldest).data.len() as u64;
        let all = chain.queue.len() as u64 * segment_bytes;
        chain.dead_bytes * DEAD_PART > all && chain.dead_bytes > 2 * segment_bytes
    }

    /// Moves records towards the front of the chain, from the deadest place on, until a segment comes free.
    /// False when none did.
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

    fn can_be_compacted(&self, queue: Queue, number: u16) -> bool {
        !self.chain(queue).is_open(number) && self.segments.get(number).head == 0
    }

    /// Where in the queue two neighbours hold most dead bytes.
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

    /// Moves the living records of a segment together at its front.
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
            if !header.is_dead() && !self.bury_expired(address, &data[at..at + bytes], now) {
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

    /// Moves records of `from` behind those of `into` while they fit. True when nothing living is left in `from`.
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
                if !self.bury_expired(address, record, now) {
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

    /// Removes an item if its life is over. Its record stays to be passed over by the caller.
    fn bury_expired(&mut self, at: Address, record: &[u8], now: u32) -> bool {
        let header = Header::read(record);
        if !header.expiry().is_over(now) {
            return false;
        }
        let hash = self.hasher.hash(header.key(record));
        self.index.remove(hash, at.raw());
        let slot = header.is_large().then(|| header.slot(record));
        self.forget(header, at.segment(), slot);
        self.count_end(header, true);
        true
    }
}
