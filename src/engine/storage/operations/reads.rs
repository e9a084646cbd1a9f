//! Reads. `gat` and meta flags may also change the item that is read.

use super::ShardGuard;
use crate::engine::storage::clock::Expiry;
use crate::engine::storage::exptime::Exptime;
use crate::engine::storage::item::{Header, Meta};
use crate::engine::storage::key::HashedKey;
use crate::engine::storage::request::{GetOptions, NewValue, Touched};
use crate::engine::storage::view::{ItemView, Marks, Value};

impl ShardGuard<'_> {
    /// Reads one item. Counts as a touch when `options` have a new exptime, else as a get.
    // Inlined so that the compiler drops what constant options do not use; a fast get uses little of it.
    #[inline(always)]
    pub fn get(&mut self, key: &HashedKey<'_>, options: GetOptions) -> Option<ItemView<'_>> {
        let Some(at) = self.shard.find(key) else {
            return self.missed(key, &options);
        };
        let expiry = options
            .touch
            .map(|exptime| self.tenant.clock().expiry(exptime));
        let before = self.shard.header(at);
        if before.expiry().has_passed(self.now) {
            self.remove_expired(at);
            return self.missed(key, &options);
        }
        let mut after = before;
        if let Some(expiry) = expiry {
            after = after.with_expiry(expiry);
            self.shard.note_expiry(at, expiry);
        }
        let mut marks = Marks::default();
        if options.recaches {
            let asks_before_touch = options.order.recache < options.order.touch;
            let judged = if asks_before_touch { before } else { after };
            marks = self.marks(judged, options.recache_before);
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
            tells_before_touch: options.order.tells_before_touch(),
            base,
            now: self.now,
        })
    }

    /// Counts a miss, and makes the item if the options ask for it. A miss that makes the item counts as a hit, as in
    /// memcached.
    // Inlined like its caller: a call would put the constant options of a fast get into memory, for hits too.
    #[inline(always)]
    fn missed(&mut self, key: &HashedKey<'_>, options: &GetOptions) -> Option<ItemView<'_>> {
        let made = match options.vivify {
            Some(exptime) => self.vivify(key, exptime, options),
            None => None,
        };
        self.shard.counters.count_read(options, made.is_some());
        let told = made?;
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
            before: header.with_expiry(told).unfetched(),
            after: header,
            tells_before_touch: true,
            base,
            now: self.now,
        })
    }

    /// The recaching marks of the reply.
    #[inline]
    fn marks(&self, judged: Header, recache_before: Option<Exptime>) -> Marks {
        let runs_out = recache_before.is_some_and(|exptime| {
            let limit = self.tenant.clock().expiry(exptime);
            !judged.expiry().is_never() && judged.expiry() < limit
        });
        Marks {
            won: !judged.is_token_sent() && (judged.is_stale() || runs_out),
            stale: judged.is_stale(),
            token_sent: judged.is_token_sent(),
        }
    }

    /// Makes the empty item that tells later readers that this reader is making the value (meta `N`). Returns the expiry that
    /// `t` reports.
    #[cold]
    fn vivify(
        &mut self,
        key: &HashedKey<'_>,
        exptime: Exptime,
        options: &GetOptions,
    ) -> Option<Expiry> {
        let as_of = |place| options.order.made_exptime(exptime, options.touch, place);
        let clock = self.tenant.clock();
        let (made, told) = (
            clock.expiry(as_of(u8::MAX)),
            clock.expiry(as_of(options.order.told_place())),
        );
        let meta = Meta {
            token_sent: true,
            fetched: !options.no_bump,
            ..self.fresh(0, made, options.new_cas)
        };
        self.put(key, None, &meta, NewValue::Bytes(&[])).ok()?;
        self.shard.counters.total_items += 1;
        Some(told)
    }

    /// Gives an item a new exptime.
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
