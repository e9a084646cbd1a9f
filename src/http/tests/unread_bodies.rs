//! Whoever is answered before the request's body was read gets that answer, and can go on where the protocol
//! allows: over real sockets, for only there can an answer be lost.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::routing::post;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::StreamExt as _;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::http::server::{AtStop, Bounds, serve};

/// More than the sockets of both ends hold, so that it cannot arrive unless somebody reads.
const LARGE: usize = 900 * 1024;
const LIMIT: usize = 64 * 1024;

async fn first_part(request: Request) -> String {
    let mut parts = request.into_body().into_data_stream();
    let first = parts.next().await.unwrap().unwrap();
    format!("{} bytes", first.len().min(1))
}

async fn start() -> (SocketAddr, DropGuard) {
    let routes = Router::new()
        .route("/refuses", post(async || StatusCode::UNAUTHORIZED))
        .route("/takes", post(async |body: Bytes| body.len().to_string()))
        .route("/begins", post(first_part))
        .route(
            "/returns",
            post(async |request: Request| request.into_body()),
        )
        .layer(DefaultBodyLimit::max(LIMIT));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(serve(
        listener,
        routes,
        AtStop::Answer,
        Bounds::default(),
        stop.clone(),
    ));
    (addr, stop.drop_guard())
}

/// Somebody who writes HTTP by hand.
struct Caller {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Caller {
    async fn connect(addr: SocketAddr) -> Caller {
        let socket = TcpStream::connect(addr).await.unwrap();
        Caller {
            socket,
            read: Vec::new(),
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    async fn head(&mut self, path: &str, headers: &str) {
        let head = format!("POST {path} HTTP/1.1\r\nhost: larder\r\n{headers}\r\n\r\n");
        self.send(head.as_bytes()).await;
    }

    /// The next whole answer: its head in small letters, and its body.
    async fn answer(&mut self) -> (String, String) {
        loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                let head = String::from_utf8(self.read[..end].to_vec()).unwrap();
                let head = head.to_lowercase();
                let length = head.split("content-length: ").nth(1).unwrap();
                let length: usize = length.lines().next().unwrap().parse().unwrap();
                let all = end + 4 + length;
                if self.read.len() >= all {
                    let body = self.read[end + 4..all].to_vec();
                    self.read.drain(..all);
                    return (head, String::from_utf8(body).unwrap());
                }
            }
            let read = self.socket.read_buf(&mut self.read).await.unwrap();
            assert!(read > 0, "closed after {:?}", self.read.escape_ascii());
        }
    }

    /// The other side asks for the body.
    async fn asked(&mut self) {
        let mut asked = [0; 25];
        self.socket.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// Nothing more comes; the other side has closed.
    async fn closed(&mut self) {
        assert!(self.read.is_empty(), "{:?}", self.read.escape_ascii());
        let read = self.socket.read_buf(&mut self.read).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }

    /// A sound request, to see that the connection is in order.
    async fn goes_on(&mut self) {
        self.head("/takes", "content-length: 5").await;
        self.send(b"hello").await;
        let (head, body) = self.answer().await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert_eq!(body, "5");
    }
}

fn find(all: &[u8], part: &[u8]) -> Option<usize> {
    all.windows(part.len()).position(|window| window == part)
}

#[tokio::test]
async fn a_late_body_costs_neither_the_answer_nor_the_connection() {
    let (addr, _stop) = start().await;
    for path in ["/refuses", "/nowhere", "/begins"] {
        let mut caller = Caller::connect(addr).await;
        let large = vec![b'x'; LARGE];
        caller.head(path, &format!("content-length: {LARGE}")).await;
        caller.send(&large[..LARGE / 3]).await;
        // The answer waits for nothing.
        let (head, _) = caller.answer().await;
        assert!(!head.contains("connection: close"), "{head}");
        caller.send(&large[LARGE / 3..]).await;
        caller.goes_on().await;
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_and_read_away() {
    let (addr, _stop) = start().await;
    let mut caller = Caller::connect(addr).await;
    let headers = "transfer-encoding: chunked\r\nexpect: 100-continue";
    caller.head("/takes", headers).await;
    caller.asked().await;
    let chunk = format!("{LARGE:x}\r\n{}\r\n", "x".repeat(LARGE));
    caller.send(chunk.as_bytes()).await;
    let (head, _) = caller.answer().await;
    assert!(head.starts_with("http/1.1 413 "), "{head}");
    caller.send(b"0\r\n\r\n").await;
    caller.goes_on().await;
}

#[tokio::test]
async fn what_is_far_too_large_is_told_to_go() {
    const ANNOUNCED: usize = 64 * 1024 * 1024;
    let (addr, _stop) = start().await;
    let mut caller = Caller::connect(addr).await;
    caller
        .head("/refuses", &format!("content-length: {ANNOUNCED}"))
        .await;
    // As much as fits in the bound: it must not be what destroys the answer.
    caller.send(&vec![b'x'; LARGE]).await;
    let (head, _) = caller.answer().await;
    assert!(head.starts_with("http/1.1 401 "), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    // The rest is not taken.
    let rest = vec![b'x'; ANNOUNCED - LARGE];
    assert!(caller.socket.write_all(&rest).await.is_err());
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let (addr, _stop) = start().await;
    let mut caller = Caller::connect(addr).await;
    caller.head("/refuses", "content-length: 1000").await;
    let (head, _) = caller.answer().await;
    assert!(head.starts_with("http/1.1 401 "), "{head}");
    caller.closed().await;
}

#[tokio::test]
async fn nobody_is_asked_for_a_body_that_is_not_wanted() {
    let (addr, _stop) = start().await;
    let asking = "content-length: 5\r\nexpect: 100-continue";
    let mut caller = Caller::connect(addr).await;
    caller.head("/refuses", asking).await;
    let (head, _) = caller.answer().await;
    assert!(head.starts_with("http/1.1 401 "), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    caller.closed().await;

    let mut caller = Caller::connect(addr).await;
    caller.head("/takes", asking).await;
    caller.asked().await;
    caller.send(b"hello").await;
    let (head, body) = caller.answer().await;
    assert!(!head.contains("connection: close"), "{head}");
    assert_eq!(body, "5");
    caller.goes_on().await;
}

#[tokio::test]
async fn a_body_that_the_answer_still_reads_is_left_to_it() {
    let (addr, _stop) = start().await;
    let mut caller = Caller::connect(addr).await;
    let text = "abc".repeat(100_000);
    caller
        .head("/returns", &format!("content-length: {}", text.len()))
        .await;
    let (mut read, mut write) = caller.socket.split();
    let sent = async { write.write_all(text.as_bytes()).await.unwrap() };
    let got = async {
        let mut got = Vec::new();
        while find(&got, text.as_bytes()).is_none() {
            assert!(read.read_buf(&mut got).await.unwrap() > 0);
        }
    };
    tokio::join!(sent, got);
    caller.goes_on().await;
}
