//! Client certificates as an identity: what they give access to, and what ends it.

use std::net::SocketAddr;
use std::time::Duration;

use larder::domain::{CacheSpec, Capabilities, CertificateSpec, Clock as _, Timestamp};
use larder::engine::{Listeners, TlsListener};
use rcgen::ExtendedKeyUsagePurpose;
use tempfile::TempDir;

use crate::engine_fixture::{
    EngineFixture, OWNER, READER, WRITER, WallClock, alice, bob, loopback, packet, settings,
};
use crate::engine_tls::make_certificate;
use crate::support::authority::{Ca, Identity, TlsClient, TlsTalk};

/// An engine with a TLS listener and one of our CAs.
pub struct CertificateFixture {
    pub fixture: EngineFixture,
    pub ca: Ca,
    pub folder: TempDir,
}

impl CertificateFixture {
    pub fn open() -> CertificateFixture {
        let certified = CertificateFixture::before_any_ca();
        certified
            .fixture
            .engine
            .trust(&[certified.ca.authority()])
            .unwrap();
        certified
    }

    fn before_any_ca() -> CertificateFixture {
        let folder = tempfile::tempdir().unwrap();
        make_certificate(folder.path(), "server");
        let listeners = Listeners {
            plain: Some(loopback()),
            tls: Some(TlsListener {
                addr: loopback(),
                cert: folder.path().join("server.pem"),
                key: folder.path().join("server.key"),
            }),
            tls_on_plain: true,
            ..Listeners::default()
        };
        CertificateFixture {
            fixture: EngineFixture::listening(settings(), listeners),
            ca: Ca::new("Larder clients 1"),
            folder,
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.fixture.addresses.tls.unwrap()
    }

    fn client(&self, identity: &Identity) -> TlsClient {
        TlsClient::new(&self.folder.path().join("server.pem"), Some(identity))
    }

    pub fn connect(&self, identity: &Identity) -> TlsTalk {
        self.client(identity).connect(self.addr())
    }

    /// Alice's cache, with these certificates for these credentials.
    pub fn know(&self, certificates: &[(&Identity, (&str, &str))]) {
        self.fixture.engine.apply(&with(alice(), certificates));
    }
}

fn with(mut spec: CacheSpec, certificates: &[(&Identity, (&str, &str))]) -> CacheSpec {
    for (identity, (username, _)) in certificates {
        let good = identity.spec(Timestamp::from_secs(4_000_000_000));
        certificates_of(&mut spec, username).push(good);
    }
    spec
}

fn certificates_of<'s>(spec: &'s mut CacheSpec, username: &str) -> &'s mut Vec<CertificateSpec> {
    let mut credentials = spec.credentials.iter_mut();
    let found = credentials.find(|credential| credential.username.as_str() == username);
    &mut found.unwrap().certificates
}

#[test]
fn a_certificate_is_a_login_in_every_dialect() {
    let certified = CertificateFixture::open();
    let identity = certified.ca.client(OWNER.0);
    certified.know(&[(&identity, OWNER)]);
    let mut text = certified.connect(&identity);
    text.talk("set k 0 0 5\r\nvalue\r\n", "STORED\r\n");
    // what Dalli 5 sends first
    let mut meta = certified.connect(&identity);
    meta.talk("version\r\n", "VERSION ");
    let mut meta = certified.connect(&identity);
    meta.talk("mg k v\r\n", "VA 5\r\nvalue\r\n");
    let mut binary = certified.connect(&identity);
    let get = packet(0x0c, 7, &[], b"k", b"", 0);
    let reply = binary.try_talk(&get, &[0; 24 + 4 + 1 + 5]).unwrap();
    assert_eq!((&reply[6..8], &reply[29..]), (&[0, 0][..], &b"value"[..]));
    // the plain listener, which detects TLS by the first byte
    let mut either = certified
        .client(&identity)
        .connect(certified.fixture.addresses.plain.unwrap());
    either.talk("get k\r\n", "VALUE k 0 5\r\nvalue\r\nEND\r\n");
    for version in rustls::ALL_VERSIONS {
        let trusted = certified.folder.path().join("server.pem");
        let client = TlsClient::speaking(&[version], &trusted, Some(&identity));
        client.connect(certified.addr()).talk("mn\r\n", "MN\r\n");
    }
    let figures = certified.fixture.engine.figures(alice().cache).unwrap();
    let owners: Vec<_> = figures
        .credentials
        .iter()
        .filter(|figures| figures.username.as_str() == OWNER.0)
        .collect();
    assert_eq!(owners.len(), 1, "one credential, whatever opens it");
    assert!(owners[0].connections >= 2 && owners[0].last_login.is_some());
}

#[test]
fn who_brings_none_logs_in_as_ever() {
    let certified = CertificateFixture::open();
    let trusted = certified.folder.path().join("server.pem");
    let mut other_tenant = TlsClient::new(&trusted, None).connect(certified.addr());
    other_tenant.talk("get k\r\n", "CLIENT_ERROR unauthenticated\r\n");
    let login = format!("set {} 0 0 32\r\n{}\r\n", OWNER.0, OWNER.1);
    other_tenant.talk(&login, "STORED\r\n");
    other_tenant.talk("get k\r\n", "END\r\n");
}

#[test]
fn it_acts_as_its_credential_and_follows_its_capabilities() {
    let certified = CertificateFixture::open();
    let (reader, other_tenants) = (certified.ca.client(READER.0), certified.ca.client("B0B000"));
    certified.know(&[(&reader, READER)]);
    let theirs = with(bob(), &[(&other_tenants, ("B0B000", ""))]);
    certified.fixture.engine.apply(&theirs);
    let mut bobs = certified.connect(&other_tenants);
    bobs.talk("set k 0 0 3\r\nbob\r\n", "STORED\r\n");
    let mut alices = certified.connect(&reader);
    alices.talk("get k\r\n", "END\r\n");
    alices.talk("set k 0 0 1\r\na\r\n", "NOT_STORED\r\n");

    let mut allowed = with(alice(), &[(&reader, READER)]);
    for credential in &mut allowed.credentials {
        credential.capabilities = Capabilities::ALL;
    }
    certified.fixture.engine.apply(&allowed);
    let mut open = certified.connect(&reader);
    open.talk("set k 0 0 5\r\nalice\r\n", "STORED\r\n");
    certified.know(&[(&reader, READER)]);
    open.talk("set k 0 0 1\r\na\r\n", "NOT_STORED\r\n");
    bobs.talk("get k\r\n", "VALUE k 0 3\r\nbob\r\nEND\r\n");
}

#[test]
fn revoking_one_ends_its_connections_and_no_others() {
    let certified = CertificateFixture::open();
    let (lost, kept) = (certified.ca.client(OWNER.0), certified.ca.client(OWNER.0));
    certified.know(&[(&lost, OWNER), (&kept, OWNER)]);
    let (mut idle, mut others) = (certified.connect(&lost), certified.connect(&kept));
    idle.talk("mn\r\n", "MN\r\n");
    others.talk("mn\r\n", "MN\r\n");
    let mut by_password = certified.fixture.text(OWNER);
    let figures = certified.fixture.engine.figures(alice().cache).unwrap();
    let mut live = figures.certificates;
    live.sort();
    let mut expected = [(lost.fingerprint(), 1), (kept.fingerprint(), 1)];
    expected.sort();
    assert_eq!(live, expected);
    assert_eq!(figures.credentials[0].connections, 3, "all of the owner's");

    certified.know(&[(&kept, OWNER)]);
    idle.closed();
    let refusal = certified.connect(&lost).refusal();
    assert!(refusal.contains("CertificateRevoked"), "{refusal}");
    others.talk("mn\r\n", "MN\r\n");
    by_password.talk("mn\r\n", "MN\r\n");
    certified.connect(&kept).talk("mn\r\n", "MN\r\n");
}

#[test]
fn it_dies_with_its_credential_and_with_its_cache() {
    let certified = CertificateFixture::open();
    let (first, second) = (certified.ca.client(READER.0), certified.ca.client(OWNER.0));
    certified.know(&[(&first, READER), (&second, OWNER)]);
    let (mut reader, mut owner) = (certified.connect(&first), certified.connect(&second));
    reader.talk("mn\r\n", "MN\r\n");
    owner.talk("mn\r\n", "MN\r\n");
    let mut without = with(alice(), &[(&second, OWNER)]);
    without
        .credentials
        .retain(|credential| credential.username.as_str() != READER.0);
    certified.fixture.engine.apply(&without);
    reader.closed();
    assert!(certified.connect(&first).refusal().contains("Revoked"));
    owner.talk("mn\r\n", "MN\r\n");
    certified.fixture.engine.forget(alice().cache);
    owner.closed();
    assert!(certified.connect(&second).refusal().contains("Revoked"));
}

#[test]
fn what_does_not_verify_is_refused_and_told_why() {
    let certified = CertificateFixture::open();
    let look_alike = Ca::new("Larder clients 1");
    let foreign = Ca::new("Somebody else");
    let past = |params: &mut rcgen::CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2024, 1, 1);
        params.not_after = rcgen::date_time_ymd(2025, 1, 1);
    };
    let cases = [
        (
            "expired",
            certified.ca.sign(OWNER.0, past),
            "CertificateExpired",
        ),
        ("foreign", foreign.client(OWNER.0), "UnknownCA"),
        ("look-alike", look_alike.client(OWNER.0), "DecryptError"),
        (
            "server usage",
            certified.ca.sign(OWNER.0, |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }),
            "UnsupportedCertificate",
        ),
    ];
    // A known fingerprint does not help them either.
    let known: Vec<_> = cases.iter().map(|case| (&case.1, OWNER)).collect();
    certified.know(&known);
    let never_issued = certified.ca.client(OWNER.0);
    let unknown = ("unknown", never_issued, "CertificateRevoked");
    for (what, identity, alert) in cases.iter().chain([&unknown]) {
        for version in rustls::ALL_VERSIONS {
            let trusted = certified.folder.path().join("server.pem");
            let client = TlsClient::speaking(&[version], &trusted, Some(identity));
            let refusal = client.connect(certified.addr()).refusal();
            assert!(refusal.contains(alert), "{what}: {refusal}");
        }
    }
}

#[test]
fn an_end_that_the_control_plane_knows_of_counts_too() {
    let certified = CertificateFixture::open();
    let (over, ending) = (certified.ca.client(OWNER.0), certified.ca.client(OWNER.0));
    let now = WallClock.now();
    let mut spec = alice();
    let certificates = certificates_of(&mut spec, OWNER.0);
    certificates.push(over.spec(now.minus(Duration::from_secs(1))));
    certificates.push(ending.spec(now.plus(Duration::from_secs(3))));
    certified.fixture.engine.apply(&spec);
    assert!(certified.connect(&over).refusal().contains("Revoked"));
    let mut open = certified.connect(&ending);
    open.talk("mn\r\n", "MN\r\n");
    open.closed();
    assert!(certified.connect(&ending).refusal().contains("Revoked"));
}

#[test]
fn resuming_a_session_does_not_get_round_a_revocation() {
    let certified = CertificateFixture::open();
    let identity = certified.ca.client(OWNER.0);
    certified.know(&[(&identity, OWNER)]);
    for version in rustls::ALL_VERSIONS {
        let trusted = certified.folder.path().join("server.pem");
        let client = TlsClient::speaking(&[version], &trusted, Some(&identity));
        certified.know(&[(&identity, OWNER)]);
        client.connect(certified.addr()).talk("mn\r\n", "MN\r\n");
        let mut resumed = client.connect(certified.addr());
        resumed.talk("mn\r\n", "MN\r\n");
        assert!(resumed.is_resumed(), "or this test shows nothing");
        certified.know(&[]);
        resumed.closed();
        let mut again = client.connect(certified.addr());
        let refusal = again.refusal();
        assert!(again.is_resumed(), "{refusal}");
    }
}

#[test]
fn a_ca_that_comes_later_is_taken_up_and_so_is_the_next() {
    let certified = CertificateFixture::before_any_ca();
    let identity = certified.ca.client(OWNER.0);
    certified.know(&[(&identity, OWNER)]);
    // The listener does not ask for certificates yet, so this client is not logged in.
    let mut early = certified.connect(&identity);
    early.talk("mn\r\n", "CLIENT_ERROR unauthenticated\r\n");
    certified
        .fixture
        .engine
        .trust(&[certified.ca.authority()])
        .unwrap();
    certified.connect(&identity).talk("mn\r\n", "MN\r\n");

    let next = Ca::new("Larder clients 2");
    let newer = next.client(OWNER.0);
    certified.know(&[(&identity, OWNER), (&newer, OWNER)]);
    assert!(certified.connect(&newer).refusal().contains("UnknownCA"));
    let both = [certified.ca.authority(), next.authority()];
    certified.fixture.engine.trust(&both).unwrap();
    certified.connect(&newer).talk("mn\r\n", "MN\r\n");
    certified.connect(&identity).talk("mn\r\n", "MN\r\n");

    let broken = larder::domain::Authority::from_der(b"not a certificate");
    assert!(certified.fixture.engine.trust(&[broken]).is_err());
    certified.fixture.engine.reload_tls().unwrap();
    certified.connect(&newer).talk("mn\r\n", "MN\r\n");
}

#[test]
fn it_counts_as_a_connection_of_the_plan() {
    let certified = CertificateFixture::open();
    let identity = certified.ca.client(OWNER.0);
    let mut spec = with(alice(), &[(&identity, OWNER)]);
    spec.connections_max = 1;
    certified.fixture.engine.apply(&spec);
    let mut first = certified.connect(&identity);
    first.talk("mn\r\n", "MN\r\n");
    let mut second = certified.connect(&identity);
    second.talk("", "ERROR Too many open connections\r\n");
    second.closed();
    first.talk("mn\r\n", "MN\r\n");
}

#[test]
fn a_later_login_replaces_it() {
    let certified = CertificateFixture::open();
    let identity = certified.ca.client(READER.0);
    certified.know(&[(&identity, READER)]);
    let set = packet(0x01, 0, &[0; 8], b"k", b"v", 0);
    let login = |who: (&str, &str)| {
        let data = format!("\0{}\0{}", who.0, who.1);
        packet(0x21, 0, &[], b"PLAIN", data.as_bytes(), 0)
    };
    let mut client = certified.connect(&identity);
    let status = |client: &mut TlsTalk, request: &[u8], body: usize| {
        let reply = client.try_talk(request, &vec![0; 24 + body]).unwrap();
        u16::from_be_bytes([reply[6], reply[7]])
    };
    assert_eq!(status(&mut client, &login(WRITER), 13), 0, "Authenticated");
    assert_eq!(status(&mut client, &set, 0), 0);
    // Revoking the first identity has no effect any more;
    certified.know(&[]);
    let mut leaving = certified.fixture.text(READER);
    let mut readerless = alice();
    readerless
        .credentials
        .retain(|credential| credential.username.as_str() != READER.0);
    certified.fixture.engine.apply(&readerless);
    assert_eq!(leaving.rest(), b"");
    assert_eq!(status(&mut client, &set, 0), 0);
    // revoking the second one ends the connection.
    readerless
        .credentials
        .retain(|credential| credential.username.as_str() != WRITER.0);
    certified.fixture.engine.apply(&readerless);
    client.closed();
}
