//! What commands do with a locked shard. The semantics are those of memcached's `protocol.txt`.

mod changes;
mod reads;
mod room;
mod stores;

use super::clock::Expiry;
use super::item::Meta;
use super::key::HashedKey;
use super::segment::Address;
use super::shard::Shard;
use super::tenant::Tenant;
use crate::engine::sync::MutexGuard;

/// A locked shard. Hold it for commands that are already in memory, never across a wait.
#[derive(Debug)]
pub struct ShardGuard<'t> {
    tenant: &'t Tenant,
    number: usize,
    shard: MutexGuard<'t, Shard>,
    now: u32,
}

impl<'t> ShardGuard<'t> {
    #[inline]
    pub(super) fn new(
        tenant: &'t Tenant,
        number: usize,
        shard: MutexGuard<'t, Shard>,
    ) -> ShardGuard<'t> {
        let now = tenant.clock().now();
        ShardGuard {
            tenant,
            number,
            shard,
            now,
        }
    }

    /// Whether `key` of the same tenant belongs to this shard.
    #[inline]
    pub fn serves(&self, key: &HashedKey<'_>) -> bool {
        key.shard(self.tenant.shard_count()) == self.number
    }

    /// The metadata of a new item, without marks.
    fn fresh(&mut self, flags: u32, expiry: Expiry, new_cas: Option<u64>) -> Meta {
        Meta {
            flags,
            cas: self.cas_for(new_cas),
            expiry,
            stale: false,
            token_sent: false,
            fetched: false,
            accessed: self.now,
        }
    }

    /// The CAS value for a change: the one that the client gave, or the next one.
    fn cas_for(&mut self, given: Option<u64>) -> u64 {
        match given {
            Some(cas) if cas != 0 => cas,
            _ => self.shard.next_cas(),
        }
    }

    /// Counts an access for eviction. A refused `add` is one, as in memcached.
    fn bump(&mut self, at: Address) {
        let (_, base) = self.shard.record(at);
        let header = self.shard.header(at);
        let bumped = header
            .with_hits(header.hits() + 1)
            .with_access(self.now, base);
        self.shard.set_header(at, bumped);
    }

    /// Finds an item that has not expired. An expired one is removed.
    #[inline]
    fn find_live(&mut self, key: &HashedKey<'_>) -> Option<Address> {
        let at = self.shard.find(key)?;
        if self.shard.header(at).expiry().has_passed(self.now) {
            self.remove_expired(at);
            return None;
        }
        Some(at)
    }

    #[cold]
    fn remove_expired(&mut self, at: Address) {
        let header = self.shard.header(at);
        self.shard.counters.get_expired += 1;
        self.shard.count_removal(header, true);
        self.shard.remove(at);
    }
}
