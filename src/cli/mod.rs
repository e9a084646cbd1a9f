//! The commands: what each prints is for the person who typed it.

#[macro_use]
mod output;

mod admin;
mod answer;
mod dev;
mod dev_tls;
mod keys;
mod manifest;
mod role;
mod settings;
mod signals;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use role::Role;
use settings::SettingFlags;
use signals::Signals;
use table::Table;
use tokio::runtime::Runtime;

use crate::app::roles::worker::Worker;
use crate::app::{self, Service, descriptors, dumps};
use crate::config::{self, Config, Effective, Environment, Mistakes, Origin};
use crate::store::Schema;
use crate::telemetry;

/// Managed memcached as an add-on: marketplaces, dashboard and cache engine in one program.
///
/// Settings come from flags, then the environment (LARDER_*), then larder.toml.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120)]
struct Cli {
    /// Read settings from this file instead of ./larder.toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Everything in one process on embedded defaults, with a marketplace to try it against.
    ///
    /// Keeps its state and keys under ./larder-data, made on the first start. Prints where to look, a ready
    /// cache's variables and a line to paste.
    Dev {
        /// Run this command as the sandbox app: with its config vars in the environment, restarted on every
        /// release, so that a rotation can be watched with a real client.
        #[arg(long, value_name = "COMMAND")]
        app: Option<String>,
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Run the service.
    ///
    /// Sets up an empty database by itself; refuses a schema that is older or newer than this program.
    Serve {
        /// Run only a part of the service in this process.
        #[arg(long, value_enum, default_value_t = Role::All)]
        role: Role,
        /// Print the settings in force, and where each comes from, and end. Secrets are masked.
        #[arg(long)]
        print_config: bool,
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Bring the database schema up to date.
    Migrate {
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Read the configuration and report every mistake in it.
    CheckConfig {
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Look after a service: caches, nodes, plans, flushes and keys.
    ///
    /// Works on the database, with the same settings as the service, whether that is running or not.
    Admin {
        #[command(subcommand)]
        command: admin::AdminCommand,
        /// Answer in JSON, for programs.
        #[arg(long, global = true)]
        json: bool,
        #[command(flatten)]
        settings: SettingFlags,
    },
}

/// Runs the command line; every failure is printed once, here.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        CliCommand::Dev { app, settings } => dev::dev(settings, cli.config, app),
        CliCommand::Serve {
            print_config: true,
            settings,
            ..
        } => print_config(settings, cli.config),
        CliCommand::Serve { role, settings, .. } => serve(role, settings, cli.config),
        CliCommand::Migrate { settings } => migrate(settings, cli.config),
        CliCommand::CheckConfig { settings } => check_config(settings, cli.config),
        CliCommand::Admin {
            command,
            json,
            settings,
        } => admin::run(command, json, settings, cli.config),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match error.downcast_ref::<Mistakes>() {
                Some(mistakes) => eprint!("larder: {mistakes}"),
                None => eprintln!("larder: {error:#}"),
            }
            ExitCode::FAILURE
        }
    }
}

fn serve(role: Role, settings: SettingFlags, file: Option<PathBuf>) -> anyhow::Result<()> {
    role.check()?;
    let config = read_config(settings, file)?;
    begin(&config)?;
    runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        if role == Role::Worker {
            let start = Worker::start(&config);
            if let Some(worker) = signals.unless_ended(start).await {
                let worker = worker?;
                signals.wait(|| {}).await;
                worker.stop().await;
            }
            return Ok(());
        }
        let start = Service::start(&config, Schema::Expect);
        if let Some(service) = signals.unless_ended(start).await {
            let service = service?;
            signals.wait(|| service.reload_tls()).await;
            service.stop().await;
        }
        Ok(())
    })
}

fn migrate(settings: SettingFlags, file: Option<PathBuf>) -> anyhow::Result<()> {
    let mut layers = Environment::of_process(settings.0, file.as_deref())?;
    manifest::leave_secrets_unset(&mut layers);
    let config = Config::read(layers)?;
    begin(&config)?;
    runtime()?.block_on(app::migrate(&config))?;
    println!("The database schema is up to date.");
    Ok(())
}

fn check_config(settings: SettingFlags, file: Option<PathBuf>) -> anyhow::Result<()> {
    let layers = Environment::of_process(settings.0, file.as_deref())?;
    let secrets_in = Effective::all(&layers)
        .iter()
        .any(|setting| setting.secret && setting.origin == Origin::File)
        .then(|| file.unwrap_or_else(|| "larder.toml".into()));
    let config = Config::read(layers)?;
    println!("The configuration is sound.");
    println!("  public address   {}", config.public_url);
    println!("  http             {}", config.http_addr);
    println!("  metrics          {}", config.metrics_addr);
    println!(
        "  memcached        {} (announced as {}:{})",
        config.memcached.addr, config.memcached.proxy_hostname, config.memcached.proxy_port
    );
    println!(
        "  plans            {}",
        config
            .plans
            .iter()
            .map(|plan| plan.slug.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    );
    for warning in &config.warnings {
        println!("warning: {warning}");
    }
    let regions = match runtime()?.block_on(app::regions_served(&config)) {
        Ok(regions) => regions,
        Err(error) => {
            println!("advice: the database cannot be opened: {error}");
            Vec::new()
        }
    };
    let advice = config::advice(&config, secrets_in.as_deref(), &regions);
    for advice in advice.into_iter().chain(descriptors::advice(&config)) {
        println!("advice: {advice}");
    }
    Ok(())
}

/// Prints what is in force also when there are mistakes, which then follow: it helps to find them.
fn print_config(settings: SettingFlags, file: Option<PathBuf>) -> anyhow::Result<()> {
    let layers = Environment::of_process(settings.0, file.as_deref())?;
    let mut table = Table::new(&["SETTING", "VALUE", "SOURCE"]);
    for setting in Effective::all(&layers) {
        table.row([
            setting.name.to_owned(),
            setting.value,
            setting.origin.to_string(),
        ]);
    }
    print!("{table}");
    Config::read(layers)?;
    Ok(())
}

fn read_config(settings: SettingFlags, file: Option<PathBuf>) -> Result<Config, Mistakes> {
    Config::read(Environment::of_process(settings.0, file.as_deref())?)
}

/// Starts the logs, and sees to it that no core dump shows the secrets that this process is about to hold.
fn begin(config: &Config) -> anyhow::Result<()> {
    telemetry::start_logs(&config.log_filter, config.log_format)?;
    if !config.allow_dumps
        && let Err(error) = dumps::forbid()
    {
        tracing::warn!(%error, "core dumps cannot be switched off");
    }
    Ok(())
}

/// The control plane's runtime; the engine has threads of its own.
fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
