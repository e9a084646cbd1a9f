//! Heads and bodies of HTTP requests, over real sockets.

use larder::sandbox::AddonId;
use reqwest::Client;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::edges;
use crate::support::db::Database;
use crate::support::full_service::{FullService, PASSWORD, Wishes};

const HEAD: usize = 16 << 10;
/// Of pages and of Heroku's calls alike.
const BODY: usize = 64 << 10;
const BODY_TOO_LARGE: u16 = 413;
const HEAD_TOO_LARGE: u16 = 431;

/// A kind of request that is made as large as one likes.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Head,
    Page,
    SignOn,
    Order,
    PlanChange,
}

struct Caller {
    base: String,
    http: Client,
    cache: AddonId,
}

impl Caller {
    /// The status of the answer to a request of this size.
    async fn status(&self, kind: Kind, bytes: usize) -> u16 {
        let (http, base) = (&self.http, &self.base);
        let collection = format!("{base}/heroku/resources");
        let order = json!({"uuid": self.cache, "plan": "dev", "region": "us"});
        let form = |request: reqwest::RequestBuilder, field: &str| {
            let filled = format!("{field}{}", "x".repeat(bytes - field.len()));
            request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(filled)
        };
        let call = |request: reqwest::RequestBuilder, body: String| {
            let blanks = " ".repeat(bytes - body.len());
            request
                .basic_auth("larder", Some(PASSWORD))
                .body(format!("{body}{blanks}"))
        };
        let request = match kind {
            Kind::Head => return self.status_of_head(bytes).await,
            Kind::Page => form(http.post(format!("{base}/logout")), "csrf="),
            Kind::SignOn => form(http.post(format!("{base}/heroku/sso")), "email="),
            Kind::Order => call(http.post(&collection), order.to_string()),
            Kind::PlanChange => {
                let one = format!("{collection}/{}", self.cache);
                call(http.put(one), json!({"plan": "dev"}).to_string())
            }
        };
        request.send().await.expect("an answer").status().as_u16()
    }

    /// A head of so many bytes, with the blank line at its end.
    async fn status_of_head(&self, bytes: usize) -> u16 {
        let addr = self.base.trim_start_matches("http://");
        let mut socket = TcpStream::connect(addr).await.expect("it listens");
        let begin = "GET /healthz HTTP/1.1\r\nhost: larder\r\nconnection: close\r\nx: ";
        let end = "\r\n\r\n";
        let filled = "x".repeat(bytes - begin.len() - end.len());
        let head = [begin, &filled, end].concat();
        // Who has been refused may find the connection closed while it still sends.
        drop(socket.write_all(head.as_bytes()).await);
        let mut answer = Vec::new();
        drop(socket.read_to_end(&mut answer).await);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        status
            .and_then(|status| status.parse().ok())
            .expect(&answer)
    }
}

/// The order is repeated, and is the same each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_and_bodies_are_taken_to_their_limits() {
    let service = FullService::start(Database::sqlite(), Wishes::default()).await;
    let client = Client::builder().redirect(reqwest::redirect::Policy::none());
    let caller = Caller {
        base: service.base.clone(),
        http: client.no_proxy().build().expect("a client"),
        cache: AddonId::generate(),
    };
    for (kind, limit, fits, too_large) in [
        (Kind::Head, HEAD, 200, HEAD_TOO_LARGE),
        (Kind::Page, BODY, 200, BODY_TOO_LARGE),
        (Kind::SignOn, BODY, 403, BODY_TOO_LARGE),
        (Kind::Order, BODY, 201, BODY_TOO_LARGE),
        (Kind::PlanChange, BODY, 200, BODY_TOO_LARGE),
    ] {
        for bytes in edges(limit) {
            let expected = if bytes <= limit { fits } else { too_large };
            let status = caller.status(kind, bytes).await;
            assert_eq!(status, expected, "{kind:?} of {bytes} bytes");
        }
    }
    service.stop().await;
}
