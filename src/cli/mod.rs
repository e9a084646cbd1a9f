//! The commands: what each prints is for the person who typed it.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "commands speak to a person"
)]

mod admin;
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
use tokio::runtime::Runtime;

use crate::app::worker::Worker;
use crate::app::{self, Service};
use crate::config::{Config, Mistakes, Surroundings};
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
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
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
        verb: admin::Verb,
        #[command(flatten)]
        settings: SettingFlags,
    },
}

/// Runs the command line; every failure is printed once, here.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Verb::Dev { app, settings } => dev::dev(settings, cli.config, app),
        Verb::Serve { role, settings } => serve(role, settings, cli.config),
        Verb::Migrate { settings } => migrate(settings, cli.config),
        Verb::CheckConfig { settings } => check_config(settings, cli.config),
        Verb::Admin { verb, settings } => admin::run(verb, settings, cli.config),
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
    telemetry::start_logs(&config.log_filter, config.log_format)?;
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
    let config = read_config(settings, file)?;
    telemetry::start_logs(&config.log_filter, config.log_format)?;
    runtime()?.block_on(app::migrate(&config))?;
    println!("The database schema is up to date.");
    Ok(())
}

fn check_config(settings: SettingFlags, file: Option<PathBuf>) -> anyhow::Result<()> {
    let config = read_config(settings, file)?;
    for warning in &config.warnings {
        println!("warning: {warning}");
    }
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
    Ok(())
}

fn read_config(settings: SettingFlags, file: Option<PathBuf>) -> Result<Config, Mistakes> {
    Config::read(Surroundings::of_process(settings.0, file.as_deref())?)
}

/// The control plane's runtime; the engine has threads of its own.
fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
