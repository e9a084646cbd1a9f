//! Large values. Each has its own allocation, which replies share, so that it is sent without being copied.

use std::sync::Arc;

use super::item::Header;
use super::ledger::Ledger;
use super::view::Value;

/// Charged for each value beside its bytes: the reference counts, the vector and the fields of [`Block`].
const BLOCK_BYTES: u64 = 64;
/// Larger allocations have whole pages. Pages behind the value are not touched, so they take no memory.
const CLASSED_BYTES_MAX: u64 = 14 * 1024;

/// What a value of `len` bytes costs in its own allocation, including the rounding of jemalloc: up to [`CLASSED_BYTES_MAX`]
/// there are four sizes between two powers of two, beyond it whole pages.
pub(super) fn charge_of(len: usize) -> u64 {
    let bytes = (len as u64).max(64);
    let rounded = if bytes > CLASSED_BYTES_MAX {
        bytes.next_multiple_of(4096)
    } else {
        bytes.next_multiple_of(bytes.next_power_of_two() / 8)
    };
    rounded + BLOCK_BYTES
}

/// A large value. Clones share the bytes. The tenant is charged until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct SharedValue {
    block: Arc<Block>,
}

#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    charged: u64,
    ledger: Arc<Ledger>,
}

impl Drop for Block {
    fn drop(&mut self) {
        self.ledger.release(self.charged);
    }
}

impl SharedValue {
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.block.bytes
    }

    pub(super) fn charged(&self) -> u64 {
        self.block.charged
    }
}

impl AsRef<[u8]> for SharedValue {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

/// A large value that is being received. The tenant is charged from the start. Dropping it frees the memory.
#[derive(Debug)]
pub struct Upload {
    block: Block,
    len: usize,
}

impl Upload {
    /// The caller has charged `charge_of(len)`.
    pub(super) fn charged(len: usize, ledger: Arc<Ledger>) -> Upload {
        let charged = charge_of(len);
        ledger.upload_began(charged);
        let block = Block {
            bytes: Vec::with_capacity(len),
            charged,
            ledger,
        };
        Upload { block, len }
    }

    /// Bytes still to come.
    pub fn remaining(&self) -> usize {
        self.len - self.block.bytes.len()
    }

    /// The announced length of the whole value.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn is_complete(&self) -> bool {
        self.remaining() == 0
    }

    /// Appends what is missing from `bytes`. Returns how many bytes it took.
    pub fn extend(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.remaining());
        self.block.bytes.extend_from_slice(&bytes[..taken]);
        taken
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.block.bytes
    }

    pub(super) fn finish(mut self) -> SharedValue {
        let ledger = Arc::clone(&self.block.ledger);
        // The charge moves to the value, so dropping the upload must not release it.
        let block = Block {
            bytes: std::mem::take(&mut self.block.bytes),
            charged: self.block.charged,
            ledger,
        };
        self.block.ledger.upload_ended(block.charged);
        self.block.charged = 0;
        SharedValue {
            block: Arc::new(block),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.block.ledger.upload_ended(self.block.charged);
    }
}

/// The large values of one shard, by the slot numbers in their records.
#[derive(Debug, Default)]
pub(super) struct LargeTable {
    slots: Vec<Option<SharedValue>>,
    unused: Vec<u32>,
}

impl LargeTable {
    /// Bytes of the table itself, to be charged.
    pub(super) fn bytes(&self) -> u64 {
        let slots = self.slots.capacity() * size_of::<Option<SharedValue>>();
        (slots + self.unused.capacity() * size_of::<u32>()) as u64
    }

    /// The value of a record, from the record or from this table.
    #[inline(always)]
    pub(super) fn value<'a>(&'a self, header: Header, record: &'a [u8]) -> Value<'a> {
        if header.is_large() {
            self.get(header.slot(record))
                .map_or(Value::Inline(&[]), Value::Shared)
        } else {
            Value::Inline(header.value(record))
        }
    }

    pub(super) fn get(&self, slot: u32) -> Option<&SharedValue> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn add(&mut self, value: SharedValue) -> u32 {
        match self.unused.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(value);
                slot
            }
            None => {
                self.slots.push(Some(value));
                // Reserved now, so that `remove` never allocates and never changes what is charged.
                let unused = self.unused.len();
                self.unused.reserve_exact(self.slots.capacity() - unused);
                (self.slots.len() - 1) as u32
            }
        }
    }

    /// Replaces the value of a slot. Returns what the old one was charged.
    pub(super) fn replace(&mut self, slot: u32, value: SharedValue) -> u64 {
        let old = self.slots[slot as usize].replace(value);
        old.map_or(0, |old| old.charged())
    }

    /// Drops the value of a slot. Returns what it was charged. Unsent replies may still hold the value.
    pub(super) fn remove(&mut self, slot: u32) -> u64 {
        self.unused.push(slot);
        let old = self.slots[slot as usize].take();
        old.map_or(0, |old| old.charged())
    }

    /// Drops up to `budget` values of a table that is no longer used. True when none is left.
    pub(super) fn dismantle(&mut self, budget: usize) -> bool {
        let keep = self.slots.len().saturating_sub(budget);
        self.slots.truncate(keep);
        self.slots.is_empty()
    }

    #[cfg(test)]
    pub(super) fn charged(&self) -> u64 {
        self.slots.iter().flatten().map(SharedValue::charged).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::storage::pool::Pool;

    #[test]
    fn a_value_costs_what_the_allocator_takes_for_it() {
        let cost = |len: usize| charge_of(len) - BLOCK_BYTES;
        assert_eq!([1, 64, 65, 80, 81].map(cost), [64, 64, 80, 80, 96]);
        assert_eq!([5_000, 8_192, 8_193].map(cost), [5_120, 8_192, 10_240]);
        assert_eq!(
            [14_336, 14_337, 100_000].map(cost),
            [14_336, 16_384, 102_400]
        );
    }

    #[test]
    fn a_value_is_charged_until_its_last_handle_is_gone() {
        let ledger = Arc::new(Ledger::new(1 << 20, Pool::new(1 << 20)));
        assert!(ledger.try_charge(charge_of(5000)));
        let mut upload = Upload::charged(5000, Arc::clone(&ledger));
        assert_eq!(upload.extend(&[7; 6000]), 5000);
        assert!(upload.is_complete());
        let value = upload.finish();
        let second = value.clone();
        drop(value);
        assert_eq!(ledger.used(), charge_of(5000));
        assert_eq!(second.as_slice().len(), 5000);
        drop(second);
        assert_eq!(ledger.used(), 0);
        assert_eq!(ledger.pool().used_bytes(), 0);
        assert!(ledger.may_upload(u64::MAX), "no upload is left");
    }

    #[test]
    fn an_unfinished_upload_frees_its_memory() {
        let ledger = Arc::new(Ledger::new(1 << 20, Pool::new(1 << 20)));
        assert!(ledger.try_charge(charge_of(5000)));
        drop(Upload::charged(5000, Arc::clone(&ledger)));
        assert_eq!(ledger.used(), 0);
    }
}
