//! An installation on many machines, beside a marketplace: control processes, nodes and workers, each a
//! `larder serve --role …` with a folder, addresses and settings of its own, which it keeps over restarts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use larder::sandbox::{AddonId, AppId, ProvisionOptions, Sandbox};
use tempfile::TempDir;

use super::app::Values;
use super::control_plane::eventually;
use super::dashboard::Dashboard;
use super::db::Database;
use super::full_service::{PROXY, free_port, sandbox_settings, setting, settings};
use super::machine::Machine;
use super::process::Process;

/// The enrolment token of an installation in a test.
pub const NODE_TOKEN: &str = "5d1c7e0b94a2f86d3e57b1c08f492a6bd7e3f015";

/// What a node keeps of its caches, within its data folder.
const SNAPSHOT_FILE: &str = "snapshot.sealed";

/// The marketplace, and the database that all control processes share.
pub struct Fleet {
    pub sandbox: Sandbox,
    pub database: Database,
}

/// A machine of a control process. Commands of an operator run there: see [`Machine::admin`].
pub struct ControlMachine {
    pub machine: Machine,
    /// Where it serves the node link.
    pub link: SocketAddr,
    /// The address of its `/metrics`.
    pub metrics: String,
    pub logs: Logs,
}

/// A machine of a node. Nothing on it opens the database or a password.
pub struct NodeMachine {
    folder: TempDir,
    pub settings: Vec<(String, String)>,
    /// As in SERVERS.
    pub server: String,
    /// `http://…` of its metrics listener, where it says that it serves.
    base: String,
    pub logs: Logs,
}

/// A machine that delivers what is promised, and nothing else.
pub struct WorkerMachine {
    _folder: TempDir,
    settings: Vec<(String, String)>,
    logs: Logs,
}

/// The logs of one machine, a file for each start.
pub struct Logs {
    folder: TempDir,
    starts: AtomicU32,
}

/// An app with a cache.
pub struct Shop {
    pub app: AppId,
    pub addon: AddonId,
    pub values: Values,
}

impl Logs {
    fn new() -> Logs {
        Logs {
            folder: tempfile::tempdir().expect("a folder"),
            starts: AtomicU32::new(0),
        }
    }

    fn path(&self, start: u32) -> PathBuf {
        self.folder.path().join(format!("start-{start}"))
    }

    fn next(&self) -> PathBuf {
        self.path(self.starts.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// What the process said since its last start.
    pub fn newest(&self) -> String {
        let path = self.path(self.starts.load(Ordering::Relaxed));
        std::fs::read_to_string(path).expect("a log")
    }
}

impl Fleet {
    pub async fn start(database: Database) -> Fleet {
        let sandbox = Sandbox::start(sandbox_settings(None)).await;
        Fleet {
            sandbox: sandbox.expect("the sandbox starts"),
            database,
        }
    }

    /// A machine for a control process. It is not started.
    pub fn control(&self) -> ControlMachine {
        let folder = tempfile::tempdir().expect("a folder");
        let base = format!("http://127.0.0.1:{}", free_port());
        let link = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let metrics = format!("127.0.0.1:{}", free_port());
        let mut all = settings(&base, self.sandbox.url(), &self.database, &folder);
        for (name, value) in [
            ("LARDER_LINK_ADDR", link.to_string()),
            ("LARDER_NODE_TOKEN", NODE_TOKEN.to_owned()),
            ("LARDER_METRICS_ADDR", metrics.clone()),
        ] {
            all = setting(&all, name, &value);
        }
        ControlMachine {
            machine: Machine {
                folder,
                settings: all,
                base,
                server: String::new(),
            },
            link,
            metrics: format!("http://{metrics}/metrics"),
            logs: Logs::new(),
        }
    }

    /// A machine for a node that knows these addresses of the node link. It is not started.
    pub fn node(&self, control_urls: &[String]) -> NodeMachine {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let metrics = format!("127.0.0.1:{}", free_port());
        let data = folder.path().join("data").display().to_string();
        let settings = [
            ("LARDER_CONTROL_URL", control_urls.join(",")),
            ("LARDER_DATA_DIR", data),
            ("LARDER_ENGINE_MEMORY", "256MiB".to_owned()),
            ("LARDER_ENGINE_THREADS", "1".to_owned()),
            ("LARDER_MEMCACHED_ADDR", format!("127.0.0.1:{port}")),
            ("LARDER_METRICS_ADDR", metrics.clone()),
            ("LARDER_NODE_TOKEN", NODE_TOKEN.to_owned()),
            ("LARDER_PROXY_HOSTNAME", PROXY.to_owned()),
            ("LARDER_SHUTDOWN_DELAY_SECS", "0".to_owned()),
            ("LARDER_SHUTDOWN_SECS", "5".to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value));
        NodeMachine {
            folder,
            settings: settings.to_vec(),
            server: format!("{PROXY}:{port}"),
            base: format!("http://{metrics}"),
            logs: Logs::new(),
        }
    }

    /// A machine for a worker, with the secrets of this control process.
    pub fn worker(&self, control: &ControlMachine) -> WorkerMachine {
        let folder = tempfile::tempdir().expect("a folder");
        let of_link = ["LARDER_LINK_ADDR", "LARDER_NODE_TOKEN"];
        let mut all = control.machine.settings.clone();
        all.retain(|(name, _)| !of_link.contains(&name.as_str()));
        let data = folder.path().display().to_string();
        all = setting(&all, "LARDER_DATA_DIR", &data);
        WorkerMachine {
            settings: setting(&all, "LARDER_METRICS_ADDR", "127.0.0.1:0"),
            _folder: folder,
            logs: Logs::new(),
        }
    }

    /// From here on the marketplace sends orders and customers to this control process.
    pub fn calls_go_to(&self, control: &ControlMachine) {
        let base = &control.machine.base;
        self.sandbox.set_provider(
            &format!("{base}/heroku/resources"),
            &format!("{base}/heroku/sso"),
        );
    }

    /// A new app orders a cache, from the control process that gets the calls.
    pub async fn order(&self, app: &str) -> Shop {
        let app = self.sandbox.create_app(app).expect("a new name");
        let made = self
            .sandbox
            .provision(app, "dev", ProvisionOptions::default());
        let addon = made.await.expect("a cache").id;
        let values = Values::of_app(&self.sandbox, app);
        Shop { app, addon, values }
    }

    /// The owner of a cache at this control process, which gets the calls from here on.
    pub async fn owner(&self, shop: &Shop, control: &ControlMachine) -> Dashboard {
        self.calls_go_to(control);
        Dashboard::open(&self.sandbox, shop.addon, &control.machine.base).await
    }

    /// Ends what is no process of its own. Those are to be ended before it.
    pub async fn stop(self) {
        self.sandbox.stop().await;
        self.database.drop().await;
    }
}

impl ControlMachine {
    /// For `LARDER_CONTROL_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.link)
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&self) -> Process {
        let (base, settings) = (&self.machine.base, &self.machine.settings);
        let mut process = Process::launch_role("control", base, settings, &self.logs.next());
        process.answers("/readyz").await;
        process
    }

    /// Waits until `admin nodes` shows the node in this state.
    pub async fn sees(&self, node: &NodeMachine, state: &str) {
        eventually(state, async || {
            let list = self.machine.admin("nodes").await;
            let row = list.lines().find(|line| line.contains(&node.server));
            let shown = row.and_then(|row| row.split_whitespace().nth(1));
            shown == Some(state)
        })
        .await;
    }
}

impl NodeMachine {
    /// Starts it and does not wait for anything.
    pub fn launch(&self) -> Process {
        Process::launch_role("node", &self.base, &self.settings, &self.logs.next())
    }

    /// Starts it and waits until it serves.
    pub async fn start(&self) -> Process {
        let mut process = self.launch();
        process.answers("/healthz").await;
        process
    }

    /// The address of its `/metrics`.
    pub fn metrics(&self) -> String {
        format!("{}/metrics", self.base)
    }

    /// The folder that it made for itself.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn snapshot_written(&self) -> Option<SystemTime> {
        let file = std::fs::metadata(self.data_dir().join(SNAPSHOT_FILE)).ok()?;
        file.modified().ok()
    }

    /// Returns when all that is in force on the node now is in its snapshot: when it has begun and ended one since the
    /// call. It writes one at a time, and only when something has changed, so the owner of a cache on it changes a
    /// credential twice: the snapshot that ends after the second change was begun after the call.
    pub async fn keeps_what_it_has(&self, owner: &mut Dashboard, username: &str) {
        let boxes = format!("credentials/{username}/capabilities");
        let all = [("write", "on"), ("flush", "on")];
        for capabilities in [&all[..1], &all[..]] {
            let before = self.snapshot_written();
            let changed = owner.act(&boxes, capabilities).await;
            assert!(changed.status.is_redirection(), "{}", changed.body);
            eventually("a snapshot is written", async || {
                self.snapshot_written() > before
            })
            .await;
        }
    }
}

impl WorkerMachine {
    /// Starts it. A worker has no address to be asked at.
    pub fn launch(&self) -> Process {
        Process::worker(&self.settings, &self.logs.next())
    }
}
