//! How long a caller may keep the server waiting. The clock of these tests stands still and jumps to the next timer
//! when everybody waits.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::http::server::{AtStop, Bounds, serve};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: larder\r\n\r\n";
/// Of the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// Between two requests.
const IDLE: Duration = Duration::from_secs(75);
/// Longer than a head may take; a handler may.
const WORK: Duration = Duration::from_secs(12);

async fn connect() -> (TcpStream, DropGuard) {
    let slow = async || {
        sleep(WORK).await;
        "done"
    };
    let routes = Router::new()
        .route("/", get(async || "hello"))
        .route("/slow", get(slow));
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
    (TcpStream::connect(addr).await.unwrap(), stop.drop_guard())
}

async fn request(socket: &mut TcpStream) {
    socket.write_all(REQUEST).await.unwrap();
    answered(socket, "hello").await;
}

async fn answered(socket: &mut TcpStream, body: &str) {
    let mut answer = Vec::new();
    while !answer.ends_with(body.as_bytes()) {
        let read = socket.read_buf(&mut answer).await.unwrap();
        assert!(read > 0, "closed after {:?}", answer.escape_ascii());
    }
}

/// How long the server waits until it closes.
async fn patience(socket: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    let mut more = [0; 16];
    assert!(matches!(socket.read(&mut more).await, Ok(0) | Err(_)));
    begun.elapsed()
}

fn assert_about(waited: Duration, due: Duration) {
    let later = waited.abs_diff(due);
    assert!(
        later < Duration::from_millis(100),
        "{waited:?}, not {due:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_never_ends_a_head_is_cut_off() {
    let begun: [&[u8]; 4] = [
        b"",
        b"G",
        b"GET / HTTP/1.1\r\nhost: larder\r\n",
        // as HTTP/2 begins as well
        b"PR",
    ];
    for part in begun {
        let (mut socket, _stop) = connect().await;
        socket.write_all(part).await.unwrap();
        assert_about(patience(&mut socket).await, HEAD);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_drips_is_cut_off_as_well() {
    let (socket, _stop) = connect().await;
    let (mut read, mut write) = socket.into_split();
    let begun = Instant::now();
    let drip = async {
        for byte in REQUEST {
            sleep(Duration::from_secs(1)).await;
            if write.write_all(&[*byte]).await.is_err() {
                // Cut off; the reader tells when.
                std::future::pending::<()>().await;
            }
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = drip => panic!("all of it was taken"),
        _ = read.read_to_end(&mut answer) => {}
    }
    assert_about(begun.elapsed(), HEAD);
}

#[tokio::test(start_paused = true)]
async fn between_requests_there_is_time() {
    let (mut socket, _stop) = connect().await;
    for _ in 0..2 {
        request(&mut socket).await;
        // A load balancer keeps it for a minute.
        sleep(Duration::from_secs(60)).await;
    }
    request(&mut socket).await;
    assert_about(patience(&mut socket).await, IDLE);
}

#[tokio::test(start_paused = true)]
async fn a_second_head_has_as_long_as_the_first() {
    let (mut socket, _stop) = connect().await;
    request(&mut socket).await;
    sleep(Duration::from_secs(30)).await;
    socket.write_all(&REQUEST[..9]).await.unwrap();
    assert_about(patience(&mut socket).await, HEAD);
}

#[tokio::test(start_paused = true)]
async fn work_may_take_longer_than_a_head() {
    let (mut socket, _stop) = connect().await;
    let head = b"GET /slow HTTP/1.1\r\nhost: larder\r\n\r\n";
    socket.write_all(head).await.unwrap();
    answered(&mut socket, "done").await;
    request(&mut socket).await;
}
