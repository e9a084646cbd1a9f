//! The client of calls to the outside against servers that mean harm (security.md OB-3 to OB-5).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use larder::http::outbound::{Answer, CALL_MAX, client, send};
use larder::http::{CallError, CallErrorKind};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType, date_time_ymd};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::support::authority::{Ca, Identity};

const KEPT_BYTES_MAX: usize = 64 * 1024;
/// More than what sockets hold on the way.
const ENDLESS: usize = 64 << 20;
/// As long as one may wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Set in a process that runs one test with an environment of its own.
const CHILD: &str = "LARDER_TEST_CHILD";

async fn call(url: String) -> Result<Answer, CallError> {
    let client = client("Larder test", CALL_MAX, true).expect("a client");
    send("the call", client.get(url)).await
}

/// Runs this test again in a process of its own with more variables. `false` in that process: there it is to be done.
fn done_in_child(test: &str, variables: &[(&str, String)]) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return false;
    }
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command
        .args([test, "--exact", "--nocapture"])
        .env(CHILD, "1");
    for (name, value) in variables {
        command.env(name, value);
    }
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("1 passed"), "{text}");
    true
}

/// A server that answers each call with what `answer` writes, and its address. What could not be sent is counted.
async fn server(
    answer: impl AsyncFn(&mut tokio::net::TcpStream) -> std::io::Result<()> + 'static,
) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let cut = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&cut);
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap_or(0) > 0
            {
            }
            if answer(&mut stream).await.is_err() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    (addr, cut)
}

#[tokio::test]
async fn of_an_endless_body_64_kibibytes_are_kept_and_no_more_is_read() {
    let tasks = tokio::task::LocalSet::new();
    tasks
        .run_until(async {
            let (addr, cut) = server(async |stream| {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {ENDLESS}\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                for _ in 0..ENDLESS / 65_536 {
                    stream.write_all(&[b'x'; 65_536]).await?;
                }
                Ok(())
            })
            .await;
            let answer = call(format!("http://{addr}/")).await.expect("an answer");
            assert_eq!(answer.body.len(), KEPT_BYTES_MAX);
            drop(answer);
            let told = async {
                while cut.load(Ordering::SeqCst) == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let waited = tokio::time::timeout(Duration::from_secs(30), told).await;
            waited.expect("the rest is not taken");
        })
        .await;
}

#[tokio::test]
async fn an_endless_head_is_cut() {
    let tasks = tokio::task::LocalSet::new();
    tasks
        .run_until(async {
            for line in ["x: y\r\n", "x"] {
                let (addr, _) = server(async move |stream| {
                    stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                    let part = line.repeat(65_536 / line.len());
                    for _ in 0..ENDLESS / 65_536 {
                        stream.write_all(part.as_bytes()).await?;
                    }
                    Ok(())
                })
                .await;
                let error = call(format!("http://{addr}/")).await.expect_err("cut");
                assert_eq!(error.kind, CallErrorKind::Retry { after: None });
                assert!(
                    error.message.contains("the connection broke"),
                    "{}",
                    error.message
                );
            }
        })
        .await;
}

/// The clock stands still and jumps to the next timer when everybody waits.
#[tokio::test(start_paused = true)]
async fn an_answer_that_drips_has_as_long_as_any_other() {
    let tasks = tokio::task::LocalSet::new();
    tasks
        .run_until(async {
            for begin in [
                "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
                "HTTP/1.1 200 OK\r\nx: ",
            ] {
                let (addr, _) = server(async move |stream| {
                    stream.write_all(begin.as_bytes()).await?;
                    loop {
                        stream.write_all(b"x").await?;
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                })
                .await;
                let begun = Instant::now();
                let error = call(format!("http://{addr}/")).await.expect_err("too slow");
                assert!(
                    error.message.contains("no answer in time"),
                    "{}",
                    error.message
                );
                assert_eq!(begun.elapsed().as_secs(), CALL_MAX.as_secs());
            }
        })
        .await;
}

/// A listener that takes nobody in: its queue is full.
#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_come_about_is_waited_for_five_seconds() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
        queue.push(stream);
    }
    let begun = Instant::now();
    let error = call(format!("http://{addr}/")).await.expect_err("no room");
    assert!(
        error.message.contains("no answer in time"),
        "{}",
        error.message
    );
    assert_eq!(begun.elapsed().as_secs(), CONNECT_MAX.as_secs());
}

/// Nothing is decompressed, so nothing can swell.
#[tokio::test]
async fn a_packed_body_stays_packed() {
    let tasks = tokio::task::LocalSet::new();
    tasks
        .run_until(async {
            for coding in ["gzip", "deflate", "br", "zstd"] {
                let (addr, _) = server(async move |stream| {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: 4\r\n\r\nbomb"
                    );
                    stream.write_all(head.as_bytes()).await
                })
                .await;
                let answer = call(format!("http://{addr}/")).await.expect("an answer");
                assert_eq!(answer.body, b"bomb", "{coding}");
            }
        })
        .await;
}

/// A server in a thread that answers 200 over TLS, and how many requests it has read.
fn tls_server(identity: &Identity) -> (SocketAddr, Arc<AtomicU32>) {
    let config: Arc<ServerConfig> = identity.server();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream);
            let mut head = [0; 1024];
            if stream.read(&mut head).is_ok_and(|read| read > 0) {
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                drop(stream.write_all(answer));
                drop(stream.flush());
            }
        }
    });
    (addr, seen)
}

fn for_servers(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
}

/// The process trusts one CA alone. Without the checks each of these servers would be called.
#[test]
fn a_server_with_a_bad_certificate_is_not_called() {
    let folder = tempfile::tempdir().expect("a folder");
    let (trusted, key) = (folder.path().join("ca.pem"), folder.path().join("key"));
    if std::env::var_os(CHILD).is_none() {
        let (pem, private) = Ca::new("trusted").to_pem();
        std::fs::write(&trusted, pem).expect("written");
        std::fs::write(&key, private).expect("written");
    }
    let at = |path: &std::path::Path| path.display().to_string();
    let variables = [
        ("SSL_CERT_FILE", at(&trusted)),
        ("SSL_CERT_DIR", String::new()),
        ("CA_KEY", at(&key)),
    ];
    let name = "outbound_calls::a_server_with_a_bad_certificate_is_not_called";
    if done_in_child(name, &variables) {
        return;
    }
    let read = |name| std::fs::read_to_string(std::env::var(name).unwrap()).unwrap();
    let trusted = Ca::with_key("trusted", &read("CA_KEY"));
    let other = Ca::new("other");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let called = |identity: Identity| {
        let (addr, seen) = tls_server(&identity);
        let url = format!("https://localhost:{}/", addr.port());
        let answer = runtime.block_on(call(url));
        (
            answer.map(|answer| answer.status.as_u16()),
            seen.load(Ordering::SeqCst),
        )
    };
    let (answer, seen) = called(trusted.sign("good", for_servers));
    assert_eq!((answer.expect("a good one is called"), seen), (200, 1));
    let bad: [(&str, Identity); 6] = [
        ("of another CA", other.sign("x", for_servers)),
        ("self-signed", Identity::self_signed(for_servers)),
        (
            "of another name",
            trusted.sign("x", |params| {
                for_servers(params);
                params.subject_alt_names =
                    vec![SanType::DnsName("localhost.example".try_into().unwrap())];
            }),
        ),
        (
            "expired",
            trusted.sign("x", |params| {
                for_servers(params);
                params.not_after = date_time_ymd(2020, 1, 1);
            }),
        ),
        (
            "of tomorrow",
            trusted.sign("x", |params| {
                for_servers(params);
                params.not_before = date_time_ymd(2090, 1, 1);
            }),
        ),
        (
            "for clients",
            trusted.sign("x", |params| {
                for_servers(params);
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }),
        ),
    ];
    for (what, identity) in bad {
        let (answer, seen) = called(identity);
        let error = answer.expect_err(what);
        assert!(
            error.message.contains("cannot connect"),
            "{what}: {}",
            error.message
        );
        assert_eq!(seen, 0, "{what}");
    }
}

/// Somebody's environment names a proxy. A token would pass through it.
#[test]
fn no_proxy_is_taken_from_the_environment() {
    let names = [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ];
    let proxy = format!("http://{}", answering("502 Bad Gateway"));
    let variables = names.map(|name| (name, proxy.clone()));
    let name = "outbound_calls::no_proxy_is_taken_from_the_environment";
    if done_in_child(name, &variables) {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = format!("http://{}/", answering("200 OK"));
    let control = runtime.block_on(reqwest::get(&url)).expect("an answer");
    assert_eq!(
        control.status(),
        502,
        "the environment counts for other clients"
    );
    let answer = runtime.block_on(call(url)).expect("called directly");
    assert_eq!(answer.status, 200);
}

/// A server in a thread that gives this answer to each request.
fn answering(status: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = [0; 1024];
            if stream.read(&mut head).is_ok_and(|read| read > 0) {
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                drop(stream.write_all(answer.as_bytes()));
            }
        }
    });
    addr
}
