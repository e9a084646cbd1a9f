//! The panel, its question and the certificates' page as text.

use std::time::Duration;

use askama::Template as _;

use super::certificates::{self, CertificatesPage};
use super::delete::ConfirmDelete;
use super::row::CredentialRow;
use super::{CredentialsPanel, Facts};
use crate::access::{ConfigState, IssuedCertificate, Reach};
use crate::cluster::CacheFigures;
use crate::domain::secret::Password;
use crate::domain::{Certificate, Credential};
use crate::web::dashboard::samples::{
    NOW, PASSWORD, before, certificate, certificates, credentials, figures, forms, frame, name,
    without_digests,
};

/// What panels of a cache in use are made of.
struct Known {
    credentials: Vec<Credential>,
    certificates: Vec<Certificate>,
    figures: CacheFigures,
}

fn known() -> Known {
    Known {
        credentials: credentials(),
        certificates: certificates(),
        figures: figures(),
    }
}

impl Known {
    fn facts(&self) -> Facts<'_> {
        Facts {
            provider: "Acme Market",
            is_provisioning: false,
            credentials: &self.credentials,
            credentials_max: 10,
            certificates: &self.certificates,
            overlap_ends: vec![None, None, None],
            config: ConfigState::Applied,
            has_token: true,
            has_tls: true,
            figures: Some(&self.figures),
            revealed: None,
            now: NOW,
        }
    }
}

fn shown(facts: &Facts<'_>) -> String {
    CredentialsPanel::new(forms(), facts).render().unwrap()
}

#[test]
fn a_cache_without_a_token_says_so_and_no_other() {
    let told = "Acme Market has given us no token for this cache.";
    let known = known();
    let without = Facts {
        has_token: false,
        ..known.facts()
    };
    let panel = shown(&without);
    assert!(panel.contains(told) && panel.contains("Config vars: Applied"));
    assert!(!shown(&known.facts()).contains(told));
}

/// At its very end a certificate is refused, so it counts no more.
#[test]
fn a_certificate_is_counted_until_it_ends() {
    let mut known = known();
    let username = known.credentials[0].username.clone();
    for certificate in &mut known.certificates {
        certificate.username = username.clone();
        certificate.expires_at = NOW;
    }
    let counted = |now| {
        let facts = Facts {
            now,
            ..known.facts()
        };
        CredentialRow::new(&facts, &known.credentials[0], None).certificates
    };
    assert_eq!(counted(NOW), 0);
    let just_before = NOW.minus(Duration::from_micros(1));
    assert_eq!(counted(just_before), known.certificates.len());
    assert!(!known.certificates.is_empty());
}

#[test]
fn a_marketplace_that_cannot_be_pushed_to_is_not_called_up_to_date() {
    let known = known();
    let mut facts = Facts {
        config: ConfigState::NotPushed,
        ..known.facts()
    };
    facts.overlap_ends[1] = Some(before(1));
    let panel = shown(&facts);
    assert!(panel.contains("Config vars: Set by hand") && !panel.contains("Applied"));
    assert!(panel.contains("Keep it until your app has the values"));
}

#[test]
fn a_cache_being_set_up_tells_of_nothing_to_do() {
    let known = known();
    let facts = Facts {
        is_provisioning: true,
        config: ConfigState::Pending {
            since: before(95),
            last_error: Some("not there yet".to_owned()),
            next_attempt: NOW,
        },
        ..known.facts()
    };
    let panel = shown(&facts);
    assert!(panel.contains("Config vars: Being set up") && !panel.contains("not there yet"));
}

#[test]
fn the_password_of_another_cache_is_not_shown() {
    let (known, password) = (known(), Password::from_stored(PASSWORD.to_owned()));
    let (other, own) = (name("ABCDEF"), name("91BC07"));
    let revealing = |of| Facts {
        revealed: Some((of, &password)),
        ..known.facts()
    };
    assert!(!shown(&revealing(&other)).contains(PASSWORD));
    assert!(shown(&revealing(&own)).contains(PASSWORD));
}

#[test]
fn a_former_primary_says_when_it_may_go() {
    let known = known();
    let told = |change: &dyn Fn(&mut Facts<'_>)| {
        let mut facts = known.facts();
        change(&mut facts);
        let panel = shown(&facts);
        let row = panel.split("id=\"credential-91BC07\"").nth(1).unwrap();
        row.split("</tr>").next().unwrap().to_owned()
    };
    let never_primary = told(&|_| ());
    assert!(!never_primary.contains("delete from") && !never_primary.contains("Still used"));
    let in_overlap = told(&|facts| {
        facts.overlap_ends[1] = Some(NOW.plus(Duration::from_secs(3_600)));
    });
    assert!(in_overlap.contains("Safe to delete from 19:30 UTC."));
    let not_pushed = told(&|facts| {
        facts.overlap_ends[1] = Some(before(1));
        facts.config = ConfigState::Pending {
            since: before(95),
            last_error: None,
            next_attempt: NOW,
        };
    });
    assert!(not_pushed.contains("Keep it: Acme Market has not taken the new values yet."));
    let in_use = told(&|facts| facts.overlap_ends[1] = Some(before(1)));
    assert!(in_use.contains("Still used by 1 connection."));
    let unknown = told(&|facts| {
        facts.overlap_ends[1] = Some(before(1));
        facts.figures = None;
    });
    assert!(unknown.contains("is not known."));
}

#[test]
fn a_former_primary_that_nobody_uses_may_go() {
    let known = Known {
        figures: CacheFigures {
            connections_by_credential: vec![],
            ..figures()
        },
        ..known()
    };
    let mut facts = known.facts();
    facts.overlap_ends[1] = Some(before(1));
    assert!(shown(&facts).contains("Safe to delete."));
}

#[test]
fn the_question_before_deleting_names_what_it_closes() {
    let delete = |primary, connections| ConfirmDelete {
        frame: frame(),
        username: "91BC07".to_owned(),
        primary,
        connections,
        as_of: None,
        early: None,
    };
    let text = |primary, connections| delete(primary, connections).render().unwrap();
    insta::assert_snapshot!("confirm_delete", without_digests(&text(false, Some(12))));
    assert!(text(false, Some(1)).contains("1 live connection<"));
    assert!(text(false, None).contains("is not known"));
    for connections in [0, 1] {
        let reported = ConfirmDelete {
            as_of: Some("That was a minute ago".to_owned()),
            ..delete(false, Some(connections))
        };
        let text = reported.render().unwrap();
        assert!(text.contains("cannot be brought back. That was a minute ago."));
    }
    assert!(!text(true, Some(1)).contains("name=\"confirmed\""));
}

fn certificates_page(issued: bool, change: impl FnOnce(&mut certificates::Facts<'_>)) -> String {
    let figures = figures();
    let good = certificate("91BC07", 7_000, 365 * 86_400);
    let mut facts = certificates::Facts {
        username: name("91BC07"),
        issued: issued.then(|| {
            let issued = IssuedCertificate {
                certificate: good.clone(),
                pem: "-----BEGIN CERTIFICATE-----\nAbc+/=\n".to_owned().into(),
            };
            (issued, Reach::Everywhere)
        }),
        certificates: vec![
            good,
            certificate("4F2A90", 7_100, 365 * 86_400),
            certificate("91BC07", 370 * 86_400, 365 * 86_400),
        ],
        tls_servers: vec!["p1.us-east.example.net:11219".to_owned()],
        tls_ca_file: None,
        figures: Some(&figures),
        figures_as_of: None,
        now: NOW,
    };
    change(&mut facts);
    CertificatesPage::new(frame(), facts).render().unwrap()
}

#[test]
fn certificates_of_one_credential() {
    let issued = certificates_page(true, |_| ());
    insta::assert_snapshot!("certificates", without_digests(&issued));
    let page = certificates_page(false, |_| ());
    assert!(!page.contains("BEGIN CERTIFICATE"));
    assert!(page.contains("1 of 5 in use."));
    let reported = certificates_page(false, |facts| {
        facts.figures_as_of = Some("That was a minute ago".to_owned());
    });
    assert!(reported.contains("in use. That was a minute ago."));
    let unknown = certificates_page(false, |facts| facts.figures = None);
    assert_eq!(unknown.matches(">unknown<").count(), 2);
    for form in page.split("<form ").skip(1) {
        let form = form.split("</form>").next().unwrap();
        assert!(form.contains("name=\"csrf\" value=\"csrf-of-this-session\""));
    }
    let full = certificates_page(false, |facts| {
        facts.certificates = (0..5).map(|at| certificate("91BC07", at, 9)).collect();
    });
    assert!(full.contains("Revoke one to issue another."));
    assert_eq!(full.matches(" disabled ").count(), 2, "both ways to issue");
    let without_tls = certificates_page(false, |facts| facts.tls_servers.clear());
    assert!(without_tls.contains("No TLS address"));
    assert!(!without_tls.contains("Issue certificate"));
    assert!(
        without_tls.contains("Revoke certificate"),
        "what is there can go"
    );
}
