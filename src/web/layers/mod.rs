//! What surrounds every request, marketplaces' included.

mod line_budget;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, Method};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;
use uuid::Uuid;

use self::line_budget::LineBudget;
use super::error::PageError;
use super::guard::Remote;
use super::settings::WebSettings;
use crate::domain::CacheId;

/// Wraps all routes; the last one named is the outermost.
pub fn around(routes: Router, settings: &Arc<WebSettings>) -> Router {
    let with = || Arc::clone(settings);
    routes
        // Refused where the body is read: only there is it known how to say so, as a page or as JSON, and a
        // marketplace's caller has proved who it is by then.
        .layer(DefaultBodyLimit::max(settings.body_bytes_max))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(with(), time_limit))
        .layer(middleware::from_fn_with_state(with(), fault_pages))
        .layer(middleware::from_fn_with_state(
            LineBudget::default(),
            observe,
        ))
        .layer(middleware::map_response_with_state(with(), headers))
}

/// Scripts, styles and pictures from our own files, forms to ourselves, and nobody frames us.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                              form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Headers of every answer, faults included (security.md SD-14).
async fn headers(State(settings): State<Arc<WebSettings>>, mut response: Response) -> Response {
    const FIXED: [(HeaderName, &str); 7] = [
        (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=()",
        ),
    ];
    let headers = response.headers_mut();
    for (name, value) in FIXED {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if settings.public_url.is_https() {
        let two_years = HeaderValue::from_static("max-age=63072000");
        headers.insert(STRICT_TRANSPORT_SECURITY, two_years);
    }
    // Only what says otherwise of itself, such as the style sheet, may be kept.
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Gives each request an id, and the log a line when it is answered. The id is always ours: a caller's could
/// say anything.
async fn observe(
    State(lines): State<LineBudget>,
    Remote(remote): Remote,
    request: Request,
    next: Next,
) -> Response {
    let id = Uuid::new_v4().simple().to_string();
    let span = tracing::info_span!(
        "request",
        request_id = %id,
        method = %request.method(),
        path = %loggable(&request),
    );
    // Routes are few; paths and methods are whatever a client makes up.
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or_else(|| "none".to_owned(), |route| route.as_str().to_owned());
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    // A balancer asks every few seconds; what it hears it tells in its own log.
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz");
    async move {
        let started = Instant::now();
        let mut response = next.run(request).await;
        let status = response.status().as_u16();
        let seconds = started.elapsed().as_secs_f64();
        let labels = [
            ("method", method.to_owned()),
            ("route", route.clone()),
            ("status", status.to_string()),
        ];
        metrics::counter!("larder_http_requests_total", &labels).increment(1);
        metrics::histogram!("larder_http_request_duration_seconds", "route" => route)
            .record(seconds);
        let elapsed_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        // A fault of ours is told, whoever has many of them.
        if is_probe || (status < 500 && !lines.has_line(remote)) {
            tracing::debug!(status, elapsed_us, "answered");
        } else {
            tracing::info!(status, elapsed_us, "answered");
        }
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert("x-request-id", id);
        }
        response
    }
    .instrument(span)
    .await
}

/// The path as it may be logged: never the query, never a dashboard hash, nor anything that could be one in a
/// mistyped address (security.md SD-21).
fn loggable(request: &Request) -> String {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(MatchedPath::as_str);
    match route {
        Some(route) if route.contains("{sso_hash}") => route.to_owned(),
        Some(_) => masked(request.uri().path()),
        None => {
            let path = masked(request.uri().path());
            format!("{path} (no route)")
        }
    }
}

fn masked(path: &str) -> String {
    // A hash has 43 characters, a marketplace's uuid 36.
    const LONGEST_SHOWN: usize = 40;
    let mut shown = Vec::new();
    let mut behind_d = false;
    for part in path.split('/') {
        let secret = behind_d || part.len() > LONGEST_SHOWN;
        shown.push(if secret && !part.is_empty() {
            "***"
        } else {
            part
        });
        behind_d = behind_d || part.eq_ignore_ascii_case("d");
    }
    shown.join("/")
}

/// Makes the page for a handler's fault, in one place, so that equal faults are equal to the byte.
async fn fault_pages(
    State(settings): State<Arc<WebSettings>>,
    request: Request,
    next: Next,
) -> Response {
    let dashboard = dashboard_of(request.uri().path());
    let response = next.run(request).await;
    match response.extensions().get::<PageError>() {
        Some(fault) => fault.page(&settings, dashboard),
        None => response,
    }
}

fn dashboard_of(path: &str) -> Option<CacheId> {
    path.strip_prefix("/caches/")?
        .split('/')
        .next()?
        .parse()
        .ok()
}

async fn time_limit(
    State(settings): State<Arc<WebSettings>>,
    request: Request,
    next: Next,
) -> Response {
    match tokio::time::timeout(settings.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => PageError::TooSlow.into_response(),
    }
}

/// The panic's own message went to the log by the panic hook; it may hold anything, so it goes nowhere else.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    PageError::Internal.into_response()
}

#[cfg(test)]
mod tests;
