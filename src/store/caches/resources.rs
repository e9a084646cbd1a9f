//! Resources: one add-on instance each. A deprovisioned one stays as a tombstone without secrets.

use crate::domain::secret::BearerSecret;
use crate::domain::{
    CacheId, ClusterName, ExternalId, Marketplace, PlanSlug, Resource, ResourceId, ResourceState,
    Timestamp,
};
use crate::store::db::dialect::{exec, read, run};
use crate::store::db::row::{parse, row};
use crate::store::db::seal::Place;
use crate::store::service::tables::{AtEnd, TableRules};
use crate::store::{Store, StoreError, Tx};

/// What a resource starts with.
#[derive(Debug)]
pub struct NewResource<'a> {
    pub id: ResourceId,
    pub marketplace: Marketplace,
    pub external_id: &'a ExternalId,
    pub name: &'a str,
    pub label: &'a str,
    pub plan: &'a PlanSlug,
    pub region: &'a str,
    pub cluster: &'a ClusterName,
    pub callback_url: Option<&'a str>,
    pub sso: &'a BearerSecret,
    /// Whether its provider waits for our completion call.
    pub provisioning: bool,
}

row! {
    struct ResourceRow {
        cache_id: i64,
        id: String,
        marketplace: String,
        external_id: String,
        name: String,
        label: String,
        plan: String,
        region: String,
        served_from: String,
        cluster: String,
        state: String,
        created_at: i64,
        deprovisioned_at: Option<i64>,
    }
}

impl ResourceRow {
    fn into_domain(self) -> Result<Resource, StoreError> {
        let state = match (self.state.as_str(), self.deprovisioned_at) {
            ("provisioning", _) => ResourceState::Provisioning,
            ("provisioned", _) => ResourceState::Provisioned,
            ("deprovisioned", Some(at)) => ResourceState::Deprovisioned {
                at: Timestamp::from_micros(at),
            },
            (other, _) => return Err(StoreError::BadRow(format!("resources.state: {other}"))),
        };
        Ok(Resource {
            id: parse("resources.id", &self.id)?,
            cache: CacheId(self.cache_id),
            marketplace: parse("resources.marketplace", &self.marketplace)?,
            external_id: parse("resources.external_id", &self.external_id)?,
            name: self.name,
            label: self.label,
            plan: parse("resources.plan", &self.plan)?,
            region: self.region,
            served_from: self.served_from,
            state,
            cluster: parse("resources.cluster", &self.cluster)?,
            created_at: Timestamp::from_micros(self.created_at),
        })
    }
}

/// `SELECT <the row's columns> FROM resources` and the rest of the statement.
macro_rules! select_resource {
    ($rest:literal) => {
        concat!(
            "SELECT cache_id, id, marketplace, external_id, name, label, plan, region, \
             (SELECT k.region FROM clusters k WHERE k.name = resources.cluster) AS served_from, \
             cluster, state, created_at, deprovisioned_at FROM resources ",
            $rest
        )
    };
}

/// The row's own id is part of what is sealed: the cache number is not known before the insert.
fn sso_place(id: &str) -> Place<'_> {
    Place {
        table: "resources",
        column: "sso_sealed",
        row: id,
    }
}

fn converted(row: Option<ResourceRow>) -> Result<Option<Resource>, StoreError> {
    row.map(ResourceRow::into_domain).transpose()
}

impl Store {
    /// A resource by its public number, dead ones included.
    pub async fn resource(&self, cache: CacheId) -> Result<Option<Resource>, StoreError> {
        let row: Option<ResourceRow> = read!(self, c =>
            sqlx::query_as(select_resource!("WHERE cache_id = $1")).bind(cache.0).fetch_optional(c))?;
        converted(row)
    }

    /// A resource by the marketplace's id, dead ones included.
    pub async fn resource_by_external(
        &self,
        marketplace: Marketplace,
        id: &ExternalId,
    ) -> Result<Option<Resource>, StoreError> {
        let row: Option<ResourceRow> = read!(self, c =>
            sqlx::query_as(select_resource!("WHERE marketplace = $1 AND external_id = $2"))
                .bind(marketplace.as_str()).bind(id.as_str()).fetch_optional(c))?;
        converted(row)
    }

    /// The caches of all live resources with this external id; each marketplace may have one.
    pub async fn caches_by_external_id(&self, id: &ExternalId) -> Result<Vec<CacheId>, StoreError> {
        let rows: Vec<(i64,)> = read!(self, c => sqlx::query_as(
            "SELECT cache_id FROM resources WHERE external_id = $1 AND state <> 'deprovisioned' ORDER BY cache_id")
            .bind(id.as_str()).fetch_all(c))?;
        Ok(rows.into_iter().map(|(cache,)| CacheId(cache)).collect())
    }

    /// The live resources that somebody may mean by a text: public number, name at the marketplace, external id,
    /// short name in log lines, or user name of a credential. At most `most`.
    pub async fn resources_called(
        &self,
        text: &str,
        most: u32,
    ) -> Result<Vec<Resource>, StoreError> {
        let rows: Vec<ResourceRow> = read!(self, c => sqlx::query_as(select_resource!(
            "WHERE state <> 'deprovisioned' AND (CAST(cache_id AS TEXT) = $1 OR name = $1 OR external_id = $1 \
             OR label = $2 OR cache_id IN (SELECT cache_id FROM credentials WHERE username = $2 AND removed_at IS NULL)) \
             ORDER BY cache_id LIMIT $3"))
            .bind(text).bind(text.to_ascii_uppercase()).bind(i64::from(most)).fetch_all(c))?;
        rows.into_iter().map(ResourceRow::into_domain).collect()
    }

    /// The live resource whose long-lived dashboard URL has this digest.
    pub async fn resource_by_sso(&self, digest: &str) -> Result<Option<Resource>, StoreError> {
        let row: Option<ResourceRow> = read!(self, c =>
            sqlx::query_as(select_resource!("WHERE sso_digest = $1 AND state <> 'deprovisioned'"))
                .bind(digest).fetch_optional(c))?;
        converted(row)
    }

    /// The secret part of the long-lived dashboard URL, `None` when the resource is gone.
    pub async fn sso_secret(&self, cache: CacheId) -> Result<Option<BearerSecret>, StoreError> {
        let row: Option<(String, Option<Vec<u8>>)> = read!(self, c =>
            sqlx::query_as("SELECT id, sso_sealed FROM resources WHERE cache_id = $1")
                .bind(cache.0).fetch_optional(c))?;
        let Some((id, Some(sealed))) = row else {
            return Ok(None);
        };
        use secrecy::ExposeSecret as _;
        let plain = self.keys.open_text(sso_place(&id), &sealed)?;
        Ok(Some(BearerSecret::presented(plain.expose_secret())))
    }

    /// Where the marketplace wants to be called back about this resource.
    pub async fn callback_url(&self, cache: CacheId) -> Result<Option<String>, StoreError> {
        let row: Option<(Option<String>,)> = read!(self, c =>
            sqlx::query_as("SELECT callback_url FROM resources WHERE cache_id = $1")
                .bind(cache.0).fetch_optional(c))?;
        Ok(row.and_then(|(url,)| url))
    }
}

pub(in crate::store) const TABLES: &[TableRules] = &[TableRules::of_resource(
    "resources",
    AtEnd::RunAt(&[
        "UPDATE resources SET state = 'deprovisioned', deprovisioned_at = $2, sso_digest = NULL, sso_sealed = NULL,
            callback_url = NULL WHERE cache_id = $1",
    ]),
)];

impl Tx {
    /// Writes a resource. `None` when the marketplace's id is taken, by a live one or a tombstone;
    /// on PostgreSQL this waits until the other transaction has ended.
    pub async fn insert_resource(
        &mut self,
        new: &NewResource<'_>,
        now: Timestamp,
    ) -> Result<Option<CacheId>, StoreError> {
        let id = new.id.to_string();
        let sealed = self
            .keys
            .seal(sso_place(&id), new.sso.expose().as_bytes())?;
        let row: Option<(i64,)> = run!(self, c => sqlx::query_as(
            "INSERT INTO resources (id, marketplace, external_id, name, label, plan, region, cluster, state, \
             callback_url, sso_digest, sso_sealed, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $13, $9, $10, $11, $12) \
             ON CONFLICT (marketplace, external_id) DO NOTHING RETURNING cache_id")
            .bind(&id).bind(new.marketplace.as_str()).bind(new.external_id.as_str()).bind(new.name).bind(new.label)
            .bind(new.plan.as_str()).bind(new.region).bind(new.cluster.as_str()).bind(new.callback_url)
            .bind(new.sso.digest()).bind(&sealed).bind(now.micros())
            .bind(if new.provisioning { "provisioning" } else { "provisioned" })
            .fetch_optional(c))?;
        Ok(row.map(|(cache,)| CacheId(cache)))
    }

    /// Reads a resource and keeps others from changing it or what belongs to it until this transaction ends.
    /// Every transaction that changes a cache begins with it, so that the rules over several rows (one primary,
    /// so many credentials) hold on PostgreSQL too, and so that no two transactions lock in opposite order.
    pub async fn lock_resource(&mut self, cache: CacheId) -> Result<Option<Resource>, StoreError> {
        let sql = self.db_tx.choose(
            select_resource!("WHERE cache_id = $1 FOR NO KEY UPDATE"),
            select_resource!("WHERE cache_id = $1"),
        );
        let row: Option<ResourceRow> =
            run!(self, c => sqlx::query_as(sql).bind(cache.0).fetch_optional(c))?;
        converted(row)
    }

    pub async fn set_plan(&mut self, cache: CacheId, plan: &PlanSlug) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("UPDATE resources SET plan = $1 WHERE cache_id = $2")
                .bind(plan.as_str())
                .bind(cache.0)
        )?;
        Ok(())
    }

    /// Puts a resource back to where its provider waits for us to say that it is ready.
    pub async fn set_up_again(&mut self, cache: CacheId) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query(
                "UPDATE resources SET state = 'provisioning' WHERE cache_id = $1 AND state = 'provisioned'"
            )
            .bind(cache.0)
        )?;
        Ok(())
    }

    /// Notes another cluster, for a resource that found room only there.
    pub async fn set_cluster(
        &mut self,
        cache: CacheId,
        cluster: &ClusterName,
    ) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("UPDATE resources SET cluster = $1 WHERE cache_id = $2")
                .bind(cluster.as_str())
                .bind(cache.0)
        )?;
        Ok(())
    }

    /// Takes over the marketplace's display name.
    pub async fn rename_resource(&mut self, cache: CacheId, name: &str) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("UPDATE resources SET name = $1 WHERE cache_id = $2")
                .bind(name)
                .bind(cache.0)
        )?;
        Ok(())
    }

    /// Whether this is still the digest of a live resource's long-lived URL.
    pub async fn has_sso(&mut self, cache: CacheId, digest: &str) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = run!(self, c => sqlx::query_as(
            "SELECT cache_id FROM resources WHERE cache_id = $1 AND sso_digest = $2 AND state <> 'deprovisioned'")
            .bind(cache.0).bind(digest).fetch_optional(c))?;
        Ok(row.is_some())
    }

    /// Replaces the secret of the long-lived URL; the old one is unknown from the commit on.
    pub async fn set_sso(
        &mut self,
        resource: &Resource,
        sso: &BearerSecret,
    ) -> Result<(), StoreError> {
        let id = resource.id.to_string();
        let sealed = self.keys.seal(sso_place(&id), sso.expose().as_bytes())?;
        exec!(
            self,
            sqlx::query(
                "UPDATE resources SET sso_digest = $1, sso_sealed = $2 WHERE cache_id = $3"
            )
            .bind(sso.digest())
            .bind(&sealed)
            .bind(resource.cache.0)
        )?;
        Ok(())
    }
}
