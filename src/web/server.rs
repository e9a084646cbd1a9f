//! Serves HTTP on a listener: what axum's own loop leaves out are the limits on slow and large headers, and the care for
//! bodies that nobody reads.
//!
//! HTTP/1 only. What stands before us ends TLS and speaks it; HTTP/2 in the clear would bring its own ways to exhaust us.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::pace::{Pace, Paced};
use crate::unread;

/// Request line and headers may take this much.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// A full table of open files passes; accepting goes on after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop`, then lets requests under way end.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let router = router.layer(middleware::from_fn(unread::read_on));
    let mut builder = Builder::new();
    builder.max_buf_size(HEADER_BYTES_MAX);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                spawn_connection(&builder, &graceful, stream, peer, router.clone())
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

fn spawn_connection(
    builder: &Builder,
    graceful: &GracefulShutdown,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
) {
    let pace = Pace::new();
    let stream = Paced {
        stream,
        pace: pace.clone(),
    };
    let served = pace.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        served.answering();
        request.extensions_mut().insert(ConnectInfo(peer));
        let (answer, served) = (router.clone().oneshot(request), served.clone());
        async move {
            let answer = answer.await;
            served.answered();
            answer
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(%peer, %error, "a connection ended early");
            },
            () = pace.is_over() => tracing::debug!(%peer, "a connection kept us waiting"),
        }
    });
}
