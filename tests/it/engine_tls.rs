//! The TLS listener. Certificates are made by the test with the `openssl` program.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use larder::engine::{Listeners, TlsListener};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::engine_connections::wait_until;
use crate::engine_stage::{Client, OWNER, Stage, loopback, settings};

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
    let stage = Stage::listening(settings(), listeners);
    let addr = stage.addresses.tls.unwrap();
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
        stage.engine.reload_tls().is_err(),
        "the key is still the first"
    );
    std::fs::copy(folder.path().join("second.key"), &key).unwrap();
    stage.engine.reload_tls().unwrap();
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
    let stage = Stage::listening(settings(), listeners);
    let login = format!("set {} 0 0 32\r\n{}\r\n", OWNER.0, OWNER.1);
    let mut secret = connect(stage.addresses.plain.unwrap(), &trusted);
    talk(&mut secret, &login, "STORED\r\n").unwrap();
    stage.text(OWNER).talk("mn\r\n", "MN\r\n");
    stage.binary(OWNER);
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
    let stage = Stage::listening(settings, listeners);
    let mut peers = Vec::new();
    for door in [stage.addresses.tls, stage.addresses.plain] {
        for begun in [&b""[..], b"\x16", b"\x16\x03\x01"] {
            let mut peer = Client::to(door.unwrap());
            peer.send(begun);
            peers.push(peer);
        }
    }
    for peer in &mut peers {
        assert!(peer.rest().is_empty());
    }
    wait_until(|| stage.engine.open_connections() == 0);
}
