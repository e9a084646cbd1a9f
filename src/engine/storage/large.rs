//! Large values: each in its own allocation, counted, shared with the replies that carry it.

use std::sync::Arc;

use bytes::BufMut;
use bytes::buf::Limit;

use super::ledger::Ledger;

/// The block that holds the counts, the vector and its account beside the bytes.
const BLOCK_BYTES: u64 = 64;
/// From here on an allocation is rounded to pages.
const PAGED_BYTES: u64 = 128 * 1024;

/// What a value of `len` bytes costs in its own allocation, the allocator's rounding included.
pub(super) fn charge_of(len: usize) -> u64 {
    let raw = len as u64 + 8;
    let rounded = if raw >= PAGED_BYTES {
        (raw + 8).next_multiple_of(4096)
    } else {
        raw.next_multiple_of(16).max(32)
    };
    rounded + BLOCK_BYTES
}

/// A large value. Clones share the bytes; they stay charged to the tenant until the last clone is gone.
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

/// A large value on its way in, charged to the tenant from the start. Dropping it gives the memory back.
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

    pub fn is_complete(&self) -> bool {
        self.remaining() == 0
    }

    /// Where the next bytes go, no more than are still to come; made for reading from a socket.
    pub fn buffer(&mut self) -> Limit<&mut Vec<u8>> {
        let remaining = self.remaining();
        (&mut self.block.bytes).limit(remaining)
    }

    /// Appends from `bytes` what is still to come and says how many bytes that was.
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
        // The charge moves to the value; what is left of the upload releases nothing.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::storage::pool::Pool;

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
    fn a_broken_upload_gives_its_memory_back() {
        let ledger = Arc::new(Ledger::new(1 << 20, Pool::new(1 << 20)));
        assert!(ledger.try_charge(charge_of(5000)));
        drop(Upload::charged(5000, Arc::clone(&ledger)));
        assert_eq!(ledger.used(), 0);
    }
}
