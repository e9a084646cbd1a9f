//! The composition root: builds the rooms, wires their ports, owns the order of start and stop.
//!
//! | file | builds |
//! |---|---|
//! | `service` | the whole service, for `serve` and `dev`, or its control plane |
//! | [`roles`] | its parts, each as a process can have it: control plane, node, worker |
//! | `background` | loops beside the requests |
//! | `listeners` | the HTTP listeners |
//! | `metrics` | what `/metrics` reads when it is asked |
//! | `claim` | what a process holds for itself: its data folder, a SQLite file |
//! | [`dumps`] | no core dumps of this process |
//! | [`descriptors`] | open files: the limit, and how many connections of each kind it leaves |
//! | [`operator`] | what `admin` works with |

mod background;
mod claim;
pub mod descriptors;
pub mod dumps;
mod listeners;
mod metrics;
pub mod operator;
pub mod roles;
mod service;

pub use claim::FolderClaim;
pub use listeners::listen;
pub use service::Service;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{Config, NodeConfig, Process};
use crate::domain::{Clock, Timestamp};
use crate::http::outbound::Url;
use crate::store::{OpenError, Schema, Store, StoreSettings};

/// The commit that this program was made from, where its builder knew.
const COMMIT: &str = match option_env!("LARDER_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Brings the schema up to date, for `larder migrate`.
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    let store = Store::open(&store_settings(config), Schema::Migrate, SystemClock.now()).await?;
    store.close().await;
    Ok(())
}

/// The regions that nodes of this installation are in, as far as the database tells: none before it is set up.
pub async fn regions_served(config: &Config) -> Result<Vec<String>, OpenError> {
    let settings = store_settings(config);
    let store = match Store::open(&settings, Schema::Require, SystemClock.now()).await {
        Err(OpenError::Empty) => return Ok(Vec::new()),
        opened => opened?,
    };
    let regions = store.regions_served().await;
    store.close().await;
    Ok(regions?)
}

/// The machine's clock.
struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the home of the clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

fn store_settings(config: &Config) -> StoreSettings {
    StoreSettings {
        url: config.database_url.clone(),
        master_key: config.master_key.clone(),
        previous_keys: config.previous_keys.clone(),
        connections_max: config.database_connections,
    }
}

/// The first line of a log, by which its reader knows what runs, and the mistakes that are none. Then the limit of open
/// files, before anything is opened.
fn tell_start(config: &Config, role: &str) {
    let node = config.node.as_ref();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        commit = COMMIT,
        role,
        database = %config.database_shown(),
        memory_mib = node.map(|node| node.memcached.memory_bytes >> 20),
        threads = node.map(|node| node.memcached.threads),
        cluster = node.map(|node| tracing::field::display(&node.cluster)),
        region = node.map(|node| tracing::field::display(&node.region)),
        "larder starts"
    );
    tell_warnings(&config.process);
    descriptors::raise();
}

/// The same for a node in a process of its own.
fn tell_node_start(config: &NodeConfig) {
    let control_urls: Vec<&str> = config.control_urls.iter().map(Url::as_str).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        commit = COMMIT,
        role = "node",
        control_urls = control_urls.join(" "),
        memory_mib = config.node.memcached.memory_bytes >> 20,
        threads = config.node.memcached.threads,
        cluster = %config.node.cluster,
        region = %config.node.region,
        "larder starts"
    );
    tell_warnings(&config.process);
    descriptors::raise();
}

fn tell_warnings(process: &Process) {
    for warning in &process.warnings {
        tracing::warn!("{warning}");
    }
}
