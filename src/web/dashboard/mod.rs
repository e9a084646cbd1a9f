//! The owner's dashboard: one page per cache, and the actions on it.
//!
//! | file | holds |
//! |---|---|
//! | [`caches`] | the page |
//! | [`credentials`], [`certificates`], [`flush`], [`link`] | its actions: a signed form in, a redirect to the page out |
//! | [`views`] | what the templates are given |
//! | [`present`] | domain types to views, the one conversion |
//! | [`words`] | numbers, sizes and times as text |
//! | [`snippets`] | ready-to-paste client code |
//!
//! **How passwords are shown.** Never in a page by themselves, never in an address or cookie. *Reveal* is a form
//! whose answer is the page with that one password in it; it is not kept (`no-store`), audited, and gone with
//! the next page. A new credential's message carries the same button, so creating one is still followed by a
//! redirect and a reload does not create another.

pub mod caches;
pub mod certificates;
pub mod credentials;
pub mod flush;
pub mod link;
pub mod present;
pub mod snippets;
pub mod views;
pub mod words;

#[cfg(test)]
mod tests;

use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;

use super::Web;
use super::cookies;
use super::notice::Notice;
use crate::domain::CacheId;

/// Back to the page, which shows the notice at the top.
fn done(web: &Web, jar: CookieJar, cache: CacheId, notice: &Notice) -> Response {
    let jar = cookies::leave_notice(jar, &web.settings, cache, notice);
    (jar, Redirect::to(&format!("/caches/{cache}"))).into_response()
}
