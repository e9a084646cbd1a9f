//! The engine, as this process's node: where it listens, and what it is told before it does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::descriptors::Descriptors;
use crate::app::listeners::cannot_listen;
use crate::cluster::{Cluster, EventBuffer, LocalLink, NodeAgent, NodeSettings};
use crate::config::{self, Config, settings};
use crate::domain::{CacheId, CacheSpec, Clock, ExternalId};
use crate::engine::{
    Engine, EngineError, EngineSettings, EventSink, Limits, Listeners, OpenListener, TlsListener,
};
use crate::store::Store;

/// How long a start waits for the node to know the caches of an earlier run.
const CATCH_UP: Duration = Duration::from_secs(30);

/// The name and number of the private cache behind an open listener. Caches in the database count from 1.
const PRIVATE_CACHE: &str = "dev";
const PRIVATE_CACHE_ID: CacheId = CacheId(0);

/// Clients that have not logged in may hold this part of the engine's memory together.
const ANONYMOUS_PART: u64 = 4;

/// Half of the connections are for those who have logged in, and no address takes more than a quarter of the other half.
fn limits(files: &Descriptors, memory_bytes: u64, set: &config::Limits) -> Limits {
    let product = Limits {
        login_deadline: set.memcached_login,
        line_bytes_max: set.memcached_line_bytes,
        request_deadline: set.memcached_request,
        output_bytes_max: set.memcached_unread_bytes,
        unread_output_deadline: set.memcached_unread,
        ..Limits::default()
    };
    let anonymous_bytes = usize::try_from(memory_bytes / ANONYMOUS_PART).unwrap_or(usize::MAX);
    let connections_max = files.memcached as u32;
    let anonymous_max = product.anonymous_max.min(connections_max / 2);
    Limits {
        connections_max,
        anonymous_max,
        anonymous_total_bytes_max: product.anonymous_total_bytes_max.min(anonymous_bytes),
        anonymous_per_address_max: product.anonymous_per_address_max.min(anonymous_max / 4),
        ..product
    }
}

/// Starts the engine as this process's node. It listens only once it knows the caches of earlier runs, so
/// that no known login is refused.
pub(in crate::app) async fn start_node(
    config: &Config,
    store: &Store,
    cluster: &Cluster,
    clock: &Arc<dyn Clock>,
    (stop, tasks): (&CancellationToken, &TaskTracker),
) -> anyhow::Result<Engine> {
    let memcached = &config.memcached;
    let files = Descriptors::now(config);
    files.tell();
    let settings = EngineSettings {
        threads: memcached.threads,
        memory_max_bytes: memcached.memory_bytes,
        proxy_hostname: memcached.proxy_hostname.clone(),
        limits: limits(&files, memcached.memory_bytes, &config.limits),
        engine_clock: None,
    };
    let event_buffer = Arc::new(EventBuffer::default());
    let engine = Engine::new(
        settings,
        store.verifier_key().clone(),
        Arc::clone(clock),
        Arc::clone(&event_buffer) as Arc<dyn EventSink>,
    );
    let settings = NodeSettings {
        cluster: config.cluster.clone(),
        region: config.region.clone(),
        proxy_hostname: memcached.proxy_hostname.clone(),
        proxy_port: memcached.proxy_port,
        memory_bytes: memcached.memory_bytes,
        data_dir: config.data_dir.clone(),
    };
    let link = Arc::new(LocalLink(cluster.clone()));
    let plane = Arc::new(engine.clone());
    let node = NodeAgent::join(&settings, link, plane, event_buffer, Arc::clone(clock)).await?;
    let node = Arc::new(node);
    cluster.attach(&node);
    let (running, stopping) = (Arc::clone(&node), stop.clone());
    tasks.spawn(async move { running.run(stopping).await });
    tokio::time::timeout(CATCH_UP, node.informed())
        .await
        .context("the node did not learn its caches in time")?;
    let started = engine.start(listeners(config, store, &engine).await?);
    let addresses = started.map_err(|error| engine_cannot_start(config, error))?;
    node.open()
        .await
        .context("the node cannot report that it serves")?;
    let shown =
        |addr: Option<SocketAddr>| addr.map_or_else(|| "off".to_owned(), |addr| addr.to_string());
    let (plain, tls) = (shown(addresses.plain), shown(addresses.tls));
    tracing::info!(node = %node.id(), plain, tls, "memcached listens");
    Ok(engine)
}

/// The engine knows addresses, the operator the settings that they come from.
fn engine_cannot_start(config: &Config, error: EngineError) -> anyhow::Error {
    let EngineError::Listen { addr, source } = error else {
        return error.into();
    };
    let memcached = &config.memcached;
    let setting = match (&memcached.tls, &memcached.open) {
        (Some(tls), _) if tls.addr == addr => &settings::MEMCACHED_TLS_ADDR,
        (_, Some(open)) if open.addr == addr => &settings::MEMCACHED_OPEN_ADDR,
        _ => &settings::MEMCACHED_ADDR,
    };
    cannot_listen(&setting.about, addr, &source)
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
    match store.caches_by_external_id(&id).await?.as_slice() {
        [cache] => Ok(*cache),
        [] => anyhow::bail!("LARDER_MEMCACHED_OPEN_CACHE: no live cache has the external id {id}"),
        _ => anyhow::bail!(
            "LARDER_MEMCACHED_OPEN_CACHE: caches of several marketplaces have the external id {id}"
        ),
    }
}
