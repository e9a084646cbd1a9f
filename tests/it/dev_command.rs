//! `larder dev` as somebody types it who has other programs on this machine.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::engine_tls::make_certificate;
use crate::support::control_plane::eventually;
use crate::support::db::Database;
use crate::support::full_service::{PATIENCE, first_of_free_ports};
use crate::support::process_log::ProcessLog;
use crate::support::{on_both_databases, panics};

on_both_databases!(
    the_public_address_follows_the_one_listened_on_and_admin_finds_the_keys,
    empty
);
on_both_databases!(a_later_start_prints_what_is_in_force_then, empty);

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

/// For one of `dev`'s listeners. It opens TLS eight ports further on, so nobody else may have that one.
fn address() -> String {
    format!("127.0.0.1:{}", first_of_free_ports(9))
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
    let log = ProcessLog::of_our_own();
    let mut child = dev(folder.path(), &settings)
        .stdout(Stdio::piped())
        .stderr(log.writer())
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

/// Starts `dev`, stops it when it is ready, and gives what it printed.
async fn printed_by_a_run(folder: &Path, settings: &[(&str, &str)]) -> String {
    let printed = tempfile::NamedTempFile::new().expect("a new file");
    let log = ProcessLog::of_our_own();
    let mut child = dev(folder, settings)
        .stdout(printed.reopen().expect("the file is there"))
        .stderr(log.writer())
        .spawn()
        .expect("the program starts");
    let text = || std::fs::read_to_string(printed.path()).expect("UTF-8");
    eventually("it is ready", async || text().contains("/dev/tcp/")).await;
    let pid = child.id().expect("still running").to_string();
    let told = Command::new("kill").args(["-TERM", &pid]).status().await;
    assert!(told.expect("kill runs").success());
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
    assert!(ended.expect("it winds down").expect("it ends").success());
    text()
}

/// The cache's variables as they were printed.
fn variables(printed: &str) -> Vec<&str> {
    let lines = printed.lines().map(str::trim);
    lines
        .filter(|line| line.starts_with("MEMCACHIER_"))
        .collect()
}

/// The cache of an earlier start is there again, under the address that is listened on now: what stands in the ready line
/// works, although the marketplace held the earlier address until the push.
async fn a_later_start_prints_what_is_in_force_then(database: Database) {
    let folder = tempfile::tempdir().expect("a folder");
    let (http, metrics, memcached, sandbox) = (address(), address(), address(), address());
    let is_elsewhere = database.url().starts_with("postgres");
    let elsewhere = is_elsewhere.then_some(("LARDER_DATABASE_URL", database.url()));
    let run = async |memcached: &str| {
        let mut settings = vec![
            ("LARDER_HTTP_ADDR", http.as_str()),
            ("LARDER_METRICS_ADDR", &metrics),
            ("LARDER_MEMCACHED_ADDR", memcached),
            ("LARDER_SANDBOX_ADDR", &sandbox),
        ];
        settings.extend(elsewhere);
        printed_by_a_run(folder.path(), &settings).await
    };
    let servers = |memcached: &str| {
        let port = memcached.rsplit_once(':').expect("a port").1;
        format!("localhost:{port}")
    };
    let first = run(&memcached).await;
    assert_eq!(variables(&first).len(), 3, "{first}");
    let announced = format!("MEMCACHIER_SERVERS={}", servers(&memcached));
    assert!(variables(&first).contains(&announced.as_str()), "{first}");
    let second = run(&memcached).await;
    assert_eq!(variables(&second), variables(&first));

    let moved = address();
    let third = run(&moved).await;
    let now = format!("MEMCACHIER_SERVERS={}", servers(&moved));
    let expected: Vec<&str> = variables(&first)
        .into_iter()
        .map(|line| match line == announced {
            true => now.as_str(),
            false => line,
        })
        .collect();
    assert_eq!(variables(&third), expected);
    let paste = format!("/dev/tcp/{}", servers(&moved).replace(':', "/"));
    assert!(third.contains(&paste), "{third}");
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
    panics::none_in(&log);
    child.kill().await.expect("it ran");
}

/// The database beside `dev` opens with the key that it made, and with no other: nobody is told to make one.
#[tokio::test]
async fn no_command_beside_dev_advises_a_new_master_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let (http, metrics, memcached, sandbox) = (address(), address(), address(), address());
    let settings = [
        ("LARDER_HTTP_ADDR", http.as_str()),
        ("LARDER_METRICS_ADDR", &metrics),
        ("LARDER_MEMCACHED_ADDR", &memcached),
        ("LARDER_SANDBOX_ADDR", &sandbox),
    ];
    let mut child = dev(folder.path(), &settings)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    printed_until(&mut child, "A cache is ready").await;
    let run = async |words: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_larder"))
            .args(words)
            .env_clear()
            .current_dir(folder.path())
            .output();
        let done = done.await.expect("the program runs");
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        (done, told)
    };
    let (migrated, told) = run(&["migrate", "--json"]).await;
    assert!(migrated.status.success(), "{told}");
    let answer: Value = serde_json::from_slice(&migrated.stdout).expect("JSON");
    assert_eq!(answer["messages"][0], "The database schema is up to date.");
    for verb in ["check-config", "serve"] {
        let (refused, told) = run(&[verb]).await;
        assert!(!refused.status.success(), "{verb}: {told}");
        let advised = "larder-data/dev-keys.toml holds that of the database";
        assert!(told.contains(advised), "{verb}: {told}");
        assert!(!told.contains("openssl rand"), "{verb}: {told}");
    }
    child.kill().await.expect("it ran");
}

/// The certificate that it makes is for the name in SERVERS, and the one that somebody brings is trusted by whoever it is
/// for: no file of ours is named beside it.
#[tokio::test]
async fn tls_is_told_with_the_certificate_that_is_shown() {
    for is_own in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let (http, metrics, memcached, sandbox) = (address(), address(), address(), address());
        let tls = address();
        let mut settings = vec![
            ("LARDER_HTTP_ADDR", http.as_str()),
            ("LARDER_METRICS_ADDR", &metrics),
            ("LARDER_MEMCACHED_ADDR", &memcached),
            ("LARDER_MEMCACHED_TLS_ADDR", &tls),
            ("LARDER_SANDBOX_ADDR", &sandbox),
            ("LARDER_PROXY_HOSTNAME", "cache.test"),
        ];
        if is_own {
            make_certificate(folder.path(), "own");
            settings.push(("LARDER_TLS_CERT", "own.pem"));
            settings.push(("LARDER_TLS_KEY", "own.key"));
        }
        let mut child = dev(folder.path(), &settings)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let printed = printed_until(&mut child, "A cache is ready").await;
        let port = tls.rsplit_once(':').expect("a port").1;
        let line = printed
            .lines()
            .find(|line| line.contains(&format!("cache.test:{port}")))
            .unwrap_or_else(|| panic!("TLS is told: {printed}"));
        let made = folder.path().join("larder-data/dev-tls.pem");
        assert_eq!(line.contains("trust"), !is_own, "{line}");
        assert_eq!(made.exists(), !is_own);
        if !is_own {
            assert!(line.contains("dev-tls.pem to connect"), "{line}");
            let pem = std::fs::read_to_string(made).expect("a certificate");
            let first = pem.lines().next().expect("a line");
            assert!(
                first.ends_with("localhost, 127.0.0.1, ::1, cache.test"),
                "{first}"
            );
        }
        child.kill().await.expect("it ran");
    }
}

/// As in `larder dev | head -3`, and on a full disk: the service runs on, and ends in good order with its app.
#[tokio::test]
async fn a_dev_whose_output_nobody_takes_runs_on_and_leaves_nothing_behind() {
    let (reader, closed) = std::io::pipe().expect("a pipe");
    drop(reader);
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("Linux has it");
    for stdout in [Stdio::from(closed), Stdio::from(full)] {
        let folder = tempfile::tempdir().expect("a folder");
        let (http, metrics, memcached, sandbox) = (address(), address(), address(), address());
        let settings = [
            ("LARDER_HTTP_ADDR", http.as_str()),
            ("LARDER_METRICS_ADDR", &metrics),
            ("LARDER_MEMCACHED_ADDR", &memcached),
            ("LARDER_SANDBOX_ADDR", &sandbox),
        ];
        let log = folder.path().join("log");
        let app = "trap 'echo tidied > tidied; exit 0' TERM; echo $$ > up.new; mv up.new up; \
                   while :; do sleep 0.05; done";
        let mut child = dev(folder.path(), &settings)
            .args(["--app", app])
            .env("PATH", std::env::var("PATH").expect("a path"))
            .stdout(stdout)
            .stderr(std::fs::File::create(&log).expect("a new file"))
            .spawn()
            .expect("the program starts");
        let told = || std::fs::read_to_string(&log).expect("a log");
        eventually("it is told", async || {
            told().contains("cannot write to standard output; the service runs without it")
        })
        .await;
        let up = folder.path().join("up");
        eventually("the app is up", async || up.exists()).await;
        let app = std::fs::read_to_string(up).expect("a process id");
        let healthy = reqwest::get(format!("http://{http}/healthz")).await;
        assert!(healthy.expect("an answer").status().is_success());

        let pid = child.id().expect("it runs").to_string();
        let interrupted = Command::new("kill").args(["-INT", &pid]).status().await;
        assert!(interrupted.expect("kill runs").success());
        let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
        let status = ended.expect("it winds down").expect("it ends");
        assert!(status.success(), "{status}: {}", told());
        assert!(told().contains("stopped"), "{}", told());
        panics::none_in(&told());
        assert!(
            folder.path().join("tidied").exists(),
            "the app had its time"
        );
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", app.trim()));
        assert!(stat.is_err(), "the app goes on: {stat:?}");
    }
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
        panics::none_in(&told);
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
