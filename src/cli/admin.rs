//! `larder admin`: what an operator asks and orders. Every answer says what to do next where something is amiss.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::Subcommand;

use super::settings::SettingFlags;
use super::table::Table;
use super::{manifest, read_config, runtime};
use crate::app::operator::{AccessError, FlushResult, Operator};
use crate::config::Config;
use crate::domain::{CacheId, Plan, Plans};
use crate::store::nodes::NodeLoad;
use crate::store::overview::{CacheOverview, NodeOverview, PushOverview};
use crate::telemetry;

/// Caches fetched at a time.
const PAGE: u32 = 500;
/// How long `flush` waits for the nodes' word.
const FLUSH_WAIT: Duration = Duration::from_secs(10);
/// A node reports every half minute; one that has not for three times as long is away.
const AWAY_AFTER: Duration = Duration::from_secs(90);
/// Values sealed again in one transaction.
const REKEY_BATCH: u32 = 100;
const REASON_CHARS_MAX: usize = 200;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List live caches, and whether their providers hold the current credentials.
    Caches {
        /// Only those with this text in their number, label, name or external id.
        text: Option<String>,
    },
    /// List nodes, and whether they follow.
    Nodes,
    /// List plans with the number of caches on each.
    Plans,
    /// Empty a cache. Its owner gets a line in the app's log, with the reason.
    Flush {
        /// The number of the cache, as `admin caches` lists it.
        cache: CacheId,
        /// Why, for the owner to read.
        #[arg(long)]
        reason: String,
    },
    /// Push the config vars of a cache at once, after its provider refused them or was away.
    Push {
        /// The number of the cache, as `admin caches` lists it.
        cache: CacheId,
    },
    /// Seal every secret in the database again under the current master key.
    ///
    /// To change the master key: put the new one into LARDER_MASTER_KEY and the old one into
    /// LARDER_MASTER_KEY_PREVIOUS, restart every process, run this, and remove the old one when it says so. It may be
    /// stopped at any moment and run again, and the service goes on meanwhile.
    Rekey,
    /// Print the add-on manifest for Heroku: this installation's addresses, with fresh secrets.
    ///
    /// The manifest goes to standard output and what to do with it to standard error. Neither the database nor any
    /// secret of the service is needed.
    Manifest,
}

pub(super) fn run(verb: Verb, settings: SettingFlags, file: Option<PathBuf>) -> anyhow::Result<()> {
    if matches!(verb, Verb::Manifest) {
        return manifest::print(settings, file);
    }
    let config = read_config(settings, file)?;
    telemetry::start_logs(&config.log_filter, config.log_format)?;
    runtime()?.block_on(async {
        let operator = Operator::open(&config).await?;
        let done = match verb {
            Verb::Caches { text } => caches(&operator, text.as_deref()).await,
            Verb::Nodes => nodes(&operator, &config).await,
            Verb::Plans => plans(&operator, &config).await,
            Verb::Flush { cache, reason } => flush(&operator, cache, reason.trim()).await,
            Verb::Push { cache } => push(&operator, cache).await,
            Verb::Rekey => rekey(&operator).await,
            // Answered above, without a database.
            Verb::Manifest => Ok(()),
        };
        operator.close().await;
        done
    })
}

async fn caches(operator: &Operator, text: Option<&str>) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        "CACHE",
        "LABEL",
        "PLAN",
        "CLUSTER",
        "CREDENTIALS",
        "CONFIG VARS",
        "PROVIDER",
        "NAME",
    ]);
    let mut remarks = Vec::new();
    let mut after = CacheId(0);
    loop {
        let page = operator.store.cache_overviews(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.cache;
        for cache in page.iter().filter(|cache| is_meant(cache, text)) {
            table.row([
                cache.cache.to_string(),
                cache.label.clone(),
                cache.plan.to_string(),
                cache.cluster.clone(),
                cache.credentials.to_string(),
                push_word(cache).to_owned(),
                provider_words(cache),
                cache.name.clone(),
            ]);
            remarks.extend(cache_remarks(cache));
        }
    }
    print!("{table}");
    let count = table.len();
    println!("{count} live cache(s).");
    remarks.extend(strangers_remark(operator.store.strangers().await?));
    print_remarks(&remarks);
    Ok(())
}

fn is_meant(cache: &CacheOverview, text: Option<&str>) -> bool {
    let number = cache.cache.to_string();
    let texts = [&number, &cache.label, &cache.name, &cache.external_id];
    text.is_none_or(|text| texts.iter().any(|held| held.contains(text)))
}

/// A cache without a token has what it was given at first, and nothing newer will reach it.
fn push_word(cache: &CacheOverview) -> &'static str {
    match cache.push {
        PushOverview::Dead { .. } => "REFUSED",
        _ if cache.no_token.is_some() => "NO TOKEN",
        PushOverview::Applied => "applied",
        PushOverview::Pending { .. } => "pending",
    }
}

fn provider_words(cache: &CacheOverview) -> String {
    let unknown = if cache.missed { " (UNKNOWN THERE)" } else { "" };
    format!("{} {}{unknown}", cache.marketplace, cache.external_id)
}

/// Installs that stand on the marketplace's side only.
fn strangers_remark(strangers: u64) -> Option<String> {
    (strangers > 0).then(|| {
        format!(
            "{strangers} install(s) stand in the marketplace's list and are not alive here; the log of the last census \
             names them. Remove them there, or have them ordered again: nothing is created or removed by itself"
        )
    })
}

fn cache_remarks(cache: &CacheOverview) -> Vec<String> {
    let number = cache.cache;
    let mut remarks = Vec::new();
    match &cache.push {
        PushOverview::Dead { error } => remarks.push(format!(
            "cache {number}: its provider does not take the config vars: {error}. Tried again every hour, or \
             now by `larder admin push {number}`; the app runs on its old credential, which goes on working unless \
             its owner deletes it"
        )),
        PushOverview::Pending { error: Some(error) } => remarks.push(format!(
            "cache {number}: the last push of its config vars failed: {error}. Tried again by itself"
        )),
        PushOverview::Pending { error: None } | PushOverview::Applied => {}
    }
    if let Some(why) = &cache.no_token {
        remarks.push(format!(
            "cache {number}: no token: {why}. Its config vars cannot be pushed, and apps attached later get no log \
             lines; an order repeated with a new grant helps, or a new add-on in its place"
        ));
    }
    if cache.missed {
        remarks.push(format!(
            "cache {number}: its provider has not known it for a day or more. Perhaps it was removed there without \
             our hearing: ask; nothing is removed by itself"
        ));
    }
    match &cache.setup {
        None => {}
        Some(setup) if setup.giving_up => remarks.push(format!(
            "cache {number}: it could not be set up, and its provider has not confirmed that it is given up: {}. \
             Remove it there if the customer still sees it",
            setup.error
        )),
        Some(setup) => remarks.push(format!(
            "cache {number}: being set up in the background {}",
            setup.error
        )),
    }
    if cache.flushes_ordered > 0 {
        remarks.push(format!(
            "cache {number}: {} flush(es) ordered and not yet reported done; `larder admin nodes` tells whether its \
             node is there",
            cache.flushes_ordered
        ));
    }
    remarks
}

async fn nodes(operator: &Operator, config: &Config) -> anyhow::Result<()> {
    let newest = operator.store.revision().await?;
    let (nodes, loads) = (
        operator.store.node_overviews().await?,
        operator.store.node_loads().await?,
    );
    let mut table = Table::new(&[
        "NODE",
        "CLUSTER",
        "REGION",
        "ADDRESS",
        "CACHES",
        "PROMISED MIB",
        "MEMORY MIB",
        "REVISION",
        "SEEN",
    ]);
    let mut remarks = Vec::new();
    for node in &nodes {
        let load = loads.iter().find(|load| load.id == node.id);
        let (caches, promised) = load.map_or((0, 0), |load| promised(load, &config.plans));
        let silent = operator.now().since(node.seen_at);
        table.row([
            node.id.to_string(),
            node.cluster.clone(),
            node.region.clone(),
            node.address.clone(),
            caches.to_string(),
            (promised >> 20).to_string(),
            (node.memory_bytes >> 20).to_string(),
            format!("{} of {newest}", node.applied),
            format!("{} s ago", silent.as_secs()),
        ]);
        if silent >= AWAY_AFTER {
            remarks.push(away(node, caches, silent));
        } else if promised > node.memory_bytes {
            remarks.push(format!(
                "{}: its caches may grow beyond its memory; add a node to {} for the next ones",
                node.id, node.region
            ));
        }
    }
    print!("{table}");
    if nodes.is_empty() {
        println!("No node has joined yet: `larder serve` brings one.");
    }
    print_remarks(&remarks);
    Ok(())
}

/// How many live caches stand on a node, and the bytes that they may grow to.
fn promised(load: &NodeLoad, plans: &Plans) -> (u64, u64) {
    let sums = load.caches.iter().map(|(plan, caches)| {
        let limit = plans.find_or_smallest(plan).limit_bytes();
        (*caches, limit.saturating_mul(*caches))
    });
    sums.fold((0, 0), |(caches, bytes), (more, their)| {
        (caches + more, bytes.saturating_add(their))
    })
}

fn away(node: &NodeOverview, caches: u64, silent: Duration) -> String {
    let (id, address, secs) = (&node.id, &node.address, silent.as_secs());
    if caches == 0 {
        return format!("{id}: not heard of for {secs} s; no cache lives on it");
    }
    format!(
        "{id}: not heard of for {secs} s. Changes of its {caches} cache(s) wait for it, config vars too. Start it \
         again as {address} with its own LARDER_DATA_DIR"
    )
}

async fn plans(operator: &Operator, config: &Config) -> anyhow::Result<()> {
    let used = operator.store.caches_by_plan().await?;
    let mut table = Table::new(&[
        "PLAN",
        "MEMORY MIB",
        "CONNECTIONS",
        "CREDENTIALS",
        "CENTS",
        "CACHES",
        "OFFERED",
    ]);
    let caches_on = |plan: &Plan| {
        let found = used.iter().find(|(slug, _)| *slug == plan.slug);
        found.map_or(0, |(_, caches)| *caches)
    };
    for plan in config.plans.iter() {
        table.row([
            plan.slug.to_string(),
            (plan.memory_bytes >> 20).to_string(),
            plan.connections_max.to_string(),
            plan.credentials_max.to_string(),
            plan.price_cents.to_string(),
            caches_on(plan).to_string(),
            if plan.hidden { "no" } else { "yes" }.to_owned(),
        ]);
    }
    print!("{table}");
    let remarks: Vec<String> = used
        .iter()
        .filter(|(slug, _)| config.plans.find(slug.as_str()).is_none())
        .map(|(slug, caches)| {
            format!(
                "{caches} cache(s) are on plan {slug}, which is not in the table and counts as {}; list it as hidden \
                 to give them what they bought",
                config.plans.find_or_smallest(slug).slug
            )
        })
        .collect();
    print_remarks(&remarks);
    Ok(())
}

async fn flush(operator: &Operator, cache: CacheId, reason: &str) -> anyhow::Result<()> {
    ensure!(
        !reason.is_empty() && reason.chars().count() <= REASON_CHARS_MAX,
        "--reason must say in up to {REASON_CHARS_MAX} characters why; the cache's owner reads it"
    );
    match operator.flush(cache, reason, FLUSH_WAIT).await {
        Ok(FlushResult::Done { items, bytes }) => {
            println!("Cache {cache} is empty: {items} item(s) of {bytes} bytes are gone.");
        }
        Ok(FlushResult::Ordered) => println!(
            "The flush of cache {cache} is ordered and certain to happen, but no node has reported it done within \
             {} s. `larder admin nodes` tells whether its node is there.",
            FLUSH_WAIT.as_secs()
        ),
        Err(AccessError::Gone) => return Err(no_such_cache(cache)),
        Err(other) => return Err(other.into()),
    }
    Ok(())
}

async fn push(operator: &Operator, cache: CacheId) -> anyhow::Result<()> {
    match operator.push_again(cache).await {
        Ok(()) => println!(
            "What its provider has not taken is tried now; `larder admin caches {cache}` tells what came of it."
        ),
        Err(AccessError::Gone) => return Err(no_such_cache(cache)),
        Err(other) => return Err(other.into()),
    }
    Ok(())
}

fn no_such_cache(cache: CacheId) -> anyhow::Error {
    anyhow::anyhow!("there is no live cache {cache}; `larder admin caches` lists them")
}

async fn rekey(operator: &Operator) -> anyhow::Result<()> {
    let done = operator
        .store
        .rekey(REKEY_BATCH, |so_far| {
            tracing::info!(so_far, "sealing again");
            true
        })
        .await?;
    println!("{} value(s) were sealed again.", done.sealed_again);
    if done.left == 0 {
        println!(
            "Everything is sealed under the current key. Once every process runs with it, run this a last time, then \
             remove LARDER_MASTER_KEY_PREVIOUS."
        );
        return Ok(());
    }
    let (left, unreadable) = (done.left, done.unreadable);
    ensure!(
        unreadable == 0,
        "{left} value(s) are still under another key, {unreadable} of which open with none of the keys given: add the \
         key they were sealed with to LARDER_MASTER_KEY_PREVIOUS and run this again"
    );
    anyhow::bail!(
        "{left} value(s) are still under another key: they were being changed just then. Run this again"
    )
}

fn print_remarks(remarks: &[String]) {
    if !remarks.is_empty() {
        println!();
    }
    for remark in remarks {
        println!("! {remark}.");
    }
}
