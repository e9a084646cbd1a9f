//! The index: from a key's hash to the address of its item.
//!
//! It is an extendible hash directory of small tables. The top bits of the hash choose a table; the low half chooses a
//! bucket in it (`table`). A bucket is one cache line, so a look-up usually reads one cache line here and one in the
//! segment.
//!
//! Why many small tables: one large table would be rehashed as a whole when it grows, and the shard would stand still
//! meanwhile. Here a table grows by a quarter at a time, and splits in two when it reaches [`BUCKETS_MAX`], so no step takes
//! longer than rehashing one small table. The index takes 6 to 9 bytes per item.

mod table;

use super::key::SHARD_BITS;
use table::{FREE, Table, WAYS, buckets_for, places_in};

/// A table with this many buckets splits instead of growing: 8 KiB, some 1,300 items.
const BUCKETS_MAX: usize = 128;

/// What a search looks for: it tells the right entry from others with the same tag. A trait instead of a closure, so
/// that its method can be marked for inlining.
pub(super) trait Sought {
    fn is_at(&self, place: u32) -> bool;
}

/// The entry with this address.
impl Sought for u32 {
    #[inline]
    fn is_at(&self, place: u32) -> bool {
        place == *self
    }
}

/// Computes the hash of the item at an address. The index does not store hashes, so it needs this to move entries to
/// another table.
pub(super) trait Rehash {
    fn hash_at(&self, place: u32) -> u64;
}

#[derive(Debug, Default)]
pub(super) struct Index {
    /// The number of a table for each value of the top `depth` bits of a hash. Several values may lead to one table.
    directory: Vec<u32>,
    depth: u32,
    tables: Vec<Table>,
    /// Numbers of tables that are not in use.
    unused: Vec<u32>,
    bucket_bytes: u64,
    next_tidied: u32,
}

impl Index {
    /// Bytes to be charged.
    pub(super) fn bytes(&self) -> u64 {
        let lists = (self.directory.capacity() + self.unused.capacity()) * size_of::<u32>();
        let tables = self.tables.capacity() * size_of::<Table>();
        self.bucket_bytes + (lists + tables) as u64
    }

    #[inline]
    fn table_of(&self, hash: u64) -> Option<usize> {
        // Most tenants are small and have one table. This saves them the cache line of the directory.
        if self.tables.len() == 1 {
            return Some(0);
        }
        let slot = directory_slot(hash, self.depth);
        self.directory.get(slot).map(|&table| table as usize)
    }

    /// The address under `hash` that `sought` accepts.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, sought: &impl Sought) -> Option<u32> {
        let table = &self.tables[self.table_of(hash)?];
        table.find(hash, sought).map(|found| found.place)
    }

    /// Adds an entry. The caller has made sure that there is none for this item.
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

    /// Changes an entry after its item has moved. False when there is no such entry.
    pub(super) fn relocate(&mut self, hash: u64, from: u32, to: u32) -> bool {
        let Some(number) = self.table_of(hash) else {
            return false;
        };
        let table = &mut self.tables[number];
        let Some(found) = table.find(hash, &from) else {
            return false;
        };
        table.set_place(&found, to);
        true
    }

    /// Removes an entry. False when there is none.
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

    /// Splits a table in two, by one more bit of the hash. If the table already uses all bits of the directory, the
    /// directory doubles first.
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

    /// Points all directory entries with the table's prefix to it.
    fn point_directory(&mut self, number: usize) {
        let table = &self.tables[number];
        let spread = self.depth - table.depth;
        let start = (table.prefix as usize) << spread;
        self.directory[start..start + (1 << spread)].fill(number as u32);
    }

    /// Checks up to `budget` tables, one after the other, and shrinks or merges those that have become too empty.
    pub(super) fn tidy(&mut self, budget: u32, items: &impl Rehash) {
        for _ in 0..budget.min(self.tables.len() as u32) {
            let number = (self.next_tidied as usize + 1) % self.tables.len();
            self.next_tidied = number as u32;
            self.tidy_table(number, items);
        }
        // The directory halves when no table needs its last bit any more.
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

    /// The table that was split from the same parent, if both together fill at most half a table. The other half stays
    /// free so that the merged table does not split again at once.
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

    /// Frees up to `budget` tables of an index that is no longer used. True when none is left.
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

    /// All addresses, in no particular order.
    #[cfg(test)]
    pub(super) fn places(&self) -> impl Iterator<Item = u32> {
        self.tables
            .iter()
            .flat_map(|table| places_in(&table.buckets))
    }
}

/// The directory entry of a hash: the `depth` bits below those that chose the shard, which all keys of a shard share.
#[inline]
fn directory_slot(hash: u64, depth: u32) -> usize {
    // Two shifts instead of one: with depth 0 it would be a shift by 64, which is not defined.
    ((hash << SHARD_BITS) >> 1 >> (63 - depth)) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Items whose hash is computed from their address.
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
