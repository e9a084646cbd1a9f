//! Requests that a proxy before us may have read in another way are refused, not served.

use std::net::Ipv6Addr;

use axum::extract::Request;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderValue, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::refusal::Refusal;

/// In the extensions of a request: it is not served, but answered so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused(pub Refusal, pub &'static str);

/// Middleware: answers what is not to be served, and closes the connection.
pub(super) async fn check(mut request: Request, next: Next) -> Response {
    if let Some(Refused(why, text)) = refusal(&request) {
        why.count();
        let mut answer = (why.status(), [(CONNECTION, "close")], text).into_response();
        if why == Refusal::TooMany {
            let soon = HeaderValue::from_static("1");
            answer.headers_mut().insert(RETRY_AFTER, soon);
        }
        return answer;
    }
    write_media_type_small(request.headers_mut());
    next.run(request).await
}

fn refusal(request: &Request) -> Option<Refused> {
    if let Some(refused) = request.extensions().get() {
        return Some(*refused);
    }
    if !names_its_host(request) {
        let text = "exactly one Host is needed, with a host name or an address in it\n";
        return Some(Refused(Refusal::Ambiguous, text));
    }
    // hyper unpacks `chunked` only, and takes whatever else stands before it for a part of the body.
    let coding = request.headers().get(TRANSFER_ENCODING);
    coding
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        .then_some(Refused(
            Refusal::UnknownCoding,
            "no Transfer-Encoding but chunked is known here\n",
        ))
}

/// HTTP/1.1 wants exactly one `Host`, and no version takes two or one that names no host (RFC 9112, 3.2): a proxy before us
/// may have served another.
fn names_its_host(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() != Version::HTTP_11,
        (Some(host), None) => host.to_str().is_ok_and(is_host),
        (Some(_), Some(_)) => false,
    }
}

/// A host, perhaps with a port (RFC 9110, 7.2). Of the marks that a name may have (RFC 3986, 3.2.2) only those are taken
/// that some name really has.
fn is_host(text: &str) -> bool {
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    let (is_host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, port))) => (address.parse::<Ipv6Addr>().is_ok(), port),
        Some(None) => return false,
        None => {
            let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (name.bytes().all(in_name), port)
        }
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let is_port = port.is_empty() || port.len() > digits.len();
    is_host && is_port && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Media types compare without case (RFC 9110, 8.3.1); axum's extractors compare with it.
fn write_media_type_small(headers: &mut HeaderMap) {
    let Some(text) = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return;
    };
    let (kind, parameters) = text.split_at(text.find(';').unwrap_or(text.len()));
    if let Ok(small) = HeaderValue::from_str(&(kind.to_ascii_lowercase() + parameters)) {
        headers.insert(CONTENT_TYPE, small);
    }
}
