//! *All-time counters*.

use askama::Template;

use crate::cluster::CacheFigures;
use crate::format;
use crate::web::dashboard::context::PageContext;
use crate::web::dashboard::panel::Panel;
use crate::web::error::PageError;

#[derive(Template)]
#[template(path = "dashboard/panels/counters/panel.html")]
pub struct CountersPanel {
    /// `None` while no node answers.
    counters: Result<Counters, String>,
}

struct Counters {
    rows: Vec<CounterRow>,
    sets: String,
    flushes: String,
}

struct CounterRow {
    command: &'static str,
    hits: String,
    misses: String,
}

impl Panel for CountersPanel {
    const ID: &'static str = "counters";
    const TITLE: &'static str = "All-time counters";
    const LINK: Option<&'static str> = Some("Counters");

    async fn load(page: &PageContext) -> Result<CountersPanel, PageError> {
        Ok(CountersPanel::new(page.figures_or_why().await))
    }
}

impl CountersPanel {
    pub fn new(figures: Result<&CacheFigures, String>) -> CountersPanel {
        CountersPanel {
            counters: figures.map(counters),
        }
    }
}

fn counters(figures: &CacheFigures) -> Counters {
    let counter = |name: &str| {
        figures
            .counters
            .iter()
            .find(|(known, _)| *known == name)
            .map_or_else(|| "–".to_owned(), |(_, number)| format::count(*number))
    };
    let row = |command: &'static str| CounterRow {
        command,
        hits: counter(&format!("{command}_hits")),
        misses: counter(&format!("{command}_misses")),
    };
    let get = CounterRow {
        command: "get",
        hits: format::count(figures.get_hits),
        misses: format::count(figures.get_misses),
    };
    let others = ["delete", "incr", "decr", "cas", "touch"];
    Counters {
        rows: std::iter::once(get)
            .chain(others.into_iter().map(row))
            .collect(),
        sets: format::count(figures.sets),
        flushes: format::count(figures.flushes),
    }
}
