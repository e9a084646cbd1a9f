//! Accounts by user name or certificate fingerprint. Readers take no lock: a key hashes to one of many small maps, and
//! a change replaces that map as a whole.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::engine::auth::Account;

/// Number of maps. With 100,000 credentials a change copies about a hundred entries.
const SHARDS: usize = 1024;

type Shard = HashMap<Box<[u8]>, Arc<Account>, ahash::RandomState>;

pub(super) struct Index {
    hasher: ahash::RandomState,
    shards: Box<[ArcSwap<Shard>]>,
}

impl Default for Index {
    fn default() -> Index {
        Index {
            hasher: ahash::RandomState::new(),
            shards: (0..SHARDS).map(|_| ArcSwap::default()).collect(),
        }
    }
}

impl Index {
    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<Arc<Account>> {
        self.shard_of(key).load().get(key).cloned()
    }

    fn shard_of(&self, key: &[u8]) -> &ArcSwap<Shard> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    pub(super) fn add(&self, key: &[u8], account: &Arc<Account>) {
        self.shard_of(key).rcu(|shard| {
            let mut shard = Shard::clone(shard);
            shard.insert(key.into(), Arc::clone(account));
            shard
        });
    }

    /// Removes an account, unless a newer one has taken its key.
    pub(super) fn remove(&self, key: &[u8], account: &Arc<Account>) {
        self.shard_of(key).rcu(|shard| {
            let mut shard = Shard::clone(shard);
            if shard
                .get(key)
                .is_some_and(|found| Arc::ptr_eq(found, account))
            {
                shard.remove(key);
            }
            shard
        });
    }
}
