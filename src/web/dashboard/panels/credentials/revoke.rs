//! Revoking a client certificate, and the question before it.

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use serde::Deserialize;

use super::certificates::{self, connections_by};
use super::flash::CredentialFlash;
use crate::access::SignedIn;
use crate::cluster::FiguresSource;
use crate::domain::{Fingerprint, Username};
use crate::format;
use crate::web::Web;
use crate::web::dashboard::context::figures_as_of;
use crate::web::dashboard::done;
use crate::web::dashboard::frame::Frame;
use crate::web::error::{PageError, html};
use crate::web::guard::{Named, Signed};
use crate::web::router::Who::{OwnerActs, OwnerLooks};
use crate::web::router::{Route, on_get, on_post};

pub fn routes() -> Vec<Route> {
    const REVOKE: &str = "/caches/{id}/credentials/{username}/certificates/revoke";
    vec![
        on_get(OwnerLooks, REVOKE, ask),
        on_post(OwnerActs, REVOKE, revoke),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/panels/credentials/confirm_revoke.html")]
pub struct ConfirmRevoke {
    pub frame: Frame,
    pub username: String,
    pub fingerprint: String,
    pub short: String,
    /// `None` while that is not known.
    pub connections: Option<u64>,
    /// How old that is, where it is not of now.
    pub as_of: Option<String>,
}

impl ConfirmRevoke {
    fn live(&self) -> String {
        let number = self.connections.unwrap_or(0);
        format::counted(number, "live connection", "live connections")
    }
}

#[derive(Debug, Deserialize)]
struct Which {
    fingerprint: String,
}

/// `GET …/certificates/revoke?fingerprint=…`: asks, with the number of connections that would be closed.
async fn ask(
    State(web): State<Web>,
    Named(username): Named,
    owner: SignedIn,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Response, PageError> {
    let asked_for = which.ok().map(|Query(which)| which.fingerprint);
    let all = web.access.certificates(&owner).await?;
    let certificate = all
        .iter()
        .filter(|certificate| certificate.username == username)
        .find(|certificate| asked_for == Some(certificate.fingerprint.to_string()));
    // Gone already, or an address without one: the list shows which there are.
    let Some(certificate) = certificate else {
        return certificates::page(web, owner, username, None).await;
    };
    let figures = web.access.figures(&owner).await;
    let figures = figures.unwrap_or(FiguresSource::Nowhere);
    let page = ConfirmRevoke {
        frame: Frame::of(&web.settings, &owner),
        username: username.to_string(),
        fingerprint: certificate.fingerprint.to_string(),
        short: certificate.fingerprint.short(),
        connections: figures
            .known()
            .map(|figures| connections_by(figures, &certificate.fingerprint)),
        as_of: figures_as_of(&figures, web.clock.now()),
    };
    Ok(html(&page))
}

#[derive(Debug, Deserialize)]
struct Revocation {
    fingerprint: String,
    confirmed: Option<String>,
}

/// `POST …/certificates/revoke`: at once when nothing is connected with it, else only after asking.
async fn revoke(
    State(web): State<Web>,
    jar: CookieJar,
    Named(username): Named,
    Signed { owner, fields }: Signed<Revocation>,
) -> Result<Response, PageError> {
    let fingerprint: Fingerprint = fields.fingerprint.parse().map_err(|_| PageError::Forged)?;
    if fields.confirmed.is_none()
        && is_of(&web, &owner, &username, &fingerprint).await?
        && live_connections(&web, &owner, &fingerprint).await != Some(0)
    {
        let question = format!(
            "/caches/{}/credentials/{username}/certificates/revoke?fingerprint={fingerprint}",
            owner.cache()
        );
        return Ok(Redirect::to(&question).into_response());
    }
    let access = &web.access;
    let reach = access
        .revoke_certificate(&owner, &username, fingerprint)
        .await?;
    let told = CredentialFlash::Revoked(username, reach);
    Ok(done(&web, jar, owner.cache(), &told.flash()))
}

/// What is not there is for `revoke_certificate` to answer: a second click is no error.
async fn is_of(
    web: &Web,
    owner: &SignedIn,
    username: &Username,
    fingerprint: &Fingerprint,
) -> Result<bool, PageError> {
    let all = web.access.certificates(owner).await?;
    Ok(all.iter().any(|certificate| {
        certificate.username == *username && certificate.fingerprint == *fingerprint
    }))
}

/// `None` while that is not known for certain: what a node of another process has reported is not of now.
async fn live_connections(web: &Web, owner: &SignedIn, fingerprint: &Fingerprint) -> Option<u64> {
    let figures = web.access.figures(owner).await.ok()?.here()?;
    Some(connections_by(&figures, fingerprint))
}
