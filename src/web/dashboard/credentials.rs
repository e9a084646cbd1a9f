//! Actions of the Credentials panel.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use serde::Deserialize;

use super::views::{ConfirmDelete, Revealed};
use super::{caches, done, present};
use crate::access::Owner;
use crate::domain::{Capabilities, Credential, Username};
use crate::web::Web;
use crate::web::error::{Fault, html};
use crate::web::form::NoFields;
use crate::web::guard::{Named, Signed};
use crate::web::notice::Notice;

/// `POST …/credentials`
pub async fn add(
    State(web): State<Web>,
    jar: CookieJar,
    Signed { owner, .. }: Signed<NoFields>,
) -> Result<Response, Fault> {
    let (credential, reach) = web.access.create(&owner).await?;
    let notice = Notice::Created(credential.username, reach);
    Ok(done(&web, jar, owner.cache(), &notice))
}

/// `POST …/credentials/{username}/reveal`
pub async fn reveal(
    State(web): State<Web>,
    Named(username): Named,
    Signed { owner, .. }: Signed<NoFields>,
) -> Result<Response, Fault> {
    let password = web.access.reveal(&owner, &username).await?;
    caches::page(&web, &owner, None, Revealed::Password(username, password)).await
}

/// `POST …/credentials/{username}/promote`
pub async fn promote(
    State(web): State<Web>,
    jar: CookieJar,
    Named(username): Named,
    Signed { owner, .. }: Signed<NoFields>,
) -> Result<Response, Fault> {
    web.access.promote(&owner, &username).await?;
    Ok(done(&web, jar, owner.cache(), &Notice::Promoted(username)))
}

/// `POST …/credentials/{username}/rotate`: a new primary in place of this one.
pub async fn rotate(
    State(web): State<Web>,
    jar: CookieJar,
    Named(username): Named,
    Signed { owner, .. }: Signed<NoFields>,
) -> Result<Response, Fault> {
    let primary = web.access.rotate(&owner, &username).await?;
    Ok(done(&web, jar, owner.cache(), &Notice::Rotated(primary)))
}

/// `POST …/config-vars/push`: the push that waits, or was refused, is tried now.
pub async fn push(
    State(web): State<Web>,
    jar: CookieJar,
    Signed { owner, .. }: Signed<NoFields>,
) -> Result<Response, Fault> {
    web.access.push_again(&owner).await?;
    Ok(done(&web, jar, owner.cache(), &Notice::PushAsked))
}

/// The check boxes. A browser sends only the ticked ones.
#[derive(Debug, Deserialize)]
pub struct Boxes {
    write: Option<String>,
    flush: Option<String>,
    api: Option<String>,
}

/// `POST …/credentials/{username}/capabilities`
pub async fn restrict(
    State(web): State<Web>,
    jar: CookieJar,
    Named(username): Named,
    Signed { owner, fields }: Signed<Boxes>,
) -> Result<Response, Fault> {
    let capabilities = Capabilities::NONE
        .with(Capabilities::WRITE, fields.write.is_some())
        .with(Capabilities::FLUSH, fields.flush.is_some())
        .with(Capabilities::API, fields.api.is_some());
    let access = &web.access;
    let reach = access
        .set_capabilities(&owner, &username, capabilities)
        .await?;
    let notice = Notice::Saved(username, reach);
    Ok(done(&web, jar, owner.cache(), &notice))
}

/// `GET …/credentials/{username}/delete`: asks, with the number of connections that would be closed.
pub async fn ask_to_delete(
    State(web): State<Web>,
    Named(username): Named,
    owner: Owner,
) -> Result<Response, Fault> {
    let all = web.access.credentials(&owner).await?;
    let credential = all
        .into_iter()
        .find(|credential| credential.username == username)
        .ok_or(Fault::UnknownCredential)?;
    let page = ConfirmDelete {
        frame: present::frame(&web.settings, owner.resource(), owner.session()),
        username: credential.username.to_string(),
        primary: credential.primary,
        connections: live_connections(&web, &owner, &username).await,
        early: early(&web, &owner, &credential).await?,
    };
    Ok(html(&page))
}

#[derive(Debug, Deserialize)]
pub struct Deletion {
    confirmed: Option<String>,
}

/// `POST …/credentials/{username}/delete`: at once when nothing is connected with it and no app can still be
/// running with its values, else only after asking.
pub async fn delete(
    State(web): State<Web>,
    jar: CookieJar,
    Named(username): Named,
    Signed { owner, fields }: Signed<Deletion>,
) -> Result<Response, Fault> {
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
    let notice = Notice::Removed(username, reach);
    Ok(done(&web, jar, owner.cache(), &notice))
}

/// Why apps may still need this former primary.
async fn early(web: &Web, owner: &Owner, credential: &Credential) -> Result<Option<String>, Fault> {
    let Some(ends) = web.access.overlap_ends(credential) else {
        return Ok(None);
    };
    let config = web.access.config_state(owner).await?;
    Ok(present::needed_still(
        &config,
        owner.resource().marketplace,
        ends,
        web.clock.now(),
    ))
}

/// `None` while no node answers.
async fn live_connections(web: &Web, owner: &Owner, username: &Username) -> Option<u64> {
    let figures = web.access.figures(owner).await?;
    Some(present::connections_of(&figures, username))
}
