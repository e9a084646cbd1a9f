//! A disk that is full: logs may stop, requests do not.

use larder::sandbox::AddonId;
use serde_json::json;

use crate::support::db::Database;
use crate::support::full_service::{PASSWORD, free_port, setting, settings};
use crate::support::on_both_databases;
use crate::support::process::Process;

on_both_databases!(a_log_that_cannot_be_written_stops_no_request);

async fn a_log_that_cannot_be_written_stops_no_request(database: Database) {
    for format in ["text", "json"] {
        let folder = tempfile::tempdir().expect("a folder");
        let base = format!("http://127.0.0.1:{}", free_port());
        let all = settings(&base, "http://127.0.0.1:9", &database, &folder);
        let all = setting(&all, "LARDER_LOG", "debug");
        let all = setting(&all, "LARDER_LOG_FORMAT", format);
        let metrics = format!("127.0.0.1:{}", free_port());
        let all = setting(&all, "LARDER_METRICS_ADDR", &metrics);
        let process = Process::start_on_full_disk(&base, &all).await;
        let id = AddonId::generate();
        let first = provision(&base, id).await;
        assert_eq!(provision(&base, id).await, first, "repeated");
        // What it cannot log it counts.
        let counted = reqwest::get(format!("http://{metrics}/metrics")).await;
        let counted = counted.expect("an answer").text().await.expect("text");
        assert!(counted.contains("\nlarder_panics_total 0\n"), "{counted}");
        assert!(process.terminate().await.success(), "it ends with success");
    }
    database.drop().await;
}

async fn provision(base: &str, id: AddonId) -> String {
    let order = json!({"uuid": id, "plan": "dev", "region": "amazon-web-services::us-east-1"});
    let request = reqwest::Client::new().post(format!("{base}/heroku/resources"));
    let request = request.basic_auth("larder", Some(PASSWORD)).json(&order);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 201);
    answer.text().await.expect("a body")
}
