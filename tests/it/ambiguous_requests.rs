//! Requests that a proxy before us may read in another way, at the ports of a whole service: refused on each of them. And what
//! is sound though it looks odd.

use larder::sandbox::{ProvisionOptions, User};
use reqwest::Url;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::db::Database;
use crate::support::full_service::{FullService, Wishes, free_port};

/// All that comes back from `addr` for these bytes, until it closes.
async fn answer_to(addr: &str, sent: &str) -> String {
    let mut socket = TcpStream::connect(addr).await.expect("it listens");
    // Who has been refused may find the connection closed while it still sends.
    drop(socket.write_all(sent.as_bytes()).await);
    let mut answer = Vec::new();
    drop(socket.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_port_refuses_what_can_be_read_in_two_ways() {
    let metrics = format!("127.0.0.1:{}", free_port());
    let wishes = Wishes {
        settings: vec![("LARDER_METRICS_ADDR".to_owned(), metrics.clone())],
        ..Wishes::default()
    };
    let service = FullService::start(Database::sqlite(), wishes).await;
    let host_of = |url: &str| url.trim_start_matches("http://").to_owned();
    let sandbox = host_of(service.sandbox.url());
    for addr in [host_of(&service.base), metrics, sandbox] {
        // Behind each there is a request that would be served if the first one ended elsewhere.
        let hidden = "GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        for head in [
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nHost: b\r\n",
            "GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n",
            "GET / HTTP/1.1\r\nhost: a b\r\n",
            "GET / HTTP/1.1\r\nhost: a, b\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n",
        ] {
            let sent = format!("{head}\r\n0\r\n\r\n{hidden}");
            let answer = answer_to(&addr, &sent).await;
            let status = answer.split(' ').nth(1);
            assert_eq!(status, Some("400"), "{addr}, {head:?}: {answer}");
            assert_eq!(
                answer.matches("HTTP/1.").count(),
                1,
                "{addr}, {head:?}: {answer}"
            );
        }
        let sound = answer_to(&addr, hidden).await;
        assert!(!sound.contains(" 400 "), "{addr}: {sound}");
    }
    service.stop().await;
}

/// Media types compare without case, also where a form must be one to be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_on_whose_media_type_is_in_capitals_is_one() {
    let service = FullService::start(Database::sqlite(), Wishes::default()).await;
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let options = ProvisionOptions::default();
    let made = service.sandbox.provision(shop, "dev", options).await;
    let addon = made.expect("a cache").id;
    let (url, form) = service
        .sandbox
        .sso_form(addon, &User::default())
        .expect("a form");
    let url = Url::parse_with_params(&url, &form).expect("an address");
    let body = url.query().expect("the form");
    let addr = service.base.trim_start_matches("http://");
    let sent = format!(
        "POST {} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: Application/X-WWW-Form-Urlencoded; Charset=UTF-8\r\n\r\n{body}",
        url.path(),
        body.len()
    );
    let answer = answer_to(addr, &sent).await;
    assert!(answer.starts_with("HTTP/1.1 303 "), "{answer}");
    service.stop().await;
}
