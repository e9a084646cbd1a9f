//! TLS on a listener: what holds for plain connections holds behind it, too.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::http::internal::{NoAnswer, exchange, internal_client};
use crate::http::server::{AtStop, Bounds, serve_tls};
use crate::http::tls::{ReloadableTls, TlsFileError, server_config};

/// A server with a certificate that is its own authority.
struct Served {
    addr: SocketAddr,
    files: TempDir,
    certificate: CertifiedKey<KeyPair>,
    tls: Arc<ReloadableTls>,
    _stop: DropGuard,
}

fn new_certificate() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap()
}

fn write(folder: &Path, certificate: &CertifiedKey<KeyPair>) {
    fs::write(folder.join("cert.pem"), certificate.cert.pem()).unwrap();
    fs::write(
        folder.join("key.pem"),
        certificate.signing_key.serialize_pem(),
    )
    .unwrap();
}

fn read(folder: &Path) -> Result<ReloadableTls, TlsFileError> {
    server_config(&folder.join("cert.pem"), &folder.join("key.pem"))
}

impl Served {
    async fn start(bounds: Bounds) -> Served {
        let (files, certificate) = (tempfile::tempdir().unwrap(), new_certificate());
        write(files.path(), &certificate);
        let tls = Arc::new(read(files.path()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let routes = Router::new().route("/", get(async || "hello"));
        let stop = CancellationToken::new();
        tokio::spawn(serve_tls(
            listener,
            Arc::clone(&tls),
            routes,
            AtStop::Answer,
            bounds,
            stop.clone(),
        ));
        Served {
            addr,
            files,
            certificate,
            tls,
            _stop: stop.drop_guard(),
        }
    }

    /// Asks on a new connection, and believes this certificate alone.
    async fn ask(&self, believed: &CertifiedKey<KeyPair>) -> Result<Vec<u8>, NoAnswer> {
        let pem = believed.cert.pem();
        let http = internal_client("Larder test", Some(pem.as_bytes()), false).unwrap();
        let request = http.get(format!("https://{}/", self.addr));
        Ok(exchange(request, 100).await?.body)
    }

    /// What comes back for these bytes, until the server closes.
    async fn exchange(&self, sent: &[u8]) -> String {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, stream).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        // The server may close without saying so.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }
}

#[tokio::test]
async fn only_who_believes_the_certificate_speaks_to_it() {
    let served = Served::start(Bounds::default()).await;
    assert_eq!(served.ask(&served.certificate).await.unwrap(), b"hello");
    let stranger = served.ask(&new_certificate()).await;
    let Err(NoAnswer::Connect(why)) = stranger else {
        panic!("{stranger:?}");
    };
    assert!(why.contains("certificate"), "{why}");

    // Nor does anybody ask without TLS.
    let http = internal_client("Larder test", None, false).unwrap();
    let request = http.get(format!("http://{}/", served.addr));
    assert!(exchange(request, 100).await.is_err());
}

#[tokio::test]
async fn an_answer_beyond_the_bound_is_none() {
    let served = Served::start(Bounds::default()).await;
    let pem = served.certificate.cert.pem();
    let http = internal_client("Larder test", Some(pem.as_bytes()), false).unwrap();
    let ask = || http.get(format!("https://{}/", served.addr));
    assert_eq!(exchange(ask(), 5).await.unwrap().body, b"hello");
    let beyond = exchange(ask(), 4).await;
    assert!(matches!(beyond, Err(NoAnswer::TooLarge(4))), "{beyond:?}");
}

#[tokio::test]
async fn a_new_certificate_is_shown_from_the_next_connection_on() {
    let served = Served::start(Bounds::default()).await;
    let next = new_certificate();
    write(served.files.path(), &next);
    assert!(served.ask(&next).await.is_err(), "it was not read yet");
    served.tls.reload().unwrap();
    assert_eq!(served.ask(&next).await.unwrap(), b"hello");

    // What cannot be used leaves the one that works.
    let cert = served.files.path().join("cert.pem");
    fs::write(&cert, new_certificate().cert.pem()).unwrap();
    let refused = served.tls.reload();
    assert!(
        matches!(refused, Err(TlsFileError::Mismatch(_))),
        "{refused:?}"
    );
    fs::write(&cert, "").unwrap();
    let refused = served.tls.reload();
    assert!(
        matches!(refused, Err(TlsFileError::Empty { .. })),
        "{refused:?}"
    );
    fs::remove_file(&cert).unwrap();
    let refused = served.tls.reload();
    assert!(
        matches!(refused, Err(TlsFileError::Certificate { .. })),
        "{refused:?}"
    );
    assert_eq!(served.ask(&next).await.unwrap(), b"hello");
}

#[test]
fn a_key_that_is_missing_is_named() {
    let files = tempfile::tempdir().unwrap();
    write(files.path(), &new_certificate());
    fs::remove_file(files.path().join("key.pem")).unwrap();
    let refused = read(files.path()).unwrap_err();
    assert!(refused.to_string().contains("key.pem"), "{refused}");
}

#[tokio::test]
async fn ambiguous_requests_are_refused_behind_tls() {
    let served = Served::start(Bounds::default()).await;
    let two_lengths = b"POST / HTTP/1.1\r\nhost: larder\r\ncontent-length: 3\r\n\
                        transfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = served.exchange(two_lengths).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let plain = b"GET / HTTP/1.1\r\nhost: larder\r\nconnection: close\r\n\r\n";
    let answer = served.exchange(plain).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"),
        "{answer}"
    );
}

/// How long the server waits for a client that says nothing.
async fn patience(socket: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    let mut more = [0; 16];
    assert!(matches!(socket.read(&mut more).await, Ok(0) | Err(_)));
    begun.elapsed()
}

/// The clock stands still and jumps to the next timer when everybody waits.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_end_is_cut_off() {
    let served = Served::start(Bounds::default()).await;
    let mut silent = TcpStream::connect(served.addr).await.unwrap();
    // The beginning of a handshake of which the rest does not come.
    silent.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    let waited = patience(&mut silent).await;
    assert!(
        waited.abs_diff(Duration::from_secs(10)) < Duration::from_millis(100),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_in_its_handshake_makes_room_for_another() {
    let bounds = Bounds {
        per_address_max: 1,
        ..Bounds::default()
    };
    let served = Served::start(bounds).await;
    let mut first = TcpStream::connect(served.addr).await.unwrap();
    let _second = TcpStream::connect(served.addr).await.unwrap();
    let waited = patience(&mut first).await;
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}
