//! How long a connection may keep us waiting: for the head of a request, and between two requests.
//!
//! hyper has one time for both. They want different ones: a head that comes slowly is an attack (security.md PA-8), while
//! a connection at rest is most often a balancer's, which ends it by its own clock. Should we end it first, we may do
//! so at the very moment when a request is on its way, and that request is lost.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// From the first byte of a head to its last; a new connection begins with a head.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// Between two requests. Most balancers keep idle connections for 60 s at most.
const REST_MAX: Duration = Duration::from_secs(75);

/// What one connection is about; shared by its stream, its service and who ends it.
#[derive(Clone, Debug)]
pub(super) struct Pace(Arc<watch::Sender<Stage>>);

#[derive(Clone, Copy, Debug)]
enum Stage {
    Head { until: Instant },
    Answering,
    Rest { until: Instant },
}

impl Pace {
    pub fn new() -> Pace {
        let until = Instant::now() + HEAD_MAX;
        Pace(Arc::new(watch::Sender::new(Stage::Head { until })))
    }

    /// A head is complete.
    pub fn answering(&self) {
        self.0.send_replace(Stage::Answering);
    }

    /// The answer is on its way. What still comes of a body that was refused counts as the next head.
    pub fn answered(&self) {
        let until = Instant::now() + REST_MAX;
        self.0.send_replace(Stage::Rest { until });
    }

    /// Bytes came.
    fn heard(&self) {
        self.0.send_if_modified(|stage| {
            let rested = matches!(stage, Stage::Rest { .. });
            if rested {
                let until = Instant::now() + HEAD_MAX;
                *stage = Stage::Head { until };
            }
            rested
        });
    }

    /// Until the connection has kept us waiting for too long. The time of a request under way is bounded elsewhere.
    pub async fn is_over(&self) {
        let mut stages = self.0.subscribe();
        loop {
            let stage = *stages.borrow_and_update();
            // Never an error: the sender is ours.
            match stage {
                Stage::Answering => _ = stages.changed().await,
                Stage::Head { until } | Stage::Rest { until } => {
                    if timeout_at(until, stages.changed()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// A stream that tells when it is heard of.
#[derive(Debug)]
pub(super) struct Paced<S> {
    pub stream: S,
    pub pace: Pace,
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pace.heard();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
