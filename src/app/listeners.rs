//! The HTTP listeners, and what an operator reads when an address cannot be had.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::middleware::{self, Next};
use axum::response::IntoResponse as _;
use axum::routing::get;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::descriptors::Descriptors;
use super::metrics::Scrape;
use crate::config::setting::About;
use crate::config::{Config, settings};
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
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> anyhow::Result<()> {
    let text = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    let answer = async move || (text, scrape.text().await);
    let mut router = Router::new().route("/metrics", get(answer));
    if let Some(token) = config.metrics_token.clone() {
        router = router.layer(middleware::from_fn(move |request: Request, next: Next| {
            let token = token.clone();
            async move {
                match bearer(&request).is_some_and(|shown| {
                    same_secret(shown.as_bytes(), token.expose_secret().as_bytes())
                }) {
                    true => next.run(request).await,
                    false => {
                        (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")]).into_response()
                    }
                }
            }
        }));
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

fn bearer(request: &Request) -> Option<&str> {
    let shown = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    shown.strip_prefix("Bearer ")
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
