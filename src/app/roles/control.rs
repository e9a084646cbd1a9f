//! The control plane on its database: marketplaces, provisioning, access, pages and outbox.

use std::sync::Arc;

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::access::{Access, AccessSettings};
use crate::app::claim::place_of_service;
use crate::cluster::{Cluster, ClusterSettings};
use crate::config::Config;
use crate::domain::Clock;
use crate::marketplace::{Adapter, Registry, Rooms};
use crate::outbox::{Outbox, OutboxSettings};
use crate::provisioning::Provisioning;
use crate::store::Store;
use crate::web::health::OutageLines;
use crate::web::{self, Web, WebSettings};

/// The rooms of the control plane, joined to each other.
pub(in crate::app) struct Control {
    pub(in crate::app) access: Access,
    pub(in crate::app) provisioning: Provisioning,
    pub(in crate::app) outbox: Outbox,
    registry: Registry,
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Control {
    /// Joins the rooms. Nothing runs yet. The caller has claimed the data folder.
    pub(in crate::app) async fn build(
        config: &Config,
        marketplaces: Vec<Arc<dyn Adapter>>,
        store: &Store,
        cluster: &Cluster,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Control> {
        let registry = Registry::open(marketplaces, config, store, clock.now()).await?;
        let place = place_of_service(&config.process.data_dir);
        let outbox = build_outbox(&registry, store, cluster, clock, place)?;
        let abilities = outbox.abilities();
        let plans = Arc::new(config.plans.clone());
        let (store, clock) = (store.clone(), Arc::clone(clock));
        let access = Access::new(
            store.clone(),
            cluster.clone(),
            Arc::clone(&plans),
            Arc::clone(&clock),
        )
        .with_settings(AccessSettings {
            overlap: config.rotation_overlap,
            audit_kept: config.audit_kept,
            events_kept: config.events_kept,
            session_idle: config.limits.session_idle,
            session_age: config.limits.session_age,
        })
        .with_abilities(abilities.clone());
        let catalogues = registry.catalogues(&plans);
        let provisioning =
            Provisioning::new(store.clone(), cluster.clone(), plans, Arc::clone(&clock))
                .with_abilities(abilities)
                .with_catalogues(catalogues);
        Ok(Control {
            access,
            provisioning,
            outbox,
            registry,
            store,
            clock,
        })
    }

    /// Pages and provisioning API. `stopping` turns `/readyz` to 503.
    pub(in crate::app) fn router(&self, config: &Config, stopping: &CancellationToken) -> Router {
        let product = config.product.clone();
        let web = Web {
            access: self.access.clone(),
            provisioning: self.provisioning.clone(),
            store: self.store.clone(),
            plans: Arc::new(config.plans.clone()),
            clock: Arc::clone(&self.clock),
            stopping: stopping.clone(),
            outage_lines: OutageLines::default(),
            settings: Arc::new(WebSettings {
                marketplaces: self.registry.faces(),
                consoles: self.registry.consoles(),
                tls_port: config.shown_tls.as_ref().map(|tls| tls.port),
                tls_ca_file: config.shown_tls.as_ref().and_then(|tls| tls.ca.clone()),
                body_bytes_max: config.limits.http_body_bytes,
                request_timeout: config.limits.http_request,
                session_idle: config.limits.session_idle,
                session_age: config.limits.session_age,
                ..WebSettings::new(
                    config.public_url.clone(),
                    !config.allow_http,
                    product.name,
                    product.variables,
                )
            }),
        };
        let rooms = Rooms {
            provisioning: self.provisioning.clone(),
            web: web.clone(),
            clock: Arc::clone(&self.clock),
        };
        web::app(web, self.registry.routes(&rooms))
    }
}

pub(in crate::app) fn cluster_of(
    config: &Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
) -> Cluster {
    let settings = ClusterSettings {
        regions_allowed: config.product.regions.clone(),
        region_strict: config.region_strict,
        has_link: config.link.is_some(),
    };
    let plans = Arc::new(config.plans.clone());
    Cluster::new(store.clone(), plans, Arc::clone(clock), settings)
}

/// `place` tells the outbox its predecessor by: no other living process has it.
pub(in crate::app) fn build_outbox(
    registry: &Registry,
    store: &Store,
    cluster: &Cluster,
    clock: &Arc<dyn Clock>,
    place: Option<String>,
) -> anyhow::Result<Outbox> {
    let providers = registry.providers()?;
    let nodes = Arc::new(cluster.clone());
    Ok(Outbox::new(
        store.clone(),
        Arc::clone(clock),
        nodes,
        providers,
        OutboxSettings {
            reconcile_every: registry
                .reconcile_every()
                .unwrap_or(OutboxSettings::default().reconcile_every),
            place,
            ..OutboxSettings::default()
        },
    ))
}
