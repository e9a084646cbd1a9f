//! `larder admin sign-out`: nobody is signed in any more.

use clap::Args;

use super::super::answer::Answer;
use super::which::check_meant;
use crate::app::operator::Operator;
use crate::domain::CacheId;
use crate::format::counted;
use crate::store::caches::scope::Scope;

/// Caches fetched at a time.
const PAGE: u32 = 100;

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("whose").required(true))]
pub(in crate::cli) struct SignOutArgs {
    /// Of all caches.
    #[arg(long, group = "whose")]
    all: bool,
    /// Of the caches of one marketplace, such as heroku.
    #[arg(long, group = "whose", value_name = "NAME")]
    marketplace: Option<String>,
    /// End their long-lived dashboard addresses as well. Owners find the new ones in the dashboard.
    #[arg(long)]
    addresses: bool,
}

pub(super) async fn sign_out(
    operator: &Operator,
    args: &SignOutArgs,
    answer: &mut Answer,
) -> anyhow::Result<()> {
    let marketplace = args.marketplace.as_deref();
    let scope = marketplace.map_or(Scope::All, |name| Scope::Marketplace(name.to_owned()));
    check_meant(operator, &scope).await?;
    let ended = operator.end_sessions(marketplace).await?;
    answer.fact("ended", ended);
    answer.say(format!(
        "{} ended.",
        counted(ended, "session has", "sessions have")
    ));
    if args.addresses {
        let renewed = renew_addresses(operator, &scope).await?;
        answer.fact("addresses", renewed);
        let have = counted(renewed, "cache has", "caches have");
        answer.say(format!(
            "{have} a new dashboard address, and the old ones open nothing."
        ));
    }
    Ok(())
}

async fn renew_addresses(operator: &Operator, scope: &Scope) -> anyhow::Result<u64> {
    let (mut renewed, mut after) = (0, CacheId(0));
    loop {
        let page = operator.store.caches_in(scope, after, PAGE).await?;
        let Some(&last) = page.last() else {
            return Ok(renewed);
        };
        after = last;
        for cache in page {
            renewed += u64::from(operator.renew_address(cache).await?);
        }
        eprintln!(
            "{} so far.",
            counted(renewed, "new address", "new addresses")
        );
    }
}
