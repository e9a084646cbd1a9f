//! The HTTP listeners, and what an operator reads when an address cannot be had.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

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
use super::metrics::Scrape;
use crate::access::{RefusedCall, RefusedCalls};
use crate::config::setting::About;
use crate::config::{Config, settings};
use crate::domain::Clock;
use crate::domain::secret::same_secret;
use crate::http::forwarded::{self, Proxies};
use crate::http::server::{self, AtStop, Bounds};

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
    tracing::info!(http = %config.http_addr, public = %config.public_url, metrics = %config.metrics_addr, "http listens");
    Ok(())
}

/// Opens the listener of `/metrics`, behind a token where one is set.
pub(in crate::app) async fn open_metrics(
    config: &Config,
    scrape: Scrape,
    refused: RefusedCalls,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> anyhow::Result<()> {
    let clock = Arc::clone(&scrape.clock);
    let text = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    let answer = async move || (text, scrape.text().await);
    let mut router = Router::new().route("/metrics", get(answer));
    if let Some(token) = config.metrics_token.clone() {
        let guard = MetricsGuard {
            token,
            refused,
            clock,
        };
        router = router.layer(middleware::from_fn_with_state(guard, check_token));
    }
    let listener = listen(&settings::METRICS_ADDR.about, config.metrics_addr).await?;
    tasks.spawn(server::serve(
        listener,
        router,
        AtStop::Answer,
        Bounds::within(Descriptors::now(config).metrics),
        stop.clone(),
    ));
    Ok(())
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
