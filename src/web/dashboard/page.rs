//! `/caches/{id}`: loads all panels at once and joins what came.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::context::{PageContext, Revealed};
use super::frame::Frame;
use super::header::Header;
use super::panel::Entry;
use super::panels;
use super::shown::FlashBox;
use crate::access::SignedIn;
use crate::web::Web;
use crate::web::cookies;
use crate::web::error::{PageError, html};
use crate::web::flash::Flash;

/// A panel that takes longer is left out. Well under the time limit of the whole answer, which would leave out
/// everything.
const PANEL_TIMEOUT: Duration = Duration::from_secs(5);

/// `GET /caches/{id}`
pub async fn show(State(web): State<Web>, owner: SignedIn, jar: CookieJar) -> Response {
    let (jar, flash) = cookies::take_flash(jar, &web.settings, owner.cache());
    (jar, answer(&web, owner, flash, Revealed::Nothing).await).into_response()
}

/// The page, with at most one secret revealed in it.
pub async fn answer(
    web: &Web,
    owner: SignedIn,
    flash: Option<Flash>,
    revealed: Revealed,
) -> Response {
    let context = Arc::new(PageContext::new(web.clone(), owner, revealed));
    let loads = panels::all().map(|panel| (*panel, (panel.load)(Arc::clone(&context))));
    let panels = load_all(loads, context.cache().0).await;
    let provider = context.provider();
    let page = Page {
        frame: Frame::of(&web.settings, &context.owner),
        header: Header::new(
            context.resource(),
            context.owner.session(),
            context.plan(),
            provider,
        )
        .with_node_away(context.is_node_away())
        .with_figures_as_of(context.figures_as_of()),
        flash: flash.and_then(|flash| told(&flash, provider)),
        rows: in_rows(panels),
    };
    html(&page)
}

#[derive(Template)]
#[template(path = "dashboard/page.html")]
pub(super) struct Page {
    pub frame: Frame,
    pub header: Header,
    pub flash: Option<FlashBox>,
    pub rows: Vec<ShownRow>,
}

pub(super) struct ShownRow {
    pub class: Option<&'static str>,
    /// HTML.
    pub panels: Vec<String>,
}

/// What is shown in the place of a panel that could not be loaded.
#[derive(Template)]
#[template(path = "dashboard/failed_panel.html")]
struct FailedPanel {
    id: &'static str,
    title: &'static str,
    cache: i64,
}

/// Each panel is a task of its own: one that is slow delays no other, and one that fails, hangs or panics costs only
/// itself. The log has the reason: from where the error became a [`PageError`], or from the panic's own message.
async fn load_all<L>(loads: impl Iterator<Item = (Entry, L)>, cache: i64) -> Vec<String>
where
    L: Future<Output = Result<String, PageError>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut shown = Vec::new();
    for (at, (panel, load)) in loads.enumerate() {
        let failed = FailedPanel {
            id: panel.id,
            title: panel.title,
            cache,
        };
        shown.push(failed.render().unwrap_or_default());
        let load = async move { (at, tokio::time::timeout(PANEL_TIMEOUT, load).await) };
        let span = tracing::info_span!("panel", panel = panel.id);
        tasks.spawn(load.instrument(span));
    }
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok((at, Ok(Ok(html)))) => shown[at] = html,
            Ok((at, Ok(Err(_)))) => tracing::debug!(at, "panel not shown"),
            Ok((at, Err(_))) => tracing::error!(at, "panel not shown: it took too long"),
            Err(_) => tracing::error!("panel not shown: it panicked"),
        }
    }
    shown
}

/// Gives the panels back their places.
pub(super) fn in_rows(panels: Vec<String>) -> Vec<ShownRow> {
    let mut panels = panels.into_iter();
    let row = |row: &super::panel::Row| ShownRow {
        class: row.class,
        panels: panels.by_ref().take(row.panels.len()).collect(),
    };
    panels::ROWS.iter().map(row).collect()
}

/// The message that a panel's action left.
pub(super) fn told(flash: &Flash, provider: &str) -> Option<FlashBox> {
    let panel = panels::all().find(|panel| panel.id == flash.panel())?;
    (panel.flash)(&flash.parts(), provider)
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::web::dashboard::panel::Load;
    use crate::web::dashboard::panels::all;

    /// What stands in the places of the first panels when they end so.
    async fn places(ends: [fn() -> Load; 4]) -> Vec<String> {
        load_all(all().copied().zip(ends.map(|end| end())), 7).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_panel_that_fails_costs_only_itself() {
        let shown = places([
            || Box::pin(async { Err(PageError::Internal) }),
            || Box::pin(async { panic!("a panel's own fault") }),
            || Box::pin(std::future::pending()),
            || Box::pin(async { Ok("<p>here</p>".to_owned()) }),
        ])
        .await;
        for (panel, html) in all().zip(&shown).take(3) {
            assert!(html.contains(&format!("id=\"{}\"", panel.id)), "{html}");
            assert!(html.contains(panel.title) && html.contains("Not loaded"));
        }
        assert_eq!(shown[3], "<p>here</p>");
    }

    #[tokio::test(start_paused = true)]
    async fn panels_do_not_wait_for_each_other() {
        let begun = Instant::now();
        let slow = || -> Load {
            Box::pin(async {
                sleep(Duration::from_secs(1)).await;
                Ok("<p>slow</p>".to_owned())
            })
        };
        assert_eq!(places([slow; 4]).await, ["<p>slow</p>"; 4]);
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }

    #[test]
    fn ids_and_messages_of_panels_are_their_own() {
        let ids: std::collections::BTreeSet<_> = all().map(|panel| panel.id).collect();
        assert_eq!(ids.len(), all().count());
        for nonsense in ["", "nobody.created.91BC07.all", "credentials", "settings.x"] {
            assert!(told(&Flash::presented(nonsense), "Acme Market").is_none());
        }
    }
}
