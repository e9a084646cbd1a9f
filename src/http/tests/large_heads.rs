//! How large a head may be (security.md PA-8). The clock stands still and jumps to the next timer when everybody waits.

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::http::server::{AtStop, Bounds, serve};

/// Request line and headers may take this much.
const MAX: usize = 16 * 1024;

/// What a server answers to these bytes until it closes or waits in vain for more.
async fn answer(head: &[u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let routes = Router::new().route("/", get(async || "hello"));
    tokio::spawn(serve(
        listener,
        routes,
        AtStop::Answer,
        Bounds::default(),
        stop,
    ));
    let mut socket = TcpStream::connect(addr).await.unwrap();
    // Who has been refused may find the connection closed while it still sends.
    drop(socket.write_all(head).await);
    let mut answer = Vec::new();
    drop(socket.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A head of so many bytes up to the blank line that ends it.
fn head(bytes: usize) -> Vec<u8> {
    let begin = "GET / HTTP/1.1\r\nhost: larder\r\nconnection: close\r\nx: ";
    let mut head = begin.as_bytes().to_vec();
    head.resize(bytes - 4, b'x');
    head
}

#[tokio::test(start_paused = true)]
async fn a_head_of_16_kibibytes_is_read() {
    for bytes in [100, MAX - 1, MAX] {
        let whole = [head(bytes), b"\r\n\r\n".to_vec()].concat();
        let answer = answer(&whole).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{bytes}: {answer:?}");
    }
}

/// It is refused at once, with its end still to come: nobody waits ten seconds for that.
#[tokio::test(start_paused = true)]
async fn a_longer_one_is_refused() {
    for bytes in [MAX + 4, 2 * MAX, 10 * MAX] {
        let answer = answer(&head(bytes)).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{bytes}: {answer:?}");
    }
}
