//! More connections than the listener may have, most of them silent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::http::server::{AtStop, Bounds, serve};

/// Only bounds a failing test.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    addr: SocketAddr,
    /// A permit ends one request for `/slow`.
    slow: Arc<Semaphore>,
    /// Has a permit for each form at `/slow` that came.
    came: Arc<Semaphore>,
    _stop: DropGuard,
}

impl Server {
    async fn start(bounds: Bounds) -> Server {
        let slow = Arc::new(Semaphore::new(0));
        let came = Arc::new(Semaphore::new(0));
        let (waits, form_waits) = (Arc::clone(&slow), Arc::clone(&slow));
        let form_came = Arc::clone(&came);
        let routes = Router::new()
            .route("/", get(async || "hello"))
            .route("/healthz", get(async || "ok"))
            .route("/form", post(async |_: String| "hello"))
            .route(
                "/slow",
                get(async move || {
                    waits.acquire().await.unwrap().forget();
                    "slow"
                })
                .post(async move |_: String| {
                    form_came.add_permits(1);
                    form_waits.acquire().await.unwrap().forget();
                    "slow"
                }),
            );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve(
            listener,
            routes,
            AtStop::Answer,
            bounds,
            stop.clone(),
        ));
        Server {
            addr,
            slow,
            came,
            _stop: stop.drop_guard(),
        }
    }

    /// A connection from `127.0.0.host`.
    async fn connect(&self, host: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, host));
        socket.bind((from, 0).into()).unwrap();
        socket.connect(self.addr).await.unwrap()
    }

    async fn ask(&self, host: u8, path: &str) -> (TcpStream, String) {
        let mut socket = self.connect(host).await;
        let answer = ask_on(&mut socket, path).await;
        (socket, answer)
    }
}

async fn begin(socket: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: larder\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
}

/// Sends the head of a form and nothing of its five bytes.
async fn begin_form(socket: &mut TcpStream) {
    let head = "POST /form HTTP/1.1\r\nhost: larder\r\ncontent-length: 5\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
}

async fn ask_on(socket: &mut TcpStream, path: &str) -> String {
    begin(socket, path).await;
    let answer = timeout(PATIENCE, answer(socket)).await;
    answer.expect("an answer")
}

/// One answer, or what came of it until the connection closed.
async fn answer(socket: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let got = socket.read_buf(&mut read).await.unwrap_or(0);
        let text = String::from_utf8_lossy(&read).to_lowercase();
        let whole = ["hello", "ok", "slow", "try again\n"].iter().any(|body| {
            text.ends_with(&format!("\r\n\r\n{body}"))
                || text.ends_with(&format!("at once, {body}"))
        });
        if got == 0 || whole {
            return text;
        }
    }
}

async fn is_closed(socket: &mut TcpStream) {
    let mut byte = [0];
    let read = timeout(PATIENCE, socket.read(&mut byte)).await;
    let read = read.expect("it is closed");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

fn bounds(connections_max: usize, per_address_max: usize, requests_max: usize) -> Bounds {
    Bounds {
        connections_max,
        per_address_max,
        requests_max,
        always: &["/healthz"],
    }
}

#[tokio::test]
async fn silent_connections_do_not_keep_others_out() {
    let server = Server::start(bounds(8, 8, 7)).await;
    let mut silent = Vec::new();
    let (mut kept, _) = server.ask(1, "/").await;
    for number in 0..1_000 {
        silent.push(server.connect(2 + (number % 200) as u8).await);
        if number % 4 == 0 {
            // Who goes on asking is not the one that has waited longest.
            let answer = ask_on(&mut kept, "/").await;
            assert!(answer.ends_with("hello"), "{answer}");
        }
        if number % 20 == 0 {
            for (path, body) in [("/healthz", "ok"), ("/", "hello")] {
                let (_, answer) = server.ask(1, path).await;
                assert!(answer.ends_with(body), "{answer}");
            }
        }
    }
    // All but the last are closed, the oldest first.
    for socket in silent.iter_mut().rev().skip(8) {
        is_closed(socket).await;
    }
}

#[tokio::test]
async fn one_address_closes_only_its_own() {
    let server = Server::start(bounds(100, 3, 90)).await;
    let (mut kept, _) = server.ask(1, "/").await;
    let mut flood = Vec::new();
    for _ in 0..50 {
        flood.push(server.connect(2).await);
    }
    for socket in flood.iter_mut().rev().skip(3) {
        is_closed(socket).await;
    }
    let answer = ask_on(&mut kept, "/").await;
    assert!(answer.ends_with("hello"), "{answer}");
    // The last of the flood may still ask.
    let answer = ask_on(flood.last_mut().unwrap(), "/").await;
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn requests_beyond_the_bound_are_refused_and_health_is_not() {
    let server = Server::start(bounds(4, 4, 2)).await;
    let mut busy = Vec::new();
    for host in [2, 3] {
        let mut socket = server.connect(host).await;
        begin(&mut socket, "/slow").await;
        busy.push(socket);
        let (_, answer) = server.ask(1, "/healthz").await;
        assert!(answer.ends_with("ok"), "{answer}");
    }
    let mut refused = String::new();
    for _ in 0..1_000 {
        (_, refused) = server.ask(1, "/").await;
        if refused.contains(" 503 ") {
            break;
        }
    }
    assert!(refused.contains("retry-after: 1"), "{refused}");
    assert!(refused.contains("connection: close"), "{refused}");
    for _ in 0..20 {
        let (_, answer) = server.ask(1, "/healthz").await;
        assert!(answer.ends_with("ok"), "{answer}");
    }
    server.slow.add_permits(2);
    for socket in &mut busy {
        let answer = answer(socket).await;
        assert!(
            answer.ends_with("slow"),
            "a request under way is not cut: {answer}"
        );
    }
    let (_, answer) = server.ask(1, "/").await;
    assert!(answer.ends_with("hello"), "{answer}");
}

/// Two addresses, since one may not have all connections. Each form is begun anew as soon as it is closed.
#[tokio::test]
async fn withheld_bodies_do_not_keep_others_out() {
    let server = Server::start(bounds(8, 4, 7)).await;
    let mut withheld = Vec::new();
    for number in 0..400 {
        let mut socket = server.connect(2 + (number % 2) as u8).await;
        begin_form(&mut socket).await;
        withheld.push(socket);
        if number % 20 == 19 {
            for (path, body) in [("/healthz", "ok"), ("/", "hello")] {
                let (_, answer) = server.ask(1, path).await;
                assert!(answer.ends_with(body), "{answer}");
            }
            let mut form = server.connect(1).await;
            begin_form(&mut form).await;
            form.write_all(b"whole").await.unwrap();
            let answer = timeout(PATIENCE, answer(&mut form)).await;
            let answer = answer.expect("an answer");
            assert!(answer.ends_with("hello"), "{answer}");
        }
    }
    // Its body comes late, but it comes.
    let last = withheld.last_mut().unwrap();
    last.write_all(b"whole").await.unwrap();
    let told = timeout(PATIENCE, answer(last)).await.expect("an answer");
    assert!(told.ends_with("hello"), "{told}");
    for socket in withheld.iter_mut().rev().skip(8) {
        is_closed(socket).await;
    }
}

/// A handler that has the whole body is at work: nobody takes its place.
#[tokio::test]
async fn a_form_that_came_is_not_cut() {
    let server = Server::start(bounds(4, 4, 2)).await;
    let mut busy = server.connect(2).await;
    let head = "POST /slow HTTP/1.1\r\nhost: larder\r\ncontent-length: 5\r\n\r\nwhole";
    busy.write_all(head.as_bytes()).await.unwrap();
    let came = timeout(PATIENCE, server.came.acquire()).await;
    came.expect("it is at work").unwrap().forget();
    let mut withheld = Vec::new();
    for _ in 0..40 {
        let mut socket = server.connect(3).await;
        begin_form(&mut socket).await;
        withheld.push(socket);
    }
    let (_, other) = server.ask(1, "/").await;
    assert!(other.ends_with("hello"), "{other}");
    server.slow.add_permits(1);
    let told = timeout(PATIENCE, answer(&mut busy)).await;
    let told = told.expect("an answer");
    assert!(told.ends_with("slow"), "{told}");
}
