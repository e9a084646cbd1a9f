//! *Connections*: how many are open, of how many.

use askama::Template;

use crate::cluster::CacheFigures;
use crate::domain::Plan;
use crate::format;
use crate::web::dashboard::context::PageContext;
use crate::web::dashboard::panel::Panel;
use crate::web::dashboard::shown::Tone;
use crate::web::error::PageError;

#[derive(Template)]
#[template(path = "dashboard/panels/connections/panel.html")]
pub struct ConnectionsPanel {
    tone: Tone,
    /// `12` or `Unavailable`.
    figure: String,
    max: String,
    label: &'static str,
    percent: u64,
}

impl Panel for ConnectionsPanel {
    const ID: &'static str = "connections";
    const TITLE: &'static str = "Connections";

    async fn load(page: &PageContext) -> Result<ConnectionsPanel, PageError> {
        Ok(ConnectionsPanel::new(page.figures().await, page.plan()))
    }
}

impl ConnectionsPanel {
    pub fn new(figures: Option<&CacheFigures>, plan: &Plan) -> ConnectionsPanel {
        let max = u64::from(plan.connections_max);
        let Some(figures) = figures else {
            return ConnectionsPanel {
                tone: Tone::Plain,
                figure: "Unavailable".to_owned(),
                max: format::count(max),
                label: "No data",
                percent: 0,
            };
        };
        let percent = format::percent(figures.connections, max);
        let (tone, label) = match percent {
            100.. => (Tone::Bad, "At the limit"),
            80..100 => (Tone::Fair, "Nearly full"),
            _ => (Tone::Good, "Room to spare"),
        };
        ConnectionsPanel {
            tone,
            figure: format::count(figures.connections),
            max: format::count(max),
            label,
            percent,
        }
    }
}
