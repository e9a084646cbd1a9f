//! `larder admin rotate`: new primary credentials for many caches.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use super::super::answer::Answer;
use super::which::{WhichCaches, flag_of, moment};
use crate::app::operator::{AccessError, Operator, Replaced};
use crate::domain::{CacheId, Timestamp};
use crate::format::counted;
use crate::store::caches::rotations::OldPrimary;

/// Caches fetched at a time.
const PAGE: u32 = 100;
const MINUTE: Duration = Duration::from_secs(60);
/// Progress is told after so many caches.
const TELL_EVERY: u64 = 50;

#[derive(Args, Debug)]
pub(in crate::cli) struct RotateArgs {
    #[command(flatten)]
    which: WhichCaches,
    /// Replace primaries made before this moment (RFC 3339); now, when it is not given.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    made_before: Option<Timestamp>,
    /// Only say what would be done.
    #[arg(long)]
    plan: bool,
    /// Caches per minute, at most. Each restarts its app.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=6_000))]
    rate: u32,
}

#[derive(Default)]
struct Count {
    seen: u64,
    done: u64,
    others: u64,
    left: Vec<String>,
}

pub(super) async fn rotate(
    operator: &Operator,
    args: &RotateArgs,
    answer: &mut Answer,
) -> anyhow::Result<()> {
    let scope = args.which.scope(operator).await?;
    let before = args.made_before.unwrap_or_else(|| operator.now());
    let same = format!(
        "larder admin rotate {} --made-before {before} --rate {}",
        flag_of(&scope),
        args.rate
    );
    if !args.plan {
        eprintln!("If this is interrupted, go on with: {same}");
    }
    let mut count = Count::default();
    let mut after = CacheId(0);
    loop {
        let page = operator.store.old_primaries(&scope, before, after, PAGE);
        let page = page.await?;
        let Some(last) = page.last() else { break };
        after = last.cache;
        for old in &page {
            count.seen += 1;
            count.others += old.others;
            if !args.plan {
                replace(operator, old, before, &mut count).await?;
                tokio::time::sleep(MINUTE / args.rate).await;
            }
        }
    }
    tell(args, &same, &count, answer)
}

async fn replace(
    operator: &Operator,
    old: &OldPrimary,
    before: Timestamp,
    count: &mut Count,
) -> anyhow::Result<()> {
    let (cache, name) = (old.cache, &old.name);
    match operator.replace_older(cache, before).await {
        Ok(Replaced::Done) => count.done += 1,
        // Somebody else did it, or removed the cache, since the list was read.
        Ok(Replaced::NotNeeded) | Err(AccessError::Gone) => {}
        Ok(Replaced::PutOff { reason }) => {
            count.left.push(format!("cache {cache} ({name}): {reason}"))
        }
        Err(error) => return Err(error).with_context(|| format!("cache {cache} ({name})")),
    }
    if count.seen.is_multiple_of(TELL_EVERY) {
        eprintln!(
            "{} done, {} left as they are.",
            count.done,
            count.left.len()
        );
    }
    Ok(())
}

fn tell(args: &RotateArgs, same: &str, count: &Count, answer: &mut Answer) -> anyhow::Result<()> {
    let Count {
        seen,
        done,
        others,
        left,
    } = count;
    answer.fact("caches", *seen);
    answer.fact("replaced", *done);
    answer.fact("left", left.len());
    answer.fact("secondary_credentials", *others);
    if args.plan {
        let minutes = seen.div_ceil(u64::from(args.rate));
        answer.say(format!(
            "{} would get a new primary credential, in about {}.",
            counted(*seen, "cache", "caches"),
            counted(minutes, "minute", "minutes")
        ));
    } else {
        let (have, given) = match done {
            1 => ("has", "its provider is"),
            _ => ("have", "their providers are"),
        };
        answer.say(format!(
            "{} {have} a new primary credential; {given} given it now.",
            counted(*done, "cache", "caches")
        ));
    }
    if *others > 0 {
        let (stay, them) = match others {
            1 => ("stays as it is", "it"),
            _ => ("stay as they are", "them"),
        };
        answer.say(format!(
            "! {} of these caches {stay}: only an owner can replace {them}.",
            counted(*others, "secondary credential", "secondary credentials")
        ));
    }
    for left in &count.left {
        answer.say(format!("! {left}."));
    }
    if !count.left.is_empty() {
        bail!(
            "{} as before; mend what is said above, then run: {same}",
            counted(
                count.left.len() as u64,
                "cache keeps its primary",
                "caches keep their primaries"
            )
        );
    }
    Ok(())
}
