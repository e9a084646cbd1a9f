//! `larder admin caches`: the list of live caches, and what is amiss with them.

use super::super::answer::Answer;
use super::super::table::Table;
use super::absent_nodes::AbsentNodes;
use crate::app::operator::Operator;
use crate::domain::{CacheId, NodeState, Username};
use crate::format;
use crate::store::StoreError;
use crate::store::service::overview::{CacheOverview, PushOverview};

/// Caches fetched at a time.
const PAGE: u32 = 500;

pub(super) async fn list(
    operator: &Operator,
    text: Option<&str>,
    answer: &mut Answer,
) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        "CACHE",
        "LABEL",
        "PLAN",
        "CLUSTER",
        "REGION",
        "CREDENTIALS",
        "CONFIG VARS",
        "PROVIDER",
        "NAME",
    ])
    .with_numbers(&["CACHE", "CREDENTIALS"]);
    let mut remarks = Vec::new();
    let mut elsewhere = 0;
    let of_user = cache_of_user(operator, text).await?;
    let mut absent_nodes = AbsentNodes::read(operator).await?;
    let mut after = CacheId(0);
    loop {
        let page = operator.caches(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        absent_nodes.turn_to(operator, after, last.cache).await?;
        after = last.cache;
        for cache in page.iter().filter(|cache| is_meant(cache, text, of_user)) {
            table.row([
                cache.cache.to_string(),
                cache.label.clone(),
                cache.plan.to_string(),
                cluster_words(cache, absent_nodes.count(cache.cache)),
                region_words(cache),
                cache.credentials.to_string(),
                push_state(cache).to_owned(),
                provider_words(cache),
                cache.name.clone(),
            ]);
            remarks.extend(cache_remarks(cache));
            elsewhere += u64::from(cache.elsewhere.is_some());
        }
    }
    answer.table("caches", &table);
    let count = table.len();
    answer.say(format!(
        "{}.",
        format::counted(count as u64, "live cache", "live caches")
    ));
    remarks.extend(absent_nodes.remarks());
    remarks.extend(elsewhere_remark(elsewhere));
    remarks.extend(unknown_installs_remark(
        operator.store.unknown_installs().await?,
    ));
    answer.remarks(remarks);
    if let (0, Some(text)) = (count, text) {
        anyhow::bail!(
            "no live cache has {text:?} in its number, label, name or external id, or as a user name"
        );
    }
    Ok(())
}

/// Of a credential that has been deleted too: apps that still use it are what a log tells of.
async fn cache_of_user(
    operator: &Operator,
    text: Option<&str>,
) -> Result<Option<CacheId>, StoreError> {
    let username = text.and_then(|text| text.to_ascii_uppercase().parse::<Username>().ok());
    match username {
        Some(username) => operator.store.cache_of_username(&username).await,
        None => Ok(None),
    }
}

/// In any case of letters, as people copy it from a log or type it.
fn is_meant(cache: &CacheOverview, text: Option<&str>, of_user: Option<CacheId>) -> bool {
    let number = cache.cache.to_string();
    let texts = [&number, &cache.label, &cache.name, &cache.external_id];
    let holds = |text: &str| {
        let wanted = text.to_lowercase();
        texts
            .iter()
            .any(|held| held.to_lowercase().contains(&wanted))
    };
    of_user == Some(cache.cache) || text.is_none_or(holds)
}

/// A cache without a token has what it was given at first, and nothing newer will reach it.
fn push_state(cache: &CacheOverview) -> &'static str {
    match cache.push {
        PushOverview::Dead { .. } => "REFUSED",
        PushOverview::NotPushed => "by hand",
        _ if cache.no_token.is_some() => "NO TOKEN",
        PushOverview::Applied => "applied",
        PushOverview::Pending { .. } => "pending",
    }
}

fn provider_words(cache: &CacheOverview) -> String {
    let unknown = if cache.missed { " (UNKNOWN THERE)" } else { "" };
    format!("{} {}{unknown}", cache.marketplace, cache.external_id)
}

/// With the state of its node, if that is not there.
fn cluster_words(cache: &CacheOverview, absent: Option<NodeState>) -> String {
    match absent {
        None => cache.cluster.clone(),
        Some(state) => format!("{} (NODE {})", cache.cluster, state.as_str().to_uppercase()),
    }
}

/// The region where it stands.
fn region_words(cache: &CacheOverview) -> String {
    match &cache.elsewhere {
        None => cache.served_from.clone(),
        Some(there) => format!("{} (ORDERED {})", there.served_from, there.ordered),
    }
}

/// Caches that stand where their customers did not order them.
fn elsewhere_remark(caches: u64) -> Option<String> {
    (caches > 0).then(|| {
        format!(
            "{} from another region than was ordered, as no node was there; LARDER_REGION_STRICT=on refuses such orders",
            format::counted(caches, "cache is served", "caches are served")
        )
    })
}

/// Installs that stand on the marketplace's side only.
fn unknown_installs_remark(unknown: u64) -> Option<String> {
    (unknown > 0).then(|| {
        format!(
            "{} in the marketplace's list and not alive here; the log of the last inventory names them. Remove them \
             there, or have them ordered again: nothing is created or removed by itself",
            format::counted(unknown, "install is", "installs are")
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
        PushOverview::Pending { error: None }
        | PushOverview::Applied
        | PushOverview::NotPushed => {}
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
    match &cache.async_provision {
        None => {}
        Some(pending) if pending.giving_up => remarks.push(format!(
            "cache {number}: it could not be set up, and its provider has not confirmed that it is given up: {}. \
             Remove it there if the customer still sees it",
            pending.error
        )),
        Some(pending) if pending.error.is_empty() => remarks.push(format!(
            "cache {number}: being provisioned asynchronously; its provider is told when it is ready"
        )),
        Some(pending) => remarks.push(format!(
            "cache {number}: being provisioned asynchronously: {}. Tried again by itself",
            pending.error
        )),
    }
    if cache.flushes_ordered > 0 {
        remarks.push(format!(
            "cache {number}: {} ordered and not yet reported done; `larder admin nodes` tells whether its node is there",
            format::counted(cache.flushes_ordered, "flush is", "flushes are")
        ));
    }
    remarks
}
