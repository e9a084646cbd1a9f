//! `larder dev` as somebody types it who has other programs on this machine.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::support::control_plane::eventually;
use crate::support::db::Database;
use crate::support::full_service::{PATIENCE, free_port};
use crate::support::on_both_databases;

on_both_databases!(the_public_address_follows_the_one_listened_on_and_admin_finds_the_keys);

/// `larder dev` in this folder with nothing in its environment but these settings.
fn dev(folder: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command
        .arg("dev")
        .env_clear()
        .envs(settings.iter().copied())
        .env("LARDER_ENGINE_MEMORY", "64MiB")
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

fn address() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// What a running `dev` prints, up to and with the line that holds this text.
async fn printed_until(child: &mut Child, text: &str) -> String {
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut printed = String::new();
    let reading = async {
        while let Some(line) = lines.next_line().await.expect("UTF-8") {
            printed += &line;
            printed.push('\n');
            if line.contains(text) {
                break;
            }
        }
    };
    let read = tokio::time::timeout(PATIENCE, reading).await;
    assert!(read.is_ok() && printed.contains(text), "{printed}");
    printed
}

async fn the_public_address_follows_the_one_listened_on_and_admin_finds_the_keys(
    database: Database,
) {
    let folder = tempfile::tempdir().expect("a folder");
    let (http, metrics, memcached, sandbox) = (address(), address(), address(), address());
    // By itself, `dev` keeps a SQLite file in this folder.
    let database_url = ("LARDER_DATABASE_URL", database.url());
    let is_elsewhere = database.url().starts_with("postgres");
    let elsewhere = is_elsewhere.then_some(database_url);
    let mut settings = vec![
        ("LARDER_HTTP_ADDR", http.as_str()),
        ("LARDER_METRICS_ADDR", &metrics),
        ("LARDER_MEMCACHED_ADDR", &memcached),
        ("LARDER_SANDBOX_ADDR", &sandbox),
    ];
    settings.extend(elsewhere);
    let mut child = dev(folder.path(), &settings)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let printed = printed_until(&mut child, "A cache is ready").await;
    assert!(printed.contains(&format!("http://{http}/")), "{printed}");

    // An operator in the same folder needs no other setting: the keys and the SQLite file lie there.
    let admin = Command::new(env!("CARGO_BIN_EXE_larder"))
        .args(["admin", "caches"])
        .env_clear()
        .envs(elsewhere)
        .current_dir(folder.path())
        .output();
    let listed = admin.await.expect("the program runs");
    let caches = String::from_utf8(listed.stdout).expect("UTF-8");
    assert!(
        caches.contains("1 live cache."),
        "{caches}{:?}",
        listed.stderr
    );
    child.kill().await.expect("it ran");
    database.drop().await;
}

/// The service raises its own limit of open files, and not that of the app which it runs.
#[tokio::test]
async fn an_app_has_the_limit_of_open_files_that_dev_was_started_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let (http, metrics, memcached, sandbox) = (address(), address(), address(), address());
    let log = folder.path().join("log");
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -S -n 600; exec \"$0\" dev --app \"$1\""])
        .args([
            env!("CARGO_BIN_EXE_larder"),
            "ulimit -S -n > limit.new; mv limit.new limit",
        ])
        .env_clear()
        .env("PATH", std::env::var("PATH").expect("a path"))
        .env("LARDER_ENGINE_MEMORY", "64MiB")
        .env("LARDER_HTTP_ADDR", http)
        .env("LARDER_METRICS_ADDR", metrics)
        .env("LARDER_MEMCACHED_ADDR", memcached)
        .env("LARDER_SANDBOX_ADDR", sandbox)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).expect("a new file"))
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let told = folder.path().join("limit");
    eventually("the app tells its limit", async || told.exists()).await;
    let limit = std::fs::read_to_string(told).expect("a number");
    assert_eq!(limit.trim(), "600");
    let log = std::fs::read_to_string(log).expect("a log");
    assert!(log.contains("had=600 now="), "{log}");
    child.kill().await.expect("it ran");
}

/// Whoever has one of the addresses is told nothing, and the person at the terminal which setting helps.
#[tokio::test]
async fn an_address_that_is_taken_is_named_with_its_setting_and_hears_nothing() {
    for taken in [
        "LARDER_HTTP_ADDR",
        "LARDER_METRICS_ADDR",
        "LARDER_MEMCACHED_ADDR",
        "LARDER_SANDBOX_ADDR",
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let holder = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        holder.set_nonblocking(true).expect("possible");
        let held = holder.local_addr().expect("bound").to_string();
        let others = [address(), address(), address(), address()];
        let mut settings = vec![
            ("LARDER_HTTP_ADDR", others[0].as_str()),
            ("LARDER_METRICS_ADDR", &others[1]),
            ("LARDER_MEMCACHED_ADDR", &others[2]),
            ("LARDER_SANDBOX_ADDR", &others[3]),
        ];
        settings.retain(|(name, _)| *name != taken);
        settings.push((taken, &held));
        let running = dev(folder.path(), &settings).output();
        let done = tokio::time::timeout(PATIENCE, running).await;
        let done = done.expect("it gives up").expect("the program runs");
        let told = String::from_utf8(done.stderr).expect("UTF-8");
        assert!(!done.status.success(), "{taken}: {told}");
        let way_out = format!("set {taken} to a free address");
        assert!(
            told.contains(&held) && told.contains(&way_out),
            "{taken}: {told}"
        );
        let accepted = holder.accept();
        assert!(
            accepted.is_err(),
            "{taken}: something was sent to {accepted:?}"
        );
    }
}
