//! `larder admin manifest` as an operator runs it before the first push.

use larder::config::Manifest;
use tokio::process::Command;

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
