//! Rank 4: a local marketplace to develop and demonstrate against, and to write scenario tests with.
//!
//! It plays a Heroku-like platform over HTTP only, with the real wire contract in both directions:
//!
//! ```text
//!  you, a browser ──▶ console ─┐                     ┌─▶ calls, resources   provision, change plan, remove ──▶ provider
//!  scenario test  ──▶ Sandbox ─┴─▶ hub ◀─▶ market ◀──┤
//!                                                    └── oauth, platform, logplex ◀── tokens, config, log lines ── provider
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `settings` | what it must be told; the manifest |
//! | `market`, `lifecycle`, `grants`, `applog`, `names` | apps, add-ons, releases, tokens: plain data and its rules |
//! | `hub` | the market under its lock, the clock, the news of change |
//! | `calls`, `resources`, `sso` | towards the provider |
//! | `oauth`, `platform`, `objects`, `paging`, `logplex`, `basic` | from the provider |
//! | `webhooks` | news for the provider |
//! | `faults`, `recorder` | what goes wrong, and what was said |
//! | `process` | real processes for apps, restarted on each release |
//! | `console`, `guard`, `events` | pages for people |
//! | `persist`, `server` | the state file; the sockets |
//!
//! It knows no other room but a few helpers of the domain: what it checks, it checks from the outside.

mod applog;
mod basic;
mod calls;
mod console;
mod control;
mod events;
mod faults;
mod grants;
mod guard;
mod hub;
mod lifecycle;
mod logplex;
mod market;
mod names;
mod oauth;
mod objects;
mod paging;
mod persist;
mod platform;
mod process;
mod recorder;
mod resources;
mod server;
mod settings;
mod sso;
#[cfg(test)]
mod tests;
mod webhooks;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use applog::LogLine;
pub use calls::{ProviderError, ProviderReply};
pub use control::NotInTime;
pub use faults::{CallFaults, EndpointGroup, Fault, Faults};
pub use lifecycle::NotPossible;
pub use logplex::{BadFrames, Frame, parse_frames};
pub use market::{
    Addon, AddonId, AddonState, App, AppId, Attachment, Market, ProcessState, Release,
};
pub use persist::StateFileError;
pub use recorder::{Direction, RecordedRequest, Requests};
pub use resources::ProvisionOptions;
pub use settings::{Manifest, ManifestApi, SandboxSettings};
pub use sso::User;

use hub::Hub;

/// Why the sandbox could not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the sandbox cannot listen on {addr}")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error("the sandbox cannot set up its HTTP client")]
    Client(#[source] reqwest::Error),
    #[error(transparent)]
    StateFile(#[from] StateFileError),
}

/// A running marketplace. Its methods are what a customer does and what a test wants to know.
///
/// Dropping it cuts everything off at once, processes of apps included; [`stop`](Sandbox::stop) is the
/// polite way.
pub struct Sandbox {
    hub: Arc<Hub>,
    addr: SocketAddr,
    tasks: Mutex<JoinSet<()>>,
}

impl Sandbox {
    /// Listens, reads the state file if there is one, and begins to serve. The provider need not run yet.
    pub async fn start(settings: SandboxSettings) -> Result<Sandbox, SandboxError> {
        let market = match &settings.state_file {
            Some(path) => persist::load(path)?,
            None => Market::default(),
        };
        let wanted = settings.addr;
        let listen_error = |source| SandboxError::Listen {
            addr: wanted,
            source,
        };
        let listener = TcpListener::bind(wanted).await.map_err(listen_error)?;
        let addr = listener.local_addr().map_err(listen_error)?;
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(settings.provider_timeout)
            .user_agent("larder-sandbox")
            .build()
            .map_err(SandboxError::Client)?;
        let hub = Arc::new(Hub::new(settings, origin(addr), http, market));
        let mut tasks = JoinSet::new();
        tasks.spawn(server::serve(listener, routes(&hub), hub.stop.clone()));
        tasks.spawn(process::run_apps(hub.clone()));
        tasks.spawn(webhooks::deliver_news(hub.clone()));
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

/// Every route: first what the provider calls, each group under its own weather, then the console.
fn routes(hub: &Arc<Hub>) -> Router {
    let under_weather = |group: EndpointGroup, routes: Router<Arc<Hub>>| {
        routes.layer(from_fn_with_state((hub.clone(), group), faults::weather))
    };
    Router::new()
        .merge(under_weather(EndpointGroup::Token, oauth::routes()))
        .merge(under_weather(
            EndpointGroup::Config,
            platform::config_routes(),
        ))
        .merge(under_weather(
            EndpointGroup::Actions,
            platform::action_routes(),
        ))
        .merge(under_weather(EndpointGroup::Api, platform::api_routes()))
        .merge(under_weather(EndpointGroup::Webhooks, webhooks::routes()))
        .merge(under_weather(EndpointGroup::Logs, logplex::routes()))
        .merge(console::routes())
        .with_state(hub.clone())
}
