//! Strangers who open connections to every port and say nothing, or not all that they announced, on a machine with few
//! descriptors.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use larder::app::descriptors;
use reqwest::{Client, StatusCode};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::control_plane::eventually;
use crate::support::db::Database;
use crate::support::full_service::{PATIENCE, free_port, setting};
use crate::support::machine::{Answer, Machine, on_both};
use crate::support::plain::Plain;
use crate::support::process::Process;

/// The limit of open files at the start, as a shell gives it, and how far it may be raised.
const FILES: (u32, u32) = (1024, 1280);
/// Silent connections to each port: more than the process may open files, and all together three times as many.
const SILENT: usize = 1300;
/// They come from so many addresses.
const ADDRESSES: usize = 20;
/// After so many, others ask.
const BETWEEN: usize = 300;

/// Forms whose bodies do not come: several times as many as the process may have requests under way.
const WITHHELD: usize = 600;
/// The whole head of a sign-on, which is read before any proof is asked for.
const HEAD_ALONE: &str = "POST /heroku/sso HTTP/1.1\r\nhost: cache\r\ncontent-type: application/x-www-form-urlencoded\r\n\
                          content-length: 100\r\n\r\n";

const CLOSED: &str = "larder_http_connections_closed_total";

struct Flooded {
    machine: Machine,
    metrics: String,
    memcached: String,
    customer: Answer,
}

impl Flooded {
    /// Health, metrics and a new login, each on a new connection.
    async fn serves_others(&self) {
        for url in [
            format!("{}/healthz", self.machine.base),
            format!("{}/readyz", self.machine.base),
            format!("http://{}/metrics", self.metrics),
        ] {
            let client = Client::builder()
                .timeout(PATIENCE)
                .build()
                .expect("a client");
            let answer = client.get(&url).send().await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::OK, "{url}");
        }
        let mut client = Plain::connect(&self.memcached).await;
        let login = client.login(&self.customer.username, &self.customer.password);
        assert_eq!(login.await, "STORED");
    }

    async fn closed(&self, reason: &str) -> u64 {
        let page = reqwest::get(format!("http://{}/metrics", self.metrics)).await;
        let page = page.expect("an answer").text().await.expect("text");
        let series = format!("{CLOSED}{{reason=\"{reason}\"}} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&series));
        value.expect("counted").parse().expect("a number")
    }
}

async fn silent(number: usize, to: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let host = u8::try_from(2 + number % ADDRESSES).expect("few");
    let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, host));
    socket.bind((from, 0).into()).expect("a free port");
    let to: SocketAddr = to.parse().expect("an address");
    socket.connect(to).await.expect("it is taken")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_stop_neither_health_nor_logins() {
    // The sockets of the silent clients are opened by this process.
    descriptors::raise();
    on_both(async |database| {
        stays_open_to_others(&database).await;
        database.drop().await;
    })
    .await;
}

async fn stays_open_to_others(database: &Database) {
    let mut machine = Machine::new(database, "node-a.example");
    let metrics = format!("127.0.0.1:{}", free_port());
    machine.settings = setting(&machine.settings, "LARDER_METRICS_ADDR", &metrics);
    let log = machine.folder.path().join("log");
    let serving = Process::start_with_files(&machine.base, &machine.settings, &log, FILES).await;
    let customer = machine.order("r-1", false).await;
    customer.is_on(&machine);
    let port = machine.server.rsplit_once(':').expect("a port").1;
    let flooded = Flooded {
        memcached: format!("127.0.0.1:{port}"),
        metrics,
        customer,
        machine,
    };
    for reason in ["slow_head", "idle", "too_many", "no_descriptor"] {
        assert_eq!(flooded.closed(reason).await, 0, "{reason}");
    }

    let http = flooded.machine.base.trim_start_matches("http://");
    let mut held = Vec::new();
    for number in 0..SILENT {
        for addr in [http, &flooded.metrics, &flooded.memcached] {
            held.push(silent(number, addr).await);
        }
        if number % BETWEEN == 0 {
            flooded.serves_others().await;
        }
    }
    flooded.serves_others().await;
    flooded
        .machine
        .order("r-2", false)
        .await
        .is_on(&flooded.machine);
    let log = std::fs::read_to_string(&log).expect("a log");
    assert!(log.contains("had=1024 now=1280"), "{log}");
    let told = log.matches("those that have waited longest are closed");
    assert!(told.count() >= 2, "for each listener: {log}");
    assert!(flooded.closed("too_many").await > 1_000);
    eventually(
        "those that are left are closed for their slow heads",
        async || flooded.closed("slow_head").await > 0,
    )
    .await;
    drop(held);
    serving.kill().await;
}

/// From two addresses, as one host has them by IPv4 and IPv6: one address has half of the connections at most.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withheld_bodies_stop_neither_orders_nor_dashboards() {
    descriptors::raise();
    on_both(async |database| {
        answers_beside_withheld_bodies(&database).await;
        database.drop().await;
    })
    .await;
}

async fn answers_beside_withheld_bodies(database: &Database) {
    let machine = Machine::new(database, "node-a.example");
    let log = machine.folder.path().join("log");
    let serving = Process::start_with_files(&machine.base, &machine.settings, &log, FILES).await;
    let http = machine.base.trim_start_matches("http://");
    let mut held = Vec::new();
    for number in 0..WITHHELD {
        let mut socket = silent(number % 2, http).await;
        let sent = socket.write_all(HEAD_ALONE.as_bytes()).await;
        sent.expect("a new connection takes it");
        held.push(socket);
        if number % BETWEEN == BETWEEN - 1 {
            let order = machine.order(&format!("r-{number}"), false).await;
            order.is_on(&machine);
            answers_browsers(&machine.base).await;
        }
    }
    drop(held);
    serving.kill().await;
}

/// A page, and a sign-on that is refused for its proof.
async fn answers_browsers(base: &str) {
    let client = Client::builder()
        .timeout(PATIENCE)
        .build()
        .expect("a client");
    let page = client.get(base).send().await.expect("an answer");
    assert_eq!(page.status(), StatusCode::OK);
    let sign_on = client.post(format!("{base}/heroku/sso"));
    let sign_on = sign_on.form(&[("resource_id", "x")]).send().await;
    assert_eq!(sign_on.expect("an answer").status(), StatusCode::FORBIDDEN);
}
