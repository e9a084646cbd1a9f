//! The limits for callers that keep the service waiting reach it as they are set (security.md G-5); `limits` has the others.

use std::time::Duration;

use larder::sandbox::ProvisionOptions;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::support::control_plane::eventually;
use crate::support::db::Database;
use crate::support::full_service::{FullService, PATIENCE, Wishes};
use crate::support::plain::Plain;

/// What comes after so long is not what was set, but one of the defaults, which are 20 and 30 seconds.
const NOT_AS_SET: Duration = Duration::from_secs(15);

const VALUE_BYTES: usize = 100_000;

async fn start(set: &[(&str, &str)]) -> FullService {
    let settings = set
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let wishes = Wishes {
        settings: settings.collect(),
        ..Wishes::default()
    };
    FullService::start(Database::sqlite(), wishes).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_that_does_not_come_is_answered_when_its_time_is_over() {
    let service = start(&[("LARDER_HTTP_REQUEST_SECS", "1")]).await;
    let addr = service.base.trim_start_matches("http://");
    let begun = Instant::now();
    let mut socket = TcpStream::connect(addr).await.expect("it listens");
    let head = format!(
        "POST /heroku/sso HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: 100\r\n\r\n"
    );
    let sent = socket.write_all(head.as_bytes()).await;
    sent.expect("the service takes it");
    let mut answer = String::new();
    let mut socket = BufReader::new(socket);
    let read = timeout(PATIENCE, socket.read_line(&mut answer)).await;
    read.expect("an answer").expect("readable");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let waited = begun.elapsed();
    assert!(
        waited >= Duration::from_secs(1) && waited < NOT_AS_SET,
        "{waited:?}"
    );
    service.stop().await;
}

/// A client that asks and reads nothing has so much carried out for it as is set, and then so long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_is_served_and_kept_as_is_set() {
    const UNREAD_BYTES: usize = 12 << 20;
    let service = start(&[
        ("LARDER_MEMCACHED_UNREAD_BYTES", "12MiB"),
        ("LARDER_MEMCACHED_UNREAD_SECS", "3"),
    ])
    .await;
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let made = service
        .sandbox
        .provision(shop, "100", ProvisionOptions::default());
    made.await.expect("a cache");
    let vars = service.sandbox.config_vars(shop);
    let servers = vars["MEMCACHIER_SERVERS"].clone();
    let (username, password) = (&vars["MEMCACHIER_USERNAME"], &vars["MEMCACHIER_PASSWORD"]);
    let mut other = Plain::connect(&servers).await;
    assert_eq!(other.login(username, password).await, "STORED");
    let value = "v".repeat(VALUE_BYTES);
    other
        .say(&format!("set k 0 0 {VALUE_BYTES}\r\n{value}\r\n"))
        .await;
    assert_eq!(other.line().await, "STORED");

    let mut greedy = narrow(&servers).await;
    let login = format!("set {username} 0 0 {}\r\n{password}\r\n", password.len());
    let sent = greedy.write_all(login.as_bytes()).await;
    sent.expect("it is taken");
    let mut stored = [0; 8];
    let read = timeout(PATIENCE, greedy.read_exact(&mut stored)).await;
    read.expect("an answer").expect("readable");
    assert_eq!(&stored, b"STORED\r\n");
    let asked = greedy.write_all(&b"get k\r\n".repeat(400)).await;
    asked.expect("it is taken");
    // By default it would be a quarter of a MiB, and the little that fits into the kernel.
    let as_set = UNREAD_BYTES / VALUE_BYTES - 10;
    eventually("as much is carried out as may be unread", async || {
        gets(&mut other).await >= as_set
    })
    .await;

    let begun = Instant::now();
    let more = b"get k\r\n".repeat(10_000);
    let closed = async { while greedy.write_all(&more).await.is_ok() {} };
    let closed = timeout(NOT_AS_SET, closed).await;
    assert!(closed.is_ok(), "still open after {:?}", begun.elapsed());
    service.stop().await;
}

/// A connection whose kernel keeps little of what comes.
async fn narrow(servers: &str) -> TcpStream {
    let port = servers.rsplit_once(':').expect("a port").1;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("it is small");
    let addr = format!("127.0.0.1:{port}").parse().expect("an address");
    socket.connect(addr).await.expect("it listens")
}

/// How many reads the cache has carried out.
async fn gets(client: &mut Plain) -> usize {
    client.say("stats\r\n").await;
    let mut gets = 0;
    loop {
        let line = client.line().await;
        match line.strip_prefix("STAT cmd_get ") {
            Some(number) => gets = number.parse().expect("a number"),
            None if line == "END" => return gets,
            None => assert!(line.starts_with("STAT "), "{line}"),
        }
    }
}
