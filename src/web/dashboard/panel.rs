//! What a panel of the dashboard is.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use askama::Template;

use super::context::PageContext;
use super::shown::FlashBox;
use crate::web::error::PageError;
use crate::web::router::Route;

/// A part of the page that loads and shows one subject. As a [`Template`] it is the panel as shown: texts, numbers and
/// choices already made, no domain types.
pub trait Panel: Template + Send + Sized + 'static {
    /// Where links to the panel lead, and the mark of its messages.
    const ID: &'static str;
    const TITLE: &'static str;
    /// Its name among the links at the top of the page; those without one are not linked.
    const LINK: Option<&'static str> = None;

    /// Everything it shows. An error costs the page this panel and no other.
    fn load(page: &PageContext) -> impl Future<Output = Result<Self, PageError>> + Send;

    /// What its forms and links lead to.
    fn routes() -> Vec<Route> {
        Vec::new()
    }

    /// Reads a message that one of its actions left; `None` for parts that no action leaves.
    fn flash(_parts: &[&str], _provider: &str) -> Option<FlashBox> {
        None
    }
}

/// A panel on its way to HTML.
pub type Load = Pin<Box<dyn Future<Output = Result<String, PageError>> + Send>>;

/// A panel in the list.
#[derive(Clone, Copy)]
pub struct Entry {
    pub id: &'static str,
    pub title: &'static str,
    pub link: Option<&'static str>,
    pub routes: fn() -> Vec<Route>,
    pub flash: fn(&[&str], &str) -> Option<FlashBox>,
    /// To HTML.
    pub load: fn(Arc<PageContext>) -> Load,
}

impl Entry {
    pub const fn of<P: Panel>() -> Entry {
        Entry {
            id: P::ID,
            title: P::TITLE,
            link: P::LINK,
            routes: P::routes,
            flash: P::flash,
            load: |page| Box::pin(async move { Ok(P::load(&page).await?.render()?) }),
        }
    }
}

/// Panels that stand side by side.
pub struct Row {
    /// The class that places them; a row without one holds panels of the page's whole width.
    pub class: Option<&'static str>,
    pub panels: &'static [Entry],
}
