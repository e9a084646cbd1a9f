//! How an item lies in a segment.
//!
//! ```text
//! byte 0      1      2             6          8        12         16
//!      key    bits   value length, unique,    expiry   unique,    [unique, 63..48: 2] [flags: 4] key value
//!      length        access time   47..32              31..0
//! ```
//!
//! The two parts in brackets are there when a bit says so. A large value leaves its slot number in the place of
//! the value. Records begin at multiples of eight bytes.

use super::clock::Expiry;

pub(super) const HEADER_BYTES: usize = 16;
/// Bytes in the place of a large value.
const SLOT_BYTES: usize = 4;
const CAS_NARROW_BITS: u32 = 48;

const HITS: u64 = 0b11;
const HAS_FLAGS: u64 = 1 << 2;
const IS_LARGE: u64 = 1 << 3;
const STALE: u64 = 1 << 4;
const TOKEN_SENT: u64 = 1 << 5;
const FETCHED: u64 = 1 << 6;
const DEAD: u64 = 1 << 7;

const BITS_AT: u32 = 8;
const LEN_AT: u32 = 16;
const LEN_MASK: u64 = (1 << 20) - 1;
const WIDE: u64 = 1 << 36;
const ACCESS_AT: u32 = 37;
const ACCESS_MASK: u64 = (1 << 11) - 1;
const CAS_HIGH_AT: u32 = 48;

/// What is known of an item beside its key and value.
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
    /// Whether the unique needs the two further bytes.
    pub(super) const fn is_wide(&self) -> bool {
        self.cas >> CAS_NARROW_BITS != 0
    }
}

/// The sixteen bytes at the front of a record.
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

    /// `base` is the time that the segment counts accesses from.
    fn build(meta: &Meta, key_bytes: usize, value_bytes: usize, large: bool, base: u32) -> Header {
        let header = Header {
            first: key_bytes as u64 | (value_bytes as u64 & LEN_MASK) << LEN_AT,
            second: 0,
        };
        header
            .with_bit(HAS_FLAGS, meta.flags != 0)
            .with_bit(IS_LARGE, large)
            .with_meta(meta, base)
    }

    /// The same record with other marks, times and unique. Flags and the width of the unique must be as before.
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

    pub(super) const fn with_token_sent(self) -> Header {
        self.with_bit(TOKEN_SENT, true)
    }

    /// Reads since the item came into its chain, at most three.
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

    /// The same access time, counted from another segment's base.
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
    const fn is_wide(self) -> bool {
        self.first & WIDE != 0
    }

    /// Where the key begins.
    #[inline]
    const fn key_at(self) -> usize {
        key_at(self.is_wide(), self.has(HAS_FLAGS))
    }

    #[inline]
    const fn value_at(self) -> usize {
        self.key_at() + self.key_bytes()
    }

    /// Bytes of the whole record, rounded up to where the next one begins.
    #[inline]
    pub(super) const fn record_bytes(self) -> usize {
        let value = if self.is_large() {
            SLOT_BYTES
        } else {
            self.value_bytes()
        };
        (self.value_at() + value).next_multiple_of(8)
    }

    /// What the item counts in `bytes`: header, key and value.
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

    /// Unique of this item.
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

/// What stands in the place of the value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'a> {
    Inline(&'a [u8]),
    Large { slot: u32, len: usize },
}

impl Body<'_> {
    fn value_bytes(&self) -> usize {
        match self {
            Body::Inline(bytes) => bytes.len(),
            Body::Large { len, .. } => *len,
        }
    }
}

/// Bytes that [`write_record`] will take.
pub(super) fn record_bytes(meta: &Meta, key_bytes: usize, body: &Body<'_>) -> usize {
    let value_bytes = match body {
        Body::Inline(bytes) => bytes.len(),
        Body::Large { .. } => SLOT_BYTES,
    };
    let key_at = key_at(meta.is_wide(), meta.flags != 0);
    (key_at + key_bytes + value_bytes).next_multiple_of(8)
}

/// Writes a whole record at the front of `room`, and says what stands in its header.
pub(super) fn write_record(
    room: &mut [u8],
    meta: &Meta,
    key: &[u8],
    body: &Body<'_>,
    base: u32,
    hits: u8,
) -> Header {
    let large = matches!(body, Body::Large { .. });
    let header = Header::build(meta, key.len(), body.value_bytes(), large, base).with_hits(hits);
    header.write(room);
    if header.is_wide() {
        let high = (meta.cas >> CAS_NARROW_BITS) as u16;
        room[HEADER_BYTES..HEADER_BYTES + 2].copy_from_slice(&high.to_le_bytes());
    }
    let (key_at, value_at) = (header.key_at(), header.value_at());
    if meta.flags != 0 {
        room[key_at - 4..key_at].copy_from_slice(&meta.flags.to_le_bytes());
    }
    room[key_at..value_at].copy_from_slice(key);
    match body {
        Body::Inline(value) => room[value_at..value_at + value.len()].copy_from_slice(value),
        Body::Large { slot, .. } => {
            room[value_at..value_at + SLOT_BYTES].copy_from_slice(&slot.to_le_bytes());
        }
    }
    header
}

#[inline]
const fn key_at(is_wide: bool, has_flags: bool) -> usize {
    HEADER_BYTES + if is_wide { 2 } else { 0 } + if has_flags { 4 } else { 0 }
}

#[inline]
fn read_u32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Seconds as four bits of exponent and seven of mantissa: exact below 256, then within 0.8 %, up to 48 days.
const fn encode_age(secs: u32) -> u16 {
    if secs < 128 {
        return secs as u16;
    }
    let secs = if secs >= 1 << 22 { (1 << 22) - 1 } else { secs };
    let exponent = secs.ilog2() - 6;
    (exponent << 7 | (secs >> (exponent - 1)) & 127) as u16
}

const fn decode_age(code: u16) -> u32 {
    let (exponent, mantissa) = (code as u32 >> 7, code as u32 & 127);
    if exponent == 0 {
        mantissa
    } else {
        (128 | mantissa) << (exponent - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(flags: u32, cas: u64) -> Meta {
        Meta {
            flags,
            cas,
            expiry: Expiry::from_raw(0xdead_beef),
            stale: true,
            token_sent: false,
            fetched: true,
            accessed: 1_000,
        }
    }

    #[test]
    fn records_read_back() {
        for flags in [0, 1, u32::MAX] {
            for cas in [1, 0xffff_ffff_ffff, 1 << 48, u64::MAX] {
                let meta = meta(flags, cas);
                let body = Body::Inline(b"value");
                let mut room = vec![0xaa; 256];
                write_record(&mut room, &meta, b"some key", &body, 900, 0);
                let header = Header::read(&room);
                assert_eq!(header.meta(&room, 900), meta);
                assert_eq!(header.key(&room), b"some key");
                assert_eq!(header.value(&room), b"value");
                assert_eq!(header.record_bytes(), record_bytes(&meta, 8, &body));
                assert_eq!(header.hits(), 0);
                assert!(!header.is_dead());
            }
        }
    }

    #[test]
    fn a_large_record_holds_a_slot_and_the_true_length() {
        let (slot, len) = (77, 1_048_575);
        let mut room = vec![0; 64];
        write_record(
            &mut room,
            &meta(0, 5),
            b"k",
            &Body::Large { slot, len },
            900,
            0,
        );
        let header = Header::read(&room);
        assert!(header.is_large());
        assert_eq!((header.slot(&room), header.value_bytes()), (slot, len));
        assert_eq!(header.record_bytes(), 24);
    }

    #[test]
    fn hits_and_marks_do_not_disturb_each_other() {
        let mut room = vec![0; 64];
        write_record(&mut room, &meta(9, 5), b"k", &Body::Inline(b"v"), 900, 0);
        let read = Header::read(&room)
            .after_read(1_100, 900)
            .after_read(1_100, 900);
        assert_eq!(read.hits(), 2);
        let more = read.after_read(1_100, 900).after_read(1_100, 900);
        assert_eq!(more.hits(), 3);
        let changed = more.with_meta(&meta(9, 6), 900);
        assert_eq!(changed.hits(), 3);
        assert_eq!(changed.meta(&room, 900), meta(9, 6));
        assert!(changed.dead().is_dead());
    }

    #[test]
    fn ages_lose_less_than_a_hundredth() {
        for secs in (0..4_000_000).step_by(37) {
            let back = decode_age(encode_age(secs));
            assert!(back <= secs && secs - back <= secs / 100, "{secs} {back}");
        }
        assert_eq!(decode_age(encode_age(255)), 255);
        assert!(decode_age(encode_age(u32::MAX)) > 4_000_000);
    }
}
