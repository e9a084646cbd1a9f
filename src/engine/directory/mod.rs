//! The known credentials in memory, fed by the control plane.
//!
//! Readers take no lock: a user name falls into one of many small maps, and a change replaces one of them whole.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::auth::{Account, Directory};
use super::tenancy::Tenancy;
use crate::domain::secret::{Verifier, random_bytes};
use crate::domain::{CacheId, CacheSpec, Capabilities, FlushId, FlushOrder};

/// Maps of user names. With 100,000 credentials a change copies about a hundred entries.
const SHARDS: usize = 1024;

type Shard = HashMap<Box<[u8]>, Arc<Account>, ahash::RandomState>;

/// All caches of this node and their credentials.
pub struct MemoryDirectory {
    hasher: ahash::RandomState,
    shards: Box<[ArcSwap<Shard>]>,
    /// The caches, for changes and figures. Changes come one at a time; logins never look here.
    caches: Mutex<HashMap<CacheId, Cache>>,
    /// Counts accounts that were revoked, so that sweeps know when to look for them.
    revocations: AtomicU64,
}

impl std::fmt::Debug for MemoryDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryDirectory(..)")
    }
}

struct Cache {
    tenancy: Arc<Tenancy>,
    accounts: Vec<Arc<Account>>,
    /// Who comes through the open listener.
    open: Option<Arc<Account>>,
    /// Flush orders carried out, as long as the control plane still names them.
    flushed: Vec<FlushId>,
}

impl Default for MemoryDirectory {
    fn default() -> MemoryDirectory {
        let shards = (0..SHARDS).map(|_| ArcSwap::default()).collect();
        MemoryDirectory {
            hasher: ahash::RandomState::new(),
            shards,
            caches: Mutex::default(),
            revocations: AtomicU64::new(0),
        }
    }
}

impl Directory for MemoryDirectory {
    #[inline]
    fn find(&self, username: &[u8]) -> Option<Arc<Account>> {
        self.shard_of(username).load().get(username).cloned()
    }
}

impl MemoryDirectory {
    fn shard_of(&self, username: &[u8]) -> &ArcSwap<Shard> {
        &self.shards[self.hasher.hash_one(username) as usize % SHARDS]
    }

    /// Makes this node know the cache as `spec` has it; `make` builds a tenant that is new. Returns the tenant and
    /// the flush orders that have not been carried out yet, each once.
    pub fn apply(
        &self,
        spec: &CacheSpec,
        make: impl FnOnce() -> Tenancy,
    ) -> (Arc<Tenancy>, Vec<FlushOrder>) {
        let mut caches = self.caches.lock();
        let cache = caches.entry(spec.cache).or_insert_with(|| Cache {
            tenancy: Arc::new(make()),
            accounts: Vec::new(),
            open: None,
            flushed: Vec::new(),
        });
        cache.tenancy.items.set_limit(spec.limit_bytes);
        cache.tenancy.set_connections_max(spec.connections_max);
        self.apply_credentials(cache, spec);
        let due = cache.take_due(&spec.flush_orders);
        (Arc::clone(&cache.tenancy), due)
    }

    /// New ones are entered before old ones leave, so that a rotation shows no gap.
    fn apply_credentials(&self, cache: &mut Cache, spec: &CacheSpec) {
        let mut before = std::mem::take(&mut cache.accounts);
        for credential in &spec.credentials {
            let survives = |account: &Arc<Account>| {
                account.username.as_ref() == Some(&credential.username)
                    && account.is_verified_by(&credential.verifier)
            };
            let account = match before.iter().position(survives) {
                Some(at) => {
                    let account = before.swap_remove(at);
                    account.set_capabilities(credential.capabilities);
                    account
                }
                None => {
                    let account = Arc::new(Account::new(
                        Some(credential.username.clone()),
                        credential.verifier.clone(),
                        credential.capabilities,
                        Arc::clone(&cache.tenancy),
                    ));
                    self.enter(&account);
                    account
                }
            };
            cache.accounts.push(account);
        }
        for gone in before {
            self.remove(&gone);
        }
    }

    fn enter(&self, account: &Arc<Account>) {
        let Some(username) = &account.username else {
            return;
        };
        let name = username.as_str().as_bytes();
        self.shard_of(name).rcu(|shard| {
            let mut shard = Shard::clone(shard);
            shard.insert(name.into(), Arc::clone(account));
            shard
        });
    }

    /// Out of the map, unless a newer account of that name stands there, and dead for all its connections.
    fn remove(&self, account: &Arc<Account>) {
        account.revoke();
        self.revocations.fetch_add(1, Ordering::SeqCst);
        let Some(username) = &account.username else {
            return;
        };
        let name = username.as_str().as_bytes();
        self.shard_of(name).rcu(|shard| {
            let mut shard = Shard::clone(shard);
            if shard
                .get(name)
                .is_some_and(|found| Arc::ptr_eq(found, account))
            {
                shard.remove(name);
            }
            shard
        });
    }

    /// Drops the cache: its credentials are refused, its connections end, its items go with the last of them.
    pub fn forget(&self, cache: CacheId) -> bool {
        let Some(gone) = self.caches.lock().remove(&cache) else {
            return false;
        };
        for account in gone.accounts.iter().chain(&gone.open) {
            self.remove(account);
        }
        true
    }

    /// How many accounts were ever revoked.
    pub fn revocations(&self) -> u64 {
        self.revocations.load(Ordering::SeqCst)
    }

    pub fn tenancy(&self, cache: CacheId) -> Option<Arc<Tenancy>> {
        let caches = self.caches.lock();
        caches.get(&cache).map(|cache| Arc::clone(&cache.tenancy))
    }

    pub fn tenancies(&self) -> Vec<Arc<Tenancy>> {
        let caches = self.caches.lock();
        caches
            .values()
            .map(|cache| Arc::clone(&cache.tenancy))
            .collect()
    }

    pub fn accounts(&self, cache: CacheId) -> Vec<Arc<Account>> {
        let caches = self.caches.lock();
        caches
            .get(&cache)
            .map(|cache| cache.accounts.clone())
            .unwrap_or_default()
    }

    /// The account of those who need no login for `cache`. It may do everything and no password opens it.
    pub fn open_account(&self, cache: CacheId) -> Option<Arc<Account>> {
        let mut caches = self.caches.lock();
        let cache = caches.get_mut(&cache)?;
        let tenancy = &cache.tenancy;
        let open = cache.open.get_or_insert_with(|| {
            let unguessable = Verifier::from_bytes(random_bytes());
            let (all, tenancy) = (Capabilities::ALL, Arc::clone(tenancy));
            Arc::new(Account::new(None, unguessable, all, tenancy))
        });
        Some(Arc::clone(open))
    }
}

impl Cache {
    fn take_due(&mut self, orders: &[FlushOrder]) -> Vec<FlushOrder> {
        let known = |id: &FlushId| orders.iter().any(|order| order.id == *id);
        self.flushed.retain(known);
        let mut due = Vec::new();
        for order in orders {
            if !self.flushed.contains(&order.id) {
                self.flushed.push(order.id);
                due.push(order.clone());
            }
        }
        due
    }
}

#[cfg(test)]
mod tests;
