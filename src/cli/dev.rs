//! `larder dev`: the service, a marketplace to try it against, and a first cache, in one process.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use super::settings::SettingFlags;
use super::signals::Signals;
use super::{begin, dev_tls, keys, output, runtime};
use crate::app::{self, FolderClaim, Service};
use crate::config::{Config, Environment, Runs, ShownTls, settings};
use crate::marketplace::heroku;
use crate::sandbox::{Addon, Manifest, ProvisionOptions, Sandbox, SandboxSettings};
use crate::store::Schema;

const FIRST_APP: &str = "demo-app";
/// How long the start waits until the cache's values are pushed.
const PUSH_WAIT: Duration = Duration::from_secs(15);

pub(super) fn dev(
    flags: SettingFlags,
    file: Option<PathBuf>,
    command: Option<String>,
) -> anyhow::Result<()> {
    let mut layers = Environment::of_process(flags.0, file.as_deref())?;
    layers.runs = Runs::Dev;
    // A mistake in it is reported below, with all others.
    let data_dir = layers.peek(&settings::DATA_DIR).unwrap_or_default();
    // Before anything is made in it: of two first starts one would go on with keys that the other has replaced.
    let folder = FolderClaim::take(&data_dir, "larder dev")?;
    layers.dev = keys::read_or_make(&data_dir)?;
    layers.dev.extend(defaults(&layers));
    layers.dev.extend(dev_tls::defaults(&data_dir, &layers)?);
    let config = Config::read(layers)?;
    begin(&config.process)?;
    runtime()?.block_on(run(folder, config, command))
}

/// Lets a command beside `larder dev` find what that made: where no master key is set, the keys in the data directory and
/// the database that goes with them.
pub(super) fn join(layers: &mut Environment) -> anyhow::Result<()> {
    let key_is_set = layers.has(&settings::MASTER_KEY) || layers.has(&settings::MASTER_KEY_FILE);
    let data_dir = layers.peek(&settings::DATA_DIR).unwrap_or_default();
    if let (false, Some(keys)) = (key_is_set, keys::made_before(&data_dir)?) {
        layers.dev = keys;
        layers.dev.extend(defaults(layers));
    }
    Ok(())
}

/// What `dev` assumes where nothing else is said. The keys of the data directory come on top.
fn defaults(layers: &Environment) -> Vec<(String, String)> {
    let data_dir = layers.peek(&settings::DATA_DIR).unwrap_or_default();
    let sandbox_addr = layers.peek(&settings::SANDBOX_ADDR);
    let sandbox = sandbox_addr.map_or_else(String::new, settings::local_url);
    // That port and no other: the log of an app elsewhere on this machine is nobody's we know.
    let log_hosts = sandbox.trim_start_matches("http://");
    let database = format!("sqlite:{}", data_dir.join("larder.db").display());
    [
        ("LARDER_ALLOW_HTTP", "on"),
        ("LARDER_DATABASE_URL", &database),
        ("LARDER_HEROKU_API_URL", &sandbox),
        ("LARDER_HEROKU_ID_URL", &sandbox),
        ("LARDER_HEROKU_ADDONS_URL", &sandbox),
        ("LARDER_HEROKU_LOG_HOSTS", log_hosts),
        ("LARDER_LOG", "warn,larder=info"),
        ("LARDER_PROXY_HOSTNAME", "localhost"),
        // nobody balances requests to a machine that somebody works at
        ("LARDER_SHUTDOWN_DELAY_SECS", "0"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

async fn run(folder: FolderClaim, config: Config, command: Option<String>) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    // The service raises the limit of open files for itself; an app is to find what a shell would give it.
    let app_files = app::descriptors::soft_limit();
    // Service and sandbox send each other secrets, so each has its address before the other begins: what listens there
    // is then known to be ours.
    let listener = app::listen(&settings::SANDBOX_ADDR.about, config.sandbox_addr).await?;
    let start = Service::start_in(folder, &config, Schema::Migrate);
    let Some(service) = signals.unless_ended(start).await else {
        return Ok(());
    };
    let service = service?;
    let mut settings = sandbox_settings(&config, command)?;
    settings.app_files = Some(app_files);
    let sandbox = Sandbox::start_on(listener, settings)
        .await
        .context("the sandbox did not start")?;
    let cache = first_cache(&sandbox).await?;
    let cache = in_force(&config, &service, &sandbox, cache).await?;
    // Whoever has read enough of it, or has a full disk, has a service all the same.
    if let Err(error) = output::try_out(&welcome(&config, &sandbox, &cache)) {
        tracing::warn!(%error, "cannot write to standard output; the service runs without it");
    }
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
    let mut sandbox = SandboxSettings::new(manifest, client_secret);
    sandbox.addr = config.sandbox_addr;
    // Calls with the password go to the listener itself, wherever the public address may lead; browsers go there.
    let service = settings::local_url(config.http_addr);
    sandbox.provider_base_url = format!("{service}/heroku/resources");
    sandbox.provider_sso_url = format!("{}/heroku/sso", config.public_url);
    sandbox.plans = config
        .plans
        .iter()
        .filter(|plan| !plan.hidden)
        .map(|plan| plan.slug.to_string())
        .collect();
    sandbox.app_command = command;
    sandbox.state_file = Some(config.process.data_dir.join("sandbox.json"));
    Ok(sandbox)
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

/// The cache with the values that the service announces now. Those of an earlier run may name an address that nobody
/// listens on any more; the service pushes the new one by itself.
async fn in_force(
    config: &Config,
    service: &Service,
    sandbox: &Sandbox,
    cache: Addon,
) -> anyhow::Result<Addon> {
    let id = cache.id.to_string().parse()?;
    let Some(servers) = service.servers(heroku::NAME, &id).await? else {
        return Ok(cache);
    };
    let name = config.manifest.variables().servers;
    let pushed = sandbox.wait_for_var(cache.owner, &name, &servers, PUSH_WAIT);
    if pushed.await.is_err() {
        tracing::warn!(
            servers,
            "the sandbox does not hold the cache's present address yet; it is pushed as soon as that works"
        );
    }
    let now = sandbox
        .addons()
        .into_iter()
        .find(|addon| addon.id == cache.id);
    Ok(now.unwrap_or(cache))
}

/// Where to look, a ready cache's variables, and a line to paste.
fn welcome(config: &Config, sandbox: &Sandbox, cache: &Addon) -> String {
    let names = config.manifest.variables();
    let value = |name: &str| cache.config.get(name).cloned().unwrap_or_default();
    let (servers, username, password) = (
        value(&names.servers),
        value(&names.username),
        value(&names.password),
    );
    let variables = cache.config.iter();
    let variables: String = variables
        .map(|(name, value)| format!("    {name}={value}\n"))
        .collect();
    format!(
        "
  Larder is running. Ctrl-C stops it; its state stays in {data_dir}.

  Sandbox console   {sandbox}/   provision, open dashboards, watch config vars and logs
  Service           {service}/
  Metrics           http://{metrics}/metrics
{tls}
  A cache is ready:
{variables}
  Try it (bash; nothing to install):
    {line}

",
        data_dir = config.process.data_dir.display(),
        sandbox = sandbox.url(),
        service = config.public_url,
        metrics = config.process.metrics_addr,
        tls = tls_line(config),
        line = paste_line(&servers, &username, &password),
    )
}

/// What clients must trust is named as in the dashboard's samples.
fn tls_line(config: &Config) -> String {
    let Some((node, ShownTls { port, ca })) = config.node.as_ref().zip(config.shown_tls.as_ref())
    else {
        return String::new();
    };
    let host = &node.memcached.proxy_hostname;
    let trust = ca
        .as_ref()
        .map(|file| format!("   trust {file} to connect"));
    format!(
        "  memcached by TLS  {host}:{port}{}\n",
        trust.unwrap_or_default()
    )
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
