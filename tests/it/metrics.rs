//! What a scraper and the person behind it get from `/metrics`.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

use larder::telemetry::metrics::{FAMILIES, Family, Kind};
use reqwest::StatusCode;

use crate::support::control_plane::eventually;
use crate::support::db::Database;
use crate::support::full_service::{FullService, Wishes, free_port};
use crate::support::on_both_databases;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

on_both_databases!(every_family_is_told_with_its_meaning_and_counts_from_zero);
on_both_databases!(with_a_token_metrics_are_for_its_holder);
on_both_databases!(a_panic_is_counted_wherever_it_is);

async fn start(database: Database, settings: &[(&str, &str)]) -> (FullService, String) {
    let addr = format!("127.0.0.1:{}", free_port());
    let mut all = vec![("LARDER_METRICS_ADDR".to_owned(), addr.clone())];
    all.extend(
        settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let wishes = Wishes {
        settings: all,
        ..Wishes::default()
    };
    let service = FullService::start(database, wishes).await;
    (service, format!("http://{addr}/metrics"))
}

async fn every_family_is_told_with_its_meaning_and_counts_from_zero(database: Database) {
    let (service, url) = start(database, &[]).await;
    reqwest::get(format!("{}/healthz", service.base))
        .await
        .expect("answered");
    let public = reqwest::get(format!("{}/metrics", service.base)).await;
    let public = public.expect("answered").status();
    assert_eq!(public, StatusCode::NOT_FOUND, "never on the public address");
    let text = reqwest::get(&url)
        .await
        .expect("answered")
        .text()
        .await
        .expect("text");
    for family in FAMILIES {
        let name = family.name;
        // The others have labels that only what happens gives them.
        let begun = family.label != "later" || text.contains(&format!("\n{name}{{"));
        if !begun {
            continue;
        }
        assert!(
            text.contains(&format!("# HELP {name} {}", family.help)),
            "{name}\n{text}"
        );
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}");
        if !family.unit.is_empty() {
            assert!(
                text.contains(&format!("# UNIT {name} {}\n", family.unit)),
                "{name}"
            );
        }
        for series in known_series(family) {
            let begun = text.lines().any(|line| line.starts_with(&series));
            assert!(begun, "{series} is there before it happens\n{text}");
        }
    }
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().expect("a name");
        let listed = FAMILIES.iter().any(|family| family.name == name);
        assert!(listed, "{name} is missing in the table of families");
    }
    for line in [
        "larder_engine_logins_refused_total ",
        "larder_engine_commands_total{command=\"get\"} ",
        "larder_http_requests_total{method=\"GET\",route=\"/healthz\",status=\"200\"} ",
        "larder_http_request_duration_seconds_bucket{route=\"/healthz\",le=\"0.001\"} ",
        "larder_node_lag_revisions{node=\"",
        "larder_database_up 1",
        "process_resident_memory_bytes ",
    ] {
        assert!(
            text.lines().any(|found| found.starts_with(line)),
            "{line}\n{text}"
        );
    }
    promtool_agrees(&text);
    service.stop().await;
}

/// The beginnings of lines that a family has before anything was counted.
fn known_series(family: &Family) -> Vec<String> {
    let (name, label) = (family.name, family.label);
    let (second, others) = family.second;
    let mut known = Vec::new();
    for value in family.values {
        if others.is_empty() {
            known.push(format!("{name}{{{label}=\"{value}\"}} "));
        }
        for other in others {
            known.push(format!(
                "{name}{{{label}=\"{value}\",{second}=\"{other}\"}} "
            ));
        }
    }
    known
}

/// Prometheus' own check of names and format, where it is installed.
fn promtool_agrees(text: &str) {
    let checking = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut checking) = checking else {
        return;
    };
    let mut input = checking.stdin.take().expect("piped");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    let checked = checking.wait_with_output().expect("it ends");
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}

async fn with_a_token_metrics_are_for_its_holder(database: Database) {
    let token = [("LARDER_METRICS_TOKEN", "0123456789abcdef")];
    let (service, url) = start(database, &token).await;
    let get = |token: Option<&str>| {
        let request = reqwest::Client::new().get(&url);
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
        .send()
    };
    assert_eq!(
        get(None).await.expect("answered").status(),
        StatusCode::UNAUTHORIZED
    );
    let wrong = get(Some("0123456789abcdeg")).await.expect("answered");
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    let right = get(Some("0123456789abcdef")).await.expect("answered");
    assert_eq!(right.status(), StatusCode::OK);
    for scheme in ["bearer", "BEARER"] {
        let request = reqwest::Client::new().get(&url);
        let request = request.header("authorization", format!("{scheme} 0123456789abcdef"));
        let right = request.send().await.expect("answered");
        assert_eq!(right.status(), StatusCode::OK, "{scheme}");
    }
    let text = right.text().await.expect("text");
    let series = "larder_refused_calls_total{call=\"metrics\"} ";
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    // Services of this process share the recorder.
    assert!(line.expect("the series").parse::<u64>().expect("a number") >= 2);
    let store = service.store().await;
    eventually("the refusals are audited", async || {
        let audit = store.audit_of_none(10).await.expect("an audit");
        let rows = audit
            .iter()
            .filter(|row| row.entry.action == "metrics.refused");
        rows.clone().all(|row| row.entry.actor.remote == Some(HERE)) && rows.count() > 0
    })
    .await;
    store.close().await;
    service.stop().await;
}

/// security.md G-6. Other tests of this process may panic meanwhile: the count only rises.
async fn a_panic_is_counted_wherever_it_is(database: Database) {
    let (service, url) = start(database, &[]).await;
    let count = async || {
        let text = reqwest::get(&url)
            .await
            .expect("answered")
            .text()
            .await
            .expect("text");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("larder_panics_total "));
        line.expect("the family").parse::<u64>().expect("a number")
    };
    let before = count().await;
    let panicked = std::thread::spawn(|| panic!("on purpose")).join();
    assert!(panicked.is_err());
    assert!(count().await > before);
    service.stop().await;
}
