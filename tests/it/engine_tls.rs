//! The TLS listener. The test makes certificates with the `openssl` program.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use larder::engine::{EngineSettings, Limits, Listeners, TlsListener};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::engine_connections::wait_until;
use crate::engine_fixture::{Client, EngineFixture, OWNER, loopback, settings};

pub fn make_certificate(folder: &Path, name: &str) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "30", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(folder.join(format!("{name}.key")))
        .arg("-out")
        .arg(folder.join(format!("{name}.pem")))
        .output()
        .expect("the openssl program");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

pub fn connect(addr: SocketAddr, trusted: &Path) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(trusted).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(addr).unwrap();
    let patience = Duration::from_secs(20);
    stream.set_read_timeout(Some(patience)).unwrap();
    StreamOwned::new(connection, stream)
}

fn talk(
    stream: &mut StreamOwned<ClientConnection, TcpStream>,
    line: &str,
    expected: &str,
) -> std::io::Result<()> {
    stream.write_all(line.as_bytes())?;
    stream.flush()?;
    let mut reply = vec![0; expected.len()];
    stream.read_exact(&mut reply)?;
    assert_eq!(String::from_utf8_lossy(&reply), expected);
    Ok(())
}

#[test]
fn clients_log_in_and_work_over_tls_and_the_certificate_can_change() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path(), "first");
    make_certificate(folder.path(), "second");
    let (cert, key) = (folder.path().join("cert"), folder.path().join("key"));
    std::fs::copy(folder.path().join("first.pem"), &cert).unwrap();
    std::fs::copy(folder.path().join("first.key"), &key).unwrap();
    let listeners = Listeners {
        tls: Some(TlsListener {
            addr: loopback(),
            cert: cert.clone(),
            key: key.clone(),
        }),
        ..Listeners::default()
    };
    let fixture = EngineFixture::listening(settings(), listeners);
    let addr = fixture.addresses.tls.unwrap();
    let login = format!("set {} 0 0 32\r\n{}\r\n", OWNER.0, OWNER.1);

    let mut client = connect(addr, &folder.path().join("first.pem"));
    talk(&mut client, "get k\r\n", "CLIENT_ERROR unauthenticated\r\n").unwrap();
    talk(&mut client, &login, "STORED\r\n").unwrap();
    let value = "v".repeat(900_000);
    talk(
        &mut client,
        &format!("set k 0 0 900000\r\n{value}\r\n"),
        "STORED\r\n",
    )
    .unwrap();
    let answer = format!("VALUE k 0 900000\r\n{value}\r\nEND\r\n");
    talk(&mut client, "get k\r\n", &answer).unwrap();

    std::fs::copy(folder.path().join("second.pem"), &cert).unwrap();
    assert!(
        fixture.engine.reload_tls().is_err(),
        "the key is still the first"
    );
    std::fs::copy(folder.path().join("second.key"), &key).unwrap();
    fixture.engine.reload_tls().unwrap();
    talk(&mut client, "mn\r\n", "MN\r\n").unwrap();
    let mut newer = connect(addr, &folder.path().join("second.pem"));
    talk(&mut newer, &login, "STORED\r\n").unwrap();
    let mut distrusting = connect(addr, &folder.path().join("first.pem"));
    assert!(talk(&mut distrusting, &login, "STORED\r\n").is_err());
}

#[test]
fn one_port_takes_both_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path(), "only");
    let trusted = folder.path().join("only.pem");
    let listeners = Listeners {
        plain: Some(loopback()),
        tls: Some(TlsListener {
            addr: loopback(),
            cert: trusted.clone(),
            key: folder.path().join("only.key"),
        }),
        tls_on_plain: true,
        ..Listeners::default()
    };
    let fixture = EngineFixture::listening(settings(), listeners);
    let login = format!("set {} 0 0 32\r\n{}\r\n", OWNER.0, OWNER.1);
    let mut secret = connect(fixture.addresses.plain.unwrap(), &trusted);
    talk(&mut secret, &login, "STORED\r\n").unwrap();
    fixture.text(OWNER).talk("mn\r\n", "MN\r\n");
    fixture.binary(OWNER);
}

/// A record with a part of a hello of 60,000 bytes, the first one with its beginning.
fn part_of_a_large_hello(bytes: u16, is_first: bool) -> Vec<u8> {
    let mut record = vec![0x16, 3, 1];
    record.extend(bytes.to_be_bytes());
    let begin = if is_first {
        &[1, 0, 0xea, 0x60, 3, 3][..]
    } else {
        &[]
    };
    record.extend(begin);
    record.resize(5 + usize::from(bytes), 0x55);
    record
}

fn tls_with(limits: impl FnOnce(&mut Limits)) -> (EngineFixture, TempDir) {
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
    let mut settings = EngineSettings {
        threads: 1,
        ..settings()
    };
    settings.limits.login_deadline = Duration::from_secs(600);
    limits(&mut settings.limits);
    (EngineFixture::listening(settings, listeners), folder)
}

/// TLS would collect 64 KiB of a handshake for whoever connects.
#[test]
fn a_handshake_may_take_few_bytes() {
    let (fixture, _folder) = tls_with(|_| ());
    let mut peer = Client::to(fixture.addresses.tls.unwrap());
    peer.send(&part_of_a_large_hello(16_000, true));
    peer.send(&part_of_a_large_hello(16_000, false));
    peer.rest();
    wait_until(|| fixture.engine.open_connections() == 0);
}

/// What anonymous clients hold together is bounded too: the oldest of them are closed, and those who log in go on.
#[test]
fn half_made_handshakes_hold_a_bounded_memory() {
    const BOUND: usize = 128 << 10;
    // The part of the hello, and the session.
    const EACH: usize = 20_000;
    let (fixture, folder) = tls_with(|limits| limits.anonymous_total_bytes_max = BOUND);
    let addr = fixture.addresses.tls.unwrap();
    let trusted = folder.path().join("only.pem");
    let login = format!("set {} 0 0 32\r\n{}\r\n", OWNER.0, OWNER.1);
    let mut known = connect(addr, &trusted);
    talk(&mut known, &login, "STORED\r\n").unwrap();
    let mut peers = Vec::new();
    for number in 0..40 {
        let mut peer = Client::to(addr);
        peer.send(&part_of_a_large_hello(16_000, true));
        peer.send(&part_of_a_large_hello(4_000, false));
        peers.push(peer);
        if number % 4 == 0 {
            let mut client = connect(addr, &trusted);
            talk(&mut client, &login, "STORED\r\n").unwrap();
        }
    }
    let kept = BOUND / EACH;
    for oldest in &peers[..peers.len() - kept] {
        let mut byte = [0];
        let read = oldest.stream().read(&mut byte);
        let is_closed = matches!(&read, Ok(0))
            || matches!(&read, Err(error) if error.kind() == ErrorKind::ConnectionReset);
        assert!(is_closed, "{read:?}");
    }
    talk(&mut known, "mn\r\n", "MN\r\n").unwrap();
}

#[test]
fn a_peer_that_never_ends_its_hello_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path(), "only");
    let listeners = Listeners {
        plain: Some(loopback()),
        tls: Some(TlsListener {
            addr: loopback(),
            cert: folder.path().join("only.pem"),
            key: folder.path().join("only.key"),
        }),
        tls_on_plain: true,
        ..Listeners::default()
    };
    let mut settings = settings();
    settings.limits.login_deadline = Duration::from_millis(200);
    let fixture = EngineFixture::listening(settings, listeners);
    let mut peers = Vec::new();
    for listener in [fixture.addresses.tls, fixture.addresses.plain] {
        for begun in [&b""[..], b"\x16", b"\x16\x03\x01"] {
            let mut peer = Client::to(listener.unwrap());
            peer.send(begun);
            peers.push(peer);
        }
    }
    for peer in &mut peers {
        assert!(peer.rest().is_empty());
    }
    wait_until(|| fixture.engine.open_connections() == 0);
}
