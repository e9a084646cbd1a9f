//! The commands: what each prints is for the person who typed it.

#[macro_use]
mod output;

mod admin;
mod answer;
mod check_config;
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

use answer::Answer;
use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use role::Role;
use settings::SettingFlags;
use signals::Signals;
use tokio::runtime::Runtime;

use crate::app::roles::node_process::NodeProcess;
use crate::app::roles::worker::Worker;
use crate::app::{self, Service, dumps};
use crate::config::{self, Config, Environment, Mistakes, NodeConfig, Process, Runs};
use crate::domain::printable::in_a_line;
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
        /// Answer in JSON, for programs.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Read the configuration and report every mistake in it.
    CheckConfig {
        /// The part of the service that the configuration is for.
        #[arg(long, value_enum, default_value_t = Role::All)]
        role: Role,
        /// Answer in JSON, for programs.
        #[arg(long)]
        json: bool,
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
            role,
            settings,
        } => check_config::print_config(role, settings, cli.config),
        CliCommand::Serve { role, settings, .. } => serve(role, settings, cli.config),
        CliCommand::Migrate { json, settings } => migrate(settings, cli.config, json),
        CliCommand::CheckConfig {
            role,
            json,
            settings,
        } => check_config::check_config(role, settings, cli.config, json),
        CliCommand::Admin {
            command,
            json,
            settings,
        } => admin::run(command, json, settings, cli.config),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let told = match error.downcast_ref::<Mistakes>() {
                Some(mistakes) => mistakes.to_string(),
                None => format!("{error:#}"),
            };
            // What others have named stands in them.
            let lines: Vec<String> = told.lines().map(in_a_line).collect();
            eprintln!("larder: {}", lines.join("\n"));
            ExitCode::FAILURE
        }
    }
}

fn serve(role: Role, settings: SettingFlags, file: Option<PathBuf>) -> anyhow::Result<()> {
    let runs = role.runs()?;
    let mut layers = Environment::of_process(settings.0, file.as_deref())?;
    layers.runs = runs;
    if runs == Runs::Node {
        let config = NodeConfig::read(layers)?;
        begin(&config.process)?;
        let runtime = runtime()?;
        let ended = runtime.block_on(serve_node(&config));
        // What had to be written was waited for. A look-up of a name that takes long is not.
        runtime.shutdown_background();
        return ended;
    }
    let config = Config::read(layers)?;
    begin(&config.process)?;
    runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        if runs == Runs::Worker {
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

async fn serve_node(config: &NodeConfig) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let Some(node) = signals.unless_ended(NodeProcess::start(config)).await else {
        return Ok(());
    };
    let node = node?;
    let another = tokio::select! {
        () = signals.wait(|| node.reload_tls()) => None,
        why = node.became_another() => Some(why),
    };
    node.stop().await;
    match another {
        None => Ok(()),
        Some(why) => bail!(
            "the control plane has placed the caches of this node elsewhere: {why}. Start it again, and it joins as a \
             new node. A supervisor that restarts what failed does so by itself"
        ),
    }
}

fn migrate(settings: SettingFlags, file: Option<PathBuf>, json: bool) -> anyhow::Result<()> {
    let mut layers = Environment::of_process(settings.0, file.as_deref())?;
    layers.runs = Runs::Nothing;
    dev::join(&mut layers)?;
    manifest::leave_secrets_unset(&mut layers);
    let config = Config::read(layers)?;
    begin(&config.process)?;
    runtime()?.block_on(app::migrate(&config))?;
    let mut answer = Answer::default();
    answer.say("The database schema is up to date.");
    answer.print(json);
    Ok(())
}

/// Starts the logs, and sees to it that no core dump shows the secrets that this process is about to hold.
fn begin(process: &Process) -> anyhow::Result<()> {
    telemetry::start_logs(&process.log_filter, process.log_format)?;
    if !process.allow_dumps
        && let Err(error) = dumps::forbid()
    {
        tracing::warn!(%error, "core dumps cannot be switched off");
    }
    Ok(())
}

/// The same for a command without a log, as soon as its settings are there.
fn forbid_dumps(layers: &Environment) {
    let are_allowed = layers.peek(&config::settings::ALLOW_DUMPS) == Some(true);
    if !are_allowed && let Err(error) = dumps::forbid() {
        eprintln!("larder: core dumps cannot be switched off: {error}");
    }
}

/// The control plane's runtime; the engine has threads of its own.
fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
