//! `get` and its relatives, which may touch what they read.

use super::ShardGuard;
use crate::engine::storage::exptime::Exptime;
use crate::engine::storage::item::{Header, Meta};
use crate::engine::storage::key::HashedKey;
use crate::engine::storage::request::{GetOptions, NewValue, Touched};
use crate::engine::storage::view::{ItemView, Marks, Value};

impl ShardGuard<'_> {
    /// Reads one item. Counts as a get, or as a touch when `options` hold a new life.
    // With options that are known where it is called, most of it falls away.
    #[inline(always)]
    pub fn get(&mut self, key: &HashedKey<'_>, options: GetOptions) -> Option<ItemView<'_>> {
        let Some(at) = self.shard.find(key) else {
            return self.missed(key, &options);
        };
        let expiry = options.touch.map(|life| self.tenant.clock().expiry(life));
        let before = self.shard.header(at);
        if before.expiry().is_over(self.now) {
            self.remove_expired(at);
            self.shard.counters.get_expired += u64::from(!options.uncounted);
            return self.missed(key, &options);
        }
        let mut after = before;
        if let Some(expiry) = expiry {
            after = after.with_expiry(expiry);
            self.shard.note_expiry(at, expiry);
        }
        let mut marks = Marks::default();
        if options.recaches {
            marks = self.marks(before, after, options.recache_below_secs);
        }
        if marks.won {
            after = after.with_token_sent();
        }
        let shard = &mut *self.shard;
        shard.counters.count_read(&options, true);
        let segment = shard.segments.get_mut(at.segment());
        let base = segment.base;
        if !options.no_bump {
            after = after.after_read(self.now, base);
        }
        let record = segment.record_mut(at.offset());
        if after != before {
            after.write(record);
        }
        Some(ItemView {
            value: shard.large.value(after, record),
            marks,
            record,
            before,
            after,
            base,
            now: self.now,
        })
    }

    #[inline]
    fn missed(&mut self, key: &HashedKey<'_>, options: &GetOptions) -> Option<ItemView<'_>> {
        self.shard.counters.count_read(options, false);
        self.vivified(key, options.vivify?)
    }

    #[inline]
    fn marks(&self, before: Header, after: Header, recache_below: Option<u32>) -> Marks {
        let runs_out = match (recache_below, after.expiry().remaining(self.now)) {
            (Some(below), Some(left)) => left < below,
            _ => false,
        };
        Marks {
            won: !before.is_token_sent() && (before.is_stale() || runs_out),
            stale: before.is_stale(),
            token_sent: before.is_token_sent(),
        }
    }

    /// Makes the empty item which the reader of a miss has won.
    fn vivified(&mut self, key: &HashedKey<'_>, exptime: Exptime) -> Option<ItemView<'_>> {
        let expiry = self.tenant.clock().expiry(exptime);
        let meta = Meta {
            token_sent: true,
            ..self.fresh(0, expiry, None)
        };
        self.put(key, None, &meta, NewValue::Bytes(&[])).ok()?;
        self.shard.counters.total_items += 1;
        let at = self.shard.find(key)?;
        let (record, base) = self.shard.record(at);
        let header = Header::read(record);
        Some(ItemView {
            value: Value::Inline(&[]),
            marks: Marks {
                won: true,
                ..Marks::default()
            },
            record,
            before: header,
            after: header,
            base,
            now: self.now,
        })
    }

    /// Gives an item a new life.
    pub fn touch(&mut self, key: &HashedKey<'_>, exptime: Exptime) -> Option<Touched> {
        let options = GetOptions {
            touch: Some(exptime),
            ..GetOptions::default()
        };
        self.get(key, options).map(|item| Touched {
            flags: item.flags(),
            cas: item.cas(),
        })
    }
}
