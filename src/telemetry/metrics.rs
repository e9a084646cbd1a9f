//! The families of metrics: one table of names, kinds, units and meanings, from which the recorder is told what to say of
//! each, and which series exist before anything was counted.
//!
//! A new family is one row here; whoever counts uses its name with `metrics::counter!` and the like. Names follow the
//! conventions of Prometheus: base units, the unit last, `_total` behind what only counts up.

use anyhow::Context as _;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;

use Kind::{Counter, Gauge, Histogram};

/// What becomes of a family's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One family of metrics.
#[derive(Debug)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    /// Empty where things are counted or the value is a state.
    pub unit: &'static str,
    pub help: &'static str,
    /// The one label whose values are known beforehand, with these: such series begin at zero, so that the first event
    /// is an increase. A family without labels has an empty name and begins at zero as well.
    pub label: &'static str,
    pub values: &'static [&'static str],
    /// A second label, whose values occur with each of the first one's. Most have none.
    pub second: (&'static str, &'static [&'static str]),
}

/// The labels of a family are made by what happens: routes, nodes, errors.
const LATER: &str = "later";
/// Bounds of histograms of time, in seconds: a cached page takes one millisecond, a call to a provider some.
const SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0,
];

const fn family(kind: Kind, name: &'static str, unit: &'static str, help: &'static str) -> Family {
    Family {
        name,
        kind,
        unit,
        help,
        label: "",
        values: &[],
        second: ("", &[]),
    }
}

impl Family {
    const fn by(mut self, label: &'static str, values: &'static [&'static str]) -> Family {
        (self.label, self.values) = (label, values);
        self
    }

    const fn and(mut self, label: &'static str, values: &'static [&'static str]) -> Family {
        self.second = (label, values);
        self
    }
}

/// All families, by what they tell of.
#[rustfmt::skip]
pub static FAMILIES: &[Family] = &[
    family(Gauge, "larder_build_info", "", "Always 1; version and commit are its labels").by(LATER, &[]),
    family(Counter, "larder_panics_total", "", "Faults of the program that were caught, wherever they were"),

    family(Counter, "larder_engine_commands_total", "", "Commands carried out, by kind").by("command", &["get", "set", "delete", "touch", "incr", "decr", "flush"]),
    family(Counter, "larder_engine_get_hits_total", "", "Keys that were asked for and found"),
    family(Counter, "larder_engine_get_misses_total", "", "Keys that were asked for and not found"),
    family(Counter, "larder_engine_evictions_total", "", "Items dropped to make room"),
    family(Counter, "larder_engine_expired_items_total", "", "Items removed because their time was over"),
    family(Counter, "larder_engine_stores_refused_total", "", "Values that were not stored, by reason").by("reason", &["too_large", "no_memory"]),
    family(Counter, "larder_engine_read_bytes_total", "bytes", "Bytes read from clients that are logged in"),
    family(Counter, "larder_engine_written_bytes_total", "bytes", "Bytes written to clients that are logged in"),
    family(Counter, "larder_engine_logins_total", "", "Connections that logged in"),
    family(Counter, "larder_engine_login_attempts_total", "", "Attempts to log in, refused ones included"),
    family(Counter, "larder_engine_logins_refused_total", "", "Attempts to log in that were refused"),
    family(Counter, "larder_engine_certificates_refused_total", "", "Client certificates that were refused, by reason; each is a refused login too").by("reason", &["unknown", "expired", "foreign", "invalid"]),
    family(Counter, "larder_engine_anonymous_connections_closed_total", "", "Connections that made room for others, since they had not logged in"),
    family(Counter, "larder_engine_connections_refused_total", "", "Connections that were refused, since their cache had as many as its plan allows, or the node as many as it may have").by("reason", &["plan", "node"]),
    family(Counter, "larder_engine_panics_total", "", "Connections that a fault of the engine ended"),
    family(Gauge, "larder_engine_caches", "", "Caches that live on this node"),
    family(Gauge, "larder_engine_items", "", "Items stored"),
    family(Gauge, "larder_engine_item_bytes", "bytes", "Keys, values and headers stored"),
    family(Gauge, "larder_engine_memory_bytes", "bytes", "Memory charged to all caches"),
    family(Gauge, "larder_engine_memory_limit_bytes", "bytes", "Ceiling over all caches (LARDER_ENGINE_MEMORY)"),
    family(Gauge, "larder_engine_connections", "", "Connections of memcached clients, logged in or not"),
    family(Gauge, "larder_tls_certificate_expiry_timestamp_seconds", "seconds", "When the certificate of the TLS listener ends, in Unix time; none without a listener").by(LATER, &[]),

    family(Counter, "larder_http_requests_total", "", "HTTP requests answered, by method, route and status").by(LATER, &[]),
    family(Counter, "larder_http_requests_refused_total", "", "HTTP requests answered before a route saw them, by reason: read in two ways (400), in an unknown coding (501), more at once than there may be (503), not HTTP (400), too long a head (431). They are not among those answered by route").by("reason", &["ambiguous", "unknown_coding", "too_many", "unreadable", "too_large"]),
    family(Histogram, "larder_http_request_duration_seconds", "seconds", "From the end of a request's head to its answer, by route").by(LATER, &[]),
    family(Counter, "larder_http_connections_closed_total", "", "HTTP connections that we closed, by reason: a slow head of a request, long idleness, more of them than there may be, no descriptor left").by("reason", &["slow_head", "idle", "too_many", "no_descriptor"]),

    family(Counter, "larder_refused_calls_total", "", "Sign-ons and calls whose proof of who calls did not hold, by kind").by("call", &["sign_on", "api", "webhook", "link", "session", "form", "metrics", "node_link"]),

    family(Gauge, "larder_database_up", "", "1 while the database answers").by(LATER, &[]),
    family(Gauge, "larder_database_ping_duration_seconds", "seconds", "How long it took to answer the last time").by(LATER, &[]),

    family(Gauge, "larder_outbox_due_attempts", "", "Promises to the outside that are due, by kind").by("kind", OUTBOX_KINDS),
    family(Gauge, "larder_outbox_oldest_due_seconds", "seconds", "Age of the oldest of them").by("kind", OUTBOX_KINDS),
    family(Counter, "larder_outbox_attempts_total", "", "Attempts to keep one, by kind and outcome").by("kind", ATTEMPT_KINDS).and("outcome", ATTEMPT_OUTCOMES),
    family(Counter, "larder_webhook_events_total", "", "Events that marketplaces sent, by what they led to").by("led_to", &["reconcile", "nothing"]),
    family(Gauge, "larder_inventory_mismatched_installs", "", "Installs that only one side knows").by("known_to", &["us", "marketplace"]),

    family(Gauge, "larder_node_lag_revisions", "", "Changes that a node has not applied yet").by(LATER, &[]),
    family(Gauge, "larder_node_silent_seconds", "seconds", "Time since a node was heard of").by(LATER, &[]),
    family(Gauge, "larder_node_on_snapshot", "", "1 while this node serves its snapshot and has not heard the control plane"),
    family(Gauge, "larder_node_snapshot_written_timestamp_seconds", "seconds", "When this node last wrote its snapshot, in Unix time").by(LATER, &[]),
    family(Counter, "larder_node_snapshot_write_failures_total", "", "Snapshots that this node could not write"),

    family(Counter, "process_cpu_seconds_total", "seconds", "Processor time used"),
    family(Gauge, "process_resident_memory_bytes", "bytes", "Memory of the machine in use"),
    family(Gauge, "process_start_time_seconds", "seconds", "When the process began, in Unix time"),
    family(Gauge, "process_open_fds", "", "Open files and sockets"),
    family(Gauge, "process_max_fds", "", "How many it may open"),
    family(Gauge, "process_threads", "", "Threads of the process"),
];

const OUTBOX_KINDS: &[&str] = &[
    "async_provision",
    "config_push",
    "grant_exchange",
    "log_lines",
    "reconcile",
];

/// Beside the promises there are what is done for them and for all: tokens, and lists of installs.
const ATTEMPT_KINDS: &[&str] = &[
    "async_provision",
    "config_push",
    "grant_exchange",
    "inventory",
    "log_lines",
    "reconcile",
    "token_refresh",
];
const ATTEMPT_OUTCOMES: &[&str] = &[
    "dead",
    "delivered",
    "failed",
    "refused",
    "renewed",
    "unchanged",
];

/// What `/metrics` answers from.
#[derive(Clone)]
pub struct Recorder(PrometheusHandle);

impl Recorder {
    /// The process-wide recorder, installed on first use.
    pub fn install() -> anyhow::Result<Recorder> {
        static RECORDER: Mutex<Option<Recorder>> = Mutex::new(None);
        let mut installed = RECORDER.lock();
        if let Some(recorder) = &*installed {
            return Ok(recorder.clone());
        }
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".to_owned()), &SECONDS)
            .and_then(PrometheusBuilder::install_recorder)
            .context("metrics are recorded elsewhere")?;
        FAMILIES.iter().for_each(Family::begin);
        super::panics::count_and_tell();
        Ok(installed.insert(Recorder(handle)).clone())
    }

    /// All values as text, with a line for the unit of each family that has one.
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        let mut text = String::new();
        for line in self.0.render().lines() {
            text += line;
            text.push('\n');
            let described = line
                .strip_prefix("# TYPE ")
                .and_then(|rest| rest.split(' ').next());
            let family =
                described.and_then(|name| FAMILIES.iter().find(|family| family.name == name));
            if let Some(family) = family.filter(|family| !family.unit.is_empty()) {
                text += &format!("# UNIT {} {}\n", family.name, family.unit);
            }
        }
        text
    }
}

impl Family {
    /// Says what it is, and starts the series that are known.
    fn begin(&self) {
        match self.kind {
            Counter => metrics::describe_counter!(self.name, self.help),
            Gauge => metrics::describe_gauge!(self.name, self.help),
            Histogram => metrics::describe_histogram!(self.name, self.help),
        }
        match (self.label, self.kind) {
            ("", Counter) => metrics::counter!(self.name).absolute(0),
            ("", Gauge) => metrics::gauge!(self.name).set(0.0),
            (label, Counter) if self.second.1.is_empty() => {
                for value in self.values {
                    metrics::counter!(self.name, label => *value).absolute(0);
                }
            }
            (label, Counter) => {
                let (second, others) = self.second;
                for value in self.values {
                    for other in others {
                        metrics::counter!(self.name, label => *value, second => *other).absolute(0);
                    }
                }
            }
            (label, Gauge) => {
                for value in self.values {
                    metrics::gauge!(self.name, label => *value).set(0.0);
                }
            }
            (_, Histogram) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for family in FAMILIES {
            let (name, unit) = (family.name, family.unit);
            assert!(
                name.starts_with("larder_") || name.starts_with("process_"),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), family.kind == Counter, "{name}");
            let base = name.trim_end_matches("_total");
            assert!(base.ends_with(unit), "{name} in {unit}");
            assert!(
                ["", "seconds", "bytes"].contains(&unit),
                "{name} is in a base unit"
            );
            assert!(
                !family.help.is_empty() && !family.help.ends_with('.'),
                "{name}"
            );
        }
    }

    /// What the outbox counts is in the table, so that the first of each kind and outcome is an increase.
    #[test]
    fn attempts_have_the_kinds_and_outcomes_that_the_outbox_counts() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/outbox");
        let (mut kinds, mut outcomes) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let literals = |code: &str, end: &str| -> Vec<String> {
                let code = code.split(end).next().unwrap_or_default();
                code.split('"')
                    .skip(1)
                    .step_by(2)
                    .map(str::to_owned)
                    .collect()
            };
            for named in text.split("const NAME: ").skip(1) {
                kinds.extend(literals(named, ";"));
            }
            for counted in text.split("count(").skip(1) {
                let kind = counted.split(',').next().unwrap_or_default();
                if kind.trim().ends_with("NAME") {
                    outcomes.extend(literals(counted, ");"));
                }
            }
        }
        for (mut found, listed) in [(kinds, ATTEMPT_KINDS), (outcomes, ATTEMPT_OUTCOMES)] {
            found.sort();
            found.dedup();
            assert_eq!(found, listed);
        }
    }

    /// The series that operators' rules and board ask for are those we have.
    #[test]
    fn rules_and_board_name_families_that_exist() {
        for text in [
            include_str!("../../deploy/alerts.yml"),
            include_str!("../../deploy/grafana.json"),
        ] {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let mut named = words
                .filter(|word| word.starts_with("larder_") || word.starts_with("process_"))
                .peekable();
            assert!(named.peek().is_some());
            for name in named {
                let family = name.trim_end_matches("_bucket");
                let known = FAMILIES.iter().any(|known| known.name == family);
                assert!(known, "{name}");
            }
        }
    }
}
