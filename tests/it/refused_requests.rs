//! HTTP requests that are refused before a route sees them: an operator finds them in the metrics, and overload in the log.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::StatusCode;
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::control_plane::eventually;
use crate::support::db::Database;
use crate::support::full_service::{PASSWORD, free_port, setting};
use crate::support::machine::Machine;
use crate::support::process::Process;

/// Leaves two dozen connections for HTTP.
const FILES: (u32, u32) = (256, 350);
/// More than they are.
const ORDERS: u8 = 60;

/// What a scraper reads of a reason.
async fn counted(metrics: &str, reason: &str) -> u64 {
    let page = reqwest::get(format!("http://{metrics}/metrics")).await;
    let page = page.expect("an answer").text().await.expect("text");
    let series = format!("larder_http_requests_refused_total{{reason=\"{reason}\"}} ");
    let value = page.lines().find_map(|line| line.strip_prefix(&series));
    value.expect("counted from zero").parse().expect("a number")
}

fn machine(database: &Database) -> (Machine, String) {
    let mut machine = Machine::new(database, "127.0.0.1");
    let metrics = format!("127.0.0.1:{}", free_port());
    machine.settings = setting(&machine.settings, "LARDER_METRICS_ADDR", &metrics);
    (machine, metrics)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_route_sees_is_counted_by_reason() {
    let database = Database::sqlite();
    let (machine, metrics) = machine(&database);
    let process = machine.start().await;
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}", "x".repeat(20_000));
    let coded = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    for (reason, status, request) in [
        ("ambiguous", "400", "GET / HTTP/1.1\r\n\r\n"),
        ("unknown_coding", "501", coded),
        ("unreadable", "400", "nonsense\r\n\r\n"),
        ("too_large", "431", long.as_str()),
    ] {
        assert_eq!(counted(&metrics, reason).await, 0, "{reason}");
        let addr = machine.base.trim_start_matches("http://");
        let mut stream = TcpStream::connect(addr).await.expect("it listens");
        // Who has been refused may find the connection closed while it still sends.
        drop(stream.write_all(request.as_bytes()).await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        let answer = String::from_utf8_lossy(&answer);
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{reason}: {answer}");
        eventually("it is counted", async || {
            counted(&metrics, reason).await == 1
        })
        .await;
    }
    assert_eq!(counted(&metrics, "too_many").await, 0);
    assert!(process.terminate().await.success());
    database.drop().await;
}

/// Orders a cache, and tells whether that was refused because of too many at once.
async fn is_refused(base: String, number: u8) -> bool {
    // Of one address the service takes half of the connections only.
    let from = IpAddr::V4(Ipv4Addr::new(127, 0, 1, number));
    let client = reqwest::Client::builder().local_address(from).build();
    let body = json!({
        "uuid": format!("01234567-89ab-4cde-8f01-{number:012}"), "plan": "dev",
        "region": "amazon-web-services::us-east-1",
    });
    let answer = client
        .expect("a client")
        .post(format!("{base}/heroku/resources"))
        .basic_auth("larder", Some(PASSWORD))
        .json(&body)
        .send();
    // A connection that made room for another has no answer.
    let Ok(answer) = answer.await else {
        return false;
    };
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    status == StatusCode::SERVICE_UNAVAILABLE && text.contains("too many requests at once")
}

/// The database takes no write for a while, and more orders come than may be under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overload_is_counted_and_has_one_line() {
    let database = Database::sqlite();
    let (machine, metrics) = machine(&database);
    let log = machine.folder.path().join("log");
    let process = Process::start_with_files(&machine.base, &machine.settings, &log, FILES).await;
    let mut writer = SqliteConnection::connect(database.url())
        .await
        .expect("connects");
    let held = sqlx::query("BEGIN IMMEDIATE").execute(&mut writer).await;
    held.expect("nobody writes");

    let mut orders: JoinSet<bool> = (1..=ORDERS)
        .map(|number| is_refused(machine.base.clone(), number))
        .collect();
    eventually("more come than there may be", async || {
        counted(&metrics, "too_many").await > 0
    })
    .await;
    let released = sqlx::query("ROLLBACK").execute(&mut writer).await;
    released.expect("nothing was written");
    let mut refused = 0;
    while let Some(was_refused) = orders.join_next().await {
        refused += u64::from(was_refused.expect("no panic"));
    }
    let counted = counted(&metrics, "too_many").await;
    assert!(refused > 0 && counted >= refused, "{refused} of {counted}");
    assert!(process.terminate().await.success());
    let log = std::fs::read_to_string(&log).expect("a log");
    let told = log.matches("so new ones are refused with 503").count();
    assert_eq!(told, 1, "one line, however many were refused\n{log}");
    database.drop().await;
}
