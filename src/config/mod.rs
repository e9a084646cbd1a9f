//! Reads the surroundings once: flags, environment and `larder.toml`, every mistake reported together.
//!
//! Seen only by `app` and `cli`. Nothing else in the tree reads the environment.

mod machine;
mod manifest;
mod plans;
mod sections;
mod source;
mod surroundings;
mod variables;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use source::Source;

pub use manifest::{BASE_PATH, Manifest, ManifestApi, SSO_PATH};
pub use surroundings::{Mistakes, Surroundings};
pub use variables::{VARIABLES, Variable};

use crate::domain::{ClusterName, HostPattern, Plans};
use crate::store::seal::MasterKey;
use crate::telemetry::LogFormat;
use crate::web::PublicUrl;

/// Everything the program was told, parsed.
#[derive(Debug)]
pub struct Config {
    pub database_url: SecretString,
    pub database_connections: u32,
    pub data_dir: PathBuf,
    pub master_key: MasterKey,
    pub previous_keys: Vec<MasterKey>,
    pub http_addr: SocketAddr,
    pub public_url: PublicUrl,
    pub metrics_addr: SocketAddr,
    pub memcached: Memcached,
    pub cluster: ClusterName,
    pub region: String,
    pub manifest: Manifest,
    pub heroku: Heroku,
    /// How long a former primary stays after its successor has reached the provider.
    pub rotation_overlap: Duration,
    /// Plain http to the outside, and cookies without `Secure`: for tests and development.
    pub allow_http: bool,
    pub log_filter: String,
    pub log_format: LogFormat,
    pub shutdown: Duration,
    pub plans: Plans,
    /// Where `larder dev` serves its marketplace.
    pub sandbox_addr: SocketAddr,
    /// Things worth telling that do not keep the program from starting.
    pub warnings: Vec<String>,
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
}

#[derive(Debug)]
pub struct Tls {
    pub addr: SocketAddr,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A listener without login, bound to one cache: loopback only.
#[derive(Debug)]
pub struct OpenListener {
    pub addr: SocketAddr,
    /// The external id of a cache, or `dev` for a private one.
    pub cache: String,
}

/// What Heroku and we share.
#[derive(Debug)]
pub struct Heroku {
    pub password: SecretString,
    pub password_previous: Option<SecretString>,
    pub sso_salt: SecretString,
    pub sso_salt_previous: Option<SecretString>,
    pub client_secret: Option<SecretString>,
    pub id_url: String,
    pub api_url: String,
    pub addons_url: String,
    /// Host patterns that a log input may name, such as `*.logplex.io`.
    pub log_hosts: Vec<HostPattern>,
    /// How often attached apps are read anew when no webhook gives cause.
    pub look_every: Duration,
    pub legacy: bool,
}

impl Config {
    /// Reads all layers. Either everything parsed, or the list of every mistake found.
    pub fn read(layers: Surroundings) -> Result<Config, Mistakes> {
        let mut source = Source::default();
        let warnings = surroundings::unknown_variables(&layers.environment);
        source.layer("flag", layers.flags);
        source.layer("environment", layers.environment);
        let mut plan_rows = None;
        if let Some(text) = layers.file {
            plan_rows = surroundings::read_file(&mut source, &text);
        }
        source.layer("larder dev", layers.dev);
        match build(&mut source, plan_rows, warnings) {
            Some(config) if source.is_sound() => Ok(config),
            _ => Err(Mistakes(source.into_mistakes())),
        }
    }
}

/// Asks for every setting, so that every mistake is found; `None` when something needed is missing.
fn build(
    source: &mut Source,
    plan_rows: Option<Result<Vec<plans::PlanRow>, String>>,
    mut warnings: Vec<String>,
) -> Option<Config> {
    let plans = match plan_rows.map_or_else(plans::built_in, |rows| rows.and_then(plans::from_rows))
    {
        Ok(plans) => Some(plans),
        Err(why) => {
            source.mistake(format!("larder.toml: plans: {why}"));
            None
        }
    };
    let allow_http = source.switch("LARDER_ALLOW_HTTP");
    let public_url = sections::public_url(source, allow_http);
    let manifest = sections::read_manifest(source);
    let forgiving = allow_http || public_url.as_ref().is_some_and(sections::is_local);
    let heroku = sections::heroku(source, manifest.as_ref(), forgiving, &mut warnings);
    let master_key = sections::master_key(source);
    let previous_keys = sections::previous_keys(source);
    let log_format = match source.text("LARDER_LOG_FORMAT") {
        None | Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        Some(_) => {
            source.bad("LARDER_LOG_FORMAT", &"must be json or text");
            LogFormat::Text
        }
    };
    let log_filter = source.text("LARDER_LOG").unwrap_or("info").to_owned();
    if tracing_subscriber::EnvFilter::try_new(&log_filter).is_err() {
        source.bad(
            "LARDER_LOG",
            &"is not a filter such as info or larder=debug,warn",
        );
    }
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let database_url = sections::database_url(source);
    let memcached = sections::memcached(source);
    let cluster = sections::cluster(source);
    let config = Config {
        database_url,
        database_connections: source.parsed_or("LARDER_DATABASE_CONNECTIONS", 16),
        data_dir: source
            .text("LARDER_DATA_DIR")
            .unwrap_or("larder-data")
            .into(),
        http_addr: source.parsed_or("LARDER_HTTP_ADDR", local(8080)),
        metrics_addr: source.parsed_or("LARDER_METRICS_ADDR", local(9100)),
        memcached,
        region: source.text("LARDER_REGION").unwrap_or("us").to_owned(),
        rotation_overlap: Duration::from_secs(
            source.parsed_or("LARDER_ROTATION_OVERLAP_SECS", 7_200),
        ),
        allow_http,
        log_filter,
        log_format,
        shutdown: Duration::from_secs(source.parsed_or("LARDER_SHUTDOWN_SECS", 20)),
        sandbox_addr: source.parsed_or("LARDER_SANDBOX_ADDR", local(8090)),
        // What may be missing stands last: whatever comes after a question mark may not be asked for.
        cluster: cluster?,
        public_url: public_url?,
        master_key: master_key?,
        previous_keys,
        manifest: manifest?,
        heroku,
        plans: plans?,
        warnings,
    };
    Some(config)
}

#[cfg(test)]
mod tests;
