//! The owner's dashboard: one page per cache, made of panels.
//!
//! | file | holds |
//! |---|---|
//! | [`panel`] | what a panel is |
//! | [`panels`] | the list of panels, and one folder for each: what it loads, what it shows, its template, its actions |
//! | [`page`] | `/caches/{id}`: loads all panels at once and joins what came |
//! | [`context`] | what the panels of one page share |
//! | [`frame`], [`header`] | what surrounds them |
//! | [`shown`] | small things that several panels show |
//!
//! **A new panel** is a folder in `panels` and a line in its list. Its routes, its link at the top of the page and its
//! messages come with it.
//!
//! **How passwords are shown.** Never in a page by themselves, never in an address or cookie. *Reveal* is a form
//! whose answer is the page with that one password in it; it is not kept (`no-store`), audited, and gone with
//! the next page. A new credential's message carries the same button, so creating one is still followed by a
//! redirect and a reload does not create another.

pub mod context;
pub mod frame;
pub mod header;
pub mod page;
pub mod panel;
pub mod panels;
pub mod shown;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;

use super::Web;
use super::cookies;
use super::flash::Flash;
use super::router::{Route, Who, on_get};
use crate::domain::CacheId;

/// The page and what its panels answer to.
pub fn routes() -> Vec<Route> {
    let page = on_get(Who::OwnerLooks, "/caches/{id}", page::show);
    let panels = panels::all().flat_map(|panel| (panel.routes)());
    std::iter::once(page).chain(panels).collect()
}

/// Back to the page, which shows the flash at the top.
fn done(web: &Web, jar: CookieJar, cache: CacheId, flash: &Flash) -> Response {
    let jar = cookies::leave_flash(jar, &web.settings, cache, flash);
    (jar, Redirect::to(&format!("/caches/{cache}"))).into_response()
}
