//! libmemcached's capability test, run against the open listener.

use std::process::Command;

use crate::engine_fixture::EngineFixture;

/// Tests that stock memcached fails too: they expect an old wording of the reply to `delete`.
const FAIL_ON_STOCK_TOO: [&str; 2] = ["ascii delete", "ascii delete noreply"];

/// Names of tests that fail. `None` when the program is not installed.
fn failures(fixture: &EngineFixture, mode: &str) -> Option<Vec<String>> {
    let port = fixture.addresses.open.unwrap().port().to_string();
    let run = Command::new("memccapable")
        .args(["-h", "127.0.0.1", "-p", &port, mode])
        .output();
    let Ok(run) = run else {
        let on_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!on_ci, "libmemcached-tools must be installed on CI");
        println!("SKIPPED: no memccapable program on this machine");
        return None;
    };
    let told = String::from_utf8_lossy(&run.stdout).into_owned();
    let results: Vec<&str> = told.lines().filter(|line| line.contains('[')).collect();
    assert!(results.len() >= 25, "{told}");
    let failed = results.iter().filter(|line| !line.contains("[pass]"));
    let name = |line: &&str| line.split('[').next().unwrap().trim().to_owned();
    Some(failed.map(name).collect())
}

#[test]
fn the_binary_dialect_is_capable() {
    let fixture = EngineFixture::start();
    if let Some(failed) = failures(&fixture, "-b") {
        assert_eq!(failed, Vec::<String>::new());
    }
}

#[test]
fn the_text_dialect_is_as_capable_as_stock() {
    let fixture = EngineFixture::start();
    if let Some(mut failed) = failures(&fixture, "-a") {
        failed.retain(|name| !FAIL_ON_STOCK_TOO.contains(&name.as_str()));
        assert_eq!(failed, Vec::<String>::new());
    }
}
