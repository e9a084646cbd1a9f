//! Which caches a command of an operator is about.

use anyhow::bail;
use clap::Args;

use crate::app::operator::Operator;
use crate::domain::Timestamp;
use crate::store::caches::scope::Scope;

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub(in crate::cli) struct WhichCaches {
    /// One cache: its number, name or external id, its label in log lines, or a user name.
    #[arg(group = "which")]
    cache: Option<String>,
    /// All live caches.
    #[arg(long, group = "which")]
    all: bool,
    /// The caches of one marketplace, such as heroku.
    #[arg(long, group = "which", value_name = "NAME")]
    marketplace: Option<String>,
    /// The caches of one cluster, such as c1.
    #[arg(long, group = "which", value_name = "NAME")]
    cluster: Option<String>,
}

impl WhichCaches {
    /// Refuses when no live cache is meant: a name that is mistyped must not look like work well done.
    pub(super) async fn scope(&self, operator: &Operator) -> anyhow::Result<Scope> {
        let scope = match (&self.cache, &self.marketplace, &self.cluster) {
            (Some(called), ..) => Scope::Cache(operator.cache_called(called).await?),
            (None, Some(name), _) => Scope::Marketplace(name.clone()),
            (None, None, Some(name)) => Scope::Cluster(name.clone()),
            (None, None, None) => Scope::All,
        };
        check_meant(operator, &scope).await?;
        Ok(scope)
    }
}

/// Refuses a scope without a live cache.
pub(super) async fn check_meant(operator: &Operator, scope: &Scope) -> anyhow::Result<()> {
    if operator.store.count_caches(scope).await? == 0 {
        bail!("no live cache is meant by {}", flag_of(scope));
    }
    Ok(())
}

/// As it is typed.
pub(super) fn flag_of(scope: &Scope) -> String {
    match scope {
        Scope::All => "--all".to_owned(),
        Scope::Marketplace(name) => format!("--marketplace {name}"),
        Scope::Cluster(name) => format!("--cluster {name}"),
        Scope::Cache(cache) => cache.to_string(),
    }
}

/// A moment as an operator types it, RFC 3339.
pub(super) fn moment(text: &str) -> Result<Timestamp, jiff::Error> {
    let moment: jiff::Timestamp = text.parse()?;
    Ok(Timestamp::from_micros(moment.as_microsecond()))
}
