//! A node in a process of its own: no store, no master key. It reaches a control process over HTTP, and serves from its
//! snapshot while none answers.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::node::{build_engine, listen, node_settings, private_cache};
use crate::access::RefusedCalls;
use crate::app::background::log_refused_calls;
use crate::app::descriptors::Descriptors;
use crate::app::listeners::{metrics_routes, node_health, open_metrics};
use crate::app::metrics::{RunningEngine, Scrape};
use crate::app::{FolderClaim, SystemClock, tell_node_start};
use crate::cluster::node::{RunEnd, SnapshotFile, enter};
use crate::cluster::{ControlLink, EventBuffer, HttpLink, HttpLinkSettings, NodeAgent};
use crate::config::NodeConfig;
use crate::domain::Clock;
use crate::engine::Engine;
use crate::telemetry::metrics::Recorder;

/// How long a start waits for the list of caches where it could go on with a snapshot.
const LIST_PATIENCE: Duration = Duration::from_secs(1);

/// A running node.
pub struct NodeProcess {
    engine: Engine,
    /// First `/healthz` says that clients should go elsewhere;
    stopping: CancellationToken,
    /// the agent goes last: it has the last thing to tell.
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Why it is not the node any more that it was started as, if so.
    another: Arc<SetOnce<RunEnd>>,
    shutdown_delay: Duration,
    shutdown: Duration,
    _claim: FolderClaim,
}

impl NodeProcess {
    /// Builds and starts everything. When this returns, the caches that the node knows take logins. Without a snapshot that
    /// takes until a control process admits the node.
    pub async fn start(config: &NodeConfig) -> anyhow::Result<NodeProcess> {
        let claim = FolderClaim::take(&config.process.data_dir, "larder serve --role node")?;
        tell_node_start(config);
        let files = Descriptors::now(config);
        files.tell();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (stopping, stop) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();

        let running = Arc::new(OnceLock::new());
        let refused = RefusedCalls::default();
        let scrape = Scrape {
            recorder: Recorder::install()?,
            store: None,
            clock: Arc::clone(&clock),
            engine: Arc::clone(&running),
        };
        let health = node_health(Arc::clone(&running), stopping.clone());
        let routes = metrics_routes(&config.process, scrape, refused.clone()).merge(health);
        open_metrics(&config.process, files.metrics, routes, (&stop, &tasks)).await?;
        tasks.spawn(log_refused_calls(refused, Arc::clone(&clock), stop.clone()));

        let event_buffer = Arc::new(EventBuffer::default());
        let (agent, engine) = enter_as_node(config, &files, &clock, event_buffer, &stop).await?;
        let another = run(&agent, &stop, &tasks);
        await_caches(&agent).await;
        let open = private_cache(&config.node, &config.plans, &engine)?;
        listen(&config.node, &engine, open, &agent)?;
        running.get_or_init(|| RunningEngine {
            engine: engine.clone(),
            memory_limit_bytes: config.node.memcached.memory_bytes,
        });
        // The control plane may be away, and clients are served whether it knows of that or not.
        tasks.spawn(async move {
            if let Err(error) = agent.open().await {
                tracing::warn!(%error, "the control plane does not know yet that this node serves; the next report says so");
            }
        });
        Ok(NodeProcess {
            engine,
            stopping,
            stop,
            tasks,
            another,
            shutdown_delay: config
                .process
                .shutdown_delay
                .min(config.process.shutdown / 2),
            shutdown: config.process.shutdown,
            _claim: claim,
        })
    }

    /// Reads the certificate files again.
    pub fn reload_tls(&self) {
        match self.engine.reload_tls() {
            Ok(()) => tracing::info!("read the certificate again"),
            Err(error) => tracing::error!(%error, "the old certificate stays"),
        }
    }

    /// Returns when this process is not the node any more that it was started as, and says what became of it. Its caches
    /// are elsewhere then, and the process has to start anew.
    pub async fn became_another(&self) -> String {
        match self.another.wait().await {
            RunEnd::IsAnother(id) => {
                format!("it served from its snapshot, and is the node {id} now")
            }
            _ => "it was retired, or another process runs it".to_owned(),
        }
    }

    /// Winds down within the shutdown time: no new clients, those that are there end between two commands, and last the
    /// agent with what it has to tell.
    pub async fn stop(self) {
        let shutdown = self.shutdown.saturating_sub(self.shutdown_delay);
        self.stopping.cancel();
        let delay_secs = self.shutdown_delay.as_secs();
        tracing::info!(
            delay_secs,
            "stopping; /healthz says so, and clients are still served"
        );
        tokio::time::sleep(self.shutdown_delay).await;
        let wind_down = async {
            let engine = self.engine.clone();
            let stopped = tokio::task::spawn_blocking(move || engine.stop(shutdown / 2)).await;
            if let Err(error) = stopped {
                tracing::error!(%error, "the engine did not stop cleanly");
            }
            self.stop.cancel();
            self.tasks.close();
            self.tasks.wait().await;
        };
        if tokio::time::timeout(shutdown, wind_down).await.is_err() {
            tracing::warn!(
                "the shutdown time is over; what is untold stays so, and the snapshot is that of before"
            );
        }
        tracing::info!("stopped");
    }
}

/// Joins, or enters with the snapshot, and makes the engine with the key that came with it.
async fn enter_as_node(
    config: &NodeConfig,
    files: &Descriptors,
    clock: &Arc<dyn Clock>,
    event_buffer: Arc<EventBuffer>,
    stop: &CancellationToken,
) -> anyhow::Result<(Arc<NodeAgent>, Engine)> {
    let settings = node_settings(&config.process, &config.node);
    let snapshots = SnapshotFile::open(&config.process.data_dir)?;
    let link: Arc<dyn ControlLink> = Arc::new(HttpLink::new(link_settings(config)?)?);
    let entry = enter(&settings, &*link, &snapshots, stop).await?;
    let entry = entry.context("the node was told to stop before it had joined")?;
    let key = entry.verifier_key.clone().context(
        "the control plane gave no key to check passwords with: run the same larder on both",
    )?;
    let engine = build_engine(&config.node, files, key, clock, &event_buffer);
    let agent = NodeAgent::new(
        entry,
        &settings,
        link,
        Arc::new(engine.clone()),
        event_buffer,
        Arc::clone(clock),
        Some(snapshots),
    );
    Ok((Arc::new(agent), engine))
}

/// Waits for the caches to be in force, so that no password that was removed meanwhile is good for a moment. With a snapshot
/// clients do not wait long: the control plane may go away just now.
async fn await_caches(agent: &NodeAgent) {
    if tokio::time::timeout(LIST_PATIENCE, agent.informed())
        .await
        .is_err()
        && !agent.is_restored()
    {
        agent.informed().await;
    }
}

/// Lets the agent run, and gives where it stands how it has ended by itself, if it has.
fn run(
    agent: &Arc<NodeAgent>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> Arc<SetOnce<RunEnd>> {
    let another = Arc::new(SetOnce::new());
    let (agent, stop, told) = (Arc::clone(agent), stop.clone(), Arc::clone(&another));
    tasks.spawn(async move {
        let end = agent.run(stop).await;
        if end != RunEnd::Stopped {
            // The agent ends once, so nobody has set it.
            let _ = told.set(end);
        }
    });
    another
}

fn link_settings(config: &NodeConfig) -> anyhow::Result<HttpLinkSettings> {
    let read = |path: &PathBuf| {
        let text = std::fs::read(path);
        text.with_context(|| format!("cannot read LARDER_LINK_CA ({})", path.display()))
    };
    Ok(HttpLinkSettings {
        control_urls: config.control_urls.clone(),
        ca_pem: config.link_ca.as_ref().map(read).transpose()?,
        enrolment: config.enrolment.clone(),
        // The configuration has only those in plain http that may be.
        allow_http: config.control_urls.iter().any(|url| url.scheme() == "http"),
    })
}
