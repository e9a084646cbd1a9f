//! The certificates of one credential as their page shows them.

use secrecy::ExposeSecret as _;

use super::{frame, landed, moment};
use crate::access::{CERTIFICATES_MAX, IssuedCertificate, Reach, Session};
use crate::cluster::Figures;
use crate::domain::{Certificate, Resource, Timestamp, Username};
use crate::web::dashboard::views::{CertificateRow, CertificatesPage, Issued, Moment, Tone};
use crate::web::dashboard::{snippets, words};
use crate::web::settings::WebSettings;

/// Everything that page is made of.
pub struct CertificateFacts<'a> {
    pub resource: &'a Resource,
    pub session: &'a Session,
    pub username: Username,
    /// Of the whole cache, the newest first.
    pub certificates: Vec<Certificate>,
    /// Empty where there is no TLS listener.
    pub tls_servers: Vec<String>,
    pub issued: Option<(IssuedCertificate, Reach)>,
    /// `None` while no node answers.
    pub figures: Option<Figures>,
    pub now: Timestamp,
}

pub fn certificates_page(settings: &WebSettings, facts: CertificateFacts<'_>) -> CertificatesPage {
    let own = |certificate: &&Certificate| certificate.username == facts.username;
    let own: Vec<&Certificate> = facts.certificates.iter().filter(own).collect();
    let rows: Vec<CertificateRow> = own
        .iter()
        .map(|certificate| row(certificate, facts.figures.as_ref(), facts.now))
        .collect();
    let newest = own
        .first()
        .map(|certificate| certificate.fingerprint.to_string());
    CertificatesPage {
        frame: frame(settings, facts.resource, facts.session),
        username: facts.username.to_string(),
        issued: facts.issued.map(issued),
        good: rows.iter().filter(|row| !row.expired).count(),
        certificates: rows,
        certificates_max: CERTIFICATES_MAX,
        after: newest.unwrap_or_default(),
        snippets: snippets::with_certificate(&facts.tls_servers, &pem_file_name(&facts.username)),
        tls_servers: facts.tls_servers,
    }
}

/// What a certificate's file is called.
pub fn pem_file_name(username: &Username) -> String {
    format!("{username}.pem")
}

fn issued((issued, reach): (IssuedCertificate, Reach)) -> Issued {
    let good_until = words::instant(issued.certificate.expires_at);
    Issued {
        tone: match reach {
            Reach::Everywhere => Tone::Good,
            Reach::Partial { .. } => Tone::Fair,
        },
        text: format!("It works now, until {good_until}. {}", landed(reach))
            .trim_end()
            .to_owned(),
        file_name: pem_file_name(&issued.certificate.username),
        pem: issued.pem.expose_secret().to_owned(),
    }
}

fn row(certificate: &Certificate, figures: Option<&Figures>, now: Timestamp) -> CertificateRow {
    let connections = |figures: &Figures| {
        let mut known = figures.connections_by_certificate.iter();
        let found = known.find(|(fingerprint, _)| *fingerprint == certificate.fingerprint);
        words::count(found.map_or(0, |(_, number)| *number))
    };
    let expires_at = certificate.expires_at;
    let expired = expires_at <= now;
    let distance = if expired {
        words::ago(expires_at, now)
    } else {
        words::ahead(expires_at, now)
    };
    CertificateRow {
        fingerprint: certificate.fingerprint.to_string(),
        short: certificate.fingerprint.short(),
        connections: figures.map(connections),
        issued: moment(certificate.created_at, now),
        expires: Moment {
            distance,
            ..moment(expires_at, now)
        },
        expired,
    }
}
