//! The engine as this process's node: what it is made of, where it listens, and what it is told before it does. Here for
//! a node beside its control plane; `node_process` has the one in a process of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::descriptors::Descriptors;
use crate::app::listeners::cannot_listen;
use crate::cluster::node::{RunEnd, join};
use crate::cluster::{Cluster, EventBuffer, LocalLink, NodeAgent, NodeSettings};
use crate::config::{Config, MemcachedLimits, NodePart, PRIVATE_CACHE, Process, settings};
use crate::domain::secret::VerifierKey;
use crate::domain::{CacheId, CacheSpec, Clock, ExternalId, Plans};
use crate::engine::{
    Engine, EngineError, EngineSettings, EventSink, Limits, Listeners, OpenListener, TlsListener,
};
use crate::store::Store;

/// How long a start waits for the node to know the caches of an earlier run.
const CATCH_UP: Duration = Duration::from_secs(30);

/// The number of the private cache behind an open listener. Caches in the database count from 1.
const PRIVATE_CACHE_ID: CacheId = CacheId(0);

/// Clients that have not logged in may hold this part of the engine's memory together.
const ANONYMOUS_PART: u64 = 4;

/// Half of the connections are for those who have logged in, and no address takes more than a quarter of the other half.
fn limits(files: &Descriptors, memory_bytes: u64, set: &MemcachedLimits) -> Limits {
    let product = Limits {
        login_deadline: set.login,
        line_bytes_max: set.line_bytes,
        request_deadline: set.request,
        output_bytes_max: set.unread_bytes,
        unread_output_deadline: set.unread,
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

/// The engine, which does not listen yet.
pub(super) fn build_engine(
    node: &NodePart,
    files: &Descriptors,
    key: VerifierKey,
    clock: &Arc<dyn Clock>,
    event_buffer: &Arc<EventBuffer>,
) -> Engine {
    let memcached = &node.memcached;
    let settings = EngineSettings {
        threads: memcached.threads,
        memory_max_bytes: memcached.memory_bytes,
        proxy_hostname: memcached.proxy_hostname.clone(),
        limits: limits(files, memcached.memory_bytes, &memcached.limits),
        engine_clock: None,
    };
    let sink = Arc::clone(event_buffer) as Arc<dyn EventSink>;
    Engine::new(settings, key, Arc::clone(clock), sink)
}

/// What the control plane is told of this machine.
pub(super) fn node_settings(process: &Process, node: &NodePart) -> NodeSettings {
    let memcached = &node.memcached;
    NodeSettings {
        cluster: node.cluster.clone(),
        region: node.region.clone(),
        proxy_hostname: memcached.proxy_hostname.clone(),
        proxy_port: memcached.proxy_port,
        memory_bytes: memcached.memory_bytes,
        data_dir: process.data_dir.clone(),
    }
}

/// Starts the engine as the node of this process, beside its control plane. It listens only once it knows the caches of
/// earlier runs, so that no known login is refused.
pub(in crate::app) async fn start_node(
    config: &Config,
    node: &NodePart,
    store: &Store,
    cluster: &Cluster,
    clock: &Arc<dyn Clock>,
    (stop, tasks): (&CancellationToken, &TaskTracker),
) -> anyhow::Result<Engine> {
    let files = Descriptors::now(config);
    let event_buffer = Arc::new(EventBuffer::default());
    let key = store.verifier_key().clone();
    let engine = build_engine(node, &files, key, clock, &event_buffer);
    let settings = node_settings(&config.process, node);
    let link = Arc::new(LocalLink(cluster.clone()));
    let entry = join(&settings, &*link).await?;
    let plane = Arc::new(engine.clone());
    let clock = Arc::clone(clock);
    let agent = NodeAgent::new(entry, &settings, link, plane, event_buffer, clock, None);
    let agent = Arc::new(agent);
    cluster.attach(&agent);
    let (running, stopping) = (Arc::clone(&agent), stop.clone());
    tasks.spawn(async move {
        // It has joined, so it stays who it is.
        if let RunEnd::IsAnother(id) = running.run(stopping).await {
            tracing::error!(node = %id, "the node of this process was replaced");
        }
    });
    tokio::time::timeout(CATCH_UP, agent.informed())
        .await
        .context("the node did not learn its caches in time")?;
    let open = open_cache(node, &config.plans, store, &engine).await?;
    listen(node, &engine, open, &agent)?;
    agent
        .open()
        .await
        .context("the node cannot report that it serves")?;
    Ok(engine)
}

/// Opens the engine's listeners. `open` is the cache of the one without login, where there is one.
pub(super) fn listen(
    node: &NodePart,
    engine: &Engine,
    open: Option<OpenListener>,
    agent: &NodeAgent,
) -> anyhow::Result<()> {
    let memcached = &node.memcached;
    let tls = memcached.tls.as_ref().map(|tls| TlsListener {
        addr: tls.addr,
        cert: tls.certificate.clone(),
        key: tls.key.clone(),
    });
    let started = engine.start(Listeners {
        plain: Some(memcached.addr),
        tls,
        open,
        tls_on_plain: memcached.tls_detect,
    });
    let addresses = started.map_err(|error| engine_cannot_start(node, error))?;
    let shown =
        |addr: Option<SocketAddr>| addr.map_or_else(|| "off".to_owned(), |addr| addr.to_string());
    let (plain, tls) = (shown(addresses.plain), shown(addresses.tls));
    tracing::info!(node = %agent.id(), plain, tls, "memcached listens");
    Ok(())
}

/// The engine knows addresses, the operator the settings that they come from.
fn engine_cannot_start(node: &NodePart, error: EngineError) -> anyhow::Error {
    let EngineError::Listen { addr, source } = error else {
        return error.into();
    };
    let setting = match (&node.memcached.tls, &node.memcached.open) {
        (Some(tls), _) if tls.addr == addr => &settings::MEMCACHED_TLS_ADDR,
        (_, Some(open)) if open.addr == addr => &settings::MEMCACHED_OPEN_ADDR,
        _ => &settings::MEMCACHED_ADDR,
    };
    cannot_listen(&setting.about, addr, &source)
}

/// Makes or finds the cache of the open listener: a customer's by its external id, or the private one.
async fn open_cache(
    node: &NodePart,
    plans: &Plans,
    store: &Store,
    engine: &Engine,
) -> anyhow::Result<Option<OpenListener>> {
    let open = match &node.memcached.open {
        Some(open) if open.cache != PRIVATE_CACHE => open,
        _ => return private_cache(node, plans, engine),
    };
    let id: ExternalId = open.cache.parse().context("LARDER_MEMCACHED_OPEN_CACHE")?;
    let cache = match store.caches_by_external_id(&id).await?.as_slice() {
        [cache] => *cache,
        [] => anyhow::bail!("LARDER_MEMCACHED_OPEN_CACHE: no live cache has the external id {id}"),
        _ => anyhow::bail!(
            "LARDER_MEMCACHED_OPEN_CACHE: caches of several marketplaces have the external id {id}"
        ),
    };
    let addr = open.addr;
    Ok(Some(OpenListener { addr, cache }))
}

/// Makes the private cache of the open listener, where there is one: only this node knows it, it has no credentials, and it
/// is outside the database.
pub(super) fn private_cache(
    node: &NodePart,
    plans: &Plans,
    engine: &Engine,
) -> anyhow::Result<Option<OpenListener>> {
    let Some(open) = &node.memcached.open else {
        return Ok(None);
    };
    let plan = plans.find_or_smallest(&PRIVATE_CACHE.parse()?);
    engine.apply(&CacheSpec {
        cache: PRIVATE_CACHE_ID,
        label: PRIVATE_CACHE.to_owned(),
        limit_bytes: plan.limit_bytes(),
        connections_max: plan.connections_max,
        credentials: Vec::new(),
        flush_orders: Vec::new(),
    });
    Ok(Some(OpenListener {
        addr: open.addr,
        cache: PRIVATE_CACHE_ID,
    }))
}
