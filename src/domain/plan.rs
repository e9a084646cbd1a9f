//! Plans: what a customer buys. The table itself is data, read by `config`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// A plan's name as marketplaces send it, without the add-on's own prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanSlug(Arc<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a plan name: 1 to 64 characters a-z, 0-9, - and _ are expected")]
pub struct BadPlanSlug;

impl PlanSlug {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PlanSlug {
    type Err = BadPlanSlug;

    fn from_str(text: &str) -> Result<PlanSlug, BadPlanSlug> {
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
        };
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(PlanSlug(text.into()))
        } else {
            Err(BadPlanSlug)
        }
    }
}

impl fmt::Display for PlanSlug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One row of the plan table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub slug: PlanSlug,
    /// What the customer bought.
    pub memory_bytes: u64,
    pub connections_max: u32,
    pub credentials_max: u32,
    /// Distance between two samples of the graphs.
    pub sample_grain: Duration,
    /// How long samples are kept.
    pub history: Duration,
    /// A cache without activity for this long goes to sleep; `None` never does.
    pub sleeps_after: Option<Duration>,
    pub price_cents: u32,
    /// Not offered to new customers; existing ones keep it.
    pub hidden: bool,
    /// Provisioned in the background: the marketplace is answered at once and told later, where it can be.
    pub asynchronous: bool,
}

impl Plan {
    /// The engine's hard limit: a tenth above what was bought, since it counts index and bookkeeping too.
    pub fn limit_bytes(&self) -> u64 {
        self.memory_bytes.saturating_add(self.memory_bytes / 10)
    }
}

/// All plans on offer, in the order of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plans(Vec<Plan>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPlans {
    #[error("the plan table is empty")]
    Empty,
    #[error("plan {0} is listed twice")]
    Repeated(PlanSlug),
    #[error("plan {0} has a limit of zero")]
    Zero(PlanSlug),
}

impl Plans {
    pub fn new(plans: Vec<Plan>) -> Result<Plans, BadPlans> {
        if plans.is_empty() {
            return Err(BadPlans::Empty);
        }
        for (at, plan) in plans.iter().enumerate() {
            if plans[..at].iter().any(|earlier| earlier.slug == plan.slug) {
                return Err(BadPlans::Repeated(plan.slug.clone()));
            }
            if plan.memory_bytes == 0 || plan.connections_max == 0 || plan.credentials_max == 0 {
                return Err(BadPlans::Zero(plan.slug.clone()));
            }
        }
        Ok(Plans(plans))
    }

    pub fn find(&self, slug: &str) -> Option<&Plan> {
        self.0.iter().find(|plan| plan.slug.as_str() == slug)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Plan> {
        self.0.iter()
    }

    /// The plan of a cache whose plan has since left the table: the smallest, so that nothing is given away.
    pub fn find_or_smallest(&self, slug: &PlanSlug) -> &Plan {
        let smallest = || self.0.iter().min_by_key(|plan| plan.memory_bytes);
        #[expect(clippy::expect_used, reason = "the constructor refuses an empty table")]
        self.find(slug.as_str())
            .or_else(smallest)
            .expect("a plan table is never empty")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(slug: &str, mib: u64) -> Plan {
        Plan {
            slug: slug.parse().unwrap(),
            memory_bytes: mib << 20,
            connections_max: 50,
            credentials_max: 10,
            sample_grain: Duration::from_secs(60),
            history: Duration::from_secs(7 * 86_400),
            sleeps_after: None,
            price_cents: 0,
            hidden: false,
            asynchronous: false,
        }
    }

    #[test]
    fn the_limit_is_a_tenth_above_the_plan() {
        assert_eq!(plan("dev", 25).limit_bytes(), 28_835_840);
    }

    #[test]
    fn a_table_is_checked_once() {
        assert_eq!(Plans::new(vec![]), Err(BadPlans::Empty));
        assert!(matches!(
            Plans::new(vec![plan("dev", 25), plan("dev", 50)]),
            Err(BadPlans::Repeated(_))
        ));
        assert!(matches!(
            Plans::new(vec![plan("dev", 0)]),
            Err(BadPlans::Zero(_))
        ));
    }

    #[test]
    fn look_alikes_are_not_plans() {
        let plans = Plans::new(vec![plan("dev", 25), plan("100", 100)]).unwrap();
        assert!(plans.find("dev").is_some());
        for other in ["Dev", "dev ", "ｄev", "", "1000"] {
            assert!(plans.find(other).is_none(), "{other:?}");
        }
        assert_eq!(
            plans
                .find_or_smallest(&"gone".parse().unwrap())
                .slug
                .as_str(),
            "dev"
        );
    }
}
