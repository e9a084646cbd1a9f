//! Actions on credentials but for deleting: a signed form in, a redirect to the page out.

use axum::extract::State;
use axum::response::Response;
use axum_extra::extract::CookieJar;
use serde::Deserialize;

use super::flash::CredentialFlash;
use crate::domain::Capabilities;
use crate::web::Web;
use crate::web::dashboard::context::Revealed;
use crate::web::dashboard::{done, page};
use crate::web::error::PageError;
use crate::web::form::NoFields;
use crate::web::guard::{Named, Signed};
use crate::web::router::Who::OwnerActs;
use crate::web::router::{Route, on_post};

pub fn routes() -> Vec<Route> {
    vec![
        on_post(OwnerActs, "/caches/{id}/credentials", add),
        on_post(
            OwnerActs,
            "/caches/{id}/credentials/{username}/reveal",
            reveal,
        ),
        on_post(
            OwnerActs,
            "/caches/{id}/credentials/{username}/promote",
            promote,
        ),
        on_post(
            OwnerActs,
            "/caches/{id}/credentials/{username}/rotate",
            rotate,
        ),
        on_post(
            OwnerActs,
            "/caches/{id}/credentials/{username}/capabilities",
            restrict,
        ),
        on_post(OwnerActs, "/caches/{id}/config-vars/push", push),
    ]
}

/// `POST …/credentials`
async fn add(
    State(web): State<Web>,
    jar: CookieJar,
    Signed { owner, .. }: Signed<NoFields>,
) -> Result<Response, PageError> {
    let (credential, reach) = web.access.create(&owner).await?;
    let told = CredentialFlash::Created(credential.username, reach);
    Ok(done(&web, jar, owner.cache(), &told.flash()))
}

/// `POST …/credentials/{username}/reveal`
async fn reveal(
    State(web): State<Web>,
    Named(username): Named,
    Signed { owner, .. }: Signed<NoFields>,
) -> Result<Response, PageError> {
    let password = web.access.reveal(&owner, &username).await?;
    let revealed = Revealed::Password(username, password);
    Ok(page::answer(&web, owner, None, revealed).await)
}

/// `POST …/credentials/{username}/promote`
async fn promote(
    State(web): State<Web>,
    jar: CookieJar,
    Named(username): Named,
    Signed { owner, .. }: Signed<NoFields>,
) -> Result<Response, PageError> {
    web.access.promote(&owner, &username).await?;
    let told = CredentialFlash::Promoted(username);
    Ok(done(&web, jar, owner.cache(), &told.flash()))
}

/// `POST …/credentials/{username}/rotate`: a new primary in place of this one.
async fn rotate(
    State(web): State<Web>,
    jar: CookieJar,
    Named(username): Named,
    Signed { owner, .. }: Signed<NoFields>,
) -> Result<Response, PageError> {
    let told = CredentialFlash::Rotated(web.access.rotate(&owner, &username).await?);
    Ok(done(&web, jar, owner.cache(), &told.flash()))
}

/// `POST …/config-vars/push`: the push that waits, or was refused, is tried now.
async fn push(
    State(web): State<Web>,
    jar: CookieJar,
    Signed { owner, .. }: Signed<NoFields>,
) -> Result<Response, PageError> {
    web.access.push_again(&owner).await?;
    let told = CredentialFlash::PushAsked;
    Ok(done(&web, jar, owner.cache(), &told.flash()))
}

/// The check boxes. A browser sends only the ticked ones. There is none for the API as long as there is no API.
#[derive(Debug, Deserialize)]
struct Boxes {
    write: Option<String>,
    flush: Option<String>,
}

/// `POST …/credentials/{username}/capabilities`
async fn restrict(
    State(web): State<Web>,
    jar: CookieJar,
    Named(username): Named,
    Signed { owner, fields }: Signed<Boxes>,
) -> Result<Response, PageError> {
    let access = &web.access;
    let all = access.credentials(&owner).await?;
    let held = all
        .iter()
        .find(|credential| credential.username == username)
        .ok_or(PageError::UnknownCredential)?;
    // What has no box stays as it is.
    let capabilities = held
        .capabilities
        .with(Capabilities::WRITE, fields.write.is_some())
        .with(Capabilities::FLUSH, fields.flush.is_some());
    let reach = access
        .set_capabilities(&owner, &username, capabilities)
        .await?;
    let told = CredentialFlash::Saved(username, reach);
    Ok(done(&web, jar, owner.cache(), &told.flash()))
}
