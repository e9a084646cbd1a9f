//! Answers that arrive although the body of the request was not read to its end.
//!
//! Handlers refuse early: a wrong login at the headers, too large a body at its limit. hyper then stops reading, and
//! closes the connection once the answer is written. The peer still sends, so it gets a reset, which can overtake the
//! answer. As the answer did not say that the connection ends, the peer may also send its next request into it and
//! lose that one too. So the server goes on reading behind an early answer, within bounds, and throws away what comes.
//! Neither the answer nor anything that the handler held waits for this.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{CONNECTION, EXPECT};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio_stream::StreamExt as _;

/// At most this much of one body is thrown away: far above all that our callers send.
const THROWN_BYTES_MAX: u64 = 1024 * 1024;
/// Throwing away takes this long at most, so that a slow sender holds its connection no longer.
const THROWN_TIME_MAX: Duration = Duration::from_secs(2);

/// Middleware, to be put around everything that may answer: reads what the handler left unread.
///
/// Where that cannot be done, the answer says `Connection: close`: more is announced than will be thrown away, or the
/// peer waits to be asked for its body (`Expect: 100-continue`) and nobody asked.
pub(super) async fn read_on(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let waits_to_be_asked = parts.headers.contains_key(EXPECT);
    let kept = Arc::new(Mutex::new(Progress {
        body,
        begun: false,
        ended: false,
    }));
    let lent = Body::new(Lent(Arc::clone(&kept)));
    let mut response = next.run(Request::from_parts(parts, lent)).await;

    // Whoever still has the body goes on reading it.
    let left = match Arc::into_inner(kept).map(Mutex::into_inner) {
        Some(left) if !left.ended => left,
        _ => return response,
    };
    let unasked = waits_to_be_asked && !left.begun;
    if unasked || left.body.size_hint().lower() > THROWN_BYTES_MAX {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    // The first read of the body would ask for it.
    if !unasked {
        tokio::spawn(tokio::time::timeout(THROWN_TIME_MAX, throw_away(left.body)));
    }
    response
}

/// Reads up to the bound. Dropped before its end, a body takes its connection with it.
async fn throw_away(body: Body) {
    let mut parts = body.into_data_stream();
    let mut thrown = 0;
    while let Some(Ok(part)) = parts.next().await {
        thrown += part.len() as u64;
        if thrown > THROWN_BYTES_MAX {
            return;
        }
    }
}

/// How far a body was read.
struct Progress {
    body: Body,
    begun: bool,
    ended: bool,
}

/// The body as the handler sees it. It comes back when the handler drops it.
struct Lent(Arc<Mutex<Progress>>);

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut progress = self.0.lock();
        progress.begun = true;
        let polled = Pin::new(&mut progress.body).poll_frame(cx);
        progress.ended |= matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().body.size_hint()
    }
}
