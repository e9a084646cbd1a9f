//! `larder admin renew-tokens`: new access tokens for many caches.

use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::super::answer::Answer;
use super::which::{WhichCaches, flag_of, moment};
use crate::app::operator::Operator;
use crate::domain::{CacheId, Timestamp};
use crate::format::counted;
use crate::store::caches::scope::Scope;

/// Caches fetched at a time.
const PAGE: u32 = 100;
const MINUTE: Duration = Duration::from_secs(60);
/// Progress is told after so many caches.
const TELL_EVERY: u64 = 50;
/// How long the command waits for the last renewals, and how often it looks.
const WAIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Args, Debug)]
pub(in crate::cli) struct RenewTokensArgs {
    #[command(flatten)]
    which: WhichCaches,
    /// Renew tokens obtained before this moment (RFC 3339); now, when it is not given.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    obtained_before: Option<Timestamp>,
    /// Caches per minute, at most. Each is a call or two to its marketplace.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    rate: u32,
}

pub(super) async fn renew_tokens(
    operator: &Operator,
    args: &RenewTokensArgs,
    answer: &mut Answer,
) -> anyhow::Result<()> {
    let scope = args.which.scope(operator).await?;
    let before = args.obtained_before.unwrap_or_else(|| operator.now());
    let same = format!(
        "larder admin renew-tokens {} --obtained-before {before} --rate {}",
        flag_of(&scope),
        args.rate
    );
    eprintln!("If this is interrupted, go on with: {same}");
    let (mut ended, mut after) = (0_u64, CacheId(0));
    loop {
        let page = operator.store.old_tokens(&scope, before, after, PAGE);
        let page = page.await?;
        let Some(&last) = page.last() else { break };
        after = last;
        for cache in page {
            ended += u64::from(operator.end_token(cache, before).await?);
            if ended.is_multiple_of(TELL_EVERY) {
                eprintln!(
                    "{} asked for a new token.",
                    counted(ended, "cache", "caches")
                );
            }
            tokio::time::sleep(MINUTE / args.rate).await;
        }
    }
    let left = wait_for_renewals(operator, &scope, before).await?;
    answer.fact("ended", ended);
    answer.fact("left", left);
    let tokens = counted(ended, "access token has", "access tokens have");
    answer.say(format!("{tokens} been ended, each to be renewed at once."));
    if left > 0 {
        bail!(
            "{} not renewed yet: their marketplace is slow or away, gives no other token, or no worker runs. They are \
             renewed before they are used next, where that is possible. `larder admin caches` tells which caches have no token any more; look again with: {same}",
            counted(left, "token is", "tokens are")
        );
    }
    Ok(())
}

/// Waits until no old token is left, or for as long as renewals take when all is well. Tells how many are left.
async fn wait_for_renewals(
    operator: &Operator,
    scope: &Scope,
    before: Timestamp,
) -> anyhow::Result<u64> {
    let until = tokio::time::Instant::now() + WAIT;
    loop {
        let left = operator.store.count_old_tokens(scope, before).await?;
        if left == 0 || tokio::time::Instant::now() >= until {
            return Ok(left);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
