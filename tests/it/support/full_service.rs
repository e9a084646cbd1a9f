//! A whole Larder with a marketplace beside it, each on ports of its own: what scenario tests act in.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine as _;
use larder::app::Service;
use larder::config::{Config, Environment};
use larder::domain::Timestamp;
use larder::marketplace::{Adapter, registry};
use larder::sandbox::{AppId, LogLine, Manifest, Sandbox, SandboxSettings};
use larder::store::db::seal::MasterKey;
use larder::store::{Schema, Store, StoreSettings};
use tempfile::TempDir;

use super::db::Database;
use super::panics::NoPanics;

/// How long a scenario waits for something that must happen. Generous: it only bounds a failing test.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The name that nodes of a test announce; it must resolve, as clients connect to it.
pub const PROXY: &str = "localhost";

/// The service, its marketplace, and the folder they keep things in.
pub struct FullService {
    pub service: Service,
    pub sandbox: Sandbox,
    /// `http://127.0.0.1:…` of the service.
    pub base: String,
    pub database: Database,
    /// What the service was started with.
    environment: (Vec<(String, String)>, Option<String>),
    data: TempDir,
    panics: NoPanics,
}

/// How a test's service differs from the usual one.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Run for every app of the sandbox.
    pub app_command: Option<String>,
    /// Entries per page of the marketplace's lists.
    pub page_size: Option<usize>,
    /// The text of `larder.toml`.
    pub file: Option<String>,
    /// Settings over the usual ones.
    pub settings: Vec<(String, String)>,
    /// Marketplaces beside those of the program.
    pub marketplaces: Vec<Arc<dyn Adapter>>,
}

impl FullService {
    /// Starts everything on this database.
    pub async fn start(database: Database, wishes: Wishes) -> FullService {
        let panics = NoPanics::from_now_on();
        let data = tempfile::tempdir().expect("a folder");
        let mut market = sandbox_settings(wishes.app_command);
        market.page_size = wishes.page_size.unwrap_or(market.page_size);
        let sandbox = Sandbox::start(market).await.expect("the sandbox starts");
        let base = format!("http://127.0.0.1:{}", free_port());
        let mut settings = settings(&base, sandbox.url(), &database, &data);
        settings.splice(0..0, wishes.settings);
        let environment = (settings, wishes.file);
        let service = serve_with(&environment, wishes.marketplaces).await;
        sandbox.set_provider(
            &format!("{base}/heroku/resources"),
            &format!("{base}/heroku/sso"),
        );
        FullService {
            service,
            sandbox,
            base,
            database,
            environment,
            data,
            panics,
        }
    }

    /// The settings of the service, for commands beside it.
    pub fn settings(&self) -> &[(String, String)] {
        &self.environment.0
    }

    /// Stops the service and starts it with one setting changed.
    pub async fn restart_with(self, name: &str, value: &str) -> FullService {
        self.restart_with_all(&[(name, value)]).await
    }

    /// The same with several changed at once.
    pub async fn restart_with_all(self, changes: &[(&str, &str)]) -> FullService {
        self.service.stop().await;
        let (mut settings, file) = self.environment;
        for (name, value) in changes {
            settings = setting(&settings, name, value);
        }
        let environment = (settings, file);
        FullService {
            service: serve(&environment).await,
            environment,
            sandbox: self.sandbox,
            base: self.base,
            database: self.database,
            data: self.data,
            panics: self.panics,
        }
    }

    /// The service's database, as another process of it would open it: to wait for what no page shows.
    pub async fn store(&self) -> Store {
        let settings = StoreSettings {
            url: self.database.url().to_owned().into(),
            master_key: MasterKey::from_base64(&master_key()).expect("32 bytes"),
            previous_keys: vec![],
            connections_max: 2,
        };
        let now = Timestamp::from_secs(0);
        let store = Store::open(&settings, Schema::Expect, now).await;
        store.expect("the database opens a second time")
    }

    /// Winds everything down. Fails the test if the service has panicked.
    pub async fn stop(self) {
        self.sandbox.stop().await;
        self.service.stop().await;
        self.database.drop().await;
        drop(self.data);
        drop(self.panics);
    }

    /// Lines that Larder wrote into this app's log, in order.
    pub fn lines_of(&self, app: AppId, event: &str) -> Vec<String> {
        lines_of(&self.sandbox.log_lines(app), event)
    }
}

pub async fn serve(environment: &(Vec<(String, String)>, Option<String>)) -> Service {
    serve_with(environment, Vec::new()).await
}

async fn serve_with(
    (settings, file): &(Vec<(String, String)>, Option<String>),
    more: Vec<Arc<dyn Adapter>>,
) -> Service {
    let config = Config::read(Environment {
        environment: settings.clone(),
        file: file.clone(),
        ..Environment::default()
    });
    let config = config.expect("sound settings");
    let marketplaces = [registry::built_in(&config), more].concat();
    let service = Service::start_with(&config, marketplaces, Schema::Expect).await;
    service.expect("the service starts")
}

/// The texts of lines that begin with `event=…` of this kind.
pub fn lines_of(lines: &[LogLine], event: &str) -> Vec<String> {
    let start = format!("event={event} ");
    lines
        .iter()
        .map(|line| line.text.clone())
        .filter(|text| text.starts_with(&start))
        .collect()
}

/// The manifest's secrets as a test service knows them.
pub const PASSWORD: &str = "test-manifest-password";
pub const SALT: &str = "test-sso-salt";
pub const CLIENT_SECRET: &str = "test-client-secret";

/// A sandbox on a free port with the secrets of test worlds.
pub fn sandbox_settings(app_command: Option<String>) -> SandboxSettings {
    let text = include_str!("../../../addon-manifest.json");
    let mut manifest = Manifest::parse(text).expect("a sound manifest");
    manifest.api.password = PASSWORD.to_owned().into();
    manifest.api.sso_salt = SALT.to_owned().into();
    let mut settings = SandboxSettings::new(manifest, CLIENT_SECRET.to_owned().into());
    settings.addr = ([127, 0, 0, 1], 0).into();
    settings.plans = vec!["dev".to_owned(), "100".to_owned()];
    settings.app_command = app_command;
    settings
}

/// The master key of services in tests, as their settings hold it.
/// The master key of every service in a test.
pub const MASTER_KEY: [u8; 32] = [7; 32];

pub fn master_key() -> String {
    base64::engine::general_purpose::STANDARD.encode(MASTER_KEY)
}

/// Settings of a service in a test, as environment variables. The first of equal names wins.
pub fn settings(
    base: &str,
    sandbox: &str,
    database: &Database,
    data: &TempDir,
) -> Vec<(String, String)> {
    let addr = base.trim_start_matches("http://");
    let key = master_key();
    [
        ("LARDER_ALLOW_HTTP", "on"),
        ("LARDER_DATABASE_URL", database.url()),
        ("LARDER_DATABASE_CONNECTIONS", "8"),
        ("LARDER_DATA_DIR", &data.path().display().to_string()),
        ("LARDER_ENGINE_MEMORY", "256MiB"),
        ("LARDER_ENGINE_THREADS", "1"),
        ("LARDER_HEROKU_API_URL", sandbox),
        ("LARDER_HEROKU_CLIENT_SECRET", CLIENT_SECRET),
        ("LARDER_HEROKU_ADDONS_URL", sandbox),
        ("LARDER_HEROKU_ID_URL", sandbox),
        ("LARDER_HEROKU_LOG_HOSTS", "127.0.0.1"),
        ("LARDER_HEROKU_PASSWORD", PASSWORD),
        ("LARDER_HEROKU_SSO_SALT", SALT),
        ("LARDER_HTTP_ADDR", addr),
        ("LARDER_MASTER_KEY", &key),
        (
            "LARDER_MEMCACHED_ADDR",
            &format!("127.0.0.1:{}", free_port()),
        ),
        ("LARDER_METRICS_ADDR", "127.0.0.1:0"),
        ("LARDER_PROXY_HOSTNAME", PROXY),
        ("LARDER_PUBLIC_URL", base),
        ("LARDER_SHUTDOWN_DELAY_SECS", "0"),
        ("LARDER_SHUTDOWN_SECS", "5"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// The same settings but for one.
pub fn setting(settings: &[(String, String)], name: &str, value: &str) -> Vec<(String, String)> {
    let others = settings.iter().filter(|(other, _)| other != name).cloned();
    others
        .chain([(name.to_owned(), value.to_owned())])
        .collect()
}

/// A row of a plan table. More settings of the plan may follow it.
pub fn plan(slug: &str, memory_mib: u32, connections: u32) -> String {
    format!(
        r#"
[[plans]]
slug = "{slug}"
memory_mib = {memory_mib}
connections = {connections}
credentials = 10
sample_grain_secs = 60
history_days = 7
price_cents = 0
"#
    )
}

/// A port nobody listens on, and none of those that the system gives to connections on their way out: one of them
/// could have it before we do. It is given once; should another process take it, the test says so.
pub fn free_port() -> u16 {
    first_of_free_ports(1)
}

/// The same, and nobody is given the ports that follow it: of so many this is the first.
pub fn first_of_free_ports(count: u32) -> u16 {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 20_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Test processes that run side by side begin apart from each other.
    let begin = std::process::id().wrapping_mul(997);
    loop {
        let step = GIVEN.fetch_add(count, Ordering::Relaxed);
        let port = (FIRST + begin.wrapping_add(step) % COUNT) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
