//! Squeezing dead records out of a chain, in order, without changing the age of what lives.

use super::item::Header;
use super::segment::{Address, ChainKind};
use super::shard::Shard;

/// Compaction begins when one in so many bytes of a chain is dead.
const DEAD_PART: u64 = 4;
/// Segments looked into for one that comes free.
const SPAN: usize = 8;

impl Shard {
    pub(super) fn is_worth_compacting(&self, kind: ChainKind) -> bool {
        let chain = self.chain(kind);
        let Some(&oldest) = chain.queue.front() else {
            return false;
        };
        let segment_bytes = self.segments.get(oldest).data.len() as u64;
        let all = chain.queue.len() as u64 * segment_bytes;
        chain.dead_bytes * DEAD_PART > all && chain.dead_bytes > 2 * segment_bytes
    }

    /// Moves records towards the front of the chain, from the deadest place on, until a segment comes free.
    /// False when none did.
    pub(super) fn compact(&mut self, kind: ChainKind, now: u32) -> bool {
        let Some(start) = self.deadest_pair(kind) else {
            return false;
        };
        let span: Vec<u16> = self
            .chain(kind)
            .queue
            .range(start..)
            .take(SPAN)
            .copied()
            .collect();
        let mut into = span[0];
        self.slide(into, now);
        for &from in &span[1..] {
            if !self.can_be_compacted(kind, from) {
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

    fn can_be_compacted(&self, kind: ChainKind, number: u16) -> bool {
        !self.chain(kind).is_open(number) && self.segments.get(number).head == 0
    }

    /// Where in the queue two neighbours hold most dead bytes.
    fn deadest_pair(&self, kind: ChainKind) -> Option<usize> {
        let queue = &self.chain(kind).queue;
        let dead = |number: u16| match self.can_be_compacted(kind, number) {
            true => Some(self.segments.get(number).dead()),
            false => None,
        };
        (1..queue.len())
            .filter_map(|at| Some((dead(queue[at - 1])? + dead(queue[at])?, at - 1)))
            .max_by_key(|&(dead, _)| dead)
            .map(|(_, at)| at)
    }

    /// Moves the living records of a segment together at its front.
    pub(super) fn slide(&mut self, number: u16, now: u32) {
        let segment = self.segments.get_mut(number);
        let (kind, tail) = (segment.chain, segment.tail as usize);
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
        self.chain_mut(kind).dead_bytes -= dead_before;
    }

    /// Moves records of `from` behind those of `into` while they fit. True when nothing living is left in `from`.
    fn pour(&mut self, from: u16, into: u16, now: u32) -> bool {
        let segment = self.segments.get_mut(from);
        let (kind, base, tail) = (segment.chain, segment.base, segment.tail as usize);
        let mut at = segment.head as usize;
        let data = std::mem::take(&mut segment.data);
        let mut emptied = true;
        while at < tail {
            let header = Header::read(&data[at..]);
            let bytes = header.record_bytes();
            let record = &data[at..at + bytes];
            let address = Address::new(from, at as u32);
            if header.is_dead() {
                self.chain_mut(kind).dead_bytes -= bytes as u64;
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
