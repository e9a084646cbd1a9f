//! Making a resource, or finding the one that an equal request made before.

use std::time::Duration;

use super::{
    GrantCode, ProvisionRequest, Provisioned, Provisioning, ProvisioningError, Ready, audit,
};
use crate::access;
use crate::cluster::{NewServers, NoSite, PlacedAnew, Site};
use crate::domain::Capabilities;
use crate::domain::secret::BearerSecret;
use crate::domain::{
    Actor, CacheId, ClusterName, ConfigValues, Event, Identity, NodeId, Plan, Resource, ResourceId,
    ResourceState, Username,
};
use crate::outbox;
use crate::store::StoreError;
use crate::store::caches::attachments::OWNING_APP;
use crate::store::caches::resources::NewResource;

/// How long the answer waits until the credentials work on the cache's node. Then the node counts as gone, and
/// another one is tried.
const NODE_WAIT: Duration = Duration::from_secs(4);
/// Nodes tried one after the other. All of them together stay within the time after which an answer is too late for a
/// marketplace (heroku.md: 25 s).
const NODES_TRIED: usize = 3;
/// When the provider is first asked about a new resource, if the grant exchange does not ask before.
const FIRST_RECONCILE_AFTER: Duration = Duration::from_secs(30);
/// When the completion of a background set-up is attempted first, if the push of its config vars does not ask
/// before.
const FIRST_COMPLETION_AFTER: Duration = Duration::from_secs(5);
/// No region has a longer name.
const REGION_BYTES_MAX: usize = 128;
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
    /// A plan may ask for the background, and so does a region without room or without a node that answers; each only
    /// where the marketplace can be told later.
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
        let can_be_told = self.can_be_told(&request);
        self.when_in_force(resource, created, can_be_told).await
    }

    /// Whether the marketplace can be told later what became of this order: it takes completion calls, and the order
    /// came with the grant for them or the marketplace needs none.
    fn can_be_told(&self, request: &ProvisionRequest) -> bool {
        let abilities = self.abilities.of(request.marketplace);
        abilities.completion && (request.grant.is_some() || !abilities.tokens)
    }

    /// Writes a new resource; false when another request was first.
    async fn make(&self, request: &ProvisionRequest) -> Result<bool, ProvisioningError> {
        let plan = self.offered(request.marketplace, &request.plan);
        let plan = plan.ok_or_else(|| self.unknown_plan(request.marketplace, &request.plan))?;
        let can_be_told = self.can_be_told(request);
        let region = || request.region.clone();
        // PostgreSQL takes no NUL in a text, and no region is called so, or by so long a name.
        let is_long = request.region.len() > REGION_BYTES_MAX;
        if is_long || request.region.contains(char::is_control) {
            let (asked, offered) = (region(), self.cluster.regions_offered().await?);
            return Err(ProvisioningError::UnknownRegion { asked, offered });
        }
        let catalogue = self.catalogues.get(&request.marketplace);
        if let Some(offered) = catalogue.and_then(|catalogue| catalogue.instead_of(&request.region))
        {
            let (asked, offered) = (region(), offered.to_vec());
            return Err(ProvisioningError::UnknownRegion { asked, offered });
        }
        let route = match self.cluster.choose_site(&request.region, plan).await? {
            Ok(site) if plan.asynchronous && can_be_told => Route::Later(site),
            Ok(site) => Route::Now(site),
            Err(NoSite::Full { cluster }) if can_be_told => Route::WhenThereIsRoom(cluster),
            Err(NoSite::Full { .. }) => return Err(ProvisioningError::NoRoom(region())),
            Err(NoSite::Region { offered }) => {
                let asked = region();
                return Err(ProvisioningError::UnknownRegion { asked, offered });
            }
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
        let (username, name) = (Username::generate(), request.shown_name());
        let new = NewResource {
            id: ResourceId::generate(now),
            marketplace: request.marketplace,
            external_id: &request.external_id,
            name: &name,
            label: username.as_str(),
            plan: &plan.slug,
            region: &request.region,
            cluster: route.cluster(),
            callback_url: request.kept_callback_url(),
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
            tx.insert_async_provision(cache, now.plus(FIRST_COMPLETION_AFTER), now)
                .await?;
        }
        // What cannot be kept is not promised: a line without a log, a code that nobody takes.
        let abilities = self.abilities.of(request.marketplace);
        let log_url = request.log_url.as_ref().filter(|_| abilities.log_lines);
        tx.insert_attachment(cache, OWNING_APP, log_url, now)
            .await?;
        tx.insert_reconcile(cache, now.plus(FIRST_RECONCILE_AFTER), now)
            .await?;
        let grant = request.grant.as_ref().filter(|_| abilities.tokens);
        if let Some(GrantCode { code, expires_at }) = grant {
            tx.insert_grant(cache, code, *expires_at, now).await?;
        }
        let named = plan.slug.to_string();
        let event = match route.is_now() {
            true => Event::Provisioned { plan: named },
            false => Event::AsyncProvisionBegan { plan: named },
        };
        let actor = request.marketplace.into();
        outbox::announce(&mut tx, cache, new.label, &event, &actor, now).await?;
        let detail = format!("{} on plan {}", request.external_id, plan.slug);
        let entry = audit(cache, request.marketplace, "resource.provision", detail);
        tx.audit_first(&entry, now).await?;
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
        let tokens = self.abilities.of(request.marketplace).tokens;
        let Some(GrantCode { code, expires_at }) = request.grant.as_ref().filter(|_| tokens) else {
            return Ok(());
        };
        let (mut tx, resource) = self.lock_live(resource.cache).await?;
        let now = self.clock.now();
        tx.insert_grant(resource.cache, code, *expires_at, now)
            .await?;
        Ok(tx.commit().await?)
    }

    /// The answer, once the cache's nodes have its credentials in force. A cache whose node does not answer is placed
    /// anew as long as nobody has used it; with no room on any other node it is set up in the background, where the
    /// marketplace can be told later.
    async fn when_in_force(
        &self,
        mut resource: Resource,
        created: bool,
        can_be_told: bool,
    ) -> Result<Provisioned, ProvisioningError> {
        let cache = resource.cache;
        let mut behind = Vec::new();
        // A repeat cannot know whether an earlier answer arrived.
        let servers = match created {
            true => NewServers::InAnswer,
            false => NewServers::Pushed,
        };
        for tried in 0..NODES_TRIED {
            // The nodes of a cache that was made just now were chosen among those that answer.
            let may_be_away = !created || tried > 0;
            if !(may_be_away && self.cluster.is_any_away(cache).await?)
                && let Some(ready) = self.ready(&resource, created, NODE_WAIT).await?
            {
                return Ok(Provisioned::Ready(ready));
            }
            behind.extend(self.cluster.behind(cache).await?);
            match self.cluster.place_anew(cache, &behind, servers).await? {
                PlacedAnew::Moved => {}
                PlacedAnew::NoRoom if can_be_told => {
                    return Ok(Provisioned::Pending(self.postpone(cache, &behind).await?));
                }
                PlacedAnew::NoRoom => return Err(ProvisioningError::NodeBehind),
                PlacedAnew::InUse => {
                    let ready = self.ready_in_use(&resource, created).await?;
                    return Ok(Provisioned::Ready(ready));
                }
            }
            resource = self
                .live(resource.marketplace, &resource.external_id)
                .await?;
        }
        Err(ProvisioningError::NodeBehind)
    }

    /// The values for the app, once they are in force; `None` when that takes longer than `wait`.
    pub(super) async fn ready(
        &self,
        resource: &Resource,
        created: bool,
        wait: Duration,
    ) -> Result<Option<Ready>, ProvisioningError> {
        let cache = resource.cache;
        // Read before the revision that is waited for: a repeat may meet a promotion, and whatever stands in the
        // answer must be in force.
        let values = self.values(cache).await?;
        let revision = self.store.last_change(cache).await?;
        if !self.cluster.wait_applied(cache, revision, wait).await {
            return Ok(None);
        }
        Ok(Some(Ready {
            resource: resource.clone(),
            values,
            created,
        }))
    }

    /// What the app is to have now, whether it is in force or not.
    pub(super) async fn values(&self, cache: CacheId) -> Result<ConfigValues, ProvisioningError> {
        let servers = self.cluster.servers(cache).await?;
        let primary = self.store.primary(cache).await?;
        let (username, password) = primary.ok_or(ProvisioningError::Gone)?;
        Ok(ConfigValues {
            servers,
            username,
            password,
        })
    }

    /// Takes a cache off nodes that do not answer and sets it up in the background, once a node has room.
    async fn postpone(
        &self,
        cache: CacheId,
        behind: &[NodeId],
    ) -> Result<Resource, ProvisioningError> {
        let (mut tx, resource) = self.lock_live(cache).await?;
        if resource.state == ResourceState::Provisioning {
            return Ok(resource);
        }
        let now = self.clock.now();
        for node in behind {
            tx.unplace(cache, node).await?;
        }
        tx.set_up_again(cache).await?;
        // The values that the first answer was to hold were never told.
        tx.doubt_config(cache).await?;
        tx.insert_async_provision(cache, now.plus(FIRST_COMPLETION_AFTER), now)
            .await?;
        let plan = resource.plan.to_string();
        let (event, service) = (
            Event::AsyncProvisionBegan { plan },
            Actor::local(Identity::Service),
        );
        outbox::announce(&mut tx, cache, &resource.label, &event, &service, now).await?;
        tx.bump(cache).await?;
        tx.commit().await?;
        self.cluster.wake();
        Ok(Resource {
            state: ResourceState::Provisioning,
            ..resource
        })
    }
}
