//! The manifest as an operator makes it, checks it and changes it.

use std::path::Path;

use larder::config::Manifest;
use larder::sandbox::AddonId;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::db::Database;
use crate::support::full_service::{FullService, PASSWORD, Wishes, settings};
use crate::support::on_both_databases;
use crate::support::process::larder;

on_both_databases!(the_manifest_s_id_and_prefix_are_those_of_the_service);

/// Writes the manifest into the folder; answers the setting that names it.
fn with_manifest(folder: &Path, manifest: &Value) -> (String, String) {
    let path = folder.join("acme.json");
    std::fs::write(&path, manifest.to_string()).expect("written");
    ("LARDER_MANIFEST".to_owned(), path.display().to_string())
}

fn sound() -> Value {
    json!({
        "id": "acme-cache",
        "name": "Acme Cache",
        "api": {
            "version": "3",
            "password": "PLACEHOLDER",
            "sso_salt": "PLACEHOLDER",
            "config_vars_prefix": "ACME",
            "config_vars": ["ACME_SERVERS", "ACME_USERNAME", "ACME_PASSWORD"],
            "regions": ["us"],
            "requires": ["log_input"],
            "production": {
                "base_url": "https://cache.example.com/heroku/resources",
                "sso_url": "https://cache.example.com/heroku/sso",
            },
        },
    })
}

async fn run(public_url: &str) -> std::process::Output {
    let folder = tempfile::tempdir().expect("a folder");
    Command::new(env!("CARGO_BIN_EXE_larder"))
        .args(["admin", "--public-url", public_url, "manifest"])
        .env_clear()
        .current_dir(folder.path())
        .output()
        .await
        .expect("the program runs")
}

#[tokio::test]
async fn a_manifest_for_pushing_needs_nothing_but_the_public_address() {
    let done = run("https://cache.example.com").await;
    assert!(done.status.success(), "{done:?}");
    let text = String::from_utf8(done.stdout).expect("UTF-8");
    let manifest = Manifest::parse(&text).expect("a sound manifest");
    let urls = manifest.api.production.expect("production URLs");
    assert_eq!(urls.base_url, "https://cache.example.com/heroku/resources");
    assert!(!text.contains("PLACEHOLDER"));
    let told = String::from_utf8(done.stderr).expect("UTF-8");
    assert!(told.contains("LARDER_HEROKU_PASSWORD_PREVIOUS"), "{told}");

    let refused = run("http://127.0.0.1:8080").await;
    assert!(!refused.status.success());
    assert!(refused.stdout.is_empty());
}

#[tokio::test]
async fn check_config_names_every_fault_of_a_manifest() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut manifest = sound();
    manifest["id"] = json!("My Addon");
    let api = &mut manifest["api"];
    api["version"] = json!("2");
    api["password"] = json!("");
    api["config_vars"] = json!(["ACME_SERVERS", "ACME_USERNAME", "OTHER_URL"]);
    api["regions"] = json!(["mars"]);
    api["requires"] = json!(["luck"]);
    api["production"] = json!({
        "base_url": "http://cache.example.com/heroku/resources",
        "sso_url": "https://cache.example.com/sign-on",
    });
    let database = Database::sqlite();
    let base = "http://127.0.0.1:18080";
    let mut given = settings(base, "http://127.0.0.1:18090", &database, &folder);
    given.push(with_manifest(folder.path(), &manifest));
    let ended = larder("check-config", &given, folder.path()).await;
    assert!(!ended.success, "{ended:?}");
    for fault in [
        "id \"My Addon\" must be",
        "api.version must be \"3\"",
        "api.password must not be empty",
        "api.config_vars must list ACME_PASSWORD",
        "api.config_vars holds \"OTHER_URL\"",
        "api.regions must hold",
        "api.requires holds \"luck\"",
        "api.production.base_url must be an https address",
        "api.production.sso_url must be an https address",
    ] {
        let named = ended.stderr.lines().any(|line| {
            line.contains("LARDER_MANIFEST (") && line.contains(&format!("acme.json): {fault}"))
        });
        assert!(named, "{fault} in\n{}", ended.stderr);
    }

    with_manifest(folder.path(), &sound());
    let ended = larder("check-config", &given, folder.path()).await;
    assert!(ended.success, "put right, it is sound: {ended:?}");
}

async fn the_manifest_s_id_and_prefix_are_those_of_the_service(database: Database) {
    let folder = tempfile::tempdir().expect("a folder");
    let wishes = Wishes {
        settings: vec![with_manifest(folder.path(), &sound())],
        ..Wishes::default()
    };
    let service = FullService::start(database, wishes).await;
    let order = json!({"uuid": AddonId::generate(), "plan": "dev", "region": "us"});
    let post = async |id: &str| {
        let request = reqwest::Client::new()
            .post(format!("{}/heroku/resources", service.base))
            .basic_auth(id, Some(PASSWORD))
            .json(&order);
        request.send().await.expect("an answer")
    };
    assert_eq!(post("larder").await.status(), StatusCode::UNAUTHORIZED);
    let made = post("acme-cache").await;
    assert_eq!(made.status(), StatusCode::CREATED);
    let made: Value = made.json().await.expect("JSON");
    let config = made["config"].as_object().expect("values");
    let mut names: Vec<&str> = config.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["ACME_PASSWORD", "ACME_SERVERS", "ACME_USERNAME"]);
    service.stop().await;
}
