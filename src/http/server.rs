//! Serves HTTP on a listener. axum's own loop has no limits on slow and large heads, loses answers that are given
//! before a body was read, and cannot lose one on purpose.
//!
//! HTTP/1 only. What stands in front of the public port ends TLS and speaks it; HTTP/2 in the clear would bring its own
//! ways to exhaust us. The node link may end TLS here. Everything else holds for what is inside, too.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware;
use axum::response::Response;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::io::Errno;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::body_drain;
use super::closing::Closing;
pub use super::connections::Bounds;
use super::connections::{Connections, Slot};
use super::framing::{self, Refused};
use super::head_timeout::ReadTimer;
use super::raw_heads::{Findings, RawHeads};
use super::refusal::Refusal;
use super::tls::ReloadableTls;
use super::watched_body::WatchedBody;
use super::watched_stream::WatchedStream;

/// Request line and headers may take this much.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The table of open files may be full for a moment; accepting goes on after this pause.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// From accepting a connection to the end of its TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// More requests are under way than the listener's bounds allow.
const TOO_MANY_REQUESTS: Refused =
    Refused(Refusal::TooMany, "too many requests at once, try again\n");

/// What happens to open connections when the server is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStop {
    /// Requests under way are answered first.
    Answer,
    /// Connections are cut: live streams would never end by themselves.
    Cut,
}

/// In the extensions of a response: it is not sent, and the connection closes before a byte of it. So a test
/// marketplace loses an answer to a request that it has carried out.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer was to be lost")]
pub struct LoseAnswer;

/// Serves until `stop`, within these bounds.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    at_stop: AtStop,
    bounds: Bounds,
    stop: CancellationToken,
) {
    serve_on(listener, None, router, at_stop, bounds, stop).await;
}

/// The same behind TLS. A connection counts within the bounds from before its handshake.
pub async fn serve_tls(
    listener: TcpListener,
    tls: Arc<ReloadableTls>,
    router: Router,
    at_stop: AtStop,
    bounds: Bounds,
    stop: CancellationToken,
) {
    serve_on(listener, Some(tls), router, at_stop, bounds, stop).await;
}

async fn serve_on(
    listener: TcpListener,
    tls: Option<Arc<ReloadableTls>>,
    router: Router,
    at_stop: AtStop,
    bounds: Bounds,
    stop: CancellationToken,
) {
    // The last layer is the outermost: what is refused for its framing is read on like every other request.
    let router = router
        .layer(middleware::from_fn(framing::check))
        .layer(middleware::from_fn(body_drain::read_on));
    let mut builder = Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (graceful, cut) = (GracefulShutdown::new(), CancellationToken::new());
    let connections = Connections::new(bounds);
    loop {
        let next = async {
            connections.within_bounds().await;
            listener.accept().await
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = next => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = Connection {
                    peer,
                    slot: Arc::new(connections.enter(peer.ip())),
                    router: router.clone(),
                    cut: cut.clone(),
                    builder: builder.clone(),
                    watcher: graceful.watcher(),
                };
                match &tls {
                    None => tokio::spawn(connection.serve(stream)),
                    Some(tls) => {
                        tokio::spawn(connection.serve_tls(stream, tls.current(), stop.clone()))
                    }
                };
            }
            Err(error) => accept_failed(&error, &connections).await,
        }
    }
    drop(listener);
    if at_stop == AtStop::Cut {
        cut.cancel();
    }
    graceful.shutdown().await;
}

/// What failed with the one connection has no bearing on the next. Anything else fails again at once, so the loop pauses;
/// where descriptors have run out, one of ours goes to make room.
async fn accept_failed(error: &io::Error, connections: &Connections) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset) {
        return;
    }
    if matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    ) {
        connections.close_oldest(Closing::NoDescriptor);
    }
    connections.tell_failed(error);
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// A connection that was just accepted.
struct Connection {
    peer: SocketAddr,
    slot: Arc<Slot>,
    router: Router,
    cut: CancellationToken,
    builder: Builder,
    /// The server waits for it when it stops.
    watcher: Watcher,
}

impl Connection {
    /// Serves it once the client has shaken hands.
    async fn serve_tls(self, stream: TcpStream, tls: Arc<ServerConfig>, stop: CancellationToken) {
        let peer = self.peer;
        let handshake = timeout(HANDSHAKE_MAX, TlsAcceptor::from(tls).accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = self.slot.close.cancelled() => {
                tracing::debug!(%peer, "a connection makes room for another");
                return;
            }
            // No request has come on it yet.
            () = stop.cancelled() => return,
        };
        match shaken {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
            Err(_) => {
                // Its first head has not come in time, either.
                Closing::SlowHead.count();
                tracing::debug!(%peer, "a TLS handshake kept us waiting");
            }
        }
    }

    /// Serves requests until the connection ends.
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let Connection {
            peer,
            slot,
            router,
            cut,
            builder,
            watcher,
        } = self;
        let close = slot.close.clone();
        let timer = ReadTimer::new();
        let findings = Findings::default();
        let stream = WatchedStream {
            stream,
            timer: timer.clone(),
            heads: RawHeads::new(findings.clone()),
        };
        let of_requests = timer.clone();
        let requests = AtomicU64::new(0);
        let service = service_fn(move |mut request: Request<Incoming>| {
            of_requests.head_read();
            let number = requests.fetch_add(1, Ordering::Relaxed) + 1;
            let is_whole = request.body().is_end_stream();
            let is_taken = slot.begin_request(request.uri().path(), is_whole);
            let refused = match findings.fault(number) {
                Some(text) => Some(Refused(Refusal::Ambiguous, text)),
                None => (!is_taken).then_some(TOO_MANY_REQUESTS),
            };
            if let Some(refused) = refused {
                request.extensions_mut().insert(refused);
            }
            request.extensions_mut().insert(ConnectInfo(peer));
            let (router, timer, slot) = (router.clone(), of_requests.clone(), Arc::clone(&slot));
            let request = request.map(|body| WatchedBody {
                body,
                slot: Arc::downgrade(&slot),
            });
            async move {
                let answer = answer(router, request).await;
                timer.answered();
                slot.end_request();
                answer
            }
        });
        let connection = watcher.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                if let Some(refused) = Refusal::by_hyper(&error) {
                    refused.count();
                }
                tracing::debug!(%peer, %error, "a connection ended early");
            },
            why = timer.expired() => {
                why.count();
                tracing::debug!(%peer, why = why.as_str(), "a connection kept us waiting");
            }
            () = close.cancelled() => tracing::debug!(%peer, "a connection makes room for another"),
            () = cut.cancelled() => {}
        }
    }
}

async fn answer(router: Router, request: Request<WatchedBody>) -> Result<Response, LoseAnswer> {
    let Ok(response) = router.oneshot(request).await;
    match response.extensions().get::<LoseAnswer>() {
        Some(lose) => Err(*lose),
        None => Ok(response),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loop goes round at once as long as this fails, so it must not return at once.
    #[tokio::test(start_paused = true)]
    async fn without_a_descriptor_the_loop_pauses_and_one_makes_room() {
        let connections = Connections::new(Bounds::default());
        let [first, second] =
            ["10.0.0.1", "10.0.0.2"].map(|peer| connections.enter(peer.parse().unwrap()));
        for error in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS] {
            let begun = tokio::time::Instant::now();
            accept_failed(&error.into(), &connections).await;
            assert!(begun.elapsed() >= ACCEPT_PAUSE, "{error}");
        }
        assert!(first.close.is_cancelled() && second.close.is_cancelled());
        let begun = tokio::time::Instant::now();
        accept_failed(&Errno::CONNABORTED.into(), &connections).await;
        assert_eq!(
            begun.elapsed(),
            Duration::ZERO,
            "the next connection may be sound"
        );
    }
}
