//! Client certificates of one credential: the page that lists and explains them, and issuing one.
//!
//! The private key of a new certificate is in the answer to the form that asked for it, as a page or as a file, and
//! nowhere else: not in an address, not in a cookie, not kept. So there is no redirect behind that form; instead it
//! says which certificate was the newest when it was made, and works once.

use askama::Template;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use crate::access::{CERTIFICATES_MAX, IssuedCertificate, Reach, SignedIn};
use crate::cluster::CacheFigures;
use crate::domain::{Certificate, Fingerprint, Timestamp, Username};
use crate::format;
use crate::web::Web;
use crate::web::dashboard::context::{PageContext, Revealed};
use crate::web::dashboard::frame::Frame;
use crate::web::dashboard::panels::settings::snippets::{self, Snippet};
use crate::web::dashboard::shown::{Moment, Tone, reached, tone_of};
use crate::web::error::{PageError, html};
use crate::web::guard::{Named, Signed};
use crate::web::router::Who::{OwnerActs, OwnerLooks};
use crate::web::router::{Route, on_get, on_post};

pub fn routes() -> Vec<Route> {
    const LIST: &str = "/caches/{id}/credentials/{username}/certificates";
    vec![
        on_get(OwnerLooks, LIST, show),
        on_post(OwnerActs, LIST, issue),
    ]
}

/// `GET …/credentials/{username}/certificates`
async fn show(
    State(web): State<Web>,
    Named(username): Named,
    owner: SignedIn,
) -> Result<Response, PageError> {
    page(web, owner, username, None).await
}

#[derive(Debug, Deserialize)]
struct Issue {
    /// The newest certificate that the page showed; empty without one.
    #[serde(default)]
    after: String,
    /// Present when a file is wanted instead of a page.
    file: Option<String>,
}

/// `POST …/credentials/{username}/certificates`: issues one, once for each page that was shown.
async fn issue(
    State(web): State<Web>,
    Named(username): Named,
    Signed { owner, fields }: Signed<Issue>,
) -> Result<Response, PageError> {
    if web.settings.tls_port.is_none() {
        return Err(PageError::NoTls);
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
        let name = format!("attachment; filename=\"{}\"", pem_file_name(&username));
        let headers = [
            (CONTENT_TYPE, "application/x-pem-file".to_owned()),
            (CONTENT_DISPOSITION, name),
        ];
        return Ok((headers, issued.pem.expose_secret().to_owned()).into_response());
    }
    page(web, owner, username, Some((issued, reach))).await
}

/// The page, with at most one certificate just issued.
pub async fn page(
    web: Web,
    owner: SignedIn,
    username: Username,
    issued: Option<(IssuedCertificate, Reach)>,
) -> Result<Response, PageError> {
    let context = PageContext::new(web, owner, Revealed::Nothing);
    let (access, owner) = (&context.web.access, &context.owner);
    let (credentials, certificates, tls_servers) = tokio::try_join!(
        context.credentials(),
        async { Ok(access.certificates(owner).await?) },
        context.tls_servers(),
    )?;
    if !credentials
        .iter()
        .any(|credential| credential.username == username)
    {
        return Err(PageError::UnknownCredential);
    }
    let facts = Facts {
        username,
        certificates,
        tls_servers,
        tls_ca_file: context.web.settings.tls_ca_file.as_deref(),
        issued,
        figures: context.figures().await,
        figures_as_of: context.figures_as_of(),
        now: context.now,
    };
    let frame = Frame::of(&context.web.settings, owner);
    Ok(html(&CertificatesPage::new(frame, facts)))
}

#[derive(Template)]
#[template(path = "dashboard/panels/credentials/certificates.html")]
pub struct CertificatesPage {
    frame: Frame,
    username: String,
    /// Only in the answer to the form that asked for it.
    issued: Option<Issued>,
    certificates: Vec<CertificateRow>,
    /// How many of them are good.
    good: usize,
    certificates_max: u32,
    figures_as_of: Option<String>,
    /// The newest one's fingerprint; empty without one.
    after: String,
    /// Empty where there is no TLS listener: nothing can be issued then.
    tls_servers: Vec<String>,
    snippets: Vec<Snippet>,
}

/// A certificate just made.
struct Issued {
    tone: Tone,
    text: String,
    file_name: String,
    /// With its private key.
    pem: String,
}

struct CertificateRow {
    fingerprint: String,
    short: String,
    /// Live connections; `None` while no node answers.
    connections: Option<String>,
    issued: Moment,
    expires: Moment,
    expired: bool,
}

/// Everything the page is made of.
pub struct Facts<'a> {
    pub username: Username,
    /// Of the whole cache, the newest first.
    pub certificates: Vec<Certificate>,
    /// Empty where there is no TLS listener.
    pub tls_servers: Vec<String>,
    /// Of who signed the servers' certificate, where clients do not know them.
    pub tls_ca_file: Option<&'a str>,
    pub issued: Option<(IssuedCertificate, Reach)>,
    /// `None` while no node answers.
    pub figures: Option<&'a CacheFigures>,
    /// How old they are, where they are not of now.
    pub figures_as_of: Option<String>,
    pub now: Timestamp,
}

impl CertificatesPage {
    pub fn new(frame: Frame, facts: Facts<'_>) -> CertificatesPage {
        let own = |certificate: &&Certificate| certificate.username == facts.username;
        let own: Vec<&Certificate> = facts.certificates.iter().filter(own).collect();
        let rows: Vec<CertificateRow> = own
            .iter()
            .map(|certificate| row(certificate, facts.figures, facts.now))
            .collect();
        let newest = own
            .first()
            .map(|certificate| certificate.fingerprint.to_string());
        CertificatesPage {
            frame,
            username: facts.username.to_string(),
            issued: facts.issued.map(issued),
            good: rows.iter().filter(|row| !row.expired).count(),
            certificates: rows,
            certificates_max: CERTIFICATES_MAX,
            figures_as_of: facts.figures_as_of,
            after: newest.unwrap_or_default(),
            snippets: snippets::with_certificate(
                &facts.tls_servers,
                &pem_file_name(&facts.username),
                facts.tls_ca_file,
            ),
            tls_servers: facts.tls_servers,
        }
    }

    fn is_full(&self) -> bool {
        self.good >= self.certificates_max as usize
    }
}

/// What a certificate's file is called.
fn pem_file_name(username: &Username) -> String {
    format!("{username}.pem")
}

fn issued((issued, reach): (IssuedCertificate, Reach)) -> Issued {
    let good_until = format::instant(issued.certificate.expires_at);
    Issued {
        tone: tone_of(reach),
        text: format!("It works now, until {good_until}. {}", reached(reach))
            .trim_end()
            .to_owned(),
        file_name: pem_file_name(&issued.certificate.username),
        pem: issued.pem.expose_secret().to_owned(),
    }
}

/// Live connections of one certificate; one that no node mentions has none.
pub fn connections_by(figures: &CacheFigures, fingerprint: &Fingerprint) -> u64 {
    let mut known = figures.connections_by_certificate.iter();
    let found = known.find(|(known, _)| known == fingerprint);
    found.map_or(0, |(_, number)| *number)
}

fn row(
    certificate: &Certificate,
    figures: Option<&CacheFigures>,
    now: Timestamp,
) -> CertificateRow {
    let connections =
        |figures: &CacheFigures| format::count(connections_by(figures, &certificate.fingerprint));
    CertificateRow {
        fingerprint: certificate.fingerprint.to_string(),
        short: certificate.fingerprint.short(),
        connections: figures.map(connections),
        issued: Moment::past(certificate.created_at, now),
        expires: Moment::end(certificate.expires_at, now),
        expired: certificate.expires_at <= now,
    }
}
