//! Client certificates that a handshake refuses: each counts as a failed login of whom it names, and few are told.

use std::net::{IpAddr, Ipv4Addr};

use larder::engine::{CertificateRefusal, EngineEvent};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};

use crate::engine_certificates::CertificateFixture;
use crate::engine_connections::wait_until;
use crate::engine_fixture::{ALICE, OWNER, READER};
use crate::support::authority::{Ca, Identity, TlsClient};

const HERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

fn long_over(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2025, 1, 1);
}

fn for_servers(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
}

/// Failed logins of Alice's cache, and of all whoever they named.
fn failed(certified: &CertificateFixture) -> (u64, u64) {
    let engine = &certified.fixture.engine;
    let of_alice = engine.figures(ALICE).unwrap().traffic.auth_errors;
    (of_alice, engine.totals().traffic.auth_errors)
}

/// Why the operator was told that certificates were refused, and whom they named.
fn told(certified: &CertificateFixture) -> Vec<(CertificateRefusal, String)> {
    let events = certified.fixture.recorder.events().into_iter();
    let told = events.filter_map(|event| match event {
        EngineEvent::AddressRefused {
            remote,
            username,
            certificate,
            ..
        } if remote == HERE => Some((certificate?, username)),
        _ => None,
    });
    told.collect()
}

/// What the owner of Alice's cache was told: whose certificate it was, and how often it was refused.
fn told_to_alice(certified: &CertificateFixture) -> Vec<(String, u64)> {
    let events = certified.fixture.recorder.events().into_iter();
    let told = events.filter_map(|event| match event {
        EngineEvent::LoginsRefused {
            cache: ALICE,
            credential,
            remote,
            refused,
            ..
        } if remote == HERE => Some((credential.to_string(), refused)),
        _ => None,
    });
    told.collect()
}

/// Presents it to an engine of its own, since an address is told of once a minute, in every version of TLS.
fn presented(make: impl Fn(&Ca) -> Identity, named: &str, reason: CertificateRefusal) {
    for version in rustls::ALL_VERSIONS {
        let certified = CertificateFixture::open();
        let trusted = certified.folder.path().join("server.pem");
        let identity = make(&certified.ca);
        let client = TlsClient::speaking(&[version], &trusted, Some(&identity));
        client.connect(certified.addr()).refusal();
        wait_until(|| !told(&certified).is_empty());
        assert_eq!(told(&certified), [(reason, named.to_owned())]);
        let of_alice = u64::from(named == OWNER.0);
        assert_eq!(failed(&certified), (of_alice, 1), "{named}");
    }
}

#[test]
fn each_counts_as_a_failed_login_of_whom_it_names() {
    let foreign = Ca::new("Somebody else");
    presented(
        |ca| ca.client(OWNER.0),
        OWNER.0,
        CertificateRefusal::Unknown,
    );
    presented(
        |ca| ca.sign(OWNER.0, long_over),
        OWNER.0,
        CertificateRefusal::Expired,
    );
    presented(
        |_| foreign.client(OWNER.0),
        OWNER.0,
        CertificateRefusal::Foreign,
    );
    presented(
        |ca| ca.sign(OWNER.0, for_servers),
        OWNER.0,
        CertificateRefusal::Invalid,
    );
    presented(
        |ca| ca.client("C0FFEE"),
        "C0FFEE",
        CertificateRefusal::Unknown,
    );
    presented(
        |_| foreign.client("a\r\nb"),
        "a\\r\\nb",
        CertificateRefusal::Foreign,
    );
}

#[test]
fn an_app_that_goes_on_with_a_revoked_one_is_told_of_once() {
    let certified = CertificateFixture::open();
    let identity = certified.ca.client(READER.0);
    certified.know(&[(&identity, READER)]);
    certified.connect(&identity).talk("mn\r\n", "MN\r\n");
    assert_eq!(failed(&certified), (0, 0), "a good one is no failure");
    certified.know(&[]);
    for _ in 0..20 {
        certified.connect(&identity).refusal();
    }
    wait_until(|| failed(&certified) == (20, 20));
    wait_until(|| !told_to_alice(&certified).is_empty());
    assert_eq!(told_to_alice(&certified), [(READER.0.to_owned(), 1)]);
    let unknown = (CertificateRefusal::Unknown, READER.0.to_owned());
    assert_eq!(told(&certified), [unknown]);
}

/// TLS does not verify a certificate again when a session is resumed.
#[test]
fn one_that_a_resumed_session_brings_counts_too() {
    for version in rustls::ALL_VERSIONS {
        let certified = CertificateFixture::open();
        let identity = certified.ca.client(OWNER.0);
        certified.know(&[(&identity, OWNER)]);
        let trusted = certified.folder.path().join("server.pem");
        let client = TlsClient::speaking(&[version], &trusted, Some(&identity));
        client.connect(certified.addr()).talk("mn\r\n", "MN\r\n");
        certified.know(&[]);
        let mut again = client.connect(certified.addr());
        let refusal = again.refusal();
        assert!(again.is_resumed(), "{refusal}");
        wait_until(|| failed(&certified) == (1, 1));
    }
}
