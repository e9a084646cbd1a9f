//! Reads the configuration once: flags, environment and `larder.toml`, every mistake reported together.
//!
//! | file | holds |
//! |---|---|
//! | [`settings`] | the table: each setting's name, default, meaning and parser |
//! | [`setting`] | what a row of it is |
//! | `parse` | the parsers |
//! | `environment`, `source` | the layers, and which of them a value comes from |
//! | `sections` | what must hold between settings |
//! | `addresses` | of that, no two listeners at one address |
//! | `runs` | which settings a role reads, and where it listens |
//! | `node` | what a node in a process of its own is told |
//! | `effective`, `advice` | what an operator is told: the values in force, and what will not work as meant |
//! | `exposed_files` | of that, files that others on the machine reach |
//! | `manifest`, `plans` | the two documents that settings name |
//!
//! Seen by `app`, `cli` and the marketplaces, which read their own settings. Nothing else in the tree reads the environment.

mod addresses;
mod advice;
mod effective;
mod environment;
mod exposed_files;
mod machine;
mod manifest;
mod node;
mod parse;
mod plans;
mod runs;
mod sections;
pub mod setting;
pub mod settings;
mod source;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use source::Source;

pub use advice::{advice, advice_for_node};
pub use effective::Effective;
pub use environment::{Environment, Mistakes};
pub use manifest::{BASE_PATH, Manifest, ManifestApi, SSO_PATH};
pub use node::NodeConfig;
pub use runs::Runs;
pub use source::Origin;

use crate::domain::{ClusterName, ConfigVarNames, HostPattern, Network, Plans, Product, Timestamp};
use crate::store::db::seal::MasterKey;
use crate::telemetry::LogFormat;
use crate::web::PublicUrl;

/// Where `larder dev` keeps the keys that it makes, in the data directory.
pub const DEV_KEYS: &str = "dev-keys.toml";

/// The cache behind an open listener that is no customer's.
pub const PRIVATE_CACHE: &str = "dev";

/// Everything that a process with a database was told, parsed. A node in a process of its own has [`NodeConfig`].
#[derive(Debug)]
pub struct Config {
    pub process: Process,
    /// `None` in a process that serves no memcached.
    pub node: Option<NodePart>,
    /// `None` in a process that takes no nodes of other processes.
    pub link: Option<LinkListener>,
    pub database_url: SecretString,
    pub database_connections: u32,
    pub master_key: MasterKey,
    /// Where the key was read, if not from the environment.
    pub master_key_file: Option<PathBuf>,
    pub previous_keys: Vec<MasterKey>,
    pub http_addr: SocketAddr,
    pub public_url: PublicUrl,
    /// Proxies before `http_addr` that are believed who came to them.
    pub trusted_proxies: Vec<Network>,
    /// What customers are shown of the TLS listener that each node has, if nodes have one.
    pub shown_tls: Option<ShownTls>,
    /// Whether a cache is refused whose region has no node.
    pub region_strict: bool,
    /// What is sold here.
    pub product: Product,
    pub manifest: Manifest,
    pub heroku: Heroku,
    /// How long a former primary stays after its successor has reached the provider.
    pub rotation_overlap: Duration,
    pub audit_kept: Duration,
    pub events_kept: Duration,
    /// Plain http to the outside, and cookies without `Secure`: for tests and development.
    pub allow_http: bool,
    pub limits: Limits,
    pub plans: Plans,
    /// Where `larder dev` serves its marketplace.
    pub sandbox_addr: SocketAddr,
}

/// What every process is told, whatever its role.
#[derive(Debug)]
pub struct Process {
    pub data_dir: PathBuf,
    pub metrics_addr: SocketAddr,
    /// What whoever reads the metrics must show, if anything.
    pub metrics_token: Option<SecretString>,
    /// Whether the system may write core dumps of this process.
    pub allow_dumps: bool,
    pub log_filter: String,
    pub log_format: LogFormat,
    pub shutdown: Duration,
    /// How long of it requests are still taken while `/readyz`, or a node's `/healthz`, says that they should go elsewhere.
    pub shutdown_delay: Duration,
    /// Things worth telling that do not keep the program from starting.
    pub warnings: Vec<String>,
}

/// What a process with a node is told about it.
#[derive(Debug)]
pub struct NodePart {
    pub memcached: Memcached,
    pub cluster: ClusterName,
    pub region: String,
    /// Whether somebody has set it.
    pub region_is_given: bool,
}

/// Where nodes of other processes connect.
#[derive(Debug)]
pub struct LinkListener {
    pub addr: SocketAddr,
    /// Without it the link is plain: on loopback, or where `LARDER_ALLOW_HTTP` says so.
    pub tls: Option<LinkTls>,
    /// What a node enrols with: the present token, then the one before.
    pub enrolment: Vec<SecretString>,
}

/// Certificate chain and private key of the node link, PEM.
#[derive(Debug)]
pub struct LinkTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What one caller over HTTP may take, as far as an operator sets it. The rooms have more, as constants by name.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub http_body_bytes: usize,
    pub http_request: Duration,
    pub session_idle: Duration,
    pub session_age: Duration,
}

/// The same of a memcached client.
#[derive(Clone, Copy, Debug)]
pub struct MemcachedLimits {
    pub login: Duration,
    pub line_bytes: usize,
    pub request: Duration,
    pub unread_bytes: usize,
    pub unread: Duration,
}

/// The data plane's own settings.
#[derive(Debug)]
pub struct Memcached {
    pub addr: SocketAddr,
    pub tls: Option<Tls>,
    /// Whether `addr` takes TLS as well, told by a connection's first byte.
    pub tls_detect: bool,
    pub open: Option<OpenListener>,
    pub proxy_hostname: String,
    /// The port announced in `SERVERS`.
    pub proxy_port: u16,
    pub threads: usize,
    pub memory_bytes: u64,
    pub limits: MemcachedLimits,
}

/// The TLS listener and its files.
#[derive(Debug)]
pub struct Tls {
    pub addr: SocketAddr,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// How customers reach the TLS listener of their cache's node. All nodes have it at one port.
#[derive(Debug)]
pub struct ShownTls {
    pub port: u16,
    /// The file that clients must trust, where no authority that they know has signed.
    pub ca: Option<String>,
}

/// A listener without login, bound to one cache: loopback only.
#[derive(Debug)]
pub struct OpenListener {
    pub addr: SocketAddr,
    /// The external id of a cache, or [`PRIVATE_CACHE`].
    pub cache: String,
}

/// What Heroku and we share.
#[derive(Clone, Debug)]
pub struct Heroku {
    pub password: SecretString,
    pub password_previous: Option<SecretString>,
    pub sso_salt: SecretString,
    pub sso_salt_previous: Option<SecretString>,
    /// When previous password and salt end by themselves.
    pub previous_until: Option<Timestamp>,
    pub client_secret: Option<SecretString>,
    pub id_url: String,
    pub api_url: String,
    pub addons_url: String,
    /// Host patterns that a log input may name, such as `*.logplex.io`.
    pub log_hosts: Vec<HostPattern>,
    /// How often attached apps are read anew when no webhook gives cause.
    pub reconcile_every: Duration,
    pub legacy: bool,
    /// As the manifest lists them: Heroku refuses others.
    pub variables: ConfigVarNames,
}

impl Config {
    /// The database as anybody may read it, without its password.
    pub fn database_shown(&self) -> String {
        setting::without_password(self.database_url.expose_secret())
    }

    /// Reads all layers. Either everything parsed, or the list of every mistake found.
    pub fn read(layers: Environment) -> Result<Config, Mistakes> {
        let runs = layers.runs;
        let mut warnings = environment::unknown_variables(&layers.environment);
        let (mut source, plan_rows) = layers.layered();
        addresses::check(&mut source, runs);
        warnings.extend(source.trimmed());
        match build(&mut source, runs, plan_rows, warnings) {
            Some(config) if source.is_sound() => Ok(config),
            _ => Err(Mistakes(source.into_mistakes())),
        }
    }
}

/// Joins all settings; `None` when something needed is missing or wrong. Whatever notes mistakes of its own comes first, so
/// that one run reports all of them.
fn build(
    source: &mut Source,
    runs: Runs,
    plan_rows: Option<Result<Vec<plans::PlanRow>, String>>,
    mut warnings: Vec<String>,
) -> Option<Config> {
    let plans = plans::read(source, plan_rows);
    let public_url = sections::public_url(source);
    let manifest = sections::read_manifest(source);
    warnings.extend(manifest.iter().flat_map(Manifest::trimmed));
    let heroku = sections::heroku(source, manifest.as_ref());
    let product = manifest
        .as_ref()
        .map(|manifest| sections::product(source, manifest));
    let master_key = sections::master_key(source);
    // Where one of these is needed and not there, a mistake is noted.
    let node = runs.has_node().then(|| sections::node(source, runs));
    let link = sections::link(source, runs);
    let process = sections::process(source, warnings);
    Some(Config {
        process: process?,
        node: node.flatten(),
        link,
        database_url: source.get(&settings::DATABASE_URL)?,
        database_connections: source.get(&settings::DATABASE_CONNECTIONS)?,
        master_key: master_key?,
        master_key_file: source.get(&settings::MASTER_KEY_FILE),
        previous_keys: source
            .get(&settings::MASTER_KEY_PREVIOUS)
            .unwrap_or_default(),
        http_addr: source.get(&settings::HTTP_ADDR)?,
        public_url: public_url?,
        trusted_proxies: source.get(&settings::TRUSTED_PROXIES).unwrap_or_default(),
        shown_tls: sections::shown_tls(source),
        region_strict: source.get(&settings::REGION_STRICT)?,
        product: product?,
        manifest: manifest?,
        heroku: heroku?,
        rotation_overlap: source.get(&settings::ROTATION_OVERLAP_SECS)?,
        audit_kept: source.get(&settings::AUDIT_DAYS)?,
        events_kept: source.get(&settings::EVENTS_DAYS)?,
        allow_http: source.get(&settings::ALLOW_HTTP)?,
        limits: sections::limits(source)?,
        plans: plans?,
        sandbox_addr: source.get(&settings::SANDBOX_ADDR)?,
    })
}

#[cfg(test)]
mod tests;
