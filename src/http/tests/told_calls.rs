//! What the log is told of a call to another service (security.md OB-10).

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::http::outbound::{client, send};

#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn of_a_call_the_log_has_host_path_status_and_duration() {
    let printed = Printed::default();
    let into = printed.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || into.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"SENTMARKER") {
            stream.read_buf(&mut seen).await.unwrap();
        }
        let answer =
            b"HTTP/1.1 202 Accepted\r\ncontent-length: 10\r\nconnection: close\r\n\r\nBODYMARKER";
        stream.write_all(answer).await.unwrap();
    });
    let http = client("Larder test", Duration::from_secs(15), true).unwrap();
    let uuid = "01234567-89ab-cdef-0123-456789abcdef";
    let hash = "q8Yk3Zr0pX5t7vN1m2B4c6D8e0F2g4H6j8K0l2M4n6P";
    let url =
        format!("http://USERMARKER:PASSMARKER@{addr}/addons/{uuid}/{hash}/config?code=QUERYMARKER");
    let request = http
        .post(&url)
        .header("x", "HEADERMARKER")
        .body("SENTMARKER");
    send("config push", request).await.unwrap();
    // Nobody listens there any more.
    let request = http.post(&url).body("SENTMARKER");
    send("config push", request).await.unwrap_err();

    let log = String::from_utf8(printed.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("called: config push"))
        .collect();
    assert_eq!(lines.len(), 2, "{log}");
    for line in &lines {
        assert!(
            line.contains(&format!("host={addr} path=/addons/{uuid}/***/config ")),
            "{line}"
        );
        assert!(line.contains("elapsed_us="), "{line}");
    }
    assert!(
        lines[0].contains("status=202") && !lines[1].contains("status="),
        "{log}"
    );
    assert!(!log.contains("MARKER") && !log.contains(hash), "{log}");
}
