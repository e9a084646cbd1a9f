//! The HTTP server under the routes. Own, and not axum's, for one reason: to lose a reply, the connection must
//! close after the request was processed and before a byte of the answer is sent.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::middleware;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::faults::DropReply;
use crate::unread;

/// Tells hyper to close the connection.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox was told to lose this reply")]
struct ReplyDropped;

/// Serves until `stop`; open connections are then cut, for live logs would never end by themselves.
pub(super) async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) {
    let routes = routes.layer(middleware::from_fn(unread::read_on));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, routes.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the sandbox cannot accept a connection");
                    // Out of file descriptors, most likely: trying again at once would spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    connections.shutdown().await;
}

async fn serve_connection(stream: TcpStream, routes: Router) {
    let service = service_fn(move |request: Request<Incoming>| answer(routes.clone(), request));
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the sandbox ended early");
    }
}

async fn answer(
    routes: Router,
    request: Request<Incoming>,
) -> Result<Response<Body>, ReplyDropped> {
    let response = match routes.oneshot(request.map(Body::new)).await {
        Ok(response) => response,
        Err(error) => {
            let never: Infallible = error;
            match never {}
        }
    };
    match response.extensions().get::<DropReply>() {
        Some(DropReply) => Err(ReplyDropped),
        None => Ok(response),
    }
}
