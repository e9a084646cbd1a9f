//! Heads that are read strictly, and media types that are not.

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::http::server::{AtStop, Bounds, serve};

/// All that comes back for these bytes, sent in two parts, until the server closes.
async fn answer_to_parts(first: &[u8], second: &[u8]) -> String {
    let kind = async |headers: HeaderMap, body: Bytes| {
        format!(
            "served {} bytes, {:?}",
            body.len(),
            headers.get("content-type")
        )
    };
    let routes = Router::new().route("/", post(kind));
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
    let mut socket = TcpStream::connect(addr).await.unwrap();
    socket.write_all(first).await.unwrap();
    socket.write_all(second).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    stop.cancel();
    String::from_utf8(answer).unwrap().to_lowercase()
}

async fn answer_to(request: &str) -> String {
    answer_to_parts(request.as_bytes(), b"").await
}

/// The shapes by which requests are smuggled past a proxy, each with what is hidden behind it.
const AMBIGUOUS: &[(u16, &str)] = &[
    // Two lengths
    (400, "content-length: 5\r\ntransfer-encoding: chunked\r\n"),
    (400, "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    (400, "transfer-encoding:chunked\r\ncontent-length:0\r\n"),
    (400, "content-length: 5\r\ncontent-length: 6\r\n"),
    (400, "content-length: 5\r\ncontent-length: 5\r\n"),
    (400, "content-length: 5, 6\r\n"),
    (400, "content-length: 5, 5\r\n"),
    (
        400,
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
    ),
    // Lengths that are none
    (400, "content-length: +5\r\n"),
    (400, "content-length: -1\r\n"),
    (400, "content-length: 0x5\r\n"),
    (400, "content-length: 5 5\r\n"),
    (400, "content-length:\r\n"),
    (400, "content-length: 99999999999999999999\r\n"),
    // Codings that are not chunked, or look like it
    (501, "transfer-encoding: gzip, chunked\r\n"),
    (501, "transfer-encoding: chunked, chunked\r\n"),
    (400, "transfer-encoding: chunked, identity\r\n"),
    (400, "transfer-encoding: xchunked\r\n"),
    (400, "transfer-encoding: \"chunked\"\r\n"),
    (400, "transfer-encoding: \u{b}chunked\r\n"),
    (400, "transfer-encoding: chunked;x=y\r\n"),
    // Names that another reader may see or not
    (400, "transfer-encoding : chunked\r\n"),
    (400, "transfer-encoding\t: chunked\r\n"),
    (400, " transfer-encoding: chunked\r\n"),
    (400, "transfer-encoding\r\n: chunked\r\n"),
    (400, "x: y\r\n transfer-encoding: chunked\r\n"),
    (400, "x: y\r\n\ttransfer-encoding: chunked\r\n"),
    (400, "transfer-encoding:\r\n chunked\r\n"),
    // Ends of lines that another reader may see or not
    (400, "x: y\rtransfer-encoding: chunked\r\n"),
    (400, "x: y\r\rtransfer-encoding: chunked\r\n"),
    (400, "x: y\r\r\n"),
    (400, "\rcontent-length: 5\r\n"),
    (400, "x: y\ncontent-length: 5\r\n"),
    (400, "content-length: 5\n"),
    (400, "x: \0y\r\n"),
    (400, "no colon\r\n"),
];

#[tokio::test]
async fn what_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_served() {
    for (status, lines) in AMBIGUOUS {
        let hidden = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let sent = format!("POST / HTTP/1.1\r\nhost: a\r\n{lines}\r\n0\r\n\r\n{hidden}");
        let expected = format!("http/1.1 {status} ");
        let answer = answer_to(&sent).await;
        assert!(answer.starts_with(&expected), "{lines:?}: {answer}");
        assert!(!answer.contains("served"), "{lines:?}: {answer}");
        assert!(answer.contains("connection: close"), "{lines:?}: {answer}");
        // Behind a sound request, in one write and cut in the middle.
        let sound = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
        let sent = format!("{sound}{sent}");
        let (one, other) = sent.as_bytes().split_at(sound.len() + 40);
        for answer in [answer_to(&sent).await, answer_to_parts(one, other).await] {
            assert!(answer.starts_with("http/1.1 200 "), "{lines:?}: {answer}");
            assert!(answer.contains(&expected), "{lines:?}: {answer}");
            assert_eq!(answer.matches("served").count(), 1, "{lines:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn old_clients_send_no_chunks() {
    let head = "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = answer_to(head).await;
    assert!(answer.contains(" 400 "), "{answer}");
}

#[tokio::test]
async fn sound_requests_of_each_kind_follow_each_other() {
    let bodies = [
        "\r\n",
        "content-length: 3\r\n\r\nabc",
        "transfer-encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
        "Transfer-encoding:  chunked \r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\nx: y\r\n\r\n",
        "connection: close\r\ncontent-length: 3\r\n\r\nabc",
    ];
    let sent: String = bodies
        .map(|body| format!("\r\nPOST / HTTP/1.1\r\nhost: a\r\n{body}"))
        .concat();
    for size in [sent.len(), sent.len() / 2, sent.len() - 20] {
        let (one, other) = sent.as_bytes().split_at(size);
        let answer = answer_to_parts(one, other).await;
        assert_eq!(answer.matches("served 3 bytes").count(), 4, "{answer}");
        assert_eq!(answer.matches("served 0 bytes").count(), 1, "{answer}");
    }
}

#[tokio::test]
async fn a_request_names_exactly_one_host() {
    for hosts in ["", "host: a\r\nhost: a\r\n", "host: a\r\nHost: b\r\n"] {
        let answer = answer_to(&format!("POST / HTTP/1.1\r\n{hosts}\r\n")).await;
        assert!(answer.starts_with("http/1.1 400 "), "{hosts:?}: {answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    for host in [
        "a b", "a, b", "a,b", "a\tb", "a/b", "a@b", "é", "a:b", "a:1:2", ":80:", "::1", "[::1",
        "[a]", "[::1]80", "[::1]:a", "[]",
    ] {
        for version in ["1.0", "1.1"] {
            let sent = format!("POST / HTTP/{version}\r\nhost: {host}\r\n\r\n");
            let answer = answer_to(&sent).await;
            assert!(answer.contains(" 400 "), "{host:?}: {answer}");
        }
    }
    for host in [
        "a",
        "A.example:80",
        "a_b.example",
        "xn--bcher-kva.example.",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:8080",
        "a:",
        "",
    ] {
        let head = format!("POST / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = answer_to(&head).await;
        assert!(answer.starts_with("http/1.1 200 "), "{host:?}: {answer}");
    }
    let two = answer_to("POST / HTTP/1.0\r\nhost: a\r\nhost: a\r\n\r\n").await;
    assert!(two.contains(" 400 "), "{two}");
    let old = answer_to("POST / HTTP/1.0\r\n\r\n").await;
    assert!(old.contains(" 200 "), "{old}");
}

#[tokio::test]
async fn media_types_arrive_in_small_letters() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
    let sent = "Content-Type: Application/X-WWW-Form-Urlencoded; Charset=UTF-8\r\n\r\n";
    let answer = answer_to(&format!("{head}{sent}")).await;
    assert!(
        answer.contains("application/x-www-form-urlencoded"),
        "{answer}"
    );
}
