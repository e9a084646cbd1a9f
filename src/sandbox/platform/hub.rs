//! What the parts of the sandbox share: the market under one lock, its clock, and a wake-up for each change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::domain::secret::same_secret;
use crate::http::outbound::Client;
use crate::sandbox::platform::change::Around;
use crate::sandbox::platform::ids::AddonId;
use crate::sandbox::platform::market::Market;
use crate::sandbox::platform::recorder::{Direction, RecordedRequest};
use crate::sandbox::platform::settings::SandboxSettings;

/// Shared by all routes and tasks of one sandbox.
///
/// The lock on the market is never held across an await.
pub(in crate::sandbox) struct Hub {
    pub settings: SandboxSettings,
    /// How the provider and browsers reach us, as in `http://127.0.0.1:8090`.
    pub origin: String,
    pub http: Client,
    pub stop: CancellationToken,
    /// The call to the provider that is held back, under the fault "reorder".
    pub held_call: Mutex<Option<oneshot::Sender<()>>>,
    /// Shown once, on the next page.
    pub notice: Mutex<Option<Notice>>,
    pub prefix: String,
    market: Mutex<Market>,
    provider: Mutex<ProviderUrls>,
    client_secret: Mutex<SecretString>,
    /// Counts every change; what waits for a condition waits on this.
    changes: watch::Sender<u64>,
    /// Counts the changes that the state file must see.
    durable: watch::Sender<u64>,
    clock_ahead_micros: AtomicU64,
}

/// Where the provider is.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct ProviderUrls {
    pub base: String,
    pub sso: String,
}

/// What the console says about the last action.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Notice {
    pub good: bool,
    pub text: String,
}

impl Hub {
    pub fn new(settings: SandboxSettings, origin: String, http: Client, market: Market) -> Hub {
        let provider = ProviderUrls {
            base: settings.provider_base_url.clone(),
            sso: settings.provider_sso_url.clone(),
        };
        Hub {
            prefix: settings.manifest.prefix(),
            client_secret: Mutex::new(settings.client_secret.clone()),
            provider: Mutex::new(provider),
            settings,
            origin,
            http,
            stop: CancellationToken::new(),
            held_call: Mutex::new(None),
            notice: Mutex::new(None),
            market: Mutex::new(market),
            changes: watch::Sender::new(0),
            durable: watch::Sender::new(0),
            clock_ahead_micros: AtomicU64::new(0),
        }
    }

    pub fn read<T>(&self, read: impl FnOnce(&Market) -> T) -> T {
        read(&self.market.lock())
    }

    /// A change that must survive a restart.
    pub fn change<T>(&self, change: impl FnOnce(&mut Market, Around<'_>) -> T) -> T {
        let now = self.now();
        let outcome = change(&mut self.market.lock(), self.around(now));
        self.durable.send_modify(|count| *count += 1);
        self.changes.send_modify(|count| *count += 1);
        outcome
    }

    /// A change of logs, records or switches, which are forgotten at the end.
    pub fn change_quietly<T>(&self, change: impl FnOnce(&mut Market) -> T) -> T {
        let outcome = change(&mut self.market.lock());
        self.changes.send_modify(|count| *count += 1);
        outcome
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub fn durable_changes(&self) -> watch::Receiver<u64> {
        self.durable.subscribe()
    }

    pub fn around(&self, now: Timestamp) -> Around<'_> {
        Around {
            now,
            prefix: &self.prefix,
            log_lines: self.settings.log_lines,
            no_process: self.settings.app_command.is_none(),
        }
    }

    /// Wall-clock time, plus what [`advance_clock`](Hub::advance_clock) added.
    #[expect(clippy::disallowed_methods, reason = "the home of the sandbox's clock")]
    pub fn now(&self) -> Timestamp {
        let ahead = self.clock_ahead_micros.load(Ordering::Relaxed);
        let now = Timestamp::now();
        now.checked_add(Duration::from_micros(ahead)).unwrap_or(now)
    }

    pub fn advance_clock(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.clock_ahead_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub fn provider(&self) -> ProviderUrls {
        self.provider.lock().clone()
    }

    pub fn set_provider(&self, urls: ProviderUrls) {
        *self.provider.lock() = urls;
    }

    pub fn is_client_secret(&self, presented: &str) -> bool {
        let secret = self.client_secret.lock();
        same_secret(secret.expose_secret().as_bytes(), presented.as_bytes())
    }

    pub fn set_client_secret(&self, secret: SecretString) {
        *self.client_secret.lock() = secret;
    }

    pub fn record(
        &self,
        direction: Direction,
        method: &str,
        path: &str,
        status: Option<u16>,
        fault: Option<&'static str>,
    ) {
        let request = RecordedRequest {
            at: self.now(),
            direction,
            method: method.to_owned(),
            path: path.to_owned(),
            status,
            fault,
        };
        self.change_quietly(|market| market.requests.push(request));
    }

    pub fn callback_url(&self, addon: AddonId) -> String {
        format!("{}/addons/{addon}", self.origin)
    }

    /// The user information travels in the URL, as with the real platform.
    pub fn log_input_url(&self, token: Uuid) -> String {
        let (scheme, host) = self.origin.split_once("://").unwrap_or(("http", ""));
        format!("{scheme}://token:t.{token}@{host}/logs")
    }

    pub fn notify(&self, good: bool, text: impl Into<String>) {
        let text = text.into();
        *self.notice.lock() = Some(Notice { good, text });
    }
}
