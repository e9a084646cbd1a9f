//! Writing an item's record: header, key and value.

use super::item::{CAS_NARROW_BITS, HEADER_BYTES, Header, Meta, SLOT_BYTES, key_at};
use super::large::SharedValue;
use super::segment::TierKind;

/// A value to be stored: in the record itself, or in its own allocation.
#[derive(Clone, Debug)]
pub(super) enum StoredValue<'a> {
    Inline(&'a [u8]),
    Large(SharedValue),
}

impl StoredValue<'_> {
    pub(super) fn tier(&self) -> TierKind {
        match self {
            StoredValue::Inline(_) => TierKind::Inline,
            StoredValue::Large(_) => TierKind::Large,
        }
    }

    /// What the record contains: the bytes, or the slot number of the large value.
    pub(super) fn body(&self, slot: u32) -> Body<'_> {
        match self {
            StoredValue::Inline(bytes) => Body::Inline(bytes),
            StoredValue::Large(shared) => Body::Large {
                slot,
                len: shared.as_slice().len(),
            },
        }
    }
}

/// What a record has in place of the value.
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

/// How many bytes [`write_record`] will write.
pub(super) fn record_bytes(meta: &Meta, key_bytes: usize, body: &Body<'_>) -> usize {
    let value_bytes = match body {
        Body::Inline(bytes) => bytes.len(),
        Body::Large { .. } => SLOT_BYTES,
    };
    let key_at = key_at(meta.is_wide(), meta.flags != 0);
    (key_at + key_bytes + value_bytes).next_multiple_of(8)
}

/// Writes a whole record at the start of `room`. Returns its header.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::storage::clock::Expiry;

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
}
