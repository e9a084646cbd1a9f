//! The node's side, against control processes that answer as they are told.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, LOCATION};
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;

use super::{ANSWER_BYTES_MAX, HttpLink, HttpLinkError, HttpLinkSettings};
use crate::cluster::link::wire::{ChangesQuery, Home, Introduction, Report, VERSION, Welcome};
use crate::cluster::link::{ControlLink as _, LinkError};
use crate::domain::NodeId;
use crate::http::outbound::Url;

const PRESENT: &str = "the present token";
const PREVIOUS: &str = "the previous token";
const FIRST: &str = "the node's first token";
const SECOND: &str = "the node's second token";

/// A control process.
struct Control {
    url: Url,
    /// The last part of each call's path, and the token that came with it.
    calls: Arc<Mutex<Vec<(String, String)>>>,
}

impl Control {
    /// It gives `answer` to each call's last part of the path and token.
    async fn start(answer: fn(&str, &str) -> Response) -> Control {
        let calls: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let noted = Arc::clone(&calls);
        let routes = Router::new().fallback(move |request: Request| {
            let noted = Arc::clone(&noted);
            async move {
                let (_, call) = request.uri().path().rsplit_once('/').unwrap();
                let shown = request.headers()[AUTHORIZATION].to_str().unwrap();
                let token = shown.strip_prefix("Bearer ").unwrap();
                noted.lock().push((call.to_owned(), token.to_owned()));
                answer(call, token)
            }
        });
        let (listener, url) = listen().await;
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Control { url, calls }
    }

    /// The calls since this was asked last.
    fn take_calls(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.calls.lock())
    }
}

async fn listen() -> (TcpListener, Url) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, Url::parse(&format!("http://{addr}")).unwrap())
}

/// Where nobody listens.
async fn nowhere() -> Url {
    listen().await.1
}

fn settings(urls: &[&Url]) -> HttpLinkSettings {
    HttpLinkSettings {
        control_urls: urls.iter().map(|url| (*url).clone()).collect(),
        ca_pem: None,
        enrolment: vec![PRESENT.into(), PREVIOUS.into()],
        allow_http: false,
    }
}

fn link_to(urls: &[&Url]) -> HttpLink {
    HttpLink::new(settings(urls)).unwrap()
}

async fn join(link: &HttpLink) -> Result<Welcome, LinkError> {
    let introduction = Introduction {
        version: VERSION,
        known_as: None,
        cluster: "c1".to_owned(),
        region: "us".to_owned(),
        proxy_hostname: "p1.example.net".to_owned(),
        proxy_port: 11_211,
        memory_bytes: 1 << 30,
        home: Home {
            id: "m:1:2".to_owned(),
            path: "/var/lib/larder".to_owned(),
        },
    };
    link.join(introduction).await
}

fn node() -> NodeId {
    "node_1".parse().unwrap()
}

async fn report(link: &HttpLink) -> Result<(), LinkError> {
    link.report(&node(), &Report::default()).await
}

fn calls(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(call, token): &(&str, &str)| ((*call).to_owned(), (*token).to_owned());
    list.iter().map(owned).collect()
}

fn token(token: &str) -> serde_json::Value {
    json!({"token": token, "lifetime_secs": 3_600})
}

fn ok(body: serde_json::Value) -> Response {
    body.to_string().into_response()
}

fn refusal(status: StatusCode) -> Response {
    let body = json!({"error": "for this reason"});
    (status, body.to_string()).into_response()
}

/// All is well, whatever token is shown.
fn content(call: &str, _: &str) -> Response {
    match call {
        "join" => ok(json!({"version": VERSION, "node": "node_1", "token": token(FIRST)})),
        "token" => ok(token(SECOND)),
        "changes" => ok(json!({
            "revision": 9, "complete": true, "caches": [], "authorities": [], "usernames": [],
        })),
        _ => ok(json!({})),
    }
}

#[tokio::test]
async fn a_node_goes_on_to_the_next_control_process_and_stays_there() {
    let busy = Control::start(|_, _| refusal(StatusCode::SERVICE_UNAVAILABLE)).await;
    let good = Control::start(content).await;
    let link = link_to(&[&nowhere().await, &busy.url, &good.url]);
    join(&link).await.unwrap();
    assert_eq!(busy.take_calls(), calls(&[("join", PRESENT)]));
    report(&link).await.unwrap();
    let changes = link.changes_since(&node(), ChangesQuery::default()).await;
    assert_eq!(changes.unwrap().revision, 9);
    assert_eq!(busy.take_calls(), calls(&[]), "another one answers");
    let own = [("join", PRESENT), ("report", FIRST), ("changes", FIRST)];
    assert_eq!(good.take_calls(), calls(&own));
}

#[tokio::test]
async fn without_an_answer_the_last_reason_is_told() {
    let busy = Control::start(|_, _| refusal(StatusCode::SERVICE_UNAVAILABLE)).await;
    let dead = nowhere().await;
    let Err(LinkError::Away(why)) = join(&link_to(&[&dead, &busy.url])).await else {
        panic!("there is an answer");
    };
    assert!(why.ends_with(": for this reason"), "{why}");
    let Err(LinkError::Away(why)) = join(&link_to(&[&busy.url, &dead])).await else {
        panic!("there is an answer");
    };
    assert!(why.contains("cannot connect (Connection refused"), "{why}");
}

#[tokio::test]
async fn both_tokens_of_enrolment_are_tried() {
    let control = Control::start(|call, token| match token {
        PREVIOUS => content(call, token),
        _ => refusal(StatusCode::UNAUTHORIZED),
    })
    .await;
    join(&link_to(&[&control.url])).await.unwrap();
    let tried = [("join", PRESENT), ("join", PREVIOUS)];
    assert_eq!(control.take_calls(), calls(&tried));

    let strict = Control::start(|_, _| refusal(StatusCode::UNAUTHORIZED)).await;
    let refused = join(&link_to(&[&strict.url])).await;
    assert!(
        matches!(&refused, Err(LinkError::NotAdmitted(why)) if why == "for this reason"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_and_the_call_is_repeated() {
    let control = Control::start(|call, token| match (call, token) {
        ("report" | "token", FIRST) => refusal(StatusCode::UNAUTHORIZED),
        _ => content(call, token),
    })
    .await;
    let link = link_to(&[&control.url]);
    join(&link).await.unwrap();
    control.take_calls();
    report(&link).await.unwrap();
    let made = [
        ("report", FIRST),
        ("token", FIRST),
        ("token", PRESENT),
        ("report", SECOND),
    ];
    assert_eq!(control.take_calls(), calls(&made));
    report(&link).await.unwrap();
    assert_eq!(control.take_calls(), calls(&[("report", SECOND)]));
}

/// Whose tokens are all refused asks once each time, and does not go round.
#[tokio::test]
async fn a_call_is_repeated_once() {
    let control = Control::start(|call, token| match call {
        "report" => refusal(StatusCode::UNAUTHORIZED),
        _ => content(call, token),
    })
    .await;
    let link = link_to(&[&control.url]);
    join(&link).await.unwrap();
    control.take_calls();
    let refused = report(&link).await;
    assert!(
        matches!(refused, Err(LinkError::NotAdmitted(_))),
        "{refused:?}"
    );
    let made = [("report", FIRST), ("token", FIRST), ("report", SECOND)];
    assert_eq!(control.take_calls(), calls(&made));
}

/// Lets time pass while nothing is under way.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_token_is_renewed_after_half_of_its_lifetime() {
    let control = Control::start(content).await;
    let link = link_to(&[&control.url]);
    join(&link).await.unwrap();
    pass(Duration::from_secs(1_000)).await;
    report(&link).await.unwrap();
    let early = [("join", PRESENT), ("report", FIRST)];
    assert_eq!(control.take_calls(), calls(&early));
    pass(Duration::from_secs(1_000)).await;
    report(&link).await.unwrap();
    let renewed = [("token", FIRST), ("report", SECOND)];
    assert_eq!(control.take_calls(), calls(&renewed));
    // One that has ended is not shown any more.
    pass(Duration::from_secs(4_000)).await;
    report(&link).await.unwrap();
    let renewed = [("token", PRESENT), ("report", SECOND)];
    assert_eq!(control.take_calls(), calls(&renewed));
}

#[tokio::test]
async fn the_old_token_stays_in_use_until_a_renewal_works() {
    let control = Control::start(|call, token| match call {
        "token" => refusal(StatusCode::SERVICE_UNAVAILABLE),
        _ => content(call, token),
    })
    .await;
    let link = link_to(&[&control.url]);
    join(&link).await.unwrap();
    pass(Duration::from_secs(2_000)).await;
    control.take_calls();
    report(&link).await.unwrap();
    report(&link).await.unwrap();
    let made = [("token", FIRST), ("report", FIRST), ("report", FIRST)];
    assert_eq!(
        control.take_calls(),
        calls(&made),
        "it is not asked for each time"
    );
}

#[tokio::test]
async fn who_has_not_joined_calls_nobody() {
    let control = Control::start(content).await;
    let refused = report(&link_to(&[&control.url])).await;
    assert!(
        matches!(refused, Err(LinkError::NotAdmitted(_))),
        "{refused:?}"
    );
    assert_eq!(control.take_calls(), calls(&[]));
}

#[tokio::test]
async fn each_status_has_its_meaning() {
    let control = Control::start(|call, token| match call {
        "report" => refusal(StatusCode::FORBIDDEN),
        "changes" => refusal(StatusCode::CONFLICT),
        _ => content(call, token),
    })
    .await;
    let link = link_to(&[&control.url]);
    join(&link).await.unwrap();
    let foreign = report(&link).await;
    assert!(
        matches!(foreign, Err(LinkError::NotAdmitted(_))),
        "{foreign:?}"
    );
    let refused = link.changes_since(&node(), ChangesQuery::default()).await;
    assert!(matches!(refused, Err(LinkError::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn an_answer_has_a_bound() {
    let control = Control::start(|call, token| match call {
        "report" => ok(json!({"more": "x".repeat(ANSWER_BYTES_MAX)})),
        _ => content(call, token),
    })
    .await;
    let link = link_to(&[&control.url]);
    join(&link).await.unwrap();
    let away = report(&link).await;
    assert!(
        matches!(&away, Err(LinkError::Away(why)) if why.ends_with("more than 65536 bytes")),
        "{away:?}"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let control = Control::start(|call, token| match call {
        "join" => (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, "/elsewhere")]).into_response(),
        _ => content(call, token),
    })
    .await;
    let away = join(&link_to(&[&control.url])).await;
    assert!(matches!(away, Err(LinkError::Away(_))), "{away:?}");
    assert_eq!(control.take_calls(), calls(&[("join", PRESENT)]));
}

/// A page of a proxy may pass. A message of another release does not, and nothing of it is told, since it may be a key.
#[tokio::test]
async fn what_cannot_be_read_is_not_quoted() {
    let proxy = Control::start(|_, _| "<html>maintenance</html>".into_response()).await;
    let away = join(&link_to(&[&proxy.url])).await;
    assert!(matches!(away, Err(LinkError::Away(_))), "{away:?}");

    let newer = |_: &str, _: &str| ok(json!({"version": 1, "node": "n", "token": SECOND}));
    let newer = Control::start(newer).await;
    let Err(LinkError::Refused(why)) = join(&link_to(&[&newer.url])).await else {
        panic!("it was read");
    };
    assert!(!why.contains(SECOND), "{why}");
}

#[test]
fn tokens_do_not_leave_the_machine_in_plain_text() {
    let url = |text| Url::parse(text).unwrap();
    let outside = url("http://control.example.com:7000");
    let refused = HttpLink::new(settings(&[&url("https://a.example.com"), &outside]));
    let Some(HttpLinkError::PlainHttp(place)) = refused.err() else {
        panic!("it is allowed");
    };
    assert_eq!(place, "control.example.com:7000");
    let allowed = HttpLinkSettings {
        allow_http: true,
        ..settings(&[&outside])
    };
    assert!(HttpLink::new(allowed).is_ok());
    for inside in ["http://localhost:1", "http://127.0.0.2:1", "http://[::1]:1"] {
        assert!(HttpLink::new(settings(&[&url(inside)])).is_ok(), "{inside}");
    }
}

#[test]
fn a_link_without_an_address_or_an_authority_is_none() {
    let refused = HttpLink::new(settings(&[])).err();
    assert!(matches!(refused, Some(HttpLinkError::NoControlUrl)));
    let empty = HttpLinkSettings {
        ca_pem: Some(b"no certificate\n".to_vec()),
        ..settings(&[&Url::parse("https://control.example.com").unwrap()])
    };
    let refused = HttpLink::new(empty).err();
    assert!(matches!(refused, Some(HttpLinkError::Client(_))));
}
