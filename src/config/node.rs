//! What `larder serve --role node` is told. A node has neither master key nor database: it learns from a control process
//! which logins are good, and the settings of those are not read here.

use std::path::PathBuf;

use secrecy::SecretString;

use super::plans::PlanRow;
use super::setting::{About, AnySetting};
use super::source::Source;
use super::{
    Environment, Mistakes, NodePart, Process, Runs, addresses, environment, plans, sections,
    settings,
};
use crate::domain::Plans;
use crate::http::outbound::Url;

/// Settings that every process reads that serves memcached, and no other one.
static OF_MEMCACHED: &[&dyn AnySetting] = &[
    &settings::MEMCACHED_ADDR,
    &settings::MEMCACHED_TLS_DETECT,
    &settings::TLS_CERT,
    &settings::TLS_KEY,
    &settings::MEMCACHED_OPEN_ADDR,
    &settings::MEMCACHED_OPEN_CACHE,
    &settings::ENGINE_THREADS,
    &settings::ENGINE_MEMORY,
    &settings::PROXY_HOSTNAME,
    &settings::PROXY_PORT,
    &settings::CLUSTER,
    &settings::REGION,
    &settings::MEMCACHED_LOGIN_SECS,
    &settings::MEMCACHED_LINE_BYTES,
    &settings::MEMCACHED_REQUEST_SECS,
    &settings::MEMCACHED_UNREAD_BYTES,
    &settings::MEMCACHED_UNREAD_SECS,
];

/// Settings of the way to a control process, which only a node in a process of its own has.
static OF_THE_WAY: &[&dyn AnySetting] = &[&settings::CONTROL_URL, &settings::LINK_CA];

/// What such a node reads beside these; control processes read it too.
static OF_BOTH: &[&dyn AnySetting] = &[
    &settings::DATA_DIR,
    &settings::METRICS_ADDR,
    &settings::METRICS_TOKEN,
    &settings::ALLOW_HTTP,
    &settings::MEMCACHED_TLS_ADDR,
    &settings::NODE_TOKEN,
    &settings::NODE_TOKEN_PREVIOUS,
    &settings::ALLOW_DUMPS,
    &settings::SHUTDOWN_SECS,
    &settings::SHUTDOWN_DELAY_SECS,
    &settings::LOG,
    &settings::LOG_FORMAT,
];

/// What opens the database and the secrets in it: a node must not have it.
static NOT_FOR_NODES: &[&dyn AnySetting] = &[
    &settings::DATABASE_URL,
    &settings::MASTER_KEY,
    &settings::MASTER_KEY_FILE,
    &settings::MASTER_KEY_PREVIOUS,
];

fn lists(settings: &[&dyn AnySetting], setting: &About) -> bool {
    settings
        .iter()
        .any(|listed| listed.about().name == setting.name)
}

/// Whether a node in a process of its own reads this setting.
pub(super) fn reads(setting: &About) -> bool {
    is_for_nodes_alone(setting) || lists(OF_BOTH, setting)
}

/// Whether a process without a node has no use for this setting.
pub(super) fn is_for_nodes_alone(setting: &About) -> bool {
    lists(OF_MEMCACHED, setting) || lists(OF_THE_WAY, setting)
}

/// Everything that a node in a process of its own was told, parsed.
#[derive(Debug)]
pub struct NodeConfig {
    pub process: Process,
    pub node: NodePart,
    /// Where control processes serve the node link; never empty. Those that are http may be.
    pub control_urls: Vec<Url>,
    /// The only authority that is believed there, where one is named.
    pub link_ca: Option<PathBuf>,
    /// What it enrols with: the present token, then the one before.
    pub enrolment: Vec<SecretString>,
    /// For the size of the private cache behind an open listener.
    pub plans: Plans,
}

impl NodeConfig {
    /// Reads all layers. Either everything parsed, or the list of every mistake found.
    pub fn read(layers: Environment) -> Result<NodeConfig, Mistakes> {
        let layers = Environment {
            runs: Runs::Node,
            ..layers
        };
        let mut warnings = environment::unknown_variables(&layers.environment);
        let (mut source, plan_rows) = layers.layered();
        addresses::check(&mut source, Runs::Node);
        warnings.extend(source.trimmed());
        warnings.extend(what_it_must_not_have(&source));
        match build(&mut source, plan_rows, warnings) {
            Some(config) if source.is_sound() => Ok(config),
            _ => Err(Mistakes(source.into_mistakes())),
        }
    }
}

/// Joins the settings; `None` when something needed is missing or wrong. Whatever notes mistakes of its own comes first, so
/// that one run reports all of them.
fn build(
    source: &mut Source,
    plan_rows: Option<Result<Vec<PlanRow>, String>>,
    warnings: Vec<String>,
) -> Option<NodeConfig> {
    let plans = plans::read(source, plan_rows);
    let node = sections::node(source, Runs::Node);
    let control_urls = sections::control_urls(source);
    let link_ca = sections::link_ca(source);
    let enrolment = sections::enrolment(source);
    let process = sections::process(source, warnings);
    Some(NodeConfig {
        process: process?,
        node: node?,
        control_urls: control_urls?,
        link_ca,
        enrolment,
        plans: plans?,
    })
}

fn what_it_must_not_have(source: &Source) -> impl Iterator<Item = String> {
    NOT_FOR_NODES.iter().filter_map(|setting| {
        let about = setting.about();
        let (name, origin) = (about.name, source.given_in(about)?);
        Some(format!(
            "{name} ({origin}) is set, and a node must not have it, since whoever takes the machine over would have it \
             too: it is not read; take it out of what this process is started with"
        ))
    })
}
