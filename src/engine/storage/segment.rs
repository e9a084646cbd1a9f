//! Segments: numbered blocks of memory to which records are appended. 32 bits address a record.

use super::clock::Expiry;
use super::index::{Rehash, Sought};
use super::item::Header;
use super::key::Hasher;
use super::ledger::Ledger;
use super::memory::Memory;
use super::pool::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};

/// Records begin at multiples of eight bytes. An address has 16 bits for the segment's number and 16 bits for the offset,
/// counted in units of eight bytes.
const UNIT_BYTES: u32 = 8;
const UNIT_BITS: u32 = 16;
/// The most segments of one shard. With the largest segments that is 16 GiB.
pub(super) const SEGMENTS_MAX: usize = (1 << (32 - UNIT_BITS)) - 1;
/// Charged for each segment beside its bytes: its entries in the table of segments and in its chain.
const ENTRY_BYTES: u64 = 96;

/// The address of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address(u32);

impl Address {
    #[inline]
    pub(super) const fn new(segment: u16, offset: u32) -> Address {
        Address(((segment as u32) << UNIT_BITS) | (offset / UNIT_BYTES))
    }

    #[inline]
    pub(super) const fn from_raw(raw: u32) -> Address {
        Address(raw)
    }

    #[inline]
    pub(super) const fn raw(self) -> u32 {
        self.0
    }

    #[inline]
    pub(super) const fn segment(self) -> u16 {
        (self.0 >> UNIT_BITS) as u16
    }

    #[inline]
    pub(super) const fn offset(self) -> usize {
        ((self.0 & ((1 << UNIT_BITS) - 1)) * UNIT_BYTES) as usize
    }
}

/// Small and large values are evicted apart, each within its own share of the bytes. In one queue, an item of 200 KiB would
/// take the place of a thousand small ones, and would be worth it only if it were read a thousand times as often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TierKind {
    /// Values inside their records.
    #[default]
    Inline,
    /// Values in their own allocations.
    Large,
}

/// The two chains of S3-FIFO (`eviction.rs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ChainKind {
    /// New items.
    #[default]
    Small,
    /// Items that were read, or that came back soon after their eviction.
    Main,
}

/// The queue of a segment: one of four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Queue {
    pub tier: TierKind,
    pub chain: ChainKind,
}

impl Queue {
    pub(super) const ALL: [Queue; 4] = [
        Queue {
            tier: TierKind::Inline,
            chain: ChainKind::Small,
        },
        Queue {
            tier: TierKind::Inline,
            chain: ChainKind::Main,
        },
        Queue {
            tier: TierKind::Large,
            chain: ChainKind::Small,
        },
        Queue {
            tier: TierKind::Large,
            chain: ChainKind::Main,
        },
    ];

    /// The main chain of the same tier.
    pub(super) const fn main(self) -> Queue {
        Queue {
            chain: ChainKind::Main,
            ..self
        }
    }
}

/// One segment. Records from `head` to `tail` are in use.
#[derive(Debug, Default)]
pub(super) struct Segment {
    /// Empty when the segment's number is not in use.
    pub data: Memory,
    pub queue: Queue,
    /// Where the next record goes.
    pub tail: u32,
    /// How far eviction has walked. Records before this are gone.
    pub head: u32,
    /// Bytes of live records.
    pub live: u32,
    /// Charged bytes of the large values whose live records are here.
    pub large_bytes: u64,
    /// The engine time from which access times count.
    pub base: u32,
    /// The earliest and the latest expiry of the items written here. The latest is `u32::MAX` when one never expires.
    pub expiry_min: u32,
    pub expiry_max: u32,
    /// The sweep skips the segment until this time.
    pub sweep_at: u32,
}

impl Segment {
    /// Bytes for further records.
    pub(super) fn room(&self) -> usize {
        self.data.len() - self.tail as usize
    }

    /// Bytes of records that are not live, including those that eviction has walked.
    pub(super) fn dead(&self) -> u32 {
        self.tail - self.live
    }

    /// Notes the expiry of an item that is written here.
    pub(super) fn note_expiry(&mut self, expiry: Expiry) {
        if expiry.is_never() {
            self.expiry_max = u32::MAX;
        } else {
            self.expiry_min = self.expiry_min.min(expiry.raw());
            self.expiry_max = self.expiry_max.max(expiry.raw());
            self.sweep_at = self.sweep_at.min(expiry.raw());
        }
    }

    /// Forgets the expiries; the caller notes those of the remaining items again.
    pub(super) fn clear_expiry(&mut self) {
        self.expiry_min = u32::MAX;
        self.expiry_max = 0;
        self.sweep_at = u32::MAX;
    }

    #[inline]
    pub(super) fn record(&self, offset: usize) -> &[u8] {
        &self.data[offset..]
    }

    #[inline]
    pub(super) fn record_mut(&mut self, offset: usize) -> &mut [u8] {
        &mut self.data[offset..]
    }

    #[inline(always)]
    pub(super) fn header(&self, offset: usize) -> Header {
        Header::read(self.record(offset))
    }
}

/// The table of segments. Numbers of freed segments are reused.
#[derive(Debug, Default)]
pub(super) struct Segments {
    table: Vec<Segment>,
    unused: Vec<u16>,
}

impl Segments {
    pub(super) fn in_use(&self) -> usize {
        self.table.len() - self.unused.len()
    }

    /// One more than the highest number.
    pub(super) fn numbers(&self) -> u16 {
        self.table.len() as u16
    }

    #[inline]
    pub(super) fn get(&self, number: u16) -> &Segment {
        &self.table[number as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u16) -> &mut Segment {
        &mut self.table[number as usize]
    }

    /// Makes a segment of memory, with access times counted from `base`. `None` when all numbers are in use.
    pub(super) fn open(&mut self, data: Memory, queue: Queue, base: u32) -> Option<u16> {
        let mut segment = Segment {
            data,
            queue,
            base,
            ..Segment::default()
        };
        segment.clear_expiry();
        match self.unused.pop() {
            Some(number) => {
                self.table[number as usize] = segment;
                Some(number)
            }
            None if self.table.len() < SEGMENTS_MAX => {
                self.table.push(segment);
                Some((self.table.len() - 1) as u16)
            }
            None => None,
        }
    }

    /// Frees the number of a segment. Returns its memory.
    pub(super) fn close(&mut self, number: u16) -> Memory {
        self.unused.push(number);
        std::mem::take(self.get_mut(number)).data
    }

    /// Removes any segment from a table that is no longer used. `None` when none is left.
    pub(super) fn pop(&mut self) -> Option<Memory> {
        while let Some(segment) = self.table.pop() {
            if !segment.data.is_empty() {
                return Some(segment.data);
            }
        }
        *self = Segments::default();
        None
    }

    #[inline]
    pub(super) fn header(&self, address: Address) -> Header {
        self.get(address.segment()).header(address.offset())
    }

    #[inline]
    pub(super) fn record(&self, address: Address) -> &[u8] {
        self.get(address.segment()).record(address.offset())
    }

    pub(super) fn set_header(&mut self, address: Address, header: Header) {
        let segment = self.get_mut(address.segment());
        header.write(segment.record_mut(address.offset()));
    }
}

/// A key to find in the index: it compares the keys in records.
pub(super) struct WithKey<'a> {
    pub key: &'a [u8],
    pub segments: &'a Segments,
}

impl Sought for WithKey<'_> {
    #[inline(always)]
    fn is_at(&self, place: u32) -> bool {
        let record = self.segments.record(Address::from_raw(place));
        let header = Header::read(record);
        header.key_bytes() == self.key.len() && header.key(record) == self.key
    }
}

/// Computes hashes of items for the index, from the keys in their records.
pub(super) struct Hashed<'a> {
    pub segments: &'a Segments,
    pub hasher: &'a Hasher,
}

impl Rehash for Hashed<'_> {
    fn hash_at(&self, place: u32) -> u64 {
        let record = self.segments.record(Address::from_raw(place));
        self.hasher.hash(Header::read(record).key(record))
    }
}

/// The size of new segments: a 512th of the shard's part of the limit, rounded to a power of two. Small segments in small
/// caches, because the open and the spare segments are overhead; not too small in large ones, because each costs an entry.
pub(super) fn segment_bytes(ledger: &Ledger, shards: usize) -> usize {
    let wanted = ledger.limit() / shards as u64 / 512;
    let wanted = usize::try_from(wanted).unwrap_or(SEGMENT_BYTES_MAX);
    let wanted = wanted.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    // From one and a half times a power of two upwards it rounds up.
    (wanted * 3 / 4 + 1)
        .next_power_of_two()
        .clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
}

/// What a segment of `len` bytes costs.
pub(super) fn segment_charge(len: usize) -> u64 {
    len as u64 + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::super::pool::Pool;
    use super::*;

    #[test]
    fn addresses_hold_segment_and_offset() {
        for (segment, offset) in [(0, 0), (1, 8), (65_534, 524_280)] {
            let address = Address::new(segment, offset);
            assert_eq!(address.segment(), segment);
            assert_eq!(address.offset(), offset as usize);
        }
    }

    #[test]
    fn segments_fit_the_limit() {
        let size = |mib: u64| {
            let ledger = Ledger::new(mib << 20, Pool::new(u64::MAX));
            segment_bytes(&ledger, 1) >> 10
        };
        assert_eq!([1, 25, 100, 256, 2_000].map(size), [16, 64, 256, 256, 256]);
    }
}
