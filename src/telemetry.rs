//! Logs and metrics: set up once, used by all rooms through `tracing` and `metrics`, knowing none of them.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Starts logging to standard error: standard output belongs to what commands print for people and programs.
pub fn start_logs(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).context("LARDER_LOG is not a filter")?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // a file or a collector has no use for colours
        .with_ansi(io::stderr().is_terminal())
        .with_writer(BoxMakeWriter::new(io::stderr))
        // they would be told on the same standard error, with a panic when it is on a full disk
        .log_internal_errors(false);
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging was started twice: {error}"))
}

/// The process-wide metrics recorder, installed on first use; it renders what `/metrics` answers.
pub fn metrics() -> anyhow::Result<PrometheusHandle> {
    static RECORDER: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut recorder = RECORDER.lock();
    if let Some(handle) = &*recorder {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .install_recorder()
        .context("metrics are recorded elsewhere")?;
    Ok(recorder.insert(handle).clone())
}
