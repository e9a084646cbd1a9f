//! The whole service in one process, for `serve` and `dev`: the order of start and of stop.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::background::{maintain_nodes, record_refused_calls, rotate, tidy};
use super::listeners::{open_http, open_metrics};
use super::metrics::Scrape;
use super::roles::control::{Control, cluster_of};
use super::roles::node::start_node;
use super::{FolderClaim, SystemClock, store_settings, tell_start};
use crate::config::Config;
use crate::domain::{Clock, ExternalId, Marketplace};
use crate::engine::Engine;
use crate::marketplace::{Adapter, registry};
use crate::store::{FileLock, Schema, Store};
use crate::telemetry::metrics::Recorder;

/// A running service: both planes in one process.
pub struct Service {
    store: Store,
    engine: Engine,
    /// First balancers are told to send their requests elsewhere;
    stopping: CancellationToken,
    /// then the HTTP listeners close, and the outbox begins nothing new;
    stop_http: CancellationToken,
    http: TaskTracker,
    stop_outbox: CancellationToken,
    outbox: TaskTracker,
    /// the node goes last: pushes under way wait for it, and it has the last thing to tell.
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
        let folder = FolderClaim::take(&config.data_dir, "larder serve")?;
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
        tell_start(config, "all");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Store::open(&store_settings(config), schema, clock.now()).await?;
        let (stop_http, http) = (CancellationToken::new(), TaskTracker::new());
        let (stop_outbox, outbox) = (CancellationToken::new(), TaskTracker::new());
        let (stop_background, background) = (CancellationToken::new(), TaskTracker::new());
        let stopping = CancellationToken::new();

        let cluster = cluster_of(config, &store, &clock);
        let loops = (&stop_background, &background);
        let engine = start_node(config, &store, &cluster, &clock, loops).await?;

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
        background.spawn(rotate(access.clone(), stop_background.clone()));
        background.spawn(maintain_nodes(cluster.clone(), stop_background.clone()));
        let refused_calls = access.refused_calls().clone();
        let refused = record_refused_calls(access.clone(), stop_background.clone());
        background.spawn(refused);
        background.spawn(tidy(cluster, access, provisioning, stop_background.clone()));

        let scrape = Scrape {
            recorder: Recorder::install()?,
            store: store.clone(),
            clock,
            engine: Some((engine.clone(), config.memcached.memory_bytes)),
        };
        open_metrics(config, scrape, refused_calls, &stop_http, &http).await?;
        open_http(config, router, &stop_http, &http).await?;
        Ok(Service {
            store,
            engine,
            stopping,
            stop_http,
            http,
            stop_outbox,
            outbox,
            stop_background,
            background,
            shutdown_delay: config.shutdown_delay.min(config.shutdown / 2),
            shutdown: config.shutdown,
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
        match self.engine.reload_tls() {
            Ok(()) => tracing::info!("read the certificate again"),
            Err(error) => tracing::error!(%error, "the old certificate stays"),
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
            let stopped = tokio::task::spawn_blocking(move || engine.stop(shutdown / 2)).await;
            if let Err(error) = stopped {
                tracing::error!(%error, "the engine did not stop cleanly");
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

/// Waits for tasks that were told to stop, so long at most.
async fn ended(what: &str, tasks: &TaskTracker, most: Duration) {
    tasks.close();
    if tokio::time::timeout(most, tasks.wait()).await.is_err() {
        tracing::warn!("{what} were not waited for any longer");
    }
}
