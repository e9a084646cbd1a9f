//! The known credentials in memory, fed by the control plane.

mod index;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::auth::{Account, Directory, Proof};
use super::tenancy::Tenancy;
use crate::domain::{
    CacheId, CacheSpec, Capabilities, Fingerprint, FlushId, FlushOrder, Timestamp,
};
use index::Index;

/// All caches of this node and their credentials.
#[derive(Default)]
pub struct MemoryDirectory {
    by_name: Index,
    by_certificate: Index,
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
    /// One for each credential and one for each of its certificates, so that each ends by itself.
    accounts: Vec<Arc<Account>>,
    /// Who comes through the open listener.
    open: Option<Arc<Account>>,
    /// Flush orders carried out, as long as the control plane still names them.
    flushed: Vec<FlushId>,
}

impl Directory for MemoryDirectory {
    #[inline]
    fn find(&self, username: &[u8]) -> Option<Arc<Account>> {
        self.by_name.find(username)
    }
}

impl MemoryDirectory {
    /// Whom a client certificate stands for, while it is good. Called on the engine's threads and takes no lock.
    pub fn find_certified(
        &self,
        fingerprint: &Fingerprint,
        now: Timestamp,
    ) -> Option<Arc<Account>> {
        let found = self.by_certificate.find(fingerprint.as_bytes())?;
        (!found.is_over(now)).then_some(found)
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
        let wanted = spec.credentials.iter().flat_map(|credential| {
            let certificates = credential.certificates.iter().copied();
            let password = Proof::Password(credential.verifier.clone());
            std::iter::once(password)
                .chain(certificates.map(Proof::Certificate))
                .map(move |proof| (credential, proof))
        });
        for (credential, proof) in wanted {
            let survives = |account: &Arc<Account>| {
                account.username.as_ref() == Some(&credential.username)
                    && account.is_opened_by(&proof)
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

    /// The index in which an account is found, and its key there.
    fn place_of<'a>(&'a self, account: &'a Account) -> Option<(&'a Index, &'a [u8])> {
        match &account.proof {
            Proof::Password(_) => {
                let name = account.username.as_ref()?;
                Some((&self.by_name, name.as_str().as_bytes()))
            }
            Proof::Certificate(certificate) => {
                Some((&self.by_certificate, certificate.fingerprint.as_bytes()))
            }
            Proof::Door => None,
        }
    }

    fn enter(&self, account: &Arc<Account>) {
        if let Some((index, key)) = self.place_of(account) {
            index.enter(key, account);
        }
    }

    /// Not to be found any more, and dead for all its connections.
    fn remove(&self, account: &Arc<Account>) {
        account.revoke();
        self.revocations.fetch_add(1, Ordering::SeqCst);
        if let Some((index, key)) = self.place_of(account) {
            index.remove(key, account);
        }
    }

    /// Ends what certificates opened that have expired since.
    pub fn retire_expired(&self, now: Timestamp) {
        for cache in self.caches.lock().values_mut() {
            cache.accounts.retain(|account| {
                let over = account.is_over(now);
                if over {
                    self.remove(account);
                }
                !over
            });
        }
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
            let (all, tenancy) = (Capabilities::ALL, Arc::clone(tenancy));
            Arc::new(Account::new(None, Proof::Door, all, tenancy))
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
