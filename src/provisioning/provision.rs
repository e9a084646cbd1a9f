//! Making a resource, or finding the one that an equal request made before.

use std::time::Duration;

use super::{Connection, GrantCode, ProvisionRequest, Provisioning, ProvisioningError, audit};
use crate::access;
use crate::cluster::Site;
use crate::domain::secret::BearerSecret;
use crate::domain::{Event, Plan, Resource, ResourceId, Username};
use crate::outbox;
use crate::store::StoreError;
use crate::store::attachments::OWNING_APP;
use crate::store::resources::NewResource;

/// How long the answer waits until the credentials work; the marketplace gives up long after.
const NODE_WAIT: Duration = Duration::from_secs(5);
/// When the provider is first asked about a new resource, if the grant exchange does not ask before.
const FIRST_LOOK: Duration = Duration::from_secs(30);
/// User names drawn before giving up; see `access`.
const DRAWS_MAX: u32 = 16;

/// What came of one try to write a new resource.
enum Written {
    Made,
    /// Another request with this id was first.
    Lost,
    /// The user name is taken: draw another.
    NameTaken,
}

impl Provisioning {
    /// Makes the resource, or finds the one an equal request made before. The credentials work on the cache's
    /// nodes before this returns.
    ///
    /// A repeat is answered with what is true now, whatever plan it names: plans change by
    /// [`change_plan`](Provisioning::change_plan) only.
    pub async fn provision(
        &self,
        request: ProvisionRequest,
    ) -> Result<Connection, ProvisioningError> {
        let (marketplace, id) = (request.marketplace, &request.external_id);
        let created = match self.find(marketplace, id).await? {
            Some(_) => false,
            None => self.make(&request).await?,
        };
        let resource = self.live(marketplace, id).await?;
        if !created {
            self.meet_again(&request, &resource).await?;
        }
        self.connection(resource, created).await
    }

    /// Writes a new resource; false when another request was first.
    async fn make(&self, request: &ProvisionRequest) -> Result<bool, ProvisioningError> {
        let plan = self.plans.find(&request.plan).filter(|plan| !plan.hidden);
        let plan = plan.ok_or_else(|| ProvisioningError::UnknownPlan(request.plan.clone()))?;
        let site = self.cluster.choose_site(&request.region, plan).await?;
        let site = site.map_err(|_| ProvisioningError::UnknownRegion(request.region.clone()))?;
        for _ in 0..DRAWS_MAX {
            match self.write(request, plan, &site).await? {
                Written::Made => return Ok(true),
                Written::Lost => return Ok(false),
                Written::NameTaken => {}
            }
        }
        Err(StoreError::Taken("credentials.username".to_owned()).into())
    }

    /// Everything a new resource consists of, in one transaction: all of it is there after a crash, or nothing.
    async fn write(
        &self,
        request: &ProvisionRequest,
        plan: &Plan,
        site: &Site,
    ) -> Result<Written, StoreError> {
        let now = self.clock.now();
        let username = Username::generate();
        let new = NewResource {
            id: ResourceId::generate(now),
            marketplace: request.marketplace,
            external_id: &request.external_id,
            name: &request.name,
            label: username.as_str(),
            plan: &plan.slug,
            region: &request.region,
            cluster: &site.cluster,
            callback_url: request.callback_url.as_deref(),
            sso: &BearerSecret::generate(),
        };
        let mut tx = self.store.begin().await?;
        let Some(cache) = tx.insert_resource(&new, now).await? else {
            return Ok(Written::Lost);
        };
        let key = self.store.verifier_key();
        let issued = access::issue(&mut tx, key, cache, &username, true, now).await?;
        if issued.is_none() {
            return Ok(Written::NameTaken);
        }
        tx.place(cache, &site.node).await?;
        tx.insert_config_sync(cache, now).await?;
        let log_url = request.log_url.as_ref();
        tx.insert_attachment(cache, OWNING_APP, log_url, now)
            .await?;
        tx.insert_watch(cache, now.plus(FIRST_LOOK), now).await?;
        if let Some(GrantCode { code, expires_at }) = &request.grant {
            tx.insert_grant(cache, code, *expires_at, now).await?;
        }
        let event = Event::Provisioned {
            plan: plan.slug.to_string(),
        };
        outbox::announce(&mut tx, cache, new.label, &event, now).await?;
        let detail = format!("{} on plan {}", request.external_id, plan.slug);
        let entry = audit(cache, request.marketplace, "resource.provision", detail);
        tx.audit(&entry, now).await?;
        tx.bump(cache).await?;
        tx.commit().await?;
        self.cluster.wake();
        Ok(Written::Made)
    }

    /// A repeated request may bring a newer code, which is good when there is no working token.
    async fn meet_again(
        &self,
        request: &ProvisionRequest,
        resource: &Resource,
    ) -> Result<(), ProvisioningError> {
        if request.plan != resource.plan.as_str() {
            tracing::warn!(
                external_id = %request.external_id, plan = %resource.plan, asked = request.plan,
                "a repeated provision names another plan, the resource keeps its own"
            );
        }
        let Some(GrantCode { code, expires_at }) = &request.grant else {
            return Ok(());
        };
        let (mut tx, resource) = self.lock_live(resource.cache).await?;
        let now = self.clock.now();
        tx.insert_grant(resource.cache, code, *expires_at, now)
            .await?;
        Ok(tx.commit().await?)
    }

    /// The answer, once the cache's nodes know its credentials.
    async fn connection(
        &self,
        resource: Resource,
        created: bool,
    ) -> Result<Connection, ProvisioningError> {
        let cache = resource.cache;
        // Read before the revision that is waited for: a repeat may meet a promotion, and whatever stands in the
        // answer must be in force.
        let servers = self.cluster.servers(cache).await?;
        let primary = self.store.primary(cache).await?;
        let (username, password) = primary.ok_or(ProvisioningError::Gone)?;
        let revision = self.store.last_change(cache).await?;
        if !self.cluster.wait_applied(cache, revision, NODE_WAIT).await {
            return Err(ProvisioningError::NodeBehind);
        }
        Ok(Connection {
            resource,
            servers,
            username,
            password,
            created,
        })
    }
}
