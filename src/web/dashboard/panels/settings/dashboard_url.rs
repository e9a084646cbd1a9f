//! The long-lived dashboard address and the secret in it.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;

use super::SettingsPanel;
use crate::web::Web;
use crate::web::cookies;
use crate::web::dashboard::context::Revealed;
use crate::web::dashboard::page;
use crate::web::dashboard::panel::Panel as _;
use crate::web::dashboard::shown::{FlashBox, Offer};
use crate::web::error::PageError;
use crate::web::flash::Flash;
use crate::web::form::NoFields;
use crate::web::guard::Signed;
use crate::web::router::Who::OwnerActs;
use crate::web::router::{Route, on_post};

const ROTATED: &str = "sso-rotated";

pub fn routes() -> Vec<Route> {
    vec![
        on_post(OwnerActs, "/caches/{id}/sso-secret/rotate", rotate),
        on_post(OwnerActs, "/caches/{id}/dashboard-url/reveal", reveal),
    ]
}

/// `POST …/sso-secret/rotate`: on to the new address, which opens a session and leads back to the page.
async fn rotate(
    State(web): State<Web>,
    jar: CookieJar,
    Signed { owner, .. }: Signed<NoFields>,
) -> Result<Response, PageError> {
    let hash = web.access.rotate_sso(&owner).await?;
    let flash = Flash::new(SettingsPanel::ID, &[ROTATED]);
    let jar = cookies::leave_flash(jar, &web.settings, owner.cache(), &flash);
    Ok((jar, Redirect::to(&format!("/d/{}", hash.expose()))).into_response())
}

/// `POST …/dashboard-url/reveal`
async fn reveal(
    State(web): State<Web>,
    Signed { owner, .. }: Signed<NoFields>,
) -> Result<Response, PageError> {
    let hash = web.access.sso_hash(&owner).await?;
    Ok(page::answer(&web, owner, None, Revealed::DashboardUrl(hash)).await)
}

pub fn flash_box(parts: &[&str]) -> Option<FlashBox> {
    (parts == [ROTATED]).then(|| {
        FlashBox::good(
            "The SSO secret was rotated",
            "This dashboard has a new address. The old one and all other sign-ins to this cache have ended.",
        )
        .offering(Offer {
            action: "dashboard-url/reveal#settings".to_owned(),
            button: "Show the new address",
        })
    })
}
