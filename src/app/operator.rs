//! What `larder admin` works with: the database of a service that may be running in other processes.

use std::sync::Arc;
use std::time::Duration;

use super::roles::control::cluster_of;
use super::{SystemClock, store_settings};
use crate::access::Access;
pub use crate::access::{AccessError, FlushResult, Replaced};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::domain::printable::in_a_line;
use crate::domain::{AbilityTable, Actor, CacheId, Clock, Identity, Resource, Timestamp};
use crate::marketplace::{Registry, registry};
use crate::outbox::ports::ability_table;
use crate::store::db::rekey::Rekeyed;
use crate::store::service::audit::AuditEntry;
use crate::store::service::overview::{CacheOverview, PushOverview};
use crate::store::{Schema, Store, StoreError};

/// Caches named to an operator whose text matches several.
const NAMED_MAX: u32 = 10;

/// Why it is not clear which cache is meant.
#[derive(Debug, thiserror::Error)]
pub enum Unclear {
    #[error("there is no live cache {0}; `larder admin caches` lists them")]
    Nobody(String),
    #[error("{text} is more than one cache; name it by its external id: {}", caches.join(", "))]
    Several { text: String, caches: Vec<String> },
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn described(resource: &Resource) -> String {
    let Resource {
        cache,
        name,
        external_id,
        ..
    } = resource;
    format!("{cache} ({}, {external_id})", in_a_line(name))
}

/// An operator at the database.
pub struct Operator {
    pub store: Store,
    pub cluster: Cluster,
    access: Access,
    abilities: AbilityTable,
    clock: Arc<dyn Clock>,
}

impl Operator {
    /// Opens the database as it is: an operator's question neither makes nor migrates one.
    pub async fn open(config: &Config) -> anyhow::Result<Operator> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Store::open(&store_settings(config), Schema::Expect, clock.now()).await?;
        let cluster = cluster_of(config, &store, &clock);
        let plans = Arc::new(config.plans.clone());
        let marketplaces = registry::built_in(config);
        let registry = Registry::open(marketplaces, config, &store, clock.now()).await?;
        let abilities = ability_table(&registry.providers()?);
        Ok(Operator {
            access: Access::new(store.clone(), cluster.clone(), plans, Arc::clone(&clock))
                .with_abilities(abilities.clone()),
            abilities,
            cluster,
            store,
            clock,
        })
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The live caches behind `after` in the order of their numbers, at most `most`. Of a marketplace that cannot be
    /// pushed to, or has no tokens, a cache lacks neither.
    pub async fn caches(
        &self,
        after: CacheId,
        most: u32,
    ) -> Result<Vec<CacheOverview>, StoreError> {
        let mut caches = self.store.cache_overviews(after, most).await?;
        for cache in &mut caches {
            let abilities = self.abilities.of(cache.marketplace);
            if !abilities.config_push {
                cache.push = PushOverview::NotPushed;
            }
            if !abilities.tokens {
                cache.no_token = None;
            }
        }
        Ok(caches)
    }

    /// The one live cache that is meant by what an operator has at hand: its number, its name, its external id, its
    /// label in log lines, or a user name.
    pub async fn cache_called(&self, text: &str) -> Result<CacheId, Unclear> {
        let found = self.store.resources_called(text, NAMED_MAX).await?;
        match found.as_slice() {
            [one] => Ok(one.cache),
            [] => Err(Unclear::Nobody(text.to_owned())),
            several => Err(Unclear::Several {
                text: text.to_owned(),
                caches: several.iter().map(described).collect(),
            }),
        }
    }

    /// Replaces the primary of a cache if it was made before `before`.
    pub async fn replace_older(
        &self,
        cache: CacheId,
        before: Timestamp,
    ) -> Result<Replaced, AccessError> {
        let owner = self.access.for_operator(cache).await?;
        self.access.replace_older(&owner, before).await
    }

    /// Ends the access token of a cache, if it was obtained before `before`, and asks for the call that renews it. False
    /// when it has no such token.
    pub async fn end_token(&self, cache: CacheId, before: Timestamp) -> Result<bool, StoreError> {
        let (mut tx, now) = (self.store.begin().await?, self.now());
        if !tx.end_token(cache, before, now).await? {
            return Ok(false);
        }
        tx.request_reconcile(cache, now).await?;
        let entry = AuditEntry {
            cache: Some(cache),
            actor: Actor::local(Identity::Operator),
            action: "token.renew".to_owned(),
            detail: String::new(),
        };
        tx.audit(&entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Gives a cache a new long-lived dashboard address, and ends all its sessions. False when it is gone.
    pub async fn renew_address(&self, cache: CacheId) -> Result<bool, AccessError> {
        let renewed = async {
            let owner = self.access.for_operator(cache).await?;
            self.access.rotate_sso(&owner).await
        };
        match renewed.await {
            Ok(_) => Ok(true),
            Err(AccessError::Gone) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Orders a flush and waits so long for the nodes to report it done.
    pub async fn flush(
        &self,
        cache: CacheId,
        reason: &str,
        within: Duration,
    ) -> Result<FlushResult, AccessError> {
        let owner = self.access.for_operator(cache).await?;
        self.access.flush(&owner, Some(reason), within).await
    }

    /// Lets the push of a cache's config vars be tried at once.
    pub async fn push_again(&self, cache: CacheId) -> Result<(), AccessError> {
        let owner = self.access.for_operator(cache).await?;
        self.access.push_again(&owner).await
    }

    /// Ends the sessions of all caches of a marketplace, or of all caches there are, and tells how many there were.
    pub async fn end_sessions(&self, marketplace: Option<&str>) -> Result<u64, StoreError> {
        let mut tx = self.store.begin().await?;
        let ended = tx.delete_all_sessions(marketplace).await?;
        let entry = AuditEntry {
            cache: None,
            actor: Actor::local(Identity::Operator),
            action: "sessions.end".to_owned(),
            detail: format!("{ended} sessions of {}", marketplace.unwrap_or("all")),
        };
        tx.audit(&entry, self.now()).await?;
        tx.commit().await?;
        Ok(ended)
    }

    /// Seals everything again under the current master key; see [`Store::rekey`].
    pub async fn rekey(
        &self,
        batch: u32,
        go_on: impl FnMut(u64) -> bool,
    ) -> Result<Rekeyed, StoreError> {
        let done = self.store.rekey(batch, go_on).await?;
        let entry = AuditEntry {
            cache: None,
            actor: Actor::local(Identity::Operator),
            action: "keys.rekey".to_owned(),
            detail: format!("{} sealed again, {} left", done.sealed_again, done.left),
        };
        let mut tx = self.store.begin().await?;
        tx.audit(&entry, self.now()).await?;
        tx.commit().await?;
        Ok(done)
    }

    pub async fn close(self) {
        self.store.close().await;
    }
}
