//! One table of the index: buckets of twelve entries, with linear probing from bucket to bucket.
//!
//! An entry that finds its home bucket full goes to the next one with room. Each full bucket that it passes counts it in
//! `spilled`. A search can therefore stop at the first bucket that no entry has passed, and a removed entry leaves no
//! marker behind.

use super::{Rehash, Sought};

/// Entries of a bucket: twelve of them, with their tags and the count, fill one cache line of 64 bytes.
pub(super) const WAYS: usize = 12;
/// Charged for each table beside its buckets: the allocation is aligned to cache lines, which rounds it up.
const TABLE_EXTRA_BYTES: usize = 64;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    /// The low byte of each entry's hash; 0 means free. Tags are compared before any item is read.
    tags: [u8; WAYS],
    /// Entries that found this bucket full on the way from their home bucket and are stored further on.
    spilled: u32,
    /// Addresses of the entries' items.
    places: [u32; WAYS],
}

pub(super) const FREE: Bucket = Bucket {
    tags: [0; WAYS],
    spilled: 0,
    places: [0; WAYS],
};

#[derive(Debug, Default)]
pub(super) struct Table {
    pub buckets: Box<[Bucket]>,
    pub entries: u32,
    /// How many bits of the directory choose this table.
    pub depth: u32,
    /// The value of these bits.
    pub prefix: u32,
}

/// The position of an entry, and its address.
pub(super) struct Found {
    pub bucket: usize,
    pub way: usize,
    pub place: u32,
}

impl Table {
    /// Bytes to be charged.
    pub(super) fn bytes(&self) -> u64 {
        match self.buckets.len() {
            0 => 0,
            buckets => (buckets * size_of::<Bucket>() + TABLE_EXTRA_BYTES) as u64,
        }
    }

    /// Whether one more entry may be added. At most seven eighths of the entries are used; beyond that, searches pass many
    /// full buckets.
    pub(super) fn has_room(&self) -> bool {
        (self.entries as usize + 1) * 8 <= self.buckets.len() * WAYS * 7
    }

    /// The home bucket of a hash. It uses the low half of the hash; the directory uses the top bits. A multiplication
    /// instead of a remainder allows any number of buckets.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (((hash & 0xffff_ffff) * self.buckets.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() {
            0
        } else {
            bucket + 1
        }
    }

    #[inline(always)]
    pub(super) fn find(&self, hash: u64, sought: &impl Sought) -> Option<Found> {
        let mut number = self.home(hash);
        let tag = tag_of(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[number];
            let mut ways = bucket.ways_with(tag);
            while ways != 0 {
                let way = way_of(ways);
                let place = bucket.places[way];
                if sought.is_at(place) {
                    let bucket = number;
                    return Some(Found { bucket, way, place });
                }
                ways &= ways - 1;
            }
            if bucket.spilled == 0 {
                return None;
            }
            number = self.after(number);
        }
        None
    }

    /// Adds an entry. The caller has made sure that there is room.
    pub(super) fn add(&mut self, hash: u64, place: u32) {
        let mut number = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &mut self.buckets[number];
            if let Some(way) = bucket.tags.iter().position(|&tag| tag == 0) {
                bucket.tags[way] = tag_of(hash);
                bucket.places[way] = place;
                self.entries += 1;
                return;
            }
            bucket.spilled += 1;
            number = self.after(number);
        }
    }

    /// As [`Table::add`], for a split or merge: it has guessed the size of the new table, which may be too small.
    pub(super) fn add_growing(&mut self, hash: u64, place: u32, items: &impl Rehash) {
        if !self.has_room() {
            let grown = self.buckets.len() + (self.buckets.len() / 8).max(1);
            let old = std::mem::replace(&mut self.buckets, vec![FREE; grown].into());
            self.entries = 0;
            for place in places_in(&old) {
                self.add(items.hash_at(place), place);
            }
        }
        self.add(hash, place);
    }

    /// Changes the address of an entry.
    pub(super) fn set_place(&mut self, found: &Found, place: u32) {
        self.buckets[found.bucket].places[found.way] = place;
    }

    /// Removes an entry. False when there is none.
    pub(super) fn remove(&mut self, hash: u64, place: u32) -> bool {
        let Some(found) = self.find(hash, &place) else {
            return false;
        };
        let mut number = self.home(hash);
        while number != found.bucket {
            self.buckets[number].spilled -= 1;
            number = self.after(number);
        }
        self.buckets[found.bucket].tags[found.way] = 0;
        self.entries -= 1;
        true
    }
}

impl Bucket {
    /// One bit for each entry whose tag is `tag`; [`way_of`] converts the lowest to the number of its entry. Bit 8n stands
    /// for entry n of the first eight, bit 8n + 1 for entry 8 + n of the last four.
    ///
    /// All twelve tags are compared at once, with arithmetic on whole words: XOR makes equal bytes zero, and `zero_bytes`
    /// sets the top bit of each zero byte. No carry crosses bytes, so no other byte is marked by mistake.
    #[inline(always)]
    fn ways_with(&self, tag: u8) -> u64 {
        const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
        let t = &self.tags;
        let front = u64::from_le_bytes([t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7]]);
        let back = u32::from_le_bytes([t[8], t[9], t[10], t[11]]);
        let zero_bytes = |bytes: u64| !(((bytes & LOW) + LOW) | bytes | LOW);
        let repeated = u64::from(tag) * 0x0101_0101_0101_0101;
        let last = zero_bytes(u64::from(back) ^ repeated) & 0xffff_ffff;
        zero_bytes(front ^ repeated) >> 7 | last >> 6
    }
}

/// The number of the entry that the lowest bit stands for.
#[inline]
fn way_of(ways: u64) -> usize {
    let bit = ways.trailing_zeros() as usize;
    bit / 8 + bit % 2 * 8
}

/// The addresses in these buckets.
pub(super) fn places_in(buckets: &[Bucket]) -> impl Iterator<Item = u32> {
    buckets.iter().flat_map(|bucket| {
        (0..WAYS)
            .filter(|&way| bucket.tags[way] != 0)
            .map(|way| bucket.places[way])
    })
}

/// How many buckets `entries` fill to seven tenths.
pub(super) fn buckets_for(entries: usize) -> usize {
    (entries * 10).div_ceil(WAYS * 7).max(1)
}

/// The tag of a hash. Never 0, which means free.
#[inline]
fn tag_of(hash: u64) -> u8 {
    (hash as u8).max(1)
}
