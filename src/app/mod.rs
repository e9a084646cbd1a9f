//! The composition root: builds the rooms, wires their ports, owns the order of start and stop.
//!
//! | file | builds |
//! |---|---|
//! | here | the whole service, for `serve` and `dev` |
//! | [`worker`] | the outbox alone, for `serve --role worker` |
//! | [`operator`] | what `admin` works with |

pub mod operator;
pub mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, AccessSettings};
use crate::cluster::{Cluster, ClusterSettings, Handover, Node, NodeSettings};
use crate::config::Config;
use crate::domain::{CacheId, CacheSpec, Clock, ExternalId, Marketplace, Plans, Timestamp};
use crate::engine::{
    Engine, EngineSettings, EventSink, Limits, Listeners, OpenListener, TlsListener,
};
use crate::marketplace::heroku::client::HerokuClient;
use crate::marketplace::heroku::routes::{self, HerokuRoutes};
use crate::marketplace::heroku::sso::SsoSettings;
use crate::marketplace::heroku::{HerokuSettings, Webhooks};
use crate::marketplace::outbound;
use crate::outbox::ports::{Provider, Providers};
use crate::outbox::{Outbox, OutboxSettings};
use crate::provisioning::Provisioning;
use crate::store::{Schema, Store, StoreSettings};
use crate::telemetry;
use crate::web::{self, Web, WebSettings, server};

/// How long a start waits for the node to know the caches of an earlier run.
const CATCH_UP: Duration = Duration::from_secs(30);

/// The installation's secret under which Heroku signs its news.
const WEBHOOK_SECRET: &str = "heroku_webhooks";

const TIDY_EVERY: Duration = Duration::from_secs(300);
/// How often due rotations are looked for.
const ROTATE_EVERY: Duration = Duration::from_secs(5);

/// The name and number of the private cache behind an open listener. Caches in the database count from 1.
const PRIVATE_CACHE: &str = "dev";
const PRIVATE_CACHE_ID: CacheId = CacheId(0);

/// A running service: both planes in one process.
pub struct Service {
    store: Store,
    engine: Engine,
    /// The doors for HTTP close first, and the outbox begins nothing new;
    stop_http: CancellationToken,
    http: TaskTracker,
    stop_outbox: CancellationToken,
    outbox: TaskTracker,
    /// the node goes last: pushes under way wait for it, and it has the last thing to tell.
    stop_background: CancellationToken,
    background: TaskTracker,
    shutdown: Duration,
}

impl Service {
    /// Builds and starts everything. When this returns, the caches of earlier runs take logins and the HTTP
    /// doors are open.
    pub async fn start(config: &Config, schema: Schema) -> anyhow::Result<Service> {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Store::open(&store_settings(config), schema, clock.now()).await?;
        let plans = Arc::new(config.plans.clone());
        let (stop_http, stop_background) = (CancellationToken::new(), CancellationToken::new());
        let (http, background) = (TaskTracker::new(), TaskTracker::new());
        let (stop_outbox, outbox_tasks) = (CancellationToken::new(), TaskTracker::new());

        let cluster = cluster_of(config, &store, &clock);
        let engine = start_node(
            config,
            &store,
            &cluster,
            &clock,
            &stop_background,
            &background,
        )
        .await?;

        let secret = store
            .installation_secret(WEBHOOK_SECRET, clock.now())
            .await?;
        let heroku = Arc::new(heroku_settings(config, secret));
        let outbox = build_outbox(config, &heroku, &store, &cluster, &clock)?;
        let stop = stop_outbox.clone();
        outbox_tasks.spawn(async move { outbox.run(stop).await });

        let access = Access::new(
            store.clone(),
            cluster.clone(),
            Arc::clone(&plans),
            Arc::clone(&clock),
        )
        .with_settings(AccessSettings {
            overlap: config.rotation_overlap,
        });
        background.spawn(rotate(access.clone(), stop_background.clone()));
        let provisioning = Provisioning::new(
            store.clone(),
            cluster.clone(),
            Arc::clone(&plans),
            Arc::clone(&clock),
        );
        background.spawn(tidy(
            cluster.clone(),
            access.clone(),
            provisioning.clone(),
            stop_background.clone(),
        ));

        let router = build_router(
            config,
            &heroku,
            &store,
            access,
            provisioning,
            &plans,
            &clock,
        );
        open_http(config, router, &stop_http, &http).await?;
        let shutdown = config.shutdown;
        Ok(Service {
            store,
            engine,
            stop_http,
            http,
            stop_outbox,
            outbox: outbox_tasks,
            stop_background,
            background,
            shutdown,
        })
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
        let (engine, shutdown) = (self.engine.clone(), self.shutdown);
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
    }
}

/// Waits for tasks that were told to stop, so long at most.
async fn ended(what: &str, tasks: &TaskTracker, most: Duration) {
    tasks.close();
    if tokio::time::timeout(most, tasks.wait()).await.is_err() {
        tracing::warn!("{what} were not waited for any longer");
    }
}

/// Brings the schema up to date, for `larder migrate`.
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    let store = Store::open(&store_settings(config), Schema::Migrate, SystemClock.now()).await?;
    store.close().await;
    Ok(())
}

/// The machine's clock.
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

fn cluster_of(config: &Config, store: &Store, clock: &Arc<dyn Clock>) -> Cluster {
    let settings = ClusterSettings {
        regions_allowed: config.manifest.api.regions.clone(),
    };
    let plans = Arc::new(config.plans.clone());
    Cluster::new(store.clone(), plans, Arc::clone(clock), settings)
}

fn store_settings(config: &Config) -> StoreSettings {
    StoreSettings {
        url: config.database_url.clone(),
        master_key: config.master_key.clone(),
        previous_keys: config.previous_keys.clone(),
        connections_max: config.database_connections,
    }
}

/// Starts the engine as this process's node. Its doors open only after it knows the caches of earlier runs, so
/// that no known login is refused.
async fn start_node(
    config: &Config,
    store: &Store,
    cluster: &Cluster,
    clock: &Arc<dyn Clock>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> anyhow::Result<Engine> {
    let memcached = &config.memcached;
    let settings = EngineSettings {
        threads: memcached.threads,
        memory_max_bytes: memcached.memory_bytes,
        proxy_hostname: memcached.proxy_hostname.clone(),
        limits: Limits::default(),
        engine_clock: None,
    };
    let handover = Arc::new(Handover::default());
    let engine = Engine::new(
        settings,
        store.verifier_key().clone(),
        Arc::clone(clock),
        Arc::clone(&handover) as Arc<dyn EventSink>,
    );
    let settings = NodeSettings {
        cluster: config.cluster.clone(),
        region: config.region.clone(),
        proxy_hostname: memcached.proxy_hostname.clone(),
        proxy_port: memcached.proxy_port,
        memory_bytes: memcached.memory_bytes,
        data_dir: config.data_dir.clone(),
    };
    let (link, plane) = (Arc::new(cluster.clone()), Arc::new(engine.clone()));
    let node = Arc::new(Node::join(&settings, link, plane, handover, Arc::clone(clock)).await?);
    cluster.attach(&node);
    let (running, stopping) = (Arc::clone(&node), stop.clone());
    tasks.spawn(async move { running.run(stopping).await });
    tokio::time::timeout(CATCH_UP, node.informed())
        .await
        .context("the node did not learn its caches in time")?;
    let addresses = engine.start(listeners(config, store, &engine).await?)?;
    tracing::info!(node = %node.id(), plain = ?addresses.plain, tls = ?addresses.tls, "memcached listens");
    Ok(engine)
}

/// Where the engine is to listen; makes or finds the cache behind the open listener.
async fn listeners(config: &Config, store: &Store, engine: &Engine) -> anyhow::Result<Listeners> {
    let tls = config.memcached.tls.as_ref().map(|tls| TlsListener {
        addr: tls.addr,
        cert: tls.certificate.clone(),
        key: tls.key.clone(),
    });
    let open = match &config.memcached.open {
        None => None,
        Some(open) => {
            let cache = open_cache(config, store, engine, &open.cache).await?;
            Some(OpenListener {
                addr: open.addr,
                cache,
            })
        }
    };
    Ok(Listeners {
        plain: Some(config.memcached.addr),
        tls,
        open,
        tls_on_plain: config.memcached.tls_detect,
    })
}

/// The cache of the open listener: a customer's by its external id, or a private one that only this node knows,
/// without credentials and outside the database.
async fn open_cache(
    config: &Config,
    store: &Store,
    engine: &Engine,
    name: &str,
) -> anyhow::Result<CacheId> {
    if name == PRIVATE_CACHE {
        let plan = config.plans.find_or_smallest(&PRIVATE_CACHE.parse()?);
        engine.apply(&CacheSpec {
            cache: PRIVATE_CACHE_ID,
            label: PRIVATE_CACHE.to_owned(),
            limit_bytes: plan.limit_bytes(),
            connections_max: plan.connections_max,
            credentials: Vec::new(),
            flush_orders: Vec::new(),
        });
        return Ok(PRIVATE_CACHE_ID);
    }
    let id: ExternalId = name.parse().context("LARDER_MEMCACHED_OPEN_CACHE")?;
    for marketplace in [
        Marketplace::Heroku,
        Marketplace::Manifold,
        Marketplace::Direct,
    ] {
        if let Some(resource) = store.resource_by_external(marketplace, &id).await?
            && resource.state.is_live()
        {
            return Ok(resource.cache);
        }
    }
    anyhow::bail!("LARDER_MEMCACHED_OPEN_CACHE: no live cache has the external id {id}")
}

fn heroku_settings(config: &Config, webhook_secret: secrecy::SecretString) -> HerokuSettings {
    let shared = &config.heroku;
    let pair = |current: &secrecy::SecretString, previous: &Option<secrecy::SecretString>| {
        std::iter::once(current.clone())
            .chain(previous.clone())
            .collect::<Vec<_>>()
    };
    HerokuSettings {
        id: config.manifest.id.clone(),
        user_agent: format!(
            "{}/{} ({})",
            config.manifest.id,
            env!("CARGO_PKG_VERSION"),
            config.public_url
        ),
        passwords: pair(&shared.password, &shared.password_previous),
        sso: SsoSettings {
            salts: pair(&shared.sso_salt, &shared.sso_salt_previous),
            legacy: shared.legacy,
        },
        client_secret: shared.client_secret.clone(),
        id_url: shared.id_url.clone(),
        api_url: shared.api_url.clone(),
        addons_url: shared.addons_url.clone(),
        log_hosts: shared.log_hosts.clone(),
        webhooks: Some(Webhooks {
            url: format!("{}/heroku/webhooks", config.public_url),
            secret: webhook_secret,
        }),
        legacy: shared.legacy,
        variables: config.manifest.variables(),
        allow_http: config.allow_http,
        call_max: outbound::CALL_MAX,
    }
}

fn build_outbox(
    config: &Config,
    heroku: &Arc<HerokuSettings>,
    store: &Store,
    cluster: &Cluster,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Outbox> {
    let client: Arc<dyn Provider> = Arc::new(HerokuClient::new(HerokuSettings::clone(heroku))?);
    let providers = Providers::from([(Marketplace::Heroku, client)]);
    let nodes = Arc::new(cluster.clone());
    Ok(Outbox::new(
        store.clone(),
        Arc::clone(clock),
        nodes,
        providers,
        OutboxSettings {
            look_every: config.heroku.look_every,
            ..OutboxSettings::default()
        },
    ))
}

/// Takes the turns of scheduled rotations, until `stop`.
async fn rotate(access: Access, stop: CancellationToken) {
    loop {
        if let Err(error) = access.rotate_due().await {
            tracing::warn!(%error, "scheduled rotation did not work, the next turn tries again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(ROTATE_EVERY) => {}
        }
    }
}

/// Removes what has outlived its use, now and then, until `stop`.
async fn tidy(
    cluster: Cluster,
    access: Access,
    provisioning: Provisioning,
    stop: CancellationToken,
) {
    loop {
        let tidied = async {
            cluster.tidy().await?;
            provisioning.tidy().await?;
            access.tidy().await
        };
        if let Err(error) = tidied.await {
            tracing::warn!(%error, "tidying up did not work, the next turn tries again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TIDY_EVERY) => {}
        }
    }
}

fn build_router(
    config: &Config,
    heroku: &Arc<HerokuSettings>,
    store: &Store,
    access: Access,
    provisioning: Provisioning,
    plans: &Arc<Plans>,
    clock: &Arc<dyn Clock>,
) -> Router {
    let name = config.manifest.display_name().to_owned();
    let web = Web {
        access,
        provisioning: provisioning.clone(),
        store: store.clone(),
        plans: Arc::clone(plans),
        heroku_sso: heroku.sso.clone(),
        clock: Arc::clone(clock),
        settings: Arc::new(WebSettings {
            legacy_header: heroku.legacy,
            tls_port: config.memcached.tls.as_ref().map(|tls| tls.addr.port()),
            ..WebSettings::new(
                config.public_url.clone(),
                !config.allow_http,
                name,
                config.manifest.variables(),
            )
        }),
    };
    let heroku_routes = HerokuRoutes {
        settings: Arc::clone(heroku),
        provisioning,
        clock: Arc::clone(clock),
    };
    web::app(web, routes::router(heroku_routes))
}

/// Opens the public door and the operators' own.
async fn open_http(
    config: &Config,
    router: Router,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> anyhow::Result<()> {
    let listener = bind("LARDER_HTTP_ADDR", config.http_addr).await?;
    tasks.spawn(server::serve(listener, router, stop.clone()));
    open_metrics(config, stop, tasks).await?;
    tracing::info!(http = %config.http_addr, public = %config.public_url, metrics = %config.metrics_addr, "http listens");
    Ok(())
}

async fn open_metrics(
    config: &Config,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> anyhow::Result<()> {
    let metrics = telemetry::metrics()?;
    let router = Router::new().route("/metrics", get(async move || metrics.render()));
    let listener = bind("LARDER_METRICS_ADDR", config.metrics_addr).await?;
    tasks.spawn(server::serve(listener, router, stop.clone()));
    Ok(())
}

async fn bind(name: &str, addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr)
        .await
        .with_context(|| format!("cannot listen on {addr} ({name})"))
}
