//! What keeps other web sites out of the console. It has no login, so the browser must vouch for who asks.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Nothing inline, nothing from elsewhere.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Refuses foreign hosts and foreign forms, and gives every answer its security headers.
pub(in crate::sandbox) async fn console_guard(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let mut response = if !is_local_host(headers) {
        let why = "open the sandbox by its address, or by localhost\n";
        (StatusCode::MISDIRECTED_REQUEST, why).into_response()
    } else if request.method() != Method::GET && !is_own_form(headers) {
        (StatusCode::FORBIDDEN, "this form comes from another site\n").into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "same-origin");
    set(header::CACHE_CONTROL, "no-store");
    response
}

/// A name other than localhost may have been pointed at this machine by whoever owns it; an address cannot.
fn is_local_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
    else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.ends_with(".localhost") || bare.parse::<IpAddr>().is_ok()
}

/// Programs send neither header; browsers send at least one with a form.
fn is_own_form(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    match (headers.get(header::ORIGIN), headers.get(header::HOST)) {
        (Some(origin), Some(host)) => {
            let origin = origin.as_bytes();
            origin.strip_prefix(b"http://") == Some(host.as_bytes())
        }
        (origin, _) => origin.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_names_that_cannot_be_rebound_are_taken() {
        for good in [
            "127.0.0.1:8090",
            "localhost",
            "localhost:1",
            "[::1]:8090",
            "10.0.0.7:80",
        ] {
            assert!(is_local_host(&headers(&[("host", good)])), "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:8090",
            "localhost.evil.example",
            "",
        ] {
            assert!(!is_local_host(&headers(&[("host", bad)])), "{bad}");
        }
        assert!(!is_local_host(&headers(&[])));
    }

    #[test]
    fn forms_of_other_sites_are_known_by_either_header() {
        let own = ("host", "127.0.0.1:8090");
        assert!(is_own_form(&headers(&[own])));
        assert!(is_own_form(&headers(&[
            own,
            ("origin", "http://127.0.0.1:8090")
        ])));
        assert!(is_own_form(&headers(&[
            own,
            ("sec-fetch-site", "same-origin")
        ])));
        for foreign in [
            ("origin", "http://evil.example"),
            ("origin", "http://127.0.0.1:8080"),
            ("origin", "null"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "cross-site"),
        ] {
            assert!(!is_own_form(&headers(&[own, foreign])), "{foreign:?}");
        }
    }
}
