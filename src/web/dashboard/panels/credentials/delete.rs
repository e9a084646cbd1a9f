//! Deleting a credential, and the question before it.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use serde::Deserialize;

use super::flash::CredentialFlash;
use super::row::needed_still;
use crate::access::SignedIn;
use crate::cluster::FiguresSource;
use crate::domain::{Credential, Username};
use crate::format;
use crate::web::Web;
use crate::web::dashboard::context::{connections_of, figures_as_of};
use crate::web::dashboard::done;
use crate::web::dashboard::frame::Frame;
use crate::web::error::{PageError, html};
use crate::web::guard::{Named, Signed};
use crate::web::router::Who::{OwnerActs, OwnerLooks};
use crate::web::router::{Route, on_get, on_post};

pub fn routes() -> Vec<Route> {
    const DELETE: &str = "/caches/{id}/credentials/{username}/delete";
    vec![
        on_get(OwnerLooks, DELETE, ask),
        on_post(OwnerActs, DELETE, delete),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/panels/credentials/confirm_delete.html")]
pub struct ConfirmDelete {
    pub frame: Frame,
    pub username: String,
    pub primary: bool,
    /// `None` while that is not known.
    pub connections: Option<u64>,
    /// How old that is, where it is not of now.
    pub as_of: Option<String>,
    /// Why apps may still need it.
    pub early: Option<String>,
}

impl ConfirmDelete {
    fn live(&self) -> String {
        let number = self.connections.unwrap_or(0);
        format::counted(number, "live connection", "live connections")
    }
}

/// `GET …/credentials/{username}/delete`: asks, with the number of connections that would be closed.
async fn ask(
    State(web): State<Web>,
    Named(username): Named,
    owner: SignedIn,
) -> Result<Response, PageError> {
    let all = web.access.credentials(&owner).await?;
    let credential = all
        .into_iter()
        .find(|credential| credential.username == username)
        .ok_or(PageError::UnknownCredential)?;
    let figures = web.access.figures(&owner).await;
    let figures = figures.unwrap_or(FiguresSource::Nowhere);
    let page = ConfirmDelete {
        frame: Frame::of(&web.settings, &owner),
        username: credential.username.to_string(),
        primary: credential.primary,
        connections: figures
            .known()
            .map(|figures| connections_of(figures, &username)),
        as_of: figures_as_of(&figures, web.clock.now()),
        early: early(&web, &owner, &credential).await?,
    };
    Ok(html(&page))
}

#[derive(Debug, Deserialize)]
struct Deletion {
    confirmed: Option<String>,
}

/// `POST …/credentials/{username}/delete`: at once when nothing is connected with it and no app can still be
/// running with its values, else only after asking.
async fn delete(
    State(web): State<Web>,
    jar: CookieJar,
    Named(username): Named,
    Signed { owner, fields }: Signed<Deletion>,
) -> Result<Response, PageError> {
    let all = web.access.credentials(&owner).await?;
    let secondary = all
        .iter()
        .find(|credential| credential.username == username && !credential.primary);
    // What is not a secondary is for `remove` to answer: the primary stays, and a second click is no error.
    if let Some(credential) = secondary
        && fields.confirmed.is_none()
        && (early(&web, &owner, credential).await?.is_some()
            || live_connections(&web, &owner, &username).await != Some(0))
    {
        let question = format!("/caches/{}/credentials/{username}/delete", owner.cache());
        return Ok(Redirect::to(&question).into_response());
    }
    let reach = web.access.remove(&owner, &username).await?;
    let told = CredentialFlash::Removed(username, reach);
    Ok(done(&web, jar, owner.cache(), &told.flash()))
}

/// Why apps may still need this former primary.
async fn early(
    web: &Web,
    owner: &SignedIn,
    credential: &Credential,
) -> Result<Option<String>, PageError> {
    let Some(ends) = web.access.overlap_ends(credential) else {
        return Ok(None);
    };
    let config = web.access.config_state(owner).await?;
    let provider = web.settings.shown_as(&owner.resource().marketplace);
    Ok(needed_still(&config, provider, ends, web.clock.now()))
}

/// `None` while that is not known for certain: what a node of another process has reported is not of now.
async fn live_connections(web: &Web, owner: &SignedIn, username: &Username) -> Option<u64> {
    let figures = web.access.figures(owner).await.ok()?.here()?;
    Some(connections_of(&figures, username))
}
