//! A request's body on its way to the handler. It tells the connection's slot when it has come to its end: until then the
//! client may be withholding it.

use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};

use super::connections::Slot;

/// A body that tells of its end.
#[derive(Debug)]
pub(super) struct WatchedBody {
    pub body: Incoming,
    /// Weak, since what is left of a body may be held for longer than its connection, whose place must not wait for it.
    pub slot: Weak<Slot>,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let has_come = match &polled {
            Poll::Ready(None) => true,
            // Of a body whose length was announced the last part is known to be the last.
            Poll::Ready(Some(Ok(_))) => self.body.is_end_stream(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if has_come && let Some(slot) = self.slot.upgrade() {
            slot.body_came();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
