//! Making a resource, or finding the one that an equal request made before.

use std::time::Duration;

use super::{
    Connection, GrantCode, ProvisionRequest, Provisioned, Provisioning, ProvisioningError, audit,
};
use crate::access;
use crate::cluster::{NoSite, Site};
use crate::domain::Capabilities;
use crate::domain::secret::BearerSecret;
use crate::domain::{ClusterName, Event, Plan, Resource, ResourceId, ResourceState, Username};
use crate::outbox;
use crate::store::StoreError;
use crate::store::attachments::OWNING_APP;
use crate::store::resources::NewResource;

/// How long the answer waits until the credentials work; the marketplace gives up long after.
const NODE_WAIT: Duration = Duration::from_secs(5);
/// When the provider is first asked about a new resource, if the grant exchange does not ask before.
const FIRST_LOOK: Duration = Duration::from_secs(30);
/// When a resource that is set up in the background is looked at, if the push of its config vars does not ask
/// before.
const FIRST_SETUP_LOOK: Duration = Duration::from_secs(5);
/// User names drawn before giving up; see `access`.
const DRAWS_MAX: u32 = 16;

/// Where a new resource goes and how it is answered.
enum Route {
    /// Its values travel in the answer.
    Now(Site),
    /// The marketplace is told later.
    Later(Site),
    /// Likewise, once a node has room.
    WhenThereIsRoom(ClusterName),
}

impl Route {
    fn site(&self) -> Option<&Site> {
        match self {
            Route::Now(site) | Route::Later(site) => Some(site),
            Route::WhenThereIsRoom(_) => None,
        }
    }

    fn cluster(&self) -> &ClusterName {
        match self {
            Route::Now(site) | Route::Later(site) => &site.cluster,
            Route::WhenThereIsRoom(cluster) => cluster,
        }
    }

    fn is_now(&self) -> bool {
        matches!(self, Route::Now(_))
    }
}

/// What came of one try to write a new resource.
enum Written {
    Made,
    /// Another request with this id was first.
    Lost,
    /// The user name is taken: draw another.
    NameTaken,
    /// Its end came before it.
    Ended,
}

impl Provisioning {
    /// Makes the resource, or finds the one an equal request made before. The credentials work on the cache's
    /// nodes before this returns it as ready.
    ///
    /// A plan may ask for the background, and so does a region without room; both only where the marketplace gave a
    /// grant, because without one it cannot be told later.
    ///
    /// A repeat is answered with what is true now, whatever plan it names: plans change by
    /// [`change_plan`](Provisioning::change_plan) only.
    pub async fn provision(
        &self,
        request: ProvisionRequest,
    ) -> Result<Provisioned, ProvisioningError> {
        let (marketplace, id) = (request.marketplace, &request.external_id);
        let created = match self.find(marketplace, id).await? {
            Some(_) => false,
            None => self.make(&request).await?,
        };
        let resource = self.live(marketplace, id).await?;
        if !created {
            self.meet_again(&request, &resource).await?;
        }
        if resource.state == ResourceState::Provisioning {
            return Ok(Provisioned::Pending(resource));
        }
        let connection = self.connection(resource, created).await?;
        Ok(Provisioned::Ready(connection))
    }

    /// Writes a new resource; false when another request was first.
    async fn make(&self, request: &ProvisionRequest) -> Result<bool, ProvisioningError> {
        let plan = self.plans.find(&request.plan).filter(|plan| !plan.hidden);
        let plan = plan.ok_or_else(|| ProvisioningError::UnknownPlan(request.plan.clone()))?;
        let can_be_told = request.grant.is_some();
        let region = || request.region.clone();
        let route = match self.cluster.choose_site(&request.region, plan).await? {
            Ok(site) if plan.asynchronous && can_be_told => Route::Later(site),
            Ok(site) => Route::Now(site),
            Err(NoSite::Full { cluster }) if can_be_told => Route::WhenThereIsRoom(cluster),
            Err(NoSite::Full { .. }) => return Err(ProvisioningError::NoRoom(region())),
            Err(NoSite::Region) => return Err(ProvisioningError::UnknownRegion(region())),
        };
        for _ in 0..DRAWS_MAX {
            match self.write(request, plan, &route).await? {
                Written::Made => return Ok(true),
                Written::Lost => return Ok(false),
                Written::NameTaken => {}
                Written::Ended => return Err(ProvisioningError::Gone),
            }
        }
        Err(StoreError::Taken("credentials.username".to_owned()).into())
    }

    /// Everything a new resource consists of, in one transaction: all of it is there after a crash, or nothing.
    async fn write(
        &self,
        request: &ProvisionRequest,
        plan: &Plan,
        route: &Route,
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
            cluster: route.cluster(),
            callback_url: request.callback_url.as_deref(),
            sso: &BearerSecret::generate(),
            provisioning: !route.is_now(),
        };
        let mut tx = self.store.begin().await?;
        let Some(cache) = tx.insert_resource(&new, now).await? else {
            return Ok(Written::Lost);
        };
        if !tx
            .may_begin(request.marketplace, &request.external_id, now)
            .await?
        {
            return Ok(Written::Ended);
        }
        let key = self.store.verifier_key();
        let issued =
            access::issue(&mut tx, key, cache, &username, Capabilities::ALL, true, now).await?;
        if issued.is_none() {
            return Ok(Written::NameTaken);
        }
        if let Some(site) = route.site() {
            tx.place(cache, &site.node).await?;
        }
        tx.insert_config_sync(cache, route.is_now(), now).await?;
        if !route.is_now() {
            tx.insert_setup(cache, now.plus(FIRST_SETUP_LOOK), now)
                .await?;
        }
        let log_url = request.log_url.as_ref();
        tx.insert_attachment(cache, OWNING_APP, log_url, now)
            .await?;
        tx.insert_watch(cache, now.plus(FIRST_LOOK), now).await?;
        if let Some(GrantCode { code, expires_at }) = &request.grant {
            tx.insert_grant(cache, code, *expires_at, now).await?;
        }
        let named = plan.slug.to_string();
        let event = match route.is_now() {
            true => Event::Provisioned { plan: named },
            false => Event::SetupBegan { plan: named },
        };
        outbox::announce(&mut tx, cache, new.label, &event, now).await?;
        let detail = format!("{} on plan {}", request.external_id, plan.slug);
        let entry = audit(cache, request.marketplace, "resource.provision", detail);
        tx.audit(&entry, now).await?;
        let revision = tx.bump(cache).await?;
        if matches!(route, Route::Later(_)) {
            outbox::want_config(&mut tx, cache, revision, now).await?;
        }
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
