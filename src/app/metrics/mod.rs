//! What `/metrics` shows beside what the rooms count themselves: read when somebody asks, not kept up all the time.

use std::fs;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::domain::{Clock, NodeStanding, der};
use crate::engine::{Engine, EngineTotals};
use crate::store::Store;
use crate::telemetry::metrics::Recorder;

/// A database that takes longer is away for whoever scrapes.
const PATIENCE: Duration = Duration::from_secs(2);
/// Ticks of processor time per second, as Linux shows them to every program.
const TICKS_PER_SEC: f64 = 100.0;
const PAGE_BYTES: f64 = 4096.0;

/// The sources that are read at each scrape.
#[derive(Clone)]
pub(super) struct Scrape {
    pub recorder: Recorder,
    /// `None` in a node without a database.
    pub store: Option<Store>,
    pub clock: Arc<dyn Clock>,
    /// Empty in a process without a node, and until its engine listens.
    pub engine: Arc<OnceLock<RunningEngine>>,
}

/// An engine whose listeners are open.
pub(super) struct RunningEngine {
    pub engine: Engine,
    pub memory_limit_bytes: u64,
}

impl Scrape {
    /// Reads everything anew and answers the text.
    pub(super) async fn text(&self) -> String {
        metrics::gauge!("larder_build_info", "version" => env!("CARGO_PKG_VERSION"), "commit" => super::COMMIT).set(1.0);
        if let Some(running) = self.engine.get() {
            engine_figures(&running.engine, running.memory_limit_bytes);
        }
        if let Some(store) = &self.store {
            self.database(store).await;
        }
        process();
        self.recorder.render()
    }

    async fn database(&self, store: &Store) {
        let begun = Instant::now();
        let answered = matches!(timeout(PATIENCE, store.ping()).await, Ok(Ok(())));
        metrics::gauge!("larder_database_up").set(f64::from(u8::from(answered)));
        metrics::gauge!("larder_database_ping_duration_seconds").set(begun.elapsed().as_secs_f64());
        if answered && timeout(PATIENCE, self.nodes(store)).await.is_err() {
            tracing::warn!("the nodes' lag could not be read in time");
        }
    }

    async fn nodes(&self, store: &Store) {
        let (Ok(newest), Ok(nodes)) = (store.revision().await, store.node_overviews().await) else {
            return;
        };
        for node in nodes {
            let id = node.id.to_string();
            // One that was given up is waited for no more.
            let (lag, silent) = match node.status.standing {
                NodeStanding::Retired => (0, Duration::ZERO),
                _ => (
                    newest.0.saturating_sub(node.applied.0),
                    self.clock.now().since(node.status.seen_at),
                ),
            };
            metrics::gauge!("larder_node_lag_revisions", "node" => id.clone()).set(lag as f64);
            metrics::gauge!("larder_node_silent_seconds", "node" => id).set(silent.as_secs_f64());
        }
    }
}

fn engine_figures(engine: &Engine, limit_bytes: u64) {
    let EngineTotals {
        counters,
        traffic,
        caches,
    } = engine.totals();
    for (command, count) in [
        ("get", counters.cmd_get()),
        ("set", counters.cmd_set),
        ("delete", counters.cmd_delete),
        ("touch", counters.cmd_touch()),
        ("incr", counters.incr_hits + counters.incr_misses),
        ("decr", counters.decr_hits + counters.decr_misses),
        ("flush", counters.cmd_flush),
    ] {
        metrics::counter!("larder_engine_commands_total", "command" => command).absolute(count);
    }
    for (reason, count) in [
        ("too_large", counters.store_too_large),
        ("no_memory", counters.store_no_memory),
    ] {
        metrics::counter!("larder_engine_stores_refused_total", "reason" => reason).absolute(count);
    }
    metrics::counter!("larder_engine_connections_refused_total", "reason" => "plan")
        .absolute(traffic.connections_refused);
    for (name, count) in [
        ("larder_engine_get_hits_total", counters.get_hits),
        ("larder_engine_get_misses_total", counters.get_misses),
        ("larder_engine_evictions_total", counters.evictions),
        ("larder_engine_expired_items_total", counters.expired),
        ("larder_engine_read_bytes_total", traffic.bytes_read),
        ("larder_engine_written_bytes_total", traffic.bytes_written),
        ("larder_engine_logins_total", traffic.connections),
        ("larder_engine_login_attempts_total", traffic.auth_cmds),
        ("larder_engine_logins_refused_total", traffic.auth_errors),
    ] {
        metrics::counter!(name).absolute(count);
    }
    for (name, value) in [
        ("larder_engine_caches", caches),
        ("larder_engine_items", counters.curr_items),
        ("larder_engine_item_bytes", counters.bytes),
        ("larder_engine_memory_bytes", engine.memory_used_bytes()),
        ("larder_engine_memory_limit_bytes", limit_bytes),
        (
            "larder_engine_connections",
            engine.open_connections().into(),
        ),
    ] {
        metrics::gauge!(name).set(value as f64);
    }
    if let Some(ends) = engine.certificate().and_then(|der| not_after(&der)) {
        metrics::gauge!("larder_tls_certificate_expiry_timestamp_seconds").set(ends as f64);
    }
}

/// From the kernel's table of this process. What cannot be read keeps its last value.
fn process() {
    let read = |file: &str| fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    let stat = read("stat");
    // The name may hold blanks; numbers follow its bracket, of which the first is the third field of the table.
    let after_name = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let fields: Vec<f64> = after_name
        .split(' ')
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0.0);
    let processor_ticks = field(14) + field(15);
    metrics::counter!("process_cpu_seconds_total")
        .absolute((processor_ticks / TICKS_PER_SEC) as u64);
    metrics::gauge!("process_threads").set(field(20));
    metrics::gauge!("process_resident_memory_bytes").set(field(24) * PAGE_BYTES);
    if let Some(boot) = boot_secs() {
        metrics::gauge!("process_start_time_seconds").set(boot + field(22) / TICKS_PER_SEC);
    }
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    metrics::gauge!("process_open_fds").set(open as f64);
    let limits = read("limits");
    let limit = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = limit.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    metrics::gauge!("process_max_fds").set(soft.unwrap_or(f64::INFINITY));
}

/// When the machine began, in Unix time.
fn boot_secs() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .parse()
        .ok()
}

/// The end of a certificate in Unix time. `None` for what is no certificate.
fn not_after(certificate: &[u8]) -> Option<i64> {
    let end = der::not_after(certificate)?;
    let text = std::str::from_utf8(end.value).ok()?.strip_suffix('Z')?;
    let text = match end.tag {
        // two digits of the year: up to 49 is this century
        0x17 if text.get(..2)? < "50" => format!("20{text}"),
        0x17 => format!("19{text}"),
        _ => text.to_owned(),
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", &text).ok()?;
    Some(
        time.to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_second(),
    )
}

#[cfg(test)]
mod tests;
