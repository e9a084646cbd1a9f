//! The HTTP listeners, and what an operator reads when an address cannot be had.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::descriptors::Descriptors;
use super::metrics::{RunningEngine, Scrape};
use crate::access::{RefusedCall, RefusedCalls};
use crate::cluster::{Cluster, EnrolmentTokens, link_routes};
use crate::config::setting::About;
use crate::config::{Config, LinkListener, Process, settings};
use crate::domain::Clock;
use crate::domain::secret::same_secret;
use crate::http::forwarded::{self, Proxies};
use crate::http::server::{self, AtStop, Bounds};
use crate::http::tls::{ReloadableTls, server_config};

/// Opens the public listener.
pub(in crate::app) async fn open_http(
    config: &Config,
    router: Router,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> anyhow::Result<()> {
    let bounds = Bounds {
        always: &["/healthz", "/readyz"],
        ..Bounds::within(Descriptors::now(config).http)
    };
    let proxies: Proxies = config.trusted_proxies.clone().into();
    let router = router.layer(middleware::from_fn_with_state(proxies, forwarded::believe));
    let listener = listen(&settings::HTTP_ADDR.about, config.http_addr).await?;
    tasks.spawn(server::serve(
        listener,
        router,
        AtStop::Answer,
        bounds,
        stop.clone(),
    ));
    tracing::info!(http = %config.http_addr, public = %config.public_url, metrics = %config.process.metrics_addr, "http listens");
    Ok(())
}

/// The routes of the metrics listener: `/metrics`, behind a token where one is set.
pub(in crate::app) fn metrics_routes(
    process: &Process,
    scrape: Scrape,
    refused: RefusedCalls,
) -> Router {
    let clock = Arc::clone(&scrape.clock);
    let text = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    let answer = async move || (text, scrape.text().await);
    let router = Router::new().route("/metrics", get(answer));
    match process.metrics_token.clone() {
        Some(token) => {
            let guard = MetricsGuard {
                token,
                refused,
                clock,
            };
            router.layer(middleware::from_fn_with_state(guard, check_token))
        }
        None => router,
    }
}

/// `GET /healthz` of a node in a process of its own: 200 while clients may come, 503 before and from when it stops.
pub(in crate::app) fn node_health(
    engine: Arc<OnceLock<RunningEngine>>,
    stopping: CancellationToken,
) -> Router {
    let answer = async move || match (engine.get(), stopping.is_cancelled()) {
        (Some(_), false) => (StatusCode::OK, "ok\n"),
        (Some(_), true) => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        (None, _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "memcached does not listen yet\n",
        ),
    };
    Router::new().route("/healthz", get(answer))
}

/// Opens the listener of the metrics, which may have so many connections.
pub(in crate::app) async fn open_metrics(
    process: &Process,
    connections: u64,
    router: Router,
    (stop, tasks): (&CancellationToken, &TaskTracker),
) -> anyhow::Result<()> {
    let bounds = Bounds {
        always: &["/healthz"],
        ..Bounds::within(connections)
    };
    let listener = listen(&settings::METRICS_ADDR.about, process.metrics_addr).await?;
    tasks.spawn(server::serve(
        listener,
        router,
        AtStop::Answer,
        bounds,
        stop.clone(),
    ));
    Ok(())
}

/// The routes of the node link. A call without a good token is noted, so that it is logged, counted and audited with a bound.
pub(in crate::app) fn node_link_routes(
    link: &LinkListener,
    cluster: &Cluster,
    refused: &RefusedCalls,
    clock: &Arc<dyn Clock>,
) -> Router {
    let (refused, clock) = (refused.clone(), Arc::clone(clock));
    let on_refused = move |remote: Option<IpAddr>| {
        refused.note(RefusedCall::NodeLink, None, remote, clock.now());
    };
    let enrolment = EnrolmentTokens::new(link.enrolment.clone());
    link_routes(cluster.clone(), enrolment, Arc::new(on_refused))
}

/// Opens the listener of the node link, which may have so many connections, and gives its TLS where it has one.
pub(in crate::app) async fn open_link(
    link: &LinkListener,
    connections: u64,
    router: Router,
    (stop, tasks): (&CancellationToken, &TaskTracker),
) -> anyhow::Result<Option<Arc<ReloadableTls>>> {
    let tls = match &link.tls {
        Some(files) => {
            let tls = server_config(&files.certificate, &files.key);
            let tls = tls.context("LARDER_LINK_TLS_CERT and LARDER_LINK_TLS_KEY")?;
            Some(Arc::new(tls))
        }
        None => None,
    };
    let listener = listen(&settings::LINK_ADDR.about, link.addr).await?;
    let (bounds, stop) = (Bounds::within(connections), stop.clone());
    // A node that waits for changes would hold up the stop; it asks again, here or elsewhere.
    let at_stop = AtStop::Cut;
    match &tls {
        Some(tls) => tasks.spawn(server::serve_tls(
            listener,
            Arc::clone(tls),
            router,
            at_stop,
            bounds,
            stop,
        )),
        None => tasks.spawn(server::serve(listener, router, at_stop, bounds, stop)),
    };
    tracing::info!(link = %link.addr, tls = tls.is_some(), "the node link listens");
    Ok(tls)
}

/// Who may scrape, and where it is noted who may not.
#[derive(Clone)]
struct MetricsGuard {
    token: SecretString,
    refused: RefusedCalls,
    clock: Arc<dyn Clock>,
}

async fn check_token(State(guard): State<MetricsGuard>, request: Request, next: Next) -> Response {
    let token = guard.token.expose_secret().as_bytes();
    if bearer(&request).is_some_and(|shown| same_secret(shown.as_bytes(), token)) {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let remote = peer.map(|ConnectInfo(peer)| peer.ip());
    let now = guard.clock.now();
    guard.refused.note(RefusedCall::Metrics, None, remote, now);
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")]).into_response()
}

/// The token that was shown. The scheme's name has no case (RFC 9110, 11.1).
fn bearer(request: &Request) -> Option<&str> {
    let shown = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = shown.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    is_bearer.then(|| token.trim_start_matches(' '))
}

/// Takes an address that a setting names.
pub async fn listen(setting: &About, addr: SocketAddr) -> anyhow::Result<TcpListener> {
    let listening = TcpListener::bind(addr).await;
    listening.map_err(|error| cannot_listen(setting, addr, &error))
}

/// Says which setting has the address and what the operator can do.
pub(in crate::app) fn cannot_listen(
    setting: &About,
    addr: SocketAddr,
    error: &io::Error,
) -> anyhow::Error {
    let (name, port) = (setting.name, addr.port());
    let holder = if port == 11_211 {
        " (most likely a memcached that runs on this machine)"
    } else {
        ""
    };
    let way_out = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program{holder} listens there: set {name} to a free address, or stop that program, which \
             `ss -ltnp sport = :{port}` names"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no such address: set {name} to one of its own")
        }
        io::ErrorKind::PermissionDenied => format!(
            "this user may not take that port: set {name} to one from 1024 on, or grant CAP_NET_BIND_SERVICE"
        ),
        _ => error.to_string(),
    };
    anyhow::anyhow!("cannot listen on {addr} ({name}): {way_out}")
}
