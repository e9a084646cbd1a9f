//! The layers around routes that misbehave in every way.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::BytesRejection;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post};
use tower::ServiceExt;

use super::*;
use crate::domain::ConfigVarNames;

const HASH: &str = "q8Yk3Zr0pX5t7vN1m2B4c6D8e0F2g4H6j8K0l2M4n6P";

fn settings(public_url: &str) -> Arc<WebSettings> {
    let mut settings = WebSettings::new(
        public_url.parse().unwrap(),
        true,
        "Larder".to_owned(),
        ConfigVarNames::with_prefix("MEMCACHIER"),
    );
    settings.request_timeout = Duration::from_millis(50);
    Arc::new(settings)
}

async fn panics() -> &'static str {
    panic!("the password is hunter2")
}

async fn takes(body: Result<Bytes, BytesRejection>) -> Result<String, PageError> {
    let body = body.map_err(|_| PageError::TooLarge)?;
    Ok(body.len().to_string())
}

fn app(public_url: &str) -> Router {
    let routes = Router::new()
        .route("/fine", get(async || "fine"))
        .route("/kept", get(async || ([(CACHE_CONTROL, "public")], "x")))
        .route("/panics", get(panics))
        .route("/hangs", get(std::future::pending::<()>))
        .route("/takes", post(takes))
        .route("/d/{sso_hash}", get(async || PageError::NotFound))
        .route("/caches/{id}/full", get(async || PageError::PrimaryStays))
        .route("/caches/{id}/away", get(async || PageError::Unavailable))
        .method_not_allowed_fallback(async || PageError::MethodNotAllowed)
        .fallback(async || PageError::NotFound);
    around(routes, &settings(public_url))
}

async fn ask(method: Method, path: &str, body: Body) -> (Response, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(body)
        .unwrap();
    answer_to(request).await
}

async fn answer_to(request: Request<Body>) -> (Response, String) {
    let answer = app("https://cache.example.com")
        .oneshot(request)
        .await
        .unwrap();
    let (parts, body) = answer.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    (Response::from_parts(parts, Body::empty()), text)
}

async fn fetch(path: &str) -> (Response, String) {
    ask(Method::GET, path, Body::empty()).await
}

#[tokio::test]
async fn every_answer_carries_the_headers() {
    for (path, status) in [
        ("/fine", 200),
        ("/nowhere", 404),
        ("/takes", 405),
        ("/caches/7/full", 409),
        ("/panics", 500),
        ("/hangs", 503),
    ] {
        let (answer, _) = fetch(path).await;
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let header = |name: &str| {
            let value = answer.headers().get(name);
            value.unwrap_or_else(|| panic!("{path} lacks {name}"))
        };
        let policy = header("content-security-policy").to_str().unwrap();
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"));
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("x-frame-options"), "DENY");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin");
        let refused = header("permissions-policy").to_str().unwrap();
        assert_eq!(refused, "camera=(), geolocation=(), microphone=()");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("cross-origin-opener-policy"), "same-origin");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("strict-transport-security"), "max-age=63072000");
        assert_eq!(header("x-request-id").len(), 32);
    }
}

#[tokio::test]
async fn plain_http_promises_no_https_and_files_may_be_kept() {
    let request = Request::builder().uri("/kept").body(Body::empty()).unwrap();
    let answer = app("http://127.0.0.1:8080").oneshot(request).await.unwrap();
    assert!(!answer.headers().contains_key("strict-transport-security"));
    assert_eq!(answer.headers()["cache-control"], "public");
}

#[tokio::test]
async fn a_panic_says_nothing_of_itself() {
    let (answer, page) = fetch("/panics").await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(page.contains("Something went wrong on our side"));
    assert!(!page.contains("hunter2"));
}

#[tokio::test]
async fn bodies_up_to_the_limit_are_taken() {
    for (size, status) in [(65_535, 200), (65_536, 200), (65_537, 413), (655_360, 413)] {
        // Announced, as browsers and providers do.
        let request = Request::post("/takes")
            .header(CONTENT_LENGTH, size)
            .body(Body::from(vec![b'x'; size]))
            .unwrap();
        let (answer, page) = answer_to(request).await;
        assert_eq!(answer.status().as_u16(), status, "{size}");
        let worded = page.contains("That was too much");
        assert_eq!(worded, status == 413, "{size}: the reader words it");
    }
}

#[tokio::test]
async fn what_is_unknown_looks_the_same_everywhere() {
    let (_, nowhere) = fetch("/nowhere").await;
    let (_, old_hash) = fetch(&format!("/d/{HASH}")).await;
    assert_eq!(nowhere, old_hash);
    assert!(nowhere.contains("There is nothing here"));
    assert!(!nowhere.contains("/caches/"));
}

#[tokio::test]
async fn a_fault_on_the_dashboard_leads_back_to_it() {
    let (_, page) = fetch("/caches/7/full").await;
    assert!(page.contains("href=\"/caches/7\""), "{page}");
    let (answer, _) = fetch("/caches/7/away").await;
    assert_eq!(answer.headers()["retry-after"], "5");
}

/// Collects what a subscriber at trace level would print.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_tells_of_the_request_and_hides_the_hash() {
    let printed = Printed::default();
    let into = printed.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || into.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    fetch(&format!("/d/{HASH}?again={HASH}")).await;
    fetch(&format!("/mistyped/{HASH}")).await;
    fetch("/caches/7/full?x=secret-of-a-query").await;

    let log = String::from_utf8(printed.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("path=/d/{sso_hash}"), "{log}");
    assert!(log.contains("path=/mistyped/*** (no route)"), "{log}");
    assert!(log.contains("path=/caches/7/full"), "{log}");
    assert!(log.contains("status=409"), "{log}");
    assert!(
        !log.contains(HASH) && !log.contains("secret-of-a-query"),
        "{log}"
    );
}

#[test]
fn no_hash_reaches_the_log() {
    for path in [
        format!("/d/{HASH}"),
        format!("//d//{HASH}"),
        format!("/D/{HASH}/"),
        format!("/d/short/{HASH}"),
        format!("/caches/{HASH}"),
        format!("/d%2F{HASH}"),
        format!("/{HASH}"),
    ] {
        let shown = masked(&path);
        assert!(!shown.contains(&HASH[4..40]), "{path} -> {shown}");
    }
    assert_eq!(masked("/d/abc"), "/d/***");
    assert_eq!(masked("/d/"), "/d/", "there is nothing to hide");
}

#[test]
fn ordinary_paths_are_logged_as_they_are() {
    for path in [
        "/",
        "/caches/7/credentials/4F2A90/promote",
        "/market/resources/01234567-89ab-cdef-0123-456789abcdef",
    ] {
        assert_eq!(masked(path), path);
    }
}

#[test]
fn faults_lead_back_to_the_dashboard_they_happened_in() {
    assert_eq!(dashboard_of("/caches/7/flush"), Some(CacheId(7)));
    assert_eq!(dashboard_of("/caches/7"), Some(CacheId(7)));
    assert_eq!(dashboard_of("/d/7"), None);
    assert_eq!(dashboard_of("/caches/x"), None);
}

/// The clock stands still.
#[tokio::test(start_paused = true)]
async fn an_address_has_so_many_lines_and_no_more() {
    let printed = Printed::default();
    let into = printed.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || into.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let app = app("https://cache.example.com");
    let ask = async |from: [u8; 4], path: &str| {
        let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let peer = std::net::SocketAddr::from((from, 4711));
        request
            .extensions_mut()
            .insert(axum::extract::ConnectInfo(peer));
        app.clone().oneshot(request).await.unwrap();
    };
    let lines = |part: &str| {
        let log = String::from_utf8(printed.0.lock().unwrap().clone()).unwrap();
        let answered = |line: &&str| line.contains(part) && !line.contains("had no lines");
        log.lines().filter(answered).count()
    };
    for _ in 0..5_000 {
        ask([203, 0, 113, 9], "/nowhere").await;
    }
    assert_eq!(lines("answered"), 600);
    ask([203, 0, 113, 8], "/fine").await;
    assert_eq!(lines("path=/fine"), 1, "another address has its own");
    ask([203, 0, 113, 9], "/panics").await;
    assert_eq!(lines("status=500"), 1, "a fault of ours is told");
    tokio::time::advance(Duration::from_secs(11)).await;
    ask([203, 0, 113, 9], "/fine").await;
    let log = String::from_utf8(printed.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("remote=203.0.113.9 left_out=4400"), "{log}");
    assert_eq!(lines("path=/fine"), 2);
}
