//! The long-lived dashboard address and the secret in it.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;

use super::caches;
use super::views::Revealed;
use crate::web::Web;
use crate::web::cookies;
use crate::web::error::Fault;
use crate::web::form::NoFields;
use crate::web::guard::Signed;
use crate::web::notice::Notice;

/// `POST …/sso-secret/rotate`: on to the new address, which opens a session and leads back to the page.
pub async fn rotate(
    State(web): State<Web>,
    jar: CookieJar,
    Signed { owner, .. }: Signed<NoFields>,
) -> Result<Response, Fault> {
    let hash = web.access.rotate_sso(&owner).await?;
    let jar = cookies::leave_notice(jar, &web.settings, owner.cache(), &Notice::SsoRotated);
    Ok((jar, Redirect::to(&format!("/d/{}", hash.expose()))).into_response())
}

/// `POST …/dashboard-url/reveal`
pub async fn reveal(
    State(web): State<Web>,
    Signed { owner, .. }: Signed<NoFields>,
) -> Result<Response, Fault> {
    let hash = web.access.sso_hash(&owner).await?;
    caches::page(&web, &owner, None, Revealed::DashboardUrl(hash)).await
}
