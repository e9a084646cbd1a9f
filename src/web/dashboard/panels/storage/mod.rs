//! *Storage*: what the cache holds, of what it may hold.

mod flush;

use askama::Template;

use crate::cluster::CacheFigures;
use crate::domain::Plan;
use crate::format;
use crate::web::dashboard::context::PageContext;
use crate::web::dashboard::panel::Panel;
use crate::web::dashboard::shown::FlashBox;
use crate::web::error::PageError;
use crate::web::router::Route;

#[derive(Template)]
#[template(path = "dashboard/panels/storage/panel.html")]
pub struct StoragePanel {
    cache: i64,
    /// The figures, or why there are none.
    storage: Result<Storage, String>,
}

struct Storage {
    percent: u64,
    used: String,
    plan: String,
    /// More than the plan promises is held, in the tenth that may be used on top.
    is_over: bool,
    items: String,
    evictions: String,
}

impl Panel for StoragePanel {
    const ID: &'static str = "storage";
    const TITLE: &'static str = "Storage";

    async fn load(page: &PageContext) -> Result<StoragePanel, PageError> {
        let figures = page.figures_or_why().await;
        Ok(StoragePanel::new(page.cache().0, page.plan(), figures))
    }

    fn routes() -> Vec<Route> {
        flush::routes()
    }

    fn flash(parts: &[&str], _: &str) -> Option<FlashBox> {
        flush::FlushFlash::parse(parts).map(flush::FlushFlash::shown)
    }
}

impl StoragePanel {
    /// Measured against what the plan promises. The node's own limit is a tenth higher, so that a full cache holds at
    /// least what was bought; as a second figure for one thing it would only raise questions.
    pub fn new(cache: i64, plan: &Plan, figures: Result<&CacheFigures, String>) -> StoragePanel {
        let storage = |figures: &CacheFigures| Storage {
            percent: format::percent(figures.used_bytes, plan.memory_bytes),
            used: format::bytes(figures.used_bytes),
            plan: format::bytes(plan.memory_bytes),
            is_over: figures.used_bytes > plan.memory_bytes,
            items: format::count(figures.items),
            evictions: format::count(figures.evictions),
        };
        StoragePanel {
            cache,
            storage: figures.map(storage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::dashboard::samples::plan;

    /// A plan is what its name says, on every part of the page.
    #[test]
    fn a_cache_is_measured_against_its_plan() {
        let panel = |used_bytes| {
            let figures = CacheFigures {
                used_bytes,
                limit_bytes: 110 << 20,
                ..CacheFigures::default()
            };
            StoragePanel::new(7, &plan(), Ok(&figures))
                .render()
                .unwrap()
        };
        let half = panel(50 << 20);
        assert!(half.contains("of 100 MiB used") && half.contains(">50%<"));
        assert!(!half.contains("110 MiB") && !half.contains("Full:"));
        let full = panel(105 << 20);
        assert!(full.contains(">100%<") && full.contains("Full: up to a tenth above the plan"));
    }
}
