//! Which live caches an operator means.

use crate::domain::CacheId;
use crate::store::db::dialect::read;
use crate::store::db::row::number;
use crate::store::{Store, StoreError};

/// Caches that an operator's order is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    Marketplace(String),
    Cluster(String),
    Cache(CacheId),
}

impl Scope {
    /// What is compared with marketplace, cluster and number of a cache; empty and zero stand for any.
    pub(in crate::store) fn columns(&self) -> (&str, &str, i64) {
        match self {
            Scope::All => ("", "", 0),
            Scope::Marketplace(name) => (name, "", 0),
            Scope::Cluster(name) => ("", name, 0),
            Scope::Cache(cache) => ("", "", cache.0),
        }
    }
}

impl Store {
    /// How many live caches are in `scope`.
    pub async fn count_caches(&self, scope: &Scope) -> Result<u64, StoreError> {
        let (marketplace, cluster, cache) = scope.columns();
        let count: i64 = read!(self, c => sqlx::query_scalar(
                "SELECT count(*) FROM resources WHERE state <> 'deprovisioned'
                 AND ($1 = '' OR marketplace = $1) AND ($2 = '' OR cluster = $2) AND ($3 = 0 OR cache_id = $3)")
            .bind(marketplace).bind(cluster).bind(cache).fetch_one(c))?;
        number("count of caches", count)
    }

    /// Live caches in `scope` behind `after`, in the order of their numbers.
    pub async fn caches_in(
        &self,
        scope: &Scope,
        after: CacheId,
        most: u32,
    ) -> Result<Vec<CacheId>, StoreError> {
        let (marketplace, cluster, cache) = scope.columns();
        let caches: Vec<i64> = read!(self, c => sqlx::query_scalar(
                "SELECT cache_id FROM resources WHERE state <> 'deprovisioned' AND cache_id > $1
                 AND ($2 = '' OR marketplace = $2) AND ($3 = '' OR cluster = $3) AND ($4 = 0 OR cache_id = $4)
                 ORDER BY cache_id LIMIT $5")
            .bind(after.0).bind(marketplace).bind(cluster).bind(cache).bind(i64::from(most)).fetch_all(c))?;
        Ok(caches.into_iter().map(CacheId).collect())
    }
}
