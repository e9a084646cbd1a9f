//! From hash to address: an extendible directory of small tables.
//!
//! The top bits of the hash choose a table, the low half a bucket in it. A bucket is one cache line: twelve
//! one-byte tags, twelve addresses, and the number of entries that found it full and went further. So a look-up
//! usually touches one line here and one in the segment. Tables grow by a quarter at a time and split in two when
//! they reach [`BUCKETS_MAX`], so growth never stops the shard for longer than a small table takes.

use super::key::SHARD_BITS;

const WAYS: usize = 12;
/// A table of so many buckets splits instead of growing: 8 KiB, some 1,300 items.
const BUCKETS_MAX: usize = 128;
/// Beside the buckets: rounding of the aligned allocation.
const TABLE_EXTRA_BYTES: usize = 64;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    /// 0 means free.
    tags: [u8; WAYS],
    /// Entries that wanted in here or passed by and lie further on.
    spilled: u32,
    places: [u32; WAYS],
}

const FREE: Bucket = Bucket {
    tags: [0; WAYS],
    spilled: 0,
    places: [0; WAYS],
};

#[derive(Debug, Default)]
struct Table {
    buckets: Box<[Bucket]>,
    entries: u32,
    /// How many directory bits choose this table, and their value.
    depth: u32,
    prefix: u32,
}

/// Tells an entry from others of the same tag. A trait and no closure, so that it can be inlined where it matters.
pub(super) trait Sought {
    fn is_at(&self, place: u32) -> bool;
}

/// The entry of this address.
impl Sought for u32 {
    #[inline]
    fn is_at(&self, place: u32) -> bool {
        place == *self
    }
}

/// Where an entry stands, and its address.
struct Found {
    bucket: usize,
    way: usize,
    place: u32,
}

/// Tells the hash of the item at an address.
pub(super) trait Rehash {
    fn hash_at(&self, place: u32) -> u64;
}

#[derive(Debug, Default)]
pub(super) struct Index {
    directory: Vec<u32>,
    depth: u32,
    tables: Vec<Table>,
    unused: Vec<u32>,
    bucket_bytes: u64,
    next_tidied: u32,
}

impl Index {
    /// Bytes held, to be charged.
    pub(super) fn bytes(&self) -> u64 {
        let lists = (self.directory.capacity() + self.unused.capacity()) * size_of::<u32>();
        let tables = self.tables.capacity() * size_of::<Table>();
        self.bucket_bytes + (lists + tables) as u64
    }

    #[inline]
    fn table_of(&self, hash: u64) -> Option<usize> {
        // Most tenants are small, and this spares theirs a cache line.
        if self.tables.len() == 1 {
            return Some(0);
        }
        let slot = directory_slot(hash, self.depth);
        self.directory.get(slot).map(|&table| table as usize)
    }

    /// The first address under `hash` that is the one sought.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, sought: &impl Sought) -> Option<u32> {
        let table = &self.tables[self.table_of(hash)?];
        table.find(hash, sought).map(|found| found.place)
    }

    /// Adds an entry that is known to be absent.
    pub(super) fn insert(&mut self, hash: u64, place: u32, items: &impl Rehash) {
        if self.directory.is_empty() {
            self.directory.push(0);
            self.tables.push(Table::default());
        }
        loop {
            let Some(number) = self.table_of(hash) else {
                return;
            };
            let table = &mut self.tables[number];
            if table.has_room() {
                table.add(hash, place);
                return;
            }
            let buckets = table.buckets.len();
            if buckets < BUCKETS_MAX {
                let grown = (buckets + (buckets / 4).max(1)).min(BUCKETS_MAX);
                self.resize(number, grown, items);
            } else {
                self.split(number, items);
            }
        }
    }

    /// Points an entry to where its item has moved.
    pub(super) fn relocate(&mut self, hash: u64, from: u32, to: u32) -> bool {
        let Some(number) = self.table_of(hash) else {
            return false;
        };
        let table = &mut self.tables[number];
        let Some(found) = table.find(hash, &from) else {
            return false;
        };
        table.buckets[found.bucket].places[found.way] = to;
        true
    }

    pub(super) fn remove(&mut self, hash: u64, place: u32) -> bool {
        match self.table_of(hash) {
            Some(number) => self.tables[number].remove(hash, place),
            None => false,
        }
    }

    fn resize(&mut self, number: usize, buckets: usize, items: &impl Rehash) {
        let table = &mut self.tables[number];
        self.bucket_bytes -= table.bytes();
        let old = std::mem::replace(&mut table.buckets, vec![FREE; buckets].into());
        table.entries = 0;
        for place in places_in(&old) {
            table.add(items.hash_at(place), place);
        }
        self.bucket_bytes += table.bytes();
    }

    /// Deals the entries of a table out to two, by one more bit of the hash.
    fn split(&mut self, number: usize, items: &impl Rehash) {
        if self.tables[number].depth == self.depth {
            self.directory = self.directory.iter().flat_map(|&t| [t, t]).collect();
            self.depth += 1;
        }
        let old = std::mem::take(&mut self.tables[number]);
        self.bucket_bytes -= old.bytes();
        let depth = old.depth + 1;
        let mut halves = [0, 1].map(|bit| Table {
            buckets: vec![FREE; buckets_for(old.entries as usize / 2)].into(),
            entries: 0,
            depth,
            prefix: old.prefix << 1 | bit,
        });
        for place in places_in(&old.buckets) {
            let hash = items.hash_at(place);
            let half = &mut halves[directory_slot(hash, depth) & 1];
            half.add_growing(hash, place, items);
        }
        self.bucket_bytes += halves[0].bytes() + halves[1].bytes();
        let [low, high] = halves;
        let fresh = self.store_table(high);
        self.point_directory(fresh);
        self.tables[number] = low;
    }

    fn store_table(&mut self, table: Table) -> usize {
        match self.unused.pop() {
            Some(number) => {
                self.tables[number as usize] = table;
                number as usize
            }
            None => {
                self.tables.push(table);
                self.tables.len() - 1
            }
        }
    }

    /// Lets every directory slot with the table's prefix point to it.
    fn point_directory(&mut self, number: usize) {
        let table = &self.tables[number];
        let spread = self.depth - table.depth;
        let start = (table.prefix as usize) << spread;
        self.directory[start..start + (1 << spread)].fill(number as u32);
    }

    /// Looks at up to `budget` tables in turn, and shrinks or merges those that have become too empty.
    pub(super) fn tidy(&mut self, budget: u32, items: &impl Rehash) {
        for _ in 0..budget.min(self.tables.len() as u32) {
            let number = (self.next_tidied as usize + 1) % self.tables.len();
            self.next_tidied = number as u32;
            self.tidy_table(number, items);
        }
        let deepest = self.tables.iter().map(|table| table.depth).max();
        while deepest.is_some_and(|deepest| deepest < self.depth) {
            self.directory = self.directory.iter().step_by(2).copied().collect();
            self.depth -= 1;
        }
    }

    fn tidy_table(&mut self, number: usize, items: &impl Rehash) {
        let table = &self.tables[number];
        let (entries, buckets) = (table.entries as usize, table.buckets.len());
        if buckets == 0 {
            return;
        }
        if let Some(buddy) = self.buddy_to_merge(number) {
            self.merge(number, buddy, items);
        } else if entries * 5 < buckets * WAYS * 2 && buckets_for(entries) < buckets {
            self.resize(number, buckets_for(entries), items);
        }
    }

    /// The other half of the same parent, when both together fill half a table at most.
    fn buddy_to_merge(&self, number: usize) -> Option<usize> {
        let table = &self.tables[number];
        if table.depth == 0 {
            return None;
        }
        let start = ((table.prefix ^ 1) as usize) << (self.depth - table.depth);
        let buddy = self.directory[start] as usize;
        let other = &self.tables[buddy];
        let together = (table.entries + other.entries) as usize;
        let fits = other.depth == table.depth && together <= BUCKETS_MAX * WAYS / 2;
        fits.then_some(buddy)
    }

    fn merge(&mut self, number: usize, buddy: usize, items: &impl Rehash) {
        let halves = [number, buddy].map(|half| std::mem::take(&mut self.tables[half]));
        let mut merged = Table {
            buckets: vec![FREE; buckets_for((halves[0].entries + halves[1].entries) as usize)]
                .into(),
            entries: 0,
            depth: halves[0].depth - 1,
            prefix: halves[0].prefix >> 1,
        };
        for half in &halves {
            self.bucket_bytes -= half.bytes();
            for place in places_in(&half.buckets) {
                merged.add_growing(items.hash_at(place), place, items);
            }
        }
        self.bucket_bytes += merged.bytes();
        self.tables[number] = merged;
        self.point_directory(number);
        self.unused.push(buddy as u32);
    }

    /// Frees some tables of an index that is no longer used; true when none is left.
    pub(super) fn dismantle(&mut self, budget: usize) -> bool {
        self.directory = Vec::new();
        for _ in 0..budget {
            match self.tables.pop() {
                Some(table) => self.bucket_bytes -= table.bytes(),
                None => {
                    *self = Index::default();
                    return true;
                }
            }
        }
        false
    }

    /// All addresses, in no order.
    #[cfg(test)]
    pub(super) fn places(&self) -> impl Iterator<Item = u32> {
        self.tables
            .iter()
            .flat_map(|table| places_in(&table.buckets))
    }
}

impl Table {
    fn bytes(&self) -> u64 {
        match self.buckets.len() {
            0 => 0,
            buckets => (buckets * size_of::<Bucket>() + TABLE_EXTRA_BYTES) as u64,
        }
    }

    /// At most seven eighths are filled, else chains of full buckets get long.
    fn has_room(&self) -> bool {
        (self.entries as usize + 1) * 8 <= self.buckets.len() * WAYS * 7
    }

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
    fn find(&self, hash: u64, sought: &impl Sought) -> Option<Found> {
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

    /// The caller knows that there is room.
    fn add(&mut self, hash: u64, place: u32) {
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

    /// As `add`, when the half that a split or merge guessed proves too small.
    fn add_growing(&mut self, hash: u64, place: u32, items: &impl Rehash) {
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

    fn remove(&mut self, hash: u64, place: u32) -> bool {
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
    /// One bit for each way with this tag; [`way_of`] tells which. Bit 8n stands for way n, and for the last four
    /// ways the bit above those of the first.
    #[inline(always)]
    fn ways_with(&self, tag: u8) -> u64 {
        const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
        let t = &self.tags;
        let front = u64::from_le_bytes([t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7]]);
        let back = u32::from_le_bytes([t[8], t[9], t[10], t[11]]);
        let zero_bytes = |word: u64| !(((word & LOW) + LOW) | word | LOW);
        let repeated = u64::from(tag) * 0x0101_0101_0101_0101;
        let last = zero_bytes(u64::from(back) ^ repeated) & 0xffff_ffff;
        zero_bytes(front ^ repeated) >> 7 | last >> 6
    }
}

/// The way of the lowest bit.
#[inline]
fn way_of(ways: u64) -> usize {
    let bit = ways.trailing_zeros() as usize;
    bit / 8 + bit % 2 * 8
}

fn places_in(buckets: &[Bucket]) -> impl Iterator<Item = u32> {
    buckets.iter().flat_map(|bucket| {
        (0..WAYS)
            .filter(|&way| bucket.tags[way] != 0)
            .map(|way| bucket.places[way])
    })
}

/// Buckets that `entries` fill by seven tenths.
fn buckets_for(entries: usize) -> usize {
    (entries * 10).div_ceil(WAYS * 7).max(1)
}

/// The bits below those that choose the shard.
#[inline]
fn directory_slot(hash: u64, depth: u32) -> usize {
    // Two shifts, since a shift by 64 is none.
    ((hash << SHARD_BITS) >> 1 >> (63 - depth)) as usize
}

#[inline]
fn tag_of(hash: u64) -> u8 {
    (hash as u8).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Items whose hash follows from their address.
    struct Mixed;

    impl Rehash for Mixed {
        fn hash_at(&self, place: u32) -> u64 {
            let mixed = u64::from(place).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
        }
    }

    fn find(index: &Index, place: u32) -> bool {
        index.find(Mixed.hash_at(place), &place) == Some(place)
    }

    #[test]
    fn entries_stay_reachable_while_tables_split_and_merge() {
        let mut index = Index::default();
        for place in 0..60_000 {
            index.insert(Mixed.hash_at(place), place, &Mixed);
        }
        assert!((0..60_000).all(|place| find(&index, place)));
        assert!(!find(&index, 60_001));
        let full = index.bytes();
        assert!(full < 60_000 * 9, "{} bytes per entry", full / 60_000);
        for place in 100..60_000 {
            assert!(index.remove(Mixed.hash_at(place), place));
        }
        for _ in 0..20 {
            index.tidy(1_000, &Mixed);
        }
        assert!((0..100).all(|place| find(&index, place)));
        assert_eq!(index.depth, 0);
        assert!(
            index.bytes() < full / 20,
            "{} bytes are left",
            index.bytes()
        );
    }

    #[test]
    fn a_dismantled_index_holds_nothing() {
        let mut index = Index::default();
        for place in 0..10_000 {
            index.insert(Mixed.hash_at(place), place, &Mixed);
        }
        while !index.dismantle(3) {}
        assert_eq!(index.bytes(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn behaves_as_a_map(steps in proptest::collection::vec((0u8..8, 0u32..3_000), 0..6_000)) {
            let mut index = Index::default();
            let mut model = HashMap::new();
            for (what, place) in steps {
                let hash = Mixed.hash_at(place);
                match what {
                    0..5 => if model.insert(place, hash).is_none() {
                        index.insert(hash, place, &Mixed);
                    },
                    5..7 => prop_assert_eq!(index.remove(hash, place), model.remove(&place).is_some()),
                    _ => index.tidy(2, &Mixed),
                }
                prop_assert_eq!(find(&index, place), model.contains_key(&place));
            }
            let mut places: Vec<u32> = index.places().collect();
            places.sort_unstable();
            let mut expected: Vec<u32> = model.into_keys().collect();
            expected.sort_unstable();
            prop_assert_eq!(places, expected);
        }
    }
}
