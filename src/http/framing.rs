//! Requests that a proxy before us may have read in another way are refused, not served.

use axum::extract::Request;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// In the extensions of a request: it is not served, but answered so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused(pub StatusCode, pub &'static str);

/// Middleware: answers what is not to be served, and closes the connection.
pub(super) async fn check(mut request: Request, next: Next) -> Response {
    if let Some(Refused(status, why)) = refusal(&request) {
        let mut answer = (status, [(CONNECTION, "close")], why).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
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
        let why = "exactly one Host is needed\n";
        return Some(Refused(StatusCode::BAD_REQUEST, why));
    }
    // hyper unpacks `chunked` only, and takes whatever else stands before it for a part of the body.
    let coding = request.headers().get(TRANSFER_ENCODING);
    coding
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        .then_some(Refused(
            StatusCode::NOT_IMPLEMENTED,
            "no Transfer-Encoding but chunked is known here\n",
        ))
}

/// HTTP/1.1 wants exactly one `Host` (RFC 9112, 3.2): with none or two, a proxy before us may have served another.
fn names_its_host(request: &Request) -> bool {
    request.version() != Version::HTTP_11 || request.headers().get_all(HOST).iter().count() == 1
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
