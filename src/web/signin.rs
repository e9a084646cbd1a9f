//! The way in by the long-lived address, and the way out.

use std::net::IpAddr;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;

use super::Web;
use super::cookies;
use super::enter::Visitor;
use super::error::{PageError, signed_out};
use super::form::{Envelope, NoFields};
use super::guard::{Remote, is_token_of, note_refused, read_form};
use crate::access::{RefusedCall, SignedIn};
use crate::domain::secret::BearerSecret;

/// `GET /d/{sso_hash}`: the long-lived address. It only opens a session; the page lies at a clean address. HEAD, with
/// which programs try out links, gets the same answer and opens none.
pub async fn by_link(
    State(web): State<Web>,
    method: Method,
    visitor: Visitor,
    hash: Result<Path<String>, PathRejection>,
) -> Result<Response, PageError> {
    let Path(hash) = hash.map_err(|_| PageError::NotFound)?;
    let hash = BearerSecret::presented(&hash);
    let unknown = || {
        note_refused(&web, RefusedCall::Link, visitor.remote);
        PageError::NotFound
    };
    if method == Method::HEAD {
        let cache = web.access.cache_of_link(&hash).await?;
        let page = format!("/caches/{}", cache.ok_or_else(unknown)?);
        return Ok(Redirect::to(&page).into_response());
    }
    let held = |cache| cookies::session(&visitor.jar, &web.settings, cache);
    let opened = web
        .access
        .open_by_link(&hash, held, visitor.remote)
        .await?
        .ok_or_else(unknown)?;
    web.hand_over(visitor, &opened).await
}

/// `POST /logout`: ends every session this browser holds, on the server too as far as they are looked up. The form's token must be that of
/// one of them, unless all have ended already.
pub async fn leave(
    State(web): State<Web>,
    jar: CookieJar,
    Remote(remote): Remote,
    request: Request,
) -> Result<Response, PageError> {
    let left = sign_out_all(&web, jar, remote, request).await;
    if matches!(left, Err(PageError::Forged)) {
        note_refused(&web, RefusedCall::Form, remote);
    }
    left
}

async fn sign_out_all(
    web: &Web,
    jar: CookieJar,
    remote: Option<IpAddr>,
    request: Request,
) -> Result<Response, PageError> {
    let form: Envelope<NoFields> = read_form(request, web).await?;
    let mut owners = Vec::new();
    for (cache, cookie) in cookies::sessions_to_look_up(&jar, &web.settings) {
        owners.extend(web.access.signed_in(&cookie, cache, remote).await?);
    }
    let is_ours = |owner: &SignedIn| is_token_of(&form.csrf, &owner.session().csrf);
    if !owners.is_empty() && !owners.iter().any(is_ours) {
        return Err(PageError::Forged);
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
