//! `larder admin nodes`: the list, and what an operator orders about one node.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;

use super::super::answer::Answer;
use super::super::table::Table;
use crate::app::operator::Operator;
use crate::config::Config;
use crate::domain::{NodeState, Plans};
use crate::format;
use crate::store::fleet::nodes::NodeLoad;
use crate::store::service::overview::NodeOverview;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum NodeAction {
    /// Close a node to new caches. It keeps those that it has.
    Drain {
        /// The node's host name or its id, the first word of its row in `admin nodes`.
        node: String,
    },
    /// Open a drained node to new caches again.
    Open {
        /// The node's host name or its id.
        node: String,
    },
    /// Give up a node that is away and will not come back.
    ///
    /// Its caches are placed on other nodes, where they begin empty, and their config vars are pushed. Each owner
    /// finds an event in the cache's timeline and a line in the app's log. A machine that comes back joins as a new
    /// node.
    Retire {
        /// The node's host name or its id.
        node: String,
    },
}

pub(super) async fn run(
    operator: &Operator,
    config: &Config,
    command: Option<NodeAction>,
    answer: &mut Answer,
) -> anyhow::Result<()> {
    match command {
        None => list(operator, config, answer).await,
        Some(NodeAction::Drain { node }) => drain(operator, &node, answer).await,
        Some(NodeAction::Open { node }) => open(operator, &node, answer).await,
        Some(NodeAction::Retire { node }) => retire(operator, &node, answer).await,
    }
}

async fn list(operator: &Operator, config: &Config, answer: &mut Answer) -> anyhow::Result<()> {
    let newest = operator.store.revision().await?;
    let (nodes, loads) = (
        operator.store.node_overviews().await?,
        operator.store.node_loads().await?,
    );
    let mut table = Table::new(&[
        "NODE",
        "STATE",
        "CLUSTER",
        "REGION",
        "ADDRESS",
        "CACHES",
        "PROMISED MIB",
        "MEMORY MIB",
        "REVISION",
        "ON SNAPSHOT",
        "SEEN",
    ])
    .with_numbers(&["CACHES", "PROMISED MIB", "MEMORY MIB"]);
    let mut remarks = Vec::new();
    for node in &nodes {
        let load = loads.iter().find(|load| load.id == node.id);
        let (caches, promised) = load.map_or((0, 0), |load| promised(load, &config.plans));
        let state = state(operator, node);
        table.row([
            node.id.to_string(),
            state.to_string(),
            node.cluster.clone(),
            node.region.clone(),
            node.address.clone(),
            caches.to_string(),
            (promised >> 20).to_string(),
            (node.memory_bytes >> 20).to_string(),
            format!("{} of {newest}", node.applied),
            if node.on_snapshot { "yes" } else { "no" }.to_owned(),
            format::ago(node.status.seen_at, operator.now()),
        ]);
        remarks.extend(remark(operator, node, state, caches));
        if node.on_snapshot && state != NodeState::Retired {
            remarks.push(format!(
                "{}: serves on snapshot, what it knew when it ran last, until it has heard of the changes since; its log \
                 says what keeps it from following",
                node.id
            ));
        }
        if state != NodeState::Retired && promised > node.memory_bytes {
            remarks.push(format!(
                "{}: its caches may grow beyond its memory; add a node to {} for the next ones",
                node.id, node.region
            ));
        }
    }
    answer.table("nodes", &table);
    if nodes.is_empty() {
        answer.say(
            "No node has joined yet: `larder serve` and `larder serve --role node` bring one.",
        );
    }
    answer.remarks(remarks);
    Ok(())
}

fn silent(operator: &Operator, node: &NodeOverview) -> Duration {
    operator.now().since(node.status.seen_at)
}

pub(super) fn state(operator: &Operator, node: &NodeOverview) -> NodeState {
    let status = node.status;
    NodeState::of(
        status.phase,
        status.standing,
        status.seen_at,
        operator.now(),
    )
}

/// How many live caches stand on a node, and the bytes that they may grow to: a tenth above their plans, since an operator
/// compares them with the memory of the node.
fn promised(load: &NodeLoad, plans: &Plans) -> (u64, u64) {
    let sums = load.caches.iter().map(|(plan, caches)| {
        let limit = plans.find_or_smallest(plan).limit_bytes();
        (*caches, limit.saturating_mul(*caches))
    });
    sums.fold((0, 0), |(caches, bytes), (more, their)| {
        (caches + more, bytes.saturating_add(their))
    })
}

/// What an operator should do about a node.
fn remark(
    operator: &Operator,
    node: &NodeOverview,
    state: NodeState,
    caches: u64,
) -> Option<String> {
    let (id, address) = (&node.id, &node.address);
    let secs = silent(operator, node).as_secs();
    match state {
        NodeState::Away if caches == 0 => Some(format!(
            "{id}: not heard of for {secs} s, and no cache lives on it. `larder admin nodes retire {id}` gives it up"
        )),
        NodeState::Away => Some(format!(
            "{id}: not heard of for {secs} s. {} on it cannot be reached; their changes wait for it, config vars too. Start it again as {address} with its own LARDER_DATA_DIR; if it never comes back, \
             `larder admin nodes retire {id}` places its caches on other nodes, where they begin empty",
            cached(caches)
        )),
        NodeState::Draining => Some(format!(
            "{id}: closed to new caches until `larder admin nodes open {id}`"
        )),
        NodeState::Retired if caches > 0 => Some(format!(
            "{id}: {} of this retired node waiting until another node of their region has room",
            cached(caches)
        )),
        NodeState::Joining | NodeState::Serving | NodeState::Retired => None,
    }
}

fn cached(caches: u64) -> String {
    format::counted(caches, "cache", "caches")
}

/// The node that an operator means by an id, a host name, or an address as the list shows it. A host name alone may
/// stand for several; of those, retired ones do not count beside a living one.
async fn find(operator: &Operator, wanted: &str) -> anyhow::Result<NodeOverview> {
    let nodes = operator.store.node_overviews().await?;
    let host = |node: &NodeOverview| {
        node.address
            .rsplit_once(':')
            .is_some_and(|(host, _)| host == wanted)
    };
    let mut meant: Vec<NodeOverview> = nodes
        .into_iter()
        .filter(|node| node.id.as_str() == wanted || node.address == wanted || host(node))
        .collect();
    if meant.len() > 1 && meant.iter().any(|node| !is_retired(operator, node)) {
        meant.retain(|node| !is_retired(operator, node));
    }
    if meant.len() > 1 {
        let ids: Vec<&str> = meant.iter().map(|node| node.id.as_str()).collect();
        bail!(
            "{wanted} is the name of several nodes; say which one by its id: {}",
            ids.join(", ")
        );
    }
    meant
        .pop()
        .with_context(|| format!("there is no node {wanted}; `larder admin nodes` lists them"))
}

fn is_retired(operator: &Operator, node: &NodeOverview) -> bool {
    state(operator, node) == NodeState::Retired
}

async fn drain(operator: &Operator, wanted: &str, answer: &mut Answer) -> anyhow::Result<()> {
    let node = find(operator, wanted).await?;
    let done = operator.cluster.drain_node(&node.id).await;
    done.with_context(|| node.id.to_string())?;
    answer.say(format!(
        "{} gets no new cache until `larder admin nodes open {}`.",
        node.id, node.id
    ));
    Ok(())
}

async fn open(operator: &Operator, wanted: &str, answer: &mut Answer) -> anyhow::Result<()> {
    let node = find(operator, wanted).await?;
    let done = operator.cluster.open_node(&node.id).await;
    done.with_context(|| node.id.to_string())?;
    answer.say(format!(
        "{} gets new caches again while it serves.",
        node.id
    ));
    Ok(())
}

async fn retire(operator: &Operator, wanted: &str, answer: &mut Answer) -> anyhow::Result<()> {
    let node = find(operator, wanted).await?;
    let done = operator.cluster.retire_node(&node.id).await;
    let evicted = done.with_context(|| node.id.to_string())?;
    answer.fact("moved", evicted.moved);
    answer.fact("waiting", evicted.waiting);
    answer.fact("elsewhere", evicted.elsewhere);
    answer.say(format!(
        "{} is retired. Placed on other nodes, where they begin empty: {}. The service pushes their config vars.",
        node.id,
        cached(evicted.moved)
    ));
    if evicted.elsewhere > 0 {
        answer.say(format!(
            "Of these, in another region than was ordered, as no other node is there: {}.",
            cached(evicted.elsewhere)
        ));
    }
    if evicted.waiting > 0 {
        answer.say(format!(
            "Waiting until another node of their region has room: {}. The service places them by itself then.",
            cached(evicted.waiting)
        ));
    }
    Ok(())
}
