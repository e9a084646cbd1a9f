//! The outbox in a process of its own, beside processes that run everything on the same database.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::control::{build_outbox, cluster_of};
use crate::access::Access;
use crate::app::background::record_refused_calls;
use crate::app::claim::WorkerPlace;
use crate::app::descriptors::Descriptors;
use crate::app::listeners::{metrics_routes, open_metrics};
use crate::app::metrics::Scrape;
use crate::app::{SystemClock, store_settings, tell_start};
use crate::config::Config;
use crate::domain::Clock;
use crate::marketplace::{Registry, registry};
use crate::store::{Schema, Store};
use crate::telemetry::metrics::Recorder;

/// A running worker. It has no node of its own: how far the others are it reads in the database.
pub struct Worker {
    store: Store,
    stop: CancellationToken,
    tasks: TaskTracker,
    shutdown: Duration,
    _place: Option<WorkerPlace>,
}

impl Worker {
    pub async fn start(config: &Config) -> anyhow::Result<Worker> {
        ensure!(
            !config.database_url.expose_secret().starts_with("sqlite:"),
            "a worker shares its database with other processes, and SQLite is for one: set LARDER_DATABASE_URL to a \
             postgres:// address, or run `larder serve` without --role"
        );
        tell_start(config, "worker");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Store::open(&store_settings(config), Schema::Expect, clock.now()).await?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let cluster = cluster_of(config, &store, &clock);
        let marketplaces = registry::built_in(config);
        let registry = Registry::open(marketplaces, config, &store, clock.now()).await?;
        let place = take_place(config);
        let name = place.as_ref().map(|place| place.name().to_owned());
        let outbox = build_outbox(&registry, &store, &cluster, &clock, name)?;
        let plans = Arc::new(config.plans.clone());
        let access = Access::new(store.clone(), cluster, plans, Arc::clone(&clock));
        let scrape = Scrape {
            recorder: Recorder::install()?,
            store: Some(store.clone()),
            clock,
            engine: Arc::default(),
        };
        let routes = metrics_routes(&config.process, scrape, access.refused_calls().clone());
        let files = Descriptors::now(config);
        open_metrics(&config.process, files.metrics, routes, (&stop, &tasks)).await?;
        tasks.spawn(record_refused_calls(access, stop.clone()));
        let stopping = stop.clone();
        tasks.spawn(async move { outbox.run(stopping).await });
        Ok(Worker {
            store,
            stop,
            tasks,
            shutdown: config.process.shutdown,
            _place: place,
        })
    }

    /// Lets the attempts under way end and records them, within the shutdown time.
    pub async fn stop(self) {
        self.stop.cancel();
        tracing::info!("stopping; attempts under way end first");
        self.tasks.close();
        if tokio::time::timeout(self.shutdown, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                "the shutdown time is over; attempts under way are made again by others"
            );
        }
        self.store.close().await;
        tracing::info!("stopped");
    }
}

/// A worker works without a place too: what it had under way when it was killed is free ten seconds later then.
fn take_place(config: &Config) -> Option<WorkerPlace> {
    WorkerPlace::take(&config.process.data_dir)
        .inspect_err(|error| {
            tracing::warn!(
                "the worker has no place in the data folder, so after a crash others notice later that it is gone: \
                 {error:#}"
            );
        })
        .ok()
}
