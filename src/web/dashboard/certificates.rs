//! Client certificates of one credential: the page that lists and explains them, and its actions.
//!
//! The private key of a new certificate is in the answer to the form that asked for it, as a page or as a file, and
//! nowhere else: not in an address, not in a cookie, not kept. So there is no redirect behind that form; instead it
//! says which certificate was the newest when it was made, and works once.

use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::present::{self, CertificateFacts};
use super::{caches, done};
use crate::access::{IssuedCertificate, Owner, Reach};
use crate::domain::{Fingerprint, Username};
use crate::web::Web;
use crate::web::error::{Fault, html};
use crate::web::guard::{Named, Signed};
use crate::web::notice::Notice;

/// `GET …/credentials/{username}/certificates`
pub async fn show(
    State(web): State<Web>,
    Named(username): Named,
    owner: Owner,
) -> Result<Response, Fault> {
    page(&web, &owner, username, None).await
}

#[derive(Debug, Deserialize)]
pub struct Issue {
    /// The newest certificate that the page showed; empty without one.
    #[serde(default)]
    after: String,
    /// Present when a file is wanted instead of a page.
    file: Option<String>,
}

/// `POST …/credentials/{username}/certificates`: issues one, once for each page that was shown.
pub async fn issue(
    State(web): State<Web>,
    Named(username): Named,
    Signed { owner, fields }: Signed<Issue>,
) -> Result<Response, Fault> {
    if web.settings.tls_port.is_none() {
        return Err(Fault::NoTls);
    }
    let after: Option<Fingerprint> = fields.after.parse().ok();
    let issued = web
        .access
        .issue_certificate(&owner, &username, after)
        .await?;
    let Some((issued, reach)) = issued else {
        let list = format!(
            "/caches/{}/credentials/{username}/certificates",
            owner.cache()
        );
        return Ok(Redirect::to(&list).into_response());
    };
    if fields.file.is_some() {
        let name = format!(
            "attachment; filename=\"{}\"",
            present::pem_file_name(&username)
        );
        let headers = [
            (CONTENT_TYPE, "application/x-pem-file".to_owned()),
            (CONTENT_DISPOSITION, name),
        ];
        return Ok((headers, issued.pem.expose_secret().to_owned()).into_response());
    }
    page(&web, &owner, username, Some((issued, reach))).await
}

#[derive(Debug, Deserialize)]
pub struct Revocation {
    fingerprint: String,
}

/// `POST …/credentials/{username}/certificates/revoke`
pub async fn revoke(
    State(web): State<Web>,
    jar: CookieJar,
    Named(username): Named,
    Signed { owner, fields }: Signed<Revocation>,
) -> Result<Response, Fault> {
    let fingerprint = fields.fingerprint.parse().map_err(|_| Fault::Forged)?;
    let access = &web.access;
    let reach = access
        .revoke_certificate(&owner, &username, fingerprint)
        .await?;
    let notice = Notice::Revoked(username, reach);
    Ok(done(&web, jar, owner.cache(), &notice))
}

async fn page(
    web: &Web,
    owner: &Owner,
    username: Username,
    issued: Option<(IssuedCertificate, Reach)>,
) -> Result<Response, Fault> {
    let access = &web.access;
    let figures = async { Ok(access.figures(owner).await) };
    let (credentials, certificates, servers, figures) = tokio::try_join!(
        access.credentials(owner),
        access.certificates(owner),
        access.servers(owner),
        figures,
    )?;
    if !credentials
        .iter()
        .any(|credential| credential.username == username)
    {
        return Err(Fault::UnknownCredential);
    }
    let facts = CertificateFacts {
        resource: owner.resource(),
        session: owner.session(),
        username,
        certificates,
        tls_servers: caches::tls_servers(web, &servers),
        issued,
        figures,
        now: web.clock.now(),
    };
    Ok(html(&present::certificates_page(&web.settings, facts)))
}
