//! `/`: what the service is, and the way to a dashboard for whoever has only its address.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use axum_extra::extract::CookieJar;

use super::Web;
use super::cookies;
use super::error::{Link, PageError, html};
use super::guard::Remote;

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    product: String,
    /// The dashboards that this browser is signed in to.
    open: Vec<Link>,
    consoles: Vec<Link>,
}

/// `GET /`
pub async fn show(
    State(web): State<Web>,
    jar: CookieJar,
    Remote(remote): Remote,
) -> Result<Response, PageError> {
    let mut open = Vec::new();
    for (cache, cookie) in cookies::sessions_to_look_up(&jar, &web.settings) {
        if let Some(owner) = web.access.signed_in(&cookie, cache, remote).await? {
            open.push(Link {
                href: format!("/caches/{cache}"),
                text: owner.resource().name.clone(),
            });
        }
    }
    Ok(html(&Home {
        product: web.settings.product_name.clone(),
        open,
        consoles: web.settings.consoles.iter().map(Link::to_console).collect(),
    }))
}
