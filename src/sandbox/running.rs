//! A running sandbox: what starts, and in which order it stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::http::outbound::{self, NoClient};
use crate::http::server::{AtStop, Bounds, serve};
use crate::sandbox::console;
use crate::sandbox::heroku::{fault_layer, logplex, oauth, platform_api, webhooks};
use crate::sandbox::platform::faults::EndpointGroup;
use crate::sandbox::platform::hub::Hub;
use crate::sandbox::platform::market::Market;
use crate::sandbox::platform::persist::{self, StateFileError};
use crate::sandbox::platform::process;
use crate::sandbox::platform::settings::SandboxSettings;

/// Why the sandbox could not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the sandbox cannot listen on {addr}")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error("the sandbox cannot set up its HTTP client")]
    Client(#[source] NoClient),
    #[error(transparent)]
    StateFile(#[from] StateFileError),
}

/// A running marketplace. Its methods are what a customer does and what a test wants to know.
///
/// Dropping it cuts everything off at once, processes of apps included; [`stop`](Sandbox::stop) is the
/// polite way.
pub struct Sandbox {
    pub(in crate::sandbox) hub: Arc<Hub>,
    pub(in crate::sandbox) addr: SocketAddr,
    tasks: Mutex<JoinSet<()>>,
}

impl Sandbox {
    /// Listens, reads the state file if there is one, and begins to serve. The provider need not run yet.
    pub async fn start(settings: SandboxSettings) -> Result<Sandbox, SandboxError> {
        let addr = settings.addr;
        let listening = TcpListener::bind(addr).await;
        let listener = listening.map_err(|source| SandboxError::Listen { addr, source })?;
        Sandbox::start_on(listener, settings).await
    }

    /// The same at an address that the caller took before, so that nobody else could listen there meanwhile.
    pub async fn start_on(
        listener: TcpListener,
        settings: SandboxSettings,
    ) -> Result<Sandbox, SandboxError> {
        let mut market = match &settings.state_file {
            Some(path) => persist::load(path)?,
            None => Market::default(),
        };
        // A provider that has moved subscribes anew; at its old address anybody may listen now.
        market.forget_webhooks_elsewhere(&settings.provider_base_url);
        let wanted = settings.addr;
        let listen_error = |source| SandboxError::Listen {
            addr: wanted,
            source,
        };
        let addr = listener.local_addr().map_err(listen_error)?;
        let http = outbound::client("larder-sandbox", settings.provider_timeout, true)
            .map_err(SandboxError::Client)?;
        let hub = Arc::new(Hub::new(settings, origin(addr), http, market));
        let mut tasks = JoinSet::new();
        let until = hub.stop.clone();
        tasks.spawn(serve(
            listener,
            routes(&hub),
            AtStop::Cut,
            Bounds::default(),
            until,
        ));
        tasks.spawn(process::run_apps(hub.clone()));
        tasks.spawn(webhooks::deliver_webhook_event(hub.clone()));
        if let Some(path) = hub.settings.state_file.clone() {
            tasks.spawn(persist::keep_saved(hub.clone(), path));
        }
        let tasks = Mutex::new(tasks);
        Ok(Sandbox { hub, addr, tasks })
    }

    /// Stops the processes of apps (SIGTERM, grace, SIGKILL), writes the state file and closes all connections.
    /// A second call does nothing.
    pub async fn stop(&self) {
        self.hub.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.hub.stop.cancel();
    }
}

/// How others on this machine reach `addr`.
fn origin(addr: SocketAddr) -> String {
    match addr.ip().is_unspecified() {
        true => format!("http://127.0.0.1:{}", addr.port()),
        false => format!("http://{addr}"),
    }
}

/// Every route: first what the provider calls, each group with its own faults, then the console.
fn routes(hub: &Arc<Hub>) -> Router {
    let with_faults = |group: EndpointGroup, routes: Router<Arc<Hub>>| {
        routes.layer(from_fn_with_state(
            (hub.clone(), group),
            fault_layer::apply_faults,
        ))
    };
    Router::new()
        .merge(with_faults(EndpointGroup::Token, oauth::routes()))
        .merge(with_faults(
            EndpointGroup::Config,
            platform_api::config_routes(),
        ))
        .merge(with_faults(
            EndpointGroup::Actions,
            platform_api::action_routes(),
        ))
        .merge(with_faults(EndpointGroup::Api, platform_api::api_routes()))
        .merge(with_faults(EndpointGroup::Webhooks, webhooks::routes()))
        .merge(with_faults(EndpointGroup::Logs, logplex::routes()))
        .merge(console::routes())
        .with_state(hub.clone())
}
