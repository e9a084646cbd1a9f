//! The whole service in one process, for `serve` and `dev`, or all of it but the node, for `serve --role control`: the order
//! of start and of stop.

use std::fmt::Display;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::background::{maintain_nodes, record_refused_calls, rotate, tidy};
use super::descriptors::Descriptors;
use super::listeners::{metrics_routes, node_link_routes, open_http, open_link, open_metrics};
use super::metrics::{RunningEngine, Scrape};
use super::roles::control::{Control, cluster_of};
use super::roles::node::start_node;
use super::{FolderClaim, SystemClock, store_settings, tell_start};
use crate::access::Access;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::domain::{Clock, ExternalId, Marketplace};
use crate::engine::Engine;
use crate::http::tls::ReloadableTls;
use crate::marketplace::{Adapter, registry};
use crate::provisioning::Provisioning;
use crate::store::{FileLock, Schema, Store};
use crate::telemetry::metrics::Recorder;

/// A running service: the control plane, and the data plane where the configuration has a node.
pub struct Service {
    store: Store,
    engine: Option<Engine>,
    /// The certificate of the node link, where it has one.
    link_tls: Option<Arc<ReloadableTls>>,
    /// First balancers are told to send their requests elsewhere;
    stopping: CancellationToken,
    /// then the HTTP listeners close, and the outbox begins nothing new;
    stop_http: CancellationToken,
    http: TaskTracker,
    stop_outbox: CancellationToken,
    outbox: TaskTracker,
    /// the node and the node link go last: pushes under way wait for nodes, which have the last thing to tell.
    stop_background: CancellationToken,
    background: TaskTracker,
    shutdown_delay: Duration,
    shutdown: Duration,
    _claims: (FolderClaim, Option<FileLock>),
}

impl Service {
    /// Builds and starts everything. When this returns, the caches of earlier runs take logins and HTTP
    /// listens.
    pub async fn start(config: &Config, schema: Schema) -> anyhow::Result<Service> {
        Service::start_with(config, registry::built_in(config), schema).await
    }

    /// The same with these marketplaces.
    pub async fn start_with(
        config: &Config,
        marketplaces: Vec<Arc<dyn Adapter>>,
        schema: Schema,
    ) -> anyhow::Result<Service> {
        let folder = FolderClaim::take(&config.process.data_dir, "larder serve")?;
        Service::run(folder, config, marketplaces, schema).await
    }

    /// The same as `start`, in a folder that this process has claimed already.
    pub async fn start_in(
        folder: FolderClaim,
        config: &Config,
        schema: Schema,
    ) -> anyhow::Result<Service> {
        Service::run(folder, config, registry::built_in(config), schema).await
    }

    async fn run(
        folder: FolderClaim,
        config: &Config,
        marketplaces: Vec<Arc<dyn Adapter>>,
        schema: Schema,
    ) -> anyhow::Result<Service> {
        let database = folder.database(config)?;
        let role = config.node.as_ref().map_or("control", |_| "all");
        tell_start(config, role);
        let files = Descriptors::now(config);
        files.tell();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Store::open(&store_settings(config), schema, clock.now()).await?;
        let (stop_http, http) = (CancellationToken::new(), TaskTracker::new());
        let (stop_outbox, outbox) = (CancellationToken::new(), TaskTracker::new());
        let (stop_background, background) = (CancellationToken::new(), TaskTracker::new());
        let stopping = CancellationToken::new();

        let cluster = cluster_of(config, &store, &clock);
        let loops = (&stop_background, &background);
        let engine = match &config.node {
            Some(node) => Some(start_node(config, node, &store, &cluster, &clock, loops).await?),
            None => None,
        };
        let control = Control::build(config, marketplaces, &store, &cluster, &clock).await?;
        let router = control.router(config, &stopping);
        let Control {
            access,
            provisioning,
            outbox: attempts,
            ..
        } = control;
        let stop = stop_outbox.clone();
        outbox.spawn(async move { attempts.run(stop).await });
        let refused = access.refused_calls().clone();
        let link_tls = match &config.link {
            Some(link) => {
                let routes = node_link_routes(link, &cluster, &refused, &clock);
                open_link(link, files.link, routes, loops).await?
            }
            None => None,
        };
        spawn_loops(cluster, access, provisioning, loops);

        let scrape = Scrape {
            recorder: Recorder::install()?,
            store: Some(store.clone()),
            clock,
            engine: running(config, engine.as_ref()),
        };
        let routes = metrics_routes(&config.process, scrape, refused);
        open_metrics(&config.process, files.metrics, routes, (&stop_http, &http)).await?;
        open_http(config, router, &stop_http, &http).await?;
        Ok(Service {
            store,
            engine,
            link_tls,
            stopping,
            stop_http,
            http,
            stop_outbox,
            outbox,
            stop_background,
            background,
            shutdown_delay: config
                .process
                .shutdown_delay
                .min(config.process.shutdown / 2),
            shutdown: config.process.shutdown,
            _claims: (folder, database),
        })
    }

    /// The value of SERVERS that a live cache's provider is to hold now; `None` for one that is not there.
    pub async fn servers(
        &self,
        marketplace: Marketplace,
        id: &ExternalId,
    ) -> anyhow::Result<Option<String>> {
        let found = self.store.resource_by_external(marketplace, id).await?;
        match found.filter(|resource| resource.state.is_live()) {
            Some(resource) => Ok(Some(self.store.servers(resource.cache).await?)),
            None => Ok(None),
        }
    }

    /// Reads the certificate files again.
    pub fn reload_tls(&self) {
        if let Some(engine) = &self.engine {
            tell_reloaded("memcached", engine.reload_tls());
        }
        if let Some(tls) = &self.link_tls {
            tell_reloaded("node link", tls.reload());
        }
    }

    /// Winds down in the order in which callers suffer least: no new requests, memcached clients between two
    /// commands, attempts of the outbox with their records, and last the node with what it has to tell. Ends within
    /// the shutdown time, of which slow callers and slow providers get a share: nobody waits for them in vain.
    pub async fn stop(self) {
        let engine = self.engine.clone();
        let shutdown = self.shutdown.saturating_sub(self.shutdown_delay);
        self.stopping.cancel();
        let delay_secs = self.shutdown_delay.as_secs();
        tracing::info!(
            delay_secs,
            "stopping; /readyz says so, and requests are still taken"
        );
        tokio::time::sleep(self.shutdown_delay).await;
        self.stop_http.cancel();
        self.stop_outbox.cancel();
        let wind_down = async {
            ended("requests under way", &self.http, shutdown / 4).await;
            if let Some(engine) = engine {
                let stopped = tokio::task::spawn_blocking(move || engine.stop(shutdown / 2)).await;
                if let Err(error) = stopped {
                    tracing::error!(%error, "the engine did not stop cleanly");
                }
            }
            ended("attempts of the outbox", &self.outbox, shutdown / 8).await;
            self.stop_background.cancel();
            self.background.close();
            self.background.wait().await;
        };
        if tokio::time::timeout(shutdown, wind_down).await.is_err() {
            tracing::warn!(
                "the shutdown time is over; what is unfinished goes on after the next start"
            );
        }
        self.store.close().await;
        tracing::info!("stopped");
    }
}

/// Starts the loops beside the requests.
fn spawn_loops(
    cluster: Cluster,
    access: Access,
    provisioning: Provisioning,
    (stop, tasks): (&CancellationToken, &TaskTracker),
) {
    tasks.spawn(rotate(access.clone(), stop.clone()));
    tasks.spawn(maintain_nodes(cluster.clone(), stop.clone()));
    tasks.spawn(record_refused_calls(access.clone(), stop.clone()));
    tasks.spawn(tidy(cluster, access, provisioning, stop.clone()));
}

/// The engine of this process for whoever reads its figures.
fn running(config: &Config, engine: Option<&Engine>) -> Arc<OnceLock<RunningEngine>> {
    let running = engine.zip(config.node.as_ref());
    let running = running.map(|(engine, node)| RunningEngine {
        engine: engine.clone(),
        memory_limit_bytes: node.memcached.memory_bytes,
    });
    Arc::new(running.map_or_else(OnceLock::new, OnceLock::from))
}

fn tell_reloaded(of: &str, reloaded: Result<(), impl Display>) {
    match reloaded {
        Ok(()) => tracing::info!(of, "read the certificate again"),
        Err(error) => tracing::error!(of, %error, "the old certificate stays"),
    }
}

/// Waits for tasks that were told to stop, so long at most.
async fn ended(what: &str, tasks: &TaskTracker, most: Duration) {
    tasks.close();
    if tokio::time::timeout(most, tasks.wait()).await.is_err() {
        tracing::warn!("{what} were not waited for any longer");
    }
}
