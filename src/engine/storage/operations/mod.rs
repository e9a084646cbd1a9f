//! What clients can do with a locked shard. Semantics as in `memcached-protocol.md` §2 and §3.

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

/// A locked shard. Short-lived: hold it over a run of commands that are already in memory, never over a wait.
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

    /// Whether `key` of the same tenant lives in this shard.
    #[inline]
    pub fn serves(&self, key: &HashedKey<'_>) -> bool {
        key.shard(self.tenant.shard_count()) == self.number
    }

    /// A new item's data, without marks.
    fn fresh(&mut self, flags: u32, expiry: Expiry, new_cas: Option<u64>) -> Meta {
        Meta {
            flags,
            cas: self.unique(new_cas),
            expiry,
            stale: false,
            token_sent: false,
            fetched: false,
            accessed: self.now,
        }
    }

    fn unique(&mut self, given: Option<u64>) -> u64 {
        match given {
            Some(unique) if unique != 0 => unique,
            _ => self.shard.next_unique(),
        }
    }

    /// A refused `add` still counts as an access for eviction.
    fn bump(&mut self, at: Address) {
        let (_, base) = self.shard.record(at);
        let header = self.shard.header(at);
        let bumped = header
            .with_hits(header.hits() + 1)
            .with_access(self.now, base);
        self.shard.set_header(at, bumped);
    }

    /// Finds a living item; one past its life is removed on the way.
    #[inline]
    fn find_living(&mut self, key: &HashedKey<'_>) -> Option<Address> {
        let at = self.shard.find(key)?;
        if self.shard.header(at).expiry().is_over(self.now) {
            self.remove_expired(at);
            return None;
        }
        Some(at)
    }

    #[cold]
    fn remove_expired(&mut self, at: Address) {
        let header = self.shard.header(at);
        self.shard.count_end(header, true);
        self.shard.remove(at);
    }
}
