//! What TLS the memcached port speaks, and what it does not (security.md MC-20).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use larder::engine::{Listeners, TlsListener};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::engine_fixture::{EngineFixture, OWNER, loopback, settings};
use crate::engine_tls::make_certificate;

fn start() -> (EngineFixture, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path(), "only");
    let listeners = Listeners {
        tls: Some(TlsListener {
            addr: loopback(),
            cert: folder.path().join("only.pem"),
            key: folder.path().join("only.key"),
        }),
        ..Listeners::default()
    };
    (EngineFixture::listening(settings(), listeners), folder)
}

/// Whether the `openssl` program gets a session of this version.
fn is_spoken(fixture: &EngineFixture, version: &str) -> bool {
    let addr = fixture.addresses.tls.unwrap().to_string();
    let output = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &addr,
            version,
            "-cipher",
            "ALL:@SECLEVEL=0",
        ])
        .stdin(Stdio::null())
        .output()
        .expect("the openssl program");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        told.contains("CONNECTED"),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.status.success()
}

#[test]
fn it_speaks_tls_1_2_and_1_3_and_none_before() {
    let (fixture, _folder) = start();
    for (version, spoken) in [
        ("-tls1_3", true),
        ("-tls1_2", true),
        ("-tls1_1", false),
        ("-tls1", false),
    ] {
        assert_eq!(is_spoken(&fixture, version), spoken, "{version}");
    }
}

fn offering_early_data(trusted: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(trusted).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_early_data = true;
    Arc::new(config)
}

/// What is sent early can be sent again by whoever sees it on its way: `incr` would count twice.
#[test]
fn it_takes_no_early_data() {
    let (fixture, folder) = start();
    let config = offering_early_data(&folder.path().join("only.pem"));
    for is_resumed in [false, true] {
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::clone(&config), name).unwrap();
        assert!(
            connection.early_data().is_none(),
            "the server's ticket permits none"
        );
        let stream = TcpStream::connect(fixture.addresses.tls.unwrap()).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let login = format!("set {} 0 0 32\r\n{}\r\nmn\r\n", OWNER.0, OWNER.1);
        stream.write_all(login.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"STORED\r\nMN\r\n");
        let resumed = stream.conn.handshake_kind() == Some(HandshakeKind::Resumed);
        assert_eq!(resumed, is_resumed, "a second connection brings a ticket");
    }
}
