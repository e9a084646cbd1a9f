//! Replies that wait to be sent to one client.

use std::io::IoSlice;

use crate::engine::storage::{SharedValue, Value};

/// Shorter shared values are copied. A further piece in a vectored write would cost more.
const REFERENCE_BYTES_MIN: usize = 4096;

/// Reply bytes in order. Large values are between them by reference.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    blocks: Vec<Block>,
    /// Sum of the bytes of all blocks.
    block_bytes: usize,
    /// How many bytes the socket has taken.
    sent: usize,
}

#[derive(Debug)]
struct Block {
    /// The value belongs before this position of `bytes`.
    at: usize,
    value: SharedValue,
}

impl Output {
    /// The buffer for small replies.
    #[inline]
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    #[inline]
    pub fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
    }

    /// Appends a value, large ones by reference.
    #[inline(always)]
    pub fn push_value(&mut self, value: &Value<'_>) {
        match value {
            Value::Shared(shared) if shared.as_slice().len() >= REFERENCE_BYTES_MIN => {
                self.block_bytes += shared.as_slice().len();
                self.blocks.push(Block {
                    at: self.bytes.len(),
                    value: SharedValue::clone(shared),
                });
            }
            other => self.bytes.extend_from_slice(other.as_slice()),
        }
    }

    /// Bytes not sent yet.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() + self.block_bytes - self.sent
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes since the last clear, sent or not.
    pub fn total(&self) -> usize {
        self.bytes.len() + self.block_bytes
    }

    /// The unsent bytes, if they are one piece. They are, unless a large value is among them.
    #[inline]
    pub fn as_one_piece(&self) -> Option<&[u8]> {
        self.blocks.is_empty().then(|| &self.bytes[self.sent..])
    }

    /// Fills `slices` with the next unsent pieces. Returns how many it filled.
    pub fn pieces<'o>(&'o self, slices: &mut [IoSlice<'o>]) -> usize {
        let mut skip = self.sent;
        let mut filled = 0;
        let mut from = 0;
        let ends = self.blocks.iter().map(|block| (block.at, Some(block)));
        for (at, block) in ends.chain([(self.bytes.len(), None)]) {
            let copied = &self.bytes[from..at];
            from = at;
            let shared = block.map_or(&[][..], |block| block.value.as_slice());
            for piece in [copied, shared] {
                if skip >= piece.len() {
                    skip -= piece.len();
                    continue;
                }
                if filled == slices.len() {
                    return filled;
                }
                slices[filled] = IoSlice::new(&piece[skip..]);
                skip = 0;
                filled += 1;
            }
        }
        filled
    }

    /// The socket has taken `count` more bytes.
    pub fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.is_empty() {
            self.clear();
        }
    }

    /// The unsent replies, in memory of their own size. The buffer that they were written to stays with the thread.
    pub fn take_unsent(&mut self) -> Output {
        if let Some(rest) = self.as_one_piece() {
            let bytes = rest.to_vec();
            self.clear();
            return Output {
                bytes,
                ..Output::default()
            };
        }
        let mut unsent = std::mem::take(self);
        unsent.bytes.shrink_to_fit();
        unsent.blocks.shrink_to_fit();
        unsent
    }

    /// What the output takes of memory, without the values that it refers to: those are charged until they are dropped.
    pub fn buffer_bytes(&self) -> usize {
        self.bytes.capacity() + self.blocks.capacity() * size_of::<Block>()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.blocks.clear();
        self.block_bytes = 0;
        self.sent = 0;
    }

    /// Frees buffers that one large reply has made large, so that they are not kept for ever.
    pub fn shrink(&mut self, bytes_max: usize) {
        if self.bytes.capacity() > bytes_max && self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        if self.blocks.capacity() > 64 && self.blocks.is_empty() {
            self.blocks = Vec::new();
        }
    }

    /// A copy of the unsent bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut slices = vec![IoSlice::new(&[]); self.blocks.len() * 2 + 1];
        let filled = self.pieces(&mut slices);
        slices[..filled]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::storage::{
        EngineClock, Exptime, GetOptions, NewValue, Pool, StoreRequest, Tenant,
    };

    /// An output of the form `ab<large value>cd`.
    fn with_large_value(len: usize) -> (Output, Vec<u8>) {
        let tenant = Tenant::new(
            64 << 20,
            &Pool::new(1 << 30),
            &EngineClock::manual(1_800_000_000),
        );
        let body: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let mut upload = tenant.reserve(len).unwrap();
        upload.extend(&body);
        let key = tenant.key(b"large");
        let mut shard = tenant.lock(&key);
        let value = NewValue::Upload(upload);
        shard.store(&key, StoreRequest::set(0, Exptime::Never, value));
        let mut out = Output::default();
        out.push(b"ab");
        let item = shard.get(&key, GetOptions::default()).unwrap();
        out.push_value(&item.value);
        out.push(b"cd");
        let mut whole = b"ab".to_vec();
        whole.extend_from_slice(&body);
        whole.extend_from_slice(b"cd");
        (out, whole)
    }

    #[test]
    fn partial_sends_neither_lose_nor_repeat_bytes() {
        let (mut out, whole) = with_large_value(500_000);
        assert_eq!(out.len(), whole.len());
        let mut received = Vec::new();
        let mut step = 1;
        while !out.is_empty() {
            let mut slices = [IoSlice::new(&[]); 2];
            let filled = out.pieces(&mut slices);
            let next: Vec<u8> = slices[..filled].iter().flat_map(|s| s.to_vec()).collect();
            let taken = step.min(next.len());
            received.extend_from_slice(&next[..taken]);
            out.advance(taken);
            step = step * 3 + 1;
        }
        assert!(received == whole);
        assert_eq!(out.total(), 0);
    }
}
