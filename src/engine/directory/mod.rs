//! The caches and credentials of this node, in memory. The control plane feeds it.

mod index;
mod names;

use std::collections::HashMap;
use std::sync::Arc;

use super::auth::{Account, Directory, Proof};
use super::storage::Counters;
use super::sync::Mutex;
use super::sync::atomic::{AtomicU64, Ordering};
use super::tenancy::{Tenancy, TrafficSum};
use crate::domain::{
    CacheId, CacheSpec, Capabilities, Fingerprint, FlushId, FlushOrder, Timestamp,
};
use index::Index;
pub use names::Usernames;

/// All caches of this node and their credentials.
#[derive(Default)]
pub struct MemoryDirectory {
    by_name: Index,
    by_certificate: Index,
    /// Of all caches of the installation.
    names: Usernames,
    /// The caches, for changes and figures. One change happens at a time; logins do not take this lock.
    caches: Mutex<HashMap<CacheId, Cache>>,
    /// Counts revoked accounts. A sweep checks connections for revoked accounts only if this has changed.
    revocations: AtomicU64,
    /// What caches did that have been forgotten since. Locked within `caches`.
    forgotten: Mutex<EngineTotals>,
}

/// What all tenants together did since the process began, those that left included, and what those here hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct EngineTotals {
    pub counters: Counters,
    pub traffic: TrafficSum,
    /// Caches that this node knows now.
    pub caches: u64,
}

impl EngineTotals {
    fn add(&mut self, tenancy: &Tenancy) {
        self.counters += tenancy.items.counters();
        self.traffic += tenancy.traffic_sum();
    }
}

impl std::fmt::Debug for MemoryDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryDirectory(..)")
    }
}

struct Cache {
    tenancy: Arc<Tenancy>,
    /// One for each password and one for each client certificate, so that each can be revoked alone.
    accounts: Vec<Arc<Account>>,
    /// The account of the open listener's clients.
    open: Option<Arc<Account>>,
    /// Flush orders that were carried out, for as long as specs still contain them.
    flushed: Vec<FlushId>,
}

impl Directory for MemoryDirectory {
    #[inline]
    fn find(&self, username: &[u8]) -> Option<Arc<Account>> {
        self.by_name.find(username)
    }
}

impl MemoryDirectory {
    /// The user names of the installation.
    #[inline]
    pub fn names(&self) -> &Usernames {
        &self.names
    }

    /// The account of a client certificate. `None` when it is revoked, expired or unknown. Called on the serving
    /// threads; takes no lock.
    pub fn find_certified(
        &self,
        fingerprint: &Fingerprint,
        now: Timestamp,
    ) -> Option<Arc<Account>> {
        let found = self.by_certificate.find(fingerprint.as_bytes())?;
        (!found.has_expired(now)).then_some(found)
    }

    /// Makes this node know `spec`; `make` builds the tenancy of a new cache. Returns the tenancy and those flush orders
    /// that have not been carried out yet. Each order is returned only once.
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
        let due = cache.take_due_flushes(&spec.flush_orders);
        (Arc::clone(&cache.tenancy), due)
    }

    /// Adds new accounts before it removes old ones, so that a rotation leaves no gap without a valid credential.
    fn apply_credentials(&self, cache: &mut Cache, spec: &CacheSpec) {
        let mut before = std::mem::take(&mut cache.accounts);
        let wanted = spec.credentials.iter().flat_map(|credential| {
            let certificates = credential.certificates.iter().copied();
            let password = Proof::Password(credential.verifier.clone());
            std::iter::once(password)
                .chain(certificates.map(Proof::Certificate))
                .map(move |proof| (credential, proof))
        });
        for (credential, proof) in wanted {
            let survives = |account: &Arc<Account>| {
                account.username.as_ref() == Some(&credential.username) && account.has_proof(&proof)
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
                        proof,
                        credential.capabilities,
                        Arc::clone(&cache.tenancy),
                    ));
                    self.add(&account);
                    account
                }
            };
            cache.accounts.push(account);
        }
        for gone in before {
            self.remove(&gone);
        }
    }

    /// The index that finds an account, and its key there. `None` for the open listener's account.
    fn index_entry<'a>(&'a self, account: &'a Account) -> Option<(&'a Index, &'a [u8])> {
        match &account.proof {
            Proof::Password(_) => {
                let name = account.username.as_ref()?;
                Some((&self.by_name, name.as_str().as_bytes()))
            }
            Proof::Certificate(certificate) => {
                Some((&self.by_certificate, certificate.fingerprint.as_bytes()))
            }
            Proof::OpenListener => None,
        }
    }

    fn add(&self, account: &Arc<Account>) {
        if let Some(username) = &account.username {
            self.names.add(username);
        }
        if let Some((index, key)) = self.index_entry(account) {
            index.add(key, account);
        }
    }

    /// Revokes an account. It cannot be found any more, and its connections end.
    fn remove(&self, account: &Arc<Account>) {
        account.revoke();
        self.revocations.fetch_add(1, Ordering::SeqCst);
        if let Some((index, key)) = self.index_entry(account) {
            index.remove(key, account);
        }
    }

    /// Revokes the accounts of client certificates that have expired.
    pub fn retire_expired(&self, now: Timestamp) {
        for cache in self.caches.lock().values_mut() {
            cache.accounts.retain(|account| {
                let expired = account.has_expired(now);
                if expired {
                    self.remove(account);
                }
                !expired
            });
        }
    }

    /// Removes a cache: its credentials are refused and its connections end. Its items are freed with the last of them.
    /// False when it was unknown.
    pub fn forget(&self, cache: CacheId) -> bool {
        let mut caches = self.caches.lock();
        let Some(gone) = caches.remove(&cache) else {
            return false;
        };
        let mut forgotten = self.forgotten.lock();
        forgotten.add(&gone.tenancy);
        // What it held, it holds no more.
        (forgotten.counters.curr_items, forgotten.counters.bytes) = (0, 0);
        drop(forgotten);
        drop(caches);
        for account in gone.accounts.iter().chain(&gone.open) {
            self.remove(account);
        }
        true
    }

    /// How many accounts were revoked so far.
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

    /// Never less than before in what counts up, so that a cache that leaves is no restart for whoever graphs it.
    pub fn totals(&self) -> EngineTotals {
        let caches = self.caches.lock();
        let mut totals = *self.forgotten.lock();
        caches.values().for_each(|cache| totals.add(&cache.tenancy));
        totals.caches = caches.len() as u64;
        totals
    }

    pub fn accounts(&self, cache: CacheId) -> Vec<Arc<Account>> {
        let caches = self.caches.lock();
        caches
            .get(&cache)
            .map(|cache| cache.accounts.clone())
            .unwrap_or_default()
    }

    /// The account of the open listener's clients for `cache`. It has all capabilities, and no password matches it.
    pub fn open_account(&self, cache: CacheId) -> Option<Arc<Account>> {
        let mut caches = self.caches.lock();
        let cache = caches.get_mut(&cache)?;
        let tenancy = &cache.tenancy;
        let open = cache.open.get_or_insert_with(|| {
            let (all, tenancy) = (Capabilities::ALL, Arc::clone(tenancy));
            Arc::new(Account::new(None, Proof::OpenListener, all, tenancy))
        });
        Some(Arc::clone(open))
    }
}

impl Cache {
    fn take_due_flushes(&mut self, orders: &[FlushOrder]) -> Vec<FlushOrder> {
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
