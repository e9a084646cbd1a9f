//! What is sold here, whoever sells it.

use super::config_vars::ConfigVarNames;
use super::plan::{Plan, PlanSlug, Plans};
use super::region;

/// The add-on as its marketplaces and its pages present it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Its slug, such as `larder`: what marketplaces know it by, and what stands in log lines.
    pub id: String,
    /// Its name on pages.
    pub name: String,
    pub variables: ConfigVarNames,
    /// Regions that may be ordered though no node is there. `*` stands for every region.
    pub regions: Vec<String>,
}

/// What one marketplace may order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    /// In the order of the plan table.
    pub plans: Vec<PlanSlug>,
    /// `None` for wherever a node is, and the regions of the product.
    pub regions: Option<Vec<String>>,
}

impl Catalogue {
    /// All plans that are not hidden, in all regions.
    pub fn everything(plans: &Plans) -> Catalogue {
        let on_sale = plans.iter().filter(|plan| !plan.hidden);
        Catalogue {
            plans: on_sale.map(|plan| plan.slug.clone()).collect(),
            regions: None,
        }
    }

    pub fn offers(&self, plan: &Plan) -> bool {
        self.plans.contains(&plan.slug)
    }

    /// The regions that may be ordered, if `region` is none of them.
    pub fn instead_of(&self, region: &str) -> Option<&[String]> {
        let regions = self.regions.as_deref()?;
        let is_offered = regions.iter().any(|offered| region::is_in(offered, region));
        (!is_offered).then_some(regions)
    }
}
