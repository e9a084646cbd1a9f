//! The plan table as written in TOML.

use std::time::Duration;

use serde::Deserialize;

use super::source::Source;
use crate::domain::{Plan, Plans};

const DAY: u64 = 86_400;
const MIB: u64 = 1 << 20;

/// The table compiled in, which a `[[plans]]` list in `larder.toml` replaces.
const BUILT_IN: &str = include_str!("plans.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    plans: Vec<PlanRow>,
}

/// One `[[plans]]` entry.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanRow {
    slug: String,
    memory_mib: u64,
    connections: u32,
    credentials: u32,
    sample_grain_secs: u64,
    history_days: u64,
    #[serde(default)]
    sleeps_after_days: u64,
    price_cents: u32,
    #[serde(default)]
    hidden: bool,
    #[serde(default)]
    asynchronous: bool,
}

impl PlanRow {
    fn into_plan(self) -> Result<Plan, String> {
        let slug = self
            .slug
            .parse()
            .map_err(|error| format!("plan {:?}: {error}", self.slug))?;
        Ok(Plan {
            slug,
            memory_bytes: self.memory_mib.saturating_mul(MIB),
            connections_max: self.connections,
            credentials_max: self.credentials,
            sample_grain: Duration::from_secs(self.sample_grain_secs),
            history: Duration::from_secs(self.history_days.saturating_mul(DAY)),
            sleeps_after: (self.sleeps_after_days > 0)
                .then(|| Duration::from_secs(self.sleeps_after_days.saturating_mul(DAY))),
            price_cents: self.price_cents,
            hidden: self.hidden,
            asynchronous: self.asynchronous,
        })
    }
}

/// The table of `larder.toml`, or the compiled-in one. What is wrong with it is noted.
pub(super) fn read(
    source: &mut Source,
    rows: Option<Result<Vec<PlanRow>, String>>,
) -> Option<Plans> {
    let plans = rows.map_or_else(built_in, |rows| rows.and_then(from_rows));
    plans
        .map_err(|why| source.mistake(format!("larder.toml: plans: {why}")))
        .ok()
}

/// The table from its rows, or what is wrong with it.
fn from_rows(rows: Vec<PlanRow>) -> Result<Plans, String> {
    let plans = rows
        .into_iter()
        .map(PlanRow::into_plan)
        .collect::<Result<_, _>>()?;
    Plans::new(plans).map_err(|error| error.to_string())
}

/// The compiled-in table.
fn built_in() -> Result<Plans, String> {
    let file: PlanFile = toml::from_str(BUILT_IN).map_err(|error| error.to_string())?;
    from_rows(file.plans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_sound() {
        let plans = built_in().unwrap();
        let dev = plans.find("dev").unwrap();
        assert_eq!((dev.memory_bytes, dev.connections_max), (25 << 20, 50));
        assert_eq!(dev.sleeps_after, Some(Duration::from_secs(30 * DAY)));
        assert_eq!(plans.find("100").unwrap().sleeps_after, None);
        assert_eq!(plans.iter().count(), 8);
    }
}
