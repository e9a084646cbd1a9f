//! Compares the counts that a shard keeps with a full walk over it.

use crate::engine::storage::segment::{Address, Queue, segment_charge};
use crate::engine::storage::shard::Shard;

impl Shard {
    /// Panics where a count differs from the walk. Returns the bytes that the shard holds.
    pub(in crate::engine::storage) fn audit(&self) -> u64 {
        let (mut items, mut bytes, mut held) = (0, 0, 0);
        for queue in Queue::ALL {
            let chain = self.chain(queue);
            let (mut chain_bytes, mut dead) = (0, 0);
            for &number in &chain.queue {
                let segment = self.segments.get(number);
                assert_eq!(segment.queue, queue);
                let walked = self.walk_live(number);
                items += walked.items;
                bytes += walked.bytes;
                assert_eq!(u64::from(segment.live), walked.record_bytes, "live bytes");
                assert_eq!(segment.large_bytes, walked.large_bytes, "large bytes");
                dead += u64::from(segment.tail - segment.head - segment.live);
                chain_bytes += segment.data.len() as u64 + segment.large_bytes;
                held += segment_charge(segment.data.len());
            }
            assert_eq!(chain.bytes, chain_bytes, "bytes of the chain");
            assert_eq!(chain.dead_bytes, dead, "dead bytes of the chain");
        }
        let queued: usize = Queue::ALL
            .iter()
            .map(|&queue| self.chain(queue).queue.len())
            .sum();
        assert_eq!(self.segments.in_use(), queued);
        assert_eq!(self.counters.curr_items, items, "items");
        assert_eq!(self.counters.bytes, bytes, "bytes of items");
        assert_eq!(self.index.places().count() as u64, items, "index entries");
        let spare = self
            .spare
            .as_ref()
            .map_or(0, |data| segment_charge(data.len()));
        let tables = self.index.bytes() + self.ghost.bytes() + self.large.bytes();
        assert_eq!(self.tables_charged, tables, "charged tables");
        held + spare + tables + self.large.charged() + self.retired_bytes()
    }

    fn walk_live(&self, number: u16) -> Walked {
        let segment = self.segments.get(number);
        let mut walked = Walked::default();
        let mut at = segment.head;
        while at < segment.tail {
            let record = segment.record(at as usize);
            let header = segment.header(at as usize);
            if !header.is_dead() {
                let address = Address::new(number, at);
                let hash = self.hasher.hash(header.key(record));
                let found = self.index.find(hash, &address.raw());
                assert_eq!(found, Some(address.raw()), "a live item is in the index");
                walked.items += 1;
                walked.bytes += header.item_bytes();
                walked.record_bytes += header.record_bytes() as u64;
                if header.is_large() {
                    let value = self.large.get(header.slot(record));
                    let value = value.expect("a large item has its value");
                    assert_eq!(value.as_slice().len(), header.value_bytes());
                    walked.large_bytes += value.charged();
                }
            }
            at += header.record_bytes() as u32;
        }
        assert_eq!(at, segment.tail);
        walked
    }
}

#[derive(Default)]
struct Walked {
    items: u64,
    bytes: u64,
    record_bytes: u64,
    large_bytes: u64,
}
