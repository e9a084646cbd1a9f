//! The operator's log: what it tells, and what others cannot write into it.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::db::Database;
use crate::support::full_service::{PASSWORD, free_port, setting, settings};
use crate::support::on_both_databases;
use crate::support::process::{Process, larder};

on_both_databases!(a_life_reads_from_start_to_stop);
on_both_databases!(what_others_send_cannot_steer_a_terminal_or_end_a_line);

const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";
const OTHER_UUID: &str = "01234567-89ab-cdef-0123-456789abcde0";
/// Line ends, commands of terminals and a turn of direction, as a path may hold them in UTF-8.
const EVIL_PATH: &str = "/x\u{85}\u{9b}31m\u{2028}\u{202e}y";

/// A service's whole log from start to end: it is asked for its health, for a path full of controls, and for a cache that
/// is ordered, flushed by the operator and given back.
async fn log_of_a_life(database: &Database, format: &str, id: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let base = format!("http://127.0.0.1:{}", free_port());
    let all = settings(&base, "http://127.0.0.1:9", database, &folder);
    let all = setting(&all, "LARDER_LOG_FORMAT", format);
    let log = folder.path().join("log");
    let process = Process::start_logging(&base, &all, &log).await;

    let mut stream = TcpStream::connect(base.trim_start_matches("http://"))
        .await
        .expect("open");
    let request = format!("GET {EVIL_PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream.read_to_end(&mut Vec::new()).await.expect("answered");

    let collection = format!("{base}/heroku/resources");
    let client = reqwest::Client::new();
    let order = json!({"uuid": id, "plan": "dev", "region": "amazon-web-services::us-east-1"});
    let made = client
        .post(&collection)
        .basic_auth("larder", Some(PASSWORD))
        .json(&order)
        .send();
    assert_eq!(made.await.expect("answered").status(), 201);
    let flush = format!("admin flush {id} --reason moved");
    let flushed = larder(&flush, &all, folder.path()).await;
    assert!(flushed.success, "{}", flushed.stderr);
    let one = format!("{collection}/{id}");
    let gone = client
        .delete(one)
        .basic_auth("larder", Some(PASSWORD))
        .send();
    assert_eq!(gone.await.expect("answered").status(), 204);

    assert!(process.terminate().await.success());
    std::fs::read_to_string(&log).expect("UTF-8")
}

async fn a_life_reads_from_start_to_stop(database: Database) {
    let log = log_of_a_life(&database, "json", UUID).await;
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let said = |message: &str| {
        lines
            .iter()
            .find(|line| line["fields"]["message"] == message)
            .map(|line| &line["fields"])
    };
    let start = &lines[0]["fields"];
    assert_eq!(start["message"], "larder starts", "{log}");
    assert_eq!(start["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&start["role"], &start["memory_mib"]),
        (&json!("all"), &json!(256))
    );
    let (kind, _) = database.url().split_once(':').expect("a URL");
    let told = start["database"].as_str().expect("a text");
    assert!(
        told.starts_with(kind) && start["commit"].is_string(),
        "{told}"
    );
    for (kind, by) in [
        ("provisioned", "heroku"),
        ("flush", "operator"),
        ("deprovisioned", "heroku"),
    ] {
        let told = lines.iter().map(|line| &line["fields"]);
        let by_whom = told.filter(|fields| fields["event"] == kind && fields["by"] == by);
        assert_eq!(by_whom.count(), 1, "{kind} by {by} has a line\n{log}");
    }
    assert!(
        said("memcached listens").is_some_and(|fields| fields["tls"] == "off"),
        "{log}"
    );
    assert!(
        said("stopping; /readyz says so, and requests are still taken").is_some(),
        "{log}"
    );
    assert_eq!(
        lines.last().expect("a line")["fields"]["message"],
        "stopped"
    );
    assert!(
        !log.contains("/readyz\"") && !log.contains("Some("),
        "{log}"
    );
    database.drop().await;
}

async fn what_others_send_cannot_steer_a_terminal_or_end_a_line(database: Database) {
    for (format, id) in [("text", UUID), ("json", OTHER_UUID)] {
        let log = log_of_a_life(&database, format, id).await;
        assert!(
            log.contains("/x") && log.contains("31m"),
            "the path is told\n{log}"
        );
        let controls =
            |c: &char| c.is_control() && *c != '\n' || ('\u{2028}'..='\u{202e}').contains(c);
        assert_eq!(log.chars().find(controls), None, "{log:?}");
    }
    database.drop().await;
}
