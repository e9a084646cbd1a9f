//! The header of an item's record in a segment.
//!
//! ```text
//! byte 0      1      2             6          8        12         16
//!      key    bits   value length, CAS bits   expiry   CAS bits   [CAS bits 63..48: 2] [flags: 4] key value
//!      length        access time   47..32              31..0
//! ```
//!
//! CAS values that the cache gives begin below 2^28, at a number drawn when the cache starts on this node, and rise with each
//! store. Those that clients choose (meta `E`) have any of 64 bits.
//!
//! The two parts in brackets are there if a bit of the header says so. The record of a large value has the number of the
//! value's slot in place of the value. Records begin at multiples of eight bytes.
//!
//! The header is this small because most items are: 16 bytes of header are a sixth of an item of 100 bytes. CAS values
//! below 2^48 and flags of 0, as nearly all items have, take no further bytes.

use super::age::{decode_age, encode_age};
use super::clock::Expiry;

pub(super) const HEADER_BYTES: usize = 16;
/// Bytes of a slot number, in place of a large value.
pub(super) const SLOT_BYTES: usize = 4;
pub(super) const CAS_NARROW_BITS: u32 = 48;

// Bits of byte 1.
const HITS: u64 = 0b11;
const HAS_FLAGS: u64 = 1 << 2;
const IS_LARGE: u64 = 1 << 3;
const STALE: u64 = 1 << 4;
const TOKEN_SENT: u64 = 1 << 5;
const FETCHED: u64 = 1 << 6;
const DEAD: u64 = 1 << 7;

// Where the parts are in the first eight bytes.
const BITS_AT: u32 = 8;
const LEN_AT: u32 = 16;
const LEN_MASK: u64 = (1 << 20) - 1;
const WIDE: u64 = 1 << 36;
const ACCESS_AT: u32 = 37;
const ACCESS_MASK: u64 = (1 << 11) - 1;
const CAS_HIGH_AT: u32 = 48;

/// An item's metadata: all but key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub flags: u32,
    pub cas: u64,
    pub expiry: Expiry,
    pub stale: bool,
    pub token_sent: bool,
    pub fetched: bool,
    /// Engine time of the last access.
    pub accessed: u32,
}

impl Meta {
    /// Whether the CAS value needs the two further bytes.
    pub(super) const fn is_wide(&self) -> bool {
        self.cas >> CAS_NARROW_BITS != 0
    }
}

/// The first sixteen bytes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    first: u64,
    second: u64,
}

impl Header {
    #[inline]
    pub(super) fn read(record: &[u8]) -> Header {
        let (heads, _) = record.as_chunks::<HEADER_BYTES>();
        let both = u128::from_le_bytes(heads[0]);
        Header {
            first: both as u64,
            second: (both >> 64) as u64,
        }
    }

    #[inline]
    pub(super) fn write(self, record: &mut [u8]) {
        let (heads, _) = record.as_chunks_mut::<HEADER_BYTES>();
        let both = u128::from(self.second) << 64 | u128::from(self.first);
        heads[0] = both.to_le_bytes();
    }

    /// `base` is the engine time from which the segment counts access times.
    pub(super) fn build(
        meta: &Meta,
        key_bytes: usize,
        value_bytes: usize,
        large: bool,
        base: u32,
    ) -> Header {
        let header = Header {
            first: key_bytes as u64 | (value_bytes as u64 & LEN_MASK) << LEN_AT,
            second: 0,
        };
        header
            .with_bit(HAS_FLAGS, meta.flags != 0)
            .with_bit(IS_LARGE, large)
            .with_meta(meta, base)
    }

    /// The same header with other marks, times and CAS value. Client flags and the width of the CAS value must be as
    /// before, because the record keeps its layout.
    pub(super) fn with_meta(self, meta: &Meta, base: u32) -> Header {
        let kept = self.first & !(0xffff << CAS_HIGH_AT) & !WIDE;
        let wide = if meta.is_wide() { WIDE } else { 0 };
        let header = Header {
            first: kept | ((meta.cas >> 32) & 0xffff) << CAS_HIGH_AT | wide,
            second: u64::from(meta.expiry.raw()) | (meta.cas & 0xffff_ffff) << 32,
        };
        header
            .with_bit(STALE, meta.stale)
            .with_bit(TOKEN_SENT, meta.token_sent)
            .with_bit(FETCHED, meta.fetched)
            .with_access(meta.accessed, base)
    }

    #[inline]
    const fn has(self, bit: u64) -> bool {
        self.first & (bit << BITS_AT) != 0
    }

    const fn with_bit(mut self, bit: u64, on: bool) -> Header {
        self.first &= !(bit << BITS_AT);
        if on {
            self.first |= bit << BITS_AT;
        }
        self
    }

    #[inline]
    pub(super) const fn key_bytes(self) -> usize {
        (self.first & 0xff) as usize
    }

    #[inline]
    pub(super) const fn value_bytes(self) -> usize {
        (self.first >> LEN_AT & LEN_MASK) as usize
    }

    #[inline]
    pub(super) const fn is_large(self) -> bool {
        self.has(IS_LARGE)
    }

    #[inline]
    pub(super) const fn is_dead(self) -> bool {
        self.has(DEAD)
    }

    pub(super) const fn is_stale(self) -> bool {
        self.has(STALE)
    }

    pub(super) const fn is_token_sent(self) -> bool {
        self.has(TOKEN_SENT)
    }

    #[inline]
    pub(super) const fn is_fetched(self) -> bool {
        self.has(FETCHED)
    }

    pub(super) const fn dead(self) -> Header {
        self.with_bit(DEAD, true)
    }

    #[inline]
    pub(super) const fn expiry(self) -> Expiry {
        Expiry::from_raw(self.second as u32)
    }

    pub(super) const fn with_expiry(mut self, expiry: Expiry) -> Header {
        self.second = self.second & !0xffff_ffff | expiry.raw() as u64;
        self
    }

    /// As before its first read.
    pub(super) const fn unfetched(self) -> Header {
        self.with_bit(FETCHED, false)
    }

    pub(super) const fn with_token_sent(self) -> Header {
        self.with_bit(TOKEN_SENT, true)
    }

    /// Reads since the item came into its chain. Two bits, so three at most.
    #[inline]
    pub(super) const fn hits(self) -> u8 {
        (self.first >> BITS_AT & HITS) as u8
    }

    pub(super) const fn with_hits(mut self, hits: u8) -> Header {
        let hits = if hits > 3 { 3 } else { hits as u64 };
        self.first = self.first & !(HITS << BITS_AT) | hits << BITS_AT;
        self
    }

    /// The header after one more read at `now`.
    #[inline(always)]
    pub(super) const fn after_read(self, now: u32, base: u32) -> Header {
        let hits = self.hits();
        let more = if hits < 3 { hits + 1 } else { hits };
        self.with_hits(more)
            .with_bit(FETCHED, true)
            .with_access(now, base)
    }

    /// The same access time, counted from the base of another segment.
    pub(super) const fn rebased(self, from: u32, to: u32) -> Header {
        if from == to {
            return self;
        }
        self.with_access(self.accessed(from), to)
    }

    #[inline]
    pub(super) const fn with_access(mut self, accessed: u32, base: u32) -> Header {
        let code = encode_age(accessed.saturating_sub(base)) as u64;
        self.first = self.first & !(ACCESS_MASK << ACCESS_AT) | code << ACCESS_AT;
        self
    }

    pub(super) const fn accessed(self, base: u32) -> u32 {
        base.saturating_add(decode_age((self.first >> ACCESS_AT & ACCESS_MASK) as u16))
    }

    #[inline]
    pub(super) const fn is_wide(self) -> bool {
        self.first & WIDE != 0
    }

    /// Offset of the key in the record.
    #[inline]
    pub(super) const fn key_at(self) -> usize {
        key_at(self.is_wide(), self.has(HAS_FLAGS))
    }

    #[inline]
    pub(super) const fn value_at(self) -> usize {
        self.key_at() + self.key_bytes()
    }

    /// Bytes of the whole record, rounded up to the start of the next one.
    #[inline]
    pub(super) const fn record_bytes(self) -> usize {
        let value = if self.is_large() {
            SLOT_BYTES
        } else {
            self.value_bytes()
        };
        (self.value_at() + value).next_multiple_of(8)
    }

    /// What the item adds to the statistic `bytes`: header, key and value.
    pub(super) const fn item_bytes(self) -> u64 {
        (self.value_at() + self.value_bytes()) as u64
    }

    #[inline]
    pub(super) fn key(self, record: &[u8]) -> &[u8] {
        &record[self.key_at()..self.value_at()]
    }

    /// The value of an item that is not large.
    #[inline(always)]
    pub(super) fn value(self, record: &[u8]) -> &[u8] {
        &record[self.value_at()..self.value_at() + self.value_bytes()]
    }

    /// The slot number of a large item.
    pub(super) fn slot(self, record: &[u8]) -> u32 {
        read_u32(&record[self.value_at()..])
    }

    /// The CAS value.
    #[inline]
    pub(super) fn cas(self, record: &[u8]) -> u64 {
        let narrow = self.first >> CAS_HIGH_AT << 32 | self.second >> 32;
        if self.is_wide() {
            let high = u16::from_le_bytes([record[HEADER_BYTES], record[HEADER_BYTES + 1]]);
            narrow | u64::from(high) << CAS_NARROW_BITS
        } else {
            narrow
        }
    }

    #[inline]
    pub(super) fn flags(self, record: &[u8]) -> u32 {
        if self.has(HAS_FLAGS) {
            read_u32(&record[self.key_at() - 4..])
        } else {
            0
        }
    }

    pub(super) fn meta(self, record: &[u8], base: u32) -> Meta {
        Meta {
            flags: self.flags(record),
            cas: self.cas(record),
            expiry: self.expiry(),
            stale: self.is_stale(),
            token_sent: self.is_token_sent(),
            fetched: self.is_fetched(),
            accessed: self.accessed(base),
        }
    }
}

/// Offset of the key in a record.
#[inline]
pub(super) const fn key_at(is_wide: bool, has_flags: bool) -> usize {
    HEADER_BYTES + if is_wide { 2 } else { 0 } + if has_flags { 4 } else { 0 }
}

#[inline]
fn read_u32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
