//! Ways in and the way out.

use std::net::IpAddr;

use axum::Form;
use axum::extract::rejection::{FormRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;

use super::Web;
use super::cookies;
use super::error::{Fault, signed_out};
use super::form::{Envelope, NoFields};
use super::guard::{Remote, is_token_of, read_form};
use crate::access::{NewSession, Owner, SsoVisit};
use crate::domain::Marketplace;
use crate::domain::secret::BearerSecret;
use crate::marketplace::heroku::sso;

/// `GET /d/{sso_hash}`: the long-lived address. It only opens a session; the page lies at a clean address.
pub async fn by_link(
    State(web): State<Web>,
    jar: CookieJar,
    Remote(remote): Remote,
    hash: Result<Path<String>, PathRejection>,
) -> Result<Response, Fault> {
    let Path(hash) = hash.map_err(|_| Fault::NotFound)?;
    let hash = BearerSecret::presented(&hash);
    let opened = web.access.open_by_link(&hash, remote).await?;
    enter(&web, jar, remote, &opened.ok_or(Fault::NotFound)?).await
}

/// `POST /heroku/sso`: the marketplace's signed form, brought by the customer's browser from another site.
/// That a resource is gone is said only to a valid proof (security.md SD-5).
pub async fn by_heroku(
    State(web): State<Web>,
    jar: CookieJar,
    Remote(remote): Remote,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Result<Response, Fault> {
    let Form(fields) = form.map_err(|refused| match refused.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Fault::TooLarge,
        _ => Fault::SignOnRefused,
    })?;
    sign_on(&web, jar, remote, &fields).await
}

/// `GET /heroku/resources/{id}`: the same in the shape of the first generation. Only there with its switch on.
pub async fn by_old_address(
    State(web): State<Web>,
    jar: CookieJar,
    Remote(remote): Remote,
    id: Result<Path<String>, PathRejection>,
    fields: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Fault> {
    let Path(id) = id.map_err(|_| Fault::SignOnRefused)?;
    let Query(mut fields) = fields.map_err(|_| Fault::SignOnRefused)?;
    fields.push(("id".to_owned(), id));
    sign_on(&web, jar, remote, &fields).await
}

async fn sign_on(
    web: &Web,
    jar: CookieJar,
    remote: Option<IpAddr>,
    fields: &[(String, String)],
) -> Result<Response, Fault> {
    let now = web.clock.now();
    let proof = sso::verify(&web.heroku_sso, fields, now).map_err(|_| Fault::SignOnRefused)?;
    let resource = web
        .provisioning
        .find(Marketplace::Heroku, &proof.external_id)
        .await?
        .filter(|resource| resource.state.is_live())
        .ok_or(Fault::NotFound)?;
    let visit = SsoVisit {
        cache: resource.cache,
        proof_digest: proof.digest,
        weaker_digest: proof.weaker_digest,
        person: proof.person.map(|person| person.email),
        context_app: proof.context_app,
    };
    let opened = web.access.open_by_sso(visit, remote).await?;
    let jar = match proof.nav_data {
        Some(nav_data) => cookies::keep_nav_data(jar, &web.settings, nav_data),
        None => jar,
    };
    enter(web, jar, remote, &opened).await
}

/// Hands over the cookie and leads to the page. A session that this browser already had for the same cache ends:
/// a new login never joins an older one.
async fn enter(
    web: &Web,
    jar: CookieJar,
    remote: Option<IpAddr>,
    opened: &NewSession,
) -> Result<Response, Fault> {
    if let Some(former) = cookies::session(&jar, &web.settings, opened.cache)
        && let Some(owner) = web.access.owner(&former, opened.cache, remote).await?
    {
        web.access.close_session(&owner).await?;
    }
    let jar = cookies::sign_in(jar, &web.settings, opened.cache, &opened.cookie);
    let page = format!("/caches/{}", opened.cache);
    Ok((jar, Redirect::to(&page)).into_response())
}

/// `POST /logout`: ends every session this browser holds, on the server too. The form's token must be that of
/// one of them, unless all have ended already.
pub async fn leave(
    State(web): State<Web>,
    jar: CookieJar,
    Remote(remote): Remote,
    request: Request,
) -> Result<Response, Fault> {
    let form: Envelope<NoFields> = read_form(request, &web).await?;
    let mut owners = Vec::new();
    for (cache, cookie) in cookies::sessions(&jar, &web.settings) {
        owners.extend(web.access.owner(&cookie, cache, remote).await?);
    }
    let is_ours = |owner: &Owner| is_token_of(&form.csrf, &owner.session().csrf);
    if !owners.is_empty() && !owners.iter().any(is_ours) {
        return Err(Fault::Forged);
    }
    for owner in &owners {
        web.access.close_session(owner).await?;
    }
    let held = cookies::sessions(&jar, &web.settings).into_keys();
    let jar = held.fold(jar, |jar, cache| {
        cookies::sign_out(jar, &web.settings, cache)
    });
    Ok((jar, signed_out(&web.settings)).into_response())
}
