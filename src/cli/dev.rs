//! `larder dev`: the service, a marketplace to try it against, and a first cache, in one process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::settings::SettingFlags;
use super::signals::Signals;
use super::{dev_tls, keys, runtime};
use crate::app::Service;
use crate::config::{Config, Surroundings};
use crate::sandbox::{Addon, Manifest, ProvisionOptions, Sandbox, SandboxSettings};
use crate::store::Schema;
use crate::telemetry;

const FIRST_APP: &str = "demo-app";

pub(super) fn dev(
    flags: SettingFlags,
    file: Option<PathBuf>,
    command: Option<String>,
) -> anyhow::Result<()> {
    let mut layers = Surroundings::of_process(flags.0, file.as_deref())?;
    let data_dir = PathBuf::from(
        layers
            .peek("LARDER_DATA_DIR")
            .unwrap_or_else(|| "larder-data".to_owned()),
    );
    let sandbox_addr = layers
        .peek("LARDER_SANDBOX_ADDR")
        .unwrap_or_else(|| "127.0.0.1:8090".to_owned());
    layers.dev = keys::read_or_make(&data_dir)?;
    layers.dev.extend(defaults(&data_dir, &sandbox_addr));
    let memcached = layers
        .peek("LARDER_MEMCACHED_ADDR")
        .and_then(|addr| addr.parse().ok());
    let memcached = memcached.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 11211)));
    layers.dev.extend(dev_tls::defaults(&data_dir, memcached)?);
    let config = Config::read(layers)?;
    telemetry::start_logs(&config.log_filter, config.log_format)?;
    runtime()?.block_on(run(config, command))
}

/// What `dev` assumes where nothing else is said. The keys of the data directory come on top.
fn defaults(data_dir: &Path, sandbox_addr: &str) -> Vec<(String, String)> {
    let sandbox = format!("http://{sandbox_addr}");
    let database = format!("sqlite:{}", data_dir.join("larder.db").display());
    [
        ("LARDER_ALLOW_HTTP", "on"),
        ("LARDER_DATABASE_URL", &database),
        ("LARDER_HEROKU_API_URL", &sandbox),
        ("LARDER_HEROKU_ID_URL", &sandbox),
        ("LARDER_HEROKU_ADDONS_URL", &sandbox),
        ("LARDER_HEROKU_LOG_HOSTS", "127.0.0.1,localhost"),
        ("LARDER_LOG", "warn,larder=info"),
        ("LARDER_PROXY_HOSTNAME", "localhost"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

async fn run(config: Config, command: Option<String>) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let start = Service::start(&config, Schema::Migrate);
    let Some(service) = signals.unless_ended(start).await else {
        return Ok(());
    };
    let service = service?;
    let sandbox = Sandbox::start(sandbox_settings(&config, command)?)
        .await
        .context("the sandbox did not start")?;
    let cache = first_cache(&sandbox).await?;
    print_welcome(&config, &sandbox, &cache);
    signals.wait(|| service.reload_tls()).await;
    sandbox.stop().await;
    service.stop().await;
    Ok(())
}

fn sandbox_settings(config: &Config, command: Option<String>) -> anyhow::Result<SandboxSettings> {
    let mut manifest = Manifest::parse(&config.manifest.text).context("the manifest")?;
    manifest.api.password = config.heroku.password.clone();
    manifest.api.sso_salt = config.heroku.sso_salt.clone();
    let client_secret = config.heroku.client_secret.clone().unwrap_or_default();
    let mut settings = SandboxSettings::new(manifest, client_secret);
    settings.addr = config.sandbox_addr;
    settings.provider_base_url = format!("{}/heroku/resources", config.public_url);
    settings.provider_sso_url = format!("{}/heroku/sso", config.public_url);
    settings.plans = config
        .plans
        .iter()
        .filter(|plan| !plan.hidden)
        .map(|plan| plan.slug.to_string())
        .collect();
    settings.app_command = command;
    settings.state_file = Some(config.data_dir.join("sandbox.json"));
    Ok(settings)
}

/// The cache to begin with: the one of an earlier run, or a new one.
async fn first_cache(sandbox: &Sandbox) -> anyhow::Result<Addon> {
    if let Some(addon) = sandbox.addons().into_iter().next() {
        return Ok(addon);
    }
    let app = match sandbox.read(|market| market.app_named(FIRST_APP).map(|app| app.id)) {
        Some(app) => app,
        None => sandbox.create_app(FIRST_APP)?,
    };
    Ok(sandbox
        .provision(app, "dev", ProvisionOptions::default())
        .await?)
}

#[expect(
    clippy::print_stdout,
    reason = "this is what the person who typed `larder dev` reads"
)]
fn print_welcome(config: &Config, sandbox: &Sandbox, cache: &Addon) {
    let names = config.manifest.variables();
    let value = |name: &str| cache.config.get(name).cloned().unwrap_or_default();
    let (servers, username, password) = (
        value(&names.servers),
        value(&names.username),
        value(&names.password),
    );
    println!();
    println!(
        "  Larder is running. Ctrl-C stops it; its state stays in {}.",
        config.data_dir.display()
    );
    println!();
    println!(
        "  Sandbox console   {}/   provision, open dashboards, watch config vars and logs",
        sandbox.url()
    );
    println!("  Service           {}/", config.public_url);
    println!("  Metrics           http://{}/metrics", config.metrics_addr);
    if let Some(tls) = &config.memcached.tls {
        println!(
            "  memcached by TLS  {}:{}   trust {} to connect",
            config.memcached.proxy_hostname,
            tls.addr.port(),
            tls.certificate.display()
        );
    }
    println!();
    println!("  A cache is ready:");
    for (name, value) in &cache.config {
        println!("    {name}={value}");
    }
    println!();
    println!("  Try it (bash; nothing to install):");
    println!("    {}", paste_line(&servers, &username, &password));
    println!();
}

/// Log in, set, get and quit over a plain bash socket.
fn paste_line(servers: &str, username: &str, password: &str) -> String {
    let first = servers.split(',').next().unwrap_or_default();
    let (host, port) = first.rsplit_once(':').unwrap_or((first, "11211"));
    let length = password.len();
    format!(
        "bash -c 'exec 3<>/dev/tcp/{host}/{port}; printf \"set {username} 0 0 {length}\\r\\n{password}\\r\\n\
         set hello 0 0 5\\r\\nworld\\r\\nget hello\\r\\nquit\\r\\n\" >&3; cat <&3'"
    )
}
