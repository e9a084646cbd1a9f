//! SIGTERM: the service ends in time and in good order. No reply is cut off, what was acknowledged is there after
//! the next start, and a client that has begun a conversation sees its end, not a broken line.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use larder::sandbox::AddonId;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};

use crate::support::control_plane::eventually;
use crate::support::db::Database;
use crate::support::full_service::{PASSWORD, PATIENCE, free_port, setting, settings};
use crate::support::on_both_databases;
use crate::support::plain::Plain;
use crate::support::process::Process;

/// `LARDER_SHUTDOWN_SECS` of these tests.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// Large enough that replies wait in socket buffers when the signal comes.
const VALUE_BYTES: usize = 20_000;
/// Requests that a client sends without waiting for replies.
const AHEAD: u64 = 400;

on_both_databases!(a_termination_cuts_no_reply);
on_both_databases!(a_balancer_is_told_before_the_port_closes);

/// A database that takes connections and says nothing: the service is waiting for it when the operator changes his mind.
#[tokio::test]
async fn a_termination_ends_a_start_in_good_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = format!("http://127.0.0.1:{}", free_port());
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!(
        "postgres://larder@{}/larder",
        mute.local_addr().expect("an address")
    );
    let database = Database::sqlite();
    let all = settings(&base, "http://127.0.0.1:9", &database, &folder);
    let all = setting(&all, "LARDER_DATABASE_URL", &url);
    let process = Process::launch(&base, &all, folder.path());
    let _connection = mute.accept().await.expect("the service connects");
    assert!(process.terminate().await.success(), "it ends with success");
    database.drop().await;
}

/// A balancer has time to send its requests elsewhere: `/readyz` says so while everything is still answered.
async fn a_balancer_is_told_before_the_port_closes(database: Database) {
    let folder = tempfile::tempdir().expect("a folder");
    let base = format!("http://127.0.0.1:{}", free_port());
    let all = settings(&base, "http://127.0.0.1:9", &database, &folder);
    let all = setting(&all, "LARDER_SHUTDOWN_DELAY_SECS", "2");
    let process = Process::start(&base, &all).await;
    let told = async {
        loop {
            let ready = reqwest::get(format!("{base}/readyz")).await;
            match ready
                .expect("the port is open until it is told")
                .status()
                .as_u16()
            {
                200 => {}
                status => return status,
            }
        }
    };
    let still_served = async {
        let status = told.await;
        let alive = reqwest::get(format!("{base}/healthz")).await;
        (status, alive.expect("answered").status().as_u16())
    };
    let (ended, served) = tokio::join!(process.terminate(), still_served);
    assert_eq!(served, (503, 200));
    assert!(ended.success());
    database.drop().await;
}

/// Shop's clients and its marketplace are in the middle of long conversations when the operator ends the service.
async fn a_termination_cuts_no_reply(database: Database) {
    let folder = tempfile::tempdir().expect("a folder");
    let base = format!("http://127.0.0.1:{}", free_port());
    let all = settings(&base, "http://127.0.0.1:9", &database, &folder);
    let all = setting(
        &all,
        "LARDER_SHUTDOWN_SECS",
        &SHUTDOWN.as_secs().to_string(),
    );
    let process = Process::start(&base, &all).await;
    let cache = provision(&base, AddonId::generate()).await;

    let clients: Vec<_> = (0..4)
        .map(|_| tokio::spawn(pipeline(cache.clone())))
        .collect();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let marketplace = tokio::spawn(order_ahead(base.clone(), Arc::clone(&acknowledged)));
    let answered = &acknowledged;
    eventually("the marketplace is in the middle of it", async || {
        answered.load(Ordering::Relaxed) >= 5
    })
    .await;
    let idle = login(&cache).await;

    let signalled = Instant::now();
    assert!(process.terminate().await.success(), "it ends with success");
    let took = signalled.elapsed();
    assert!(took <= SHUTDOWN, "winding down took {took:?}");
    for client in clients {
        let replies = client.await.expect("every reply is whole");
        assert!(replies > 0, "the client was in the middle of it");
    }
    assert_eq!(
        { idle }.rest().await,
        "",
        "a silent client just sees the end"
    );
    let orders = marketplace.await.expect("every answer is whole");

    let process = Process::start(&base, &all).await;
    login(&cache).await;
    for (id, config) in orders {
        assert_eq!(
            provision(&base, id).await,
            config,
            "what was acknowledged is there"
        );
        login(&config).await;
    }
    assert!(process.terminate().await.success());
    database.drop().await;
}

type Config = BTreeMap<String, String>;

async fn provision(base: &str, id: AddonId) -> Config {
    let request = reqwest::Client::new().post(format!("{base}/heroku/resources"));
    let request = request
        .basic_auth("larder", Some(PASSWORD))
        .json(&order(id));
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 201);
    config(&answer.json().await.expect("JSON"))
}

fn order(id: AddonId) -> Value {
    json!({"uuid": id, "plan": "dev", "region": "amazon-web-services::us-east-1"})
}

fn config(body: &Value) -> Config {
    serde_json::from_value(body["config"].clone()).expect("texts")
}

async fn login(cache: &Config) -> Plain {
    let mut client = Plain::connect(&cache["MEMCACHIER_SERVERS"]).await;
    let (user, password) = (&cache["MEMCACHIER_USERNAME"], &cache["MEMCACHIER_PASSWORD"]);
    assert_eq!(client.login(user, password).await, "STORED");
    client
}

/// A client that stores and reads on and on, far ahead of the replies, until the server ends the conversation.
/// Answers how many replies came; panics when one is not whole.
async fn pipeline(cache: Config) -> u64 {
    let stream = TcpStream::connect(&cache["MEMCACHIER_SERVERS"])
        .await
        .expect("connects");
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let (user, password) = (&cache["MEMCACHIER_USERNAME"], &cache["MEMCACHIER_PASSWORD"]);
    let value = "v".repeat(VALUE_BYTES);
    let start = format!(
        "set {user} 0 0 {}\r\n{password}\r\nset k 0 0 {VALUE_BYTES}\r\n{value}\r\n",
        password.len()
    );
    writer.write_all(start.as_bytes()).await.expect("sent");
    for _ in 0..2 {
        assert_eq!(line(&mut reader).await.as_deref(), Some("STORED"));
    }
    let got = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&got);
    // the server may end while we write; the replies tell whether it did so properly
    let writing = tokio::spawn(async move {
        for sent in 0.. {
            while sent > seen.load(Ordering::Relaxed) + AHEAD {
                tokio::task::yield_now().await;
            }
            if writer.write_all(b"get k\r\n").await.is_err() {
                return;
            }
        }
    });
    while let Some(header) = line(&mut reader).await {
        assert_eq!(header, format!("VALUE k 0 {VALUE_BYTES}"));
        let mut body = vec![0; VALUE_BYTES + 7];
        let read = reader.read_exact(&mut body).await;
        read.unwrap_or_else(|error| panic!("a reply is cut off: {error}"));
        assert!(body.ends_with(b"\r\nEND\r\n"));
        got.fetch_add(1, Ordering::Relaxed);
    }
    writing.abort();
    got.load(Ordering::Relaxed)
}

/// A line, or `None` at a clean end of the conversation.
async fn line(reader: &mut BufReader<OwnedReadHalf>) -> Option<String> {
    let mut line = String::new();
    let read = tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await;
    let read = read
        .expect("in time")
        .unwrap_or_else(|error| panic!("the conversation broke: {error}"));
    assert!(
        read == 0 || line.ends_with("\r\n"),
        "a line is cut off: {line:?}"
    );
    (read > 0).then(|| line.trim_end().to_owned())
}

/// A marketplace that sends orders ahead on one connection, until the service closes it. What was acknowledged.
async fn order_ahead(base: String, acknowledged: Arc<AtomicU64>) -> Vec<(AddonId, Config)> {
    use base64::Engine as _;
    let addr = base.trim_start_matches("http://").to_owned();
    let stream = TcpStream::connect(&addr).await.expect("connects");
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("larder:{PASSWORD}"));
    let ids: Vec<AddonId> = (0..AHEAD).map(|_| AddonId::generate()).collect();
    let requests = ids.clone();
    let writing = tokio::spawn(async move {
        for id in requests {
            let body = order(id).to_string();
            let request = format!(
                "POST /heroku/resources HTTP/1.1\r\nhost: {addr}\r\nauthorization: Basic {basic}\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            if writer.write_all(request.as_bytes()).await.is_err() {
                break;
            }
        }
        // kept open until all answers are read
        writer
    });
    let mut orders = Vec::new();
    for id in ids {
        let Some(body) = answer(&mut reader).await else {
            break;
        };
        orders.push((id, config(&body)));
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    assert!((orders.len() as u64) < AHEAD, "the signal came too late");
    writing.abort();
    orders
}

/// One whole answer of a keep-alive connection, or `None` at its clean end.
async fn answer(reader: &mut BufReader<OwnedReadHalf>) -> Option<Value> {
    let status = line(reader).await?;
    assert_eq!(status, "HTTP/1.1 201 Created");
    let mut length = None;
    loop {
        let header = line(reader).await.expect("whole headers");
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = Some(value.parse().expect("a number"));
        }
    }
    let mut body = vec![0; length.expect("a length")];
    reader.read_exact(&mut body).await.expect("a whole body");
    Some(serde_json::from_slice(&body).expect("JSON"))
}
