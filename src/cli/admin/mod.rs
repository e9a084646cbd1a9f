//! `larder admin`: what an operator asks and orders. Every answer says what to do next where something is amiss.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::Subcommand;

mod absent_nodes;
mod caches;
mod nodes;
mod renew_tokens;
mod rotate;
mod sign_out;
mod which;

use super::answer::Answer;
use super::settings::SettingFlags;
use super::table::Table;
use super::{begin, dev, manifest, runtime};
use crate::app::operator::{AccessError, FlushResult, Operator};
use crate::config::{Config, Environment, Runs};
use crate::domain::{CacheId, Plan};
use crate::format;

/// How long `flush` waits for the nodes' report.
const FLUSH_WAIT: Duration = Duration::from_secs(10);
/// Values sealed again in one transaction.
const REKEY_BATCH: u32 = 100;
const REASON_CHARS_MAX: usize = 200;

#[derive(Debug, Subcommand)]
pub(super) enum AdminCommand {
    /// List live caches, and whether their providers hold the current credentials.
    Caches {
        /// Only those with this text in their number, label, name or external id, or with this user name.
        text: Option<String>,
    },
    /// List nodes with their state and whether they follow; or close one to new caches, open it, give it up.
    Nodes {
        #[command(subcommand)]
        command: Option<nodes::NodeAction>,
    },
    /// List plans with the number of caches on each.
    Plans,
    /// Empty a cache. Its owner gets a line in the app's log, with the reason.
    Flush {
        /// The cache: its number, name or external id, its label in log lines, or a user name.
        cache: String,
        /// Why, for the owner to read.
        #[arg(long)]
        reason: String,
    },
    /// Push the config vars of a cache at once, after its provider refused them or was away.
    Push {
        /// The cache: its number, name or external id, its label in log lines, or a user name.
        cache: String,
    },
    /// Replace primary credentials of many caches, as after a leak.
    ///
    /// Each cache gets a new primary, its provider the new values, and its timeline an entry. The former primary goes on
    /// working until the provider has the new values and nobody uses it any more. It may be stopped at any moment: the
    /// same command goes on where it stopped.
    Rotate(rotate::RotateArgs),
    /// Renew the access tokens of many caches at their marketplace, as after a leak.
    ///
    /// Each is ended here and renewed at once by the service's worker, with its refresh token. It may be stopped at any
    /// moment: the same command goes on where it stopped. Whether a marketplace still takes the old tokens is for it to
    /// say: Heroku's end within eight hours.
    RenewTokens(renew_tokens::RenewTokensArgs),
    /// End dashboard sessions of many caches, as after a leak of an SSO salt. Their owners sign on anew.
    SignOut(sign_out::SignOutArgs),
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

pub(super) fn run(
    command: AdminCommand,
    json: bool,
    settings: SettingFlags,
    file: Option<PathBuf>,
) -> anyhow::Result<()> {
    if matches!(command, AdminCommand::Manifest) {
        return manifest::print(settings, file);
    }
    let config = config_of(settings, file)?;
    begin(&config.process)?;
    runtime()?.block_on(async {
        let operator = Operator::open(&config).await?;
        let mut answer = Answer::default();
        let done = match command {
            AdminCommand::Caches { text } => {
                caches::list(&operator, text.as_deref(), &mut answer).await
            }
            AdminCommand::Nodes { command } => {
                nodes::run(&operator, &config, command, &mut answer).await
            }
            AdminCommand::Plans => plans(&operator, &config, &mut answer).await,
            AdminCommand::Flush { cache, reason } => {
                flush(&operator, &cache, reason.trim(), &mut answer).await
            }
            AdminCommand::Push { cache } => push(&operator, &cache, &mut answer).await,
            AdminCommand::Rotate(args) => rotate::rotate(&operator, &args, &mut answer).await,
            AdminCommand::RenewTokens(args) => {
                renew_tokens::renew_tokens(&operator, &args, &mut answer).await
            }
            AdminCommand::SignOut(args) => sign_out::sign_out(&operator, &args, &mut answer).await,
            AdminCommand::Rekey => rekey(&operator, &mut answer).await,
            // Answered above, without a database.
            AdminCommand::Manifest => Ok(()),
        };
        operator.close().await;
        // What was done before something failed is told as well.
        if done.is_ok() || !answer.is_empty() {
            answer.print(json);
        }
        done
    })
}

/// The settings of the service, or of the `larder dev` that keeps its state here. What only Heroku's calls need may be
/// missing: an operator looks at the database.
fn config_of(settings: SettingFlags, file: Option<PathBuf>) -> anyhow::Result<Config> {
    let mut layers = Environment::of_process(settings.0, file.as_deref())?;
    layers.runs = Runs::Nothing;
    dev::join(&mut layers)?;
    manifest::leave_secrets_unset(&mut layers);
    Ok(Config::read(layers)?)
}

async fn plans(operator: &Operator, config: &Config, answer: &mut Answer) -> anyhow::Result<()> {
    let used = operator.store.caches_by_plan().await?;
    let mut table = Table::new(&[
        "PLAN",
        "MEMORY MIB",
        "CONNECTIONS",
        "CREDENTIALS",
        "CENTS",
        "CACHES",
        "OFFERED",
    ])
    .with_numbers(&[
        "MEMORY MIB",
        "CONNECTIONS",
        "CREDENTIALS",
        "CENTS",
        "CACHES",
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
    answer.table("plans", &table);
    let remarks: Vec<String> = used
        .iter()
        .filter(|(slug, _)| config.plans.find(slug.as_str()).is_none())
        .map(|(slug, caches)| {
            format!(
                "{} on plan {slug}, which is not in the table and counts as {}; list it as hidden \
                 to give them what they bought",
                format::counted(*caches, "cache is", "caches are"),
                config.plans.find_or_smallest(slug).slug
            )
        })
        .collect();
    answer.remarks(remarks);
    Ok(())
}

async fn flush(
    operator: &Operator,
    called: &str,
    reason: &str,
    answer: &mut Answer,
) -> anyhow::Result<()> {
    ensure!(
        !reason.is_empty() && reason.chars().count() <= REASON_CHARS_MAX,
        "--reason must say in up to {REASON_CHARS_MAX} characters why; the cache's owner reads it"
    );
    let cache = operator.cache_called(called).await?;
    match operator.flush(cache, reason, FLUSH_WAIT).await {
        Ok(FlushResult::Done { items, .. }) => {
            answer.fact("items", items);
            let gone = format::counted(items, "item is", "items are");
            answer.say(format!("Cache {cache} is empty: {gone} gone."));
        }
        Ok(FlushResult::Ordered) => answer.say(format!(
            "The flush of cache {cache} is ordered and certain to happen, but no node has reported it done within \
             {} s. `larder admin nodes` tells whether its node is there.",
            FLUSH_WAIT.as_secs()
        )),
        Err(AccessError::Gone) => return Err(no_such_cache(cache)),
        Err(other) => return Err(other.into()),
    }
    Ok(())
}

async fn push(operator: &Operator, called: &str, answer: &mut Answer) -> anyhow::Result<()> {
    let cache = operator.cache_called(called).await?;
    match operator.push_again(cache).await {
        Ok(()) => answer.say(format!(
            "What its provider has not taken is tried now; `larder admin caches {cache}` tells what came of it."
        )),
        Err(AccessError::Gone) => return Err(no_such_cache(cache)),
        Err(other) => return Err(other.into()),
    }
    Ok(())
}

fn no_such_cache(cache: CacheId) -> anyhow::Error {
    anyhow::anyhow!("there is no live cache {cache}; `larder admin caches` lists them")
}

async fn rekey(operator: &Operator, answer: &mut Answer) -> anyhow::Result<()> {
    let done = operator
        .rekey(REKEY_BATCH, |so_far| {
            tracing::info!(so_far, "sealing again");
            true
        })
        .await?;
    answer.fact("sealed_again", done.sealed_again);
    answer.fact("left", done.left);
    let sealed = format::counted(done.sealed_again, "value is", "values are");
    answer.say(format!("{sealed} sealed again."));
    if done.left == 0 {
        answer.say(
            "Everything is sealed under the current key. Once every process runs with it, run this a last time, then \
             remove LARDER_MASTER_KEY_PREVIOUS.",
        );
        return Ok(());
    }
    let (left, unreadable) = (
        format::counted(done.left, "value is", "values are"),
        done.unreadable,
    );
    ensure!(
        unreadable == 0,
        "{left} still under another key, and none of the keys given opens {unreadable} of them: add the \
         key that sealed them to LARDER_MASTER_KEY_PREVIOUS and run this again"
    );
    anyhow::bail!(
        "{left} still under another key: they were being changed just then. Run this again"
    )
}
