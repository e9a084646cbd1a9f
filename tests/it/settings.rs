//! What an operator is told about settings by the program itself.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

/// Runs the program in a folder with nothing in its environment but these.
async fn run(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_larder"))
        .args(args)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(folder)
        .output()
        .await
        .expect("the program runs")
}

/// The row of a setting, as its words.
fn row<'text>(printed: &'text str, setting: &str) -> Vec<&'text str> {
    let rows = printed.lines().map(|line| line.split_whitespace());
    let mut rows = rows.map(Iterator::collect::<Vec<_>>);
    rows.find(|row| row.first() == Some(&setting))
        .expect("each setting has a row")
}

#[tokio::test]
async fn print_config_shows_what_is_in_force_and_where_it_comes_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = "region = \"eu\"\nlog_format = \"json\"\nheroku_password = \"marker-in-file\"\n";
    std::fs::write(folder.path().join("larder.toml"), file).expect("written");
    let environment = [
        ("LARDER_MASTER_KEY", KEY),
        ("LARDER_HEROKU_SSO_SALT", "marker-in-environment"),
        ("LARDER_DATABASE_URL", "postgres://larder:marker@db/larder"),
        ("LARDER_REGION", "us"),
    ];
    let args = ["serve", "--print-config", "--http-addr", "127.0.0.1:7999"];
    let done = run(folder.path(), &args, &environment).await;
    assert!(done.status.success(), "{done:?}");
    let printed = String::from_utf8(done.stdout).expect("UTF-8");
    for (setting, rest) in [
        ("LARDER_HTTP_ADDR", ["127.0.0.1:7999", "flag"]),
        ("LARDER_REGION", ["us", "environment"]),
        ("LARDER_LOG_FORMAT", ["json", "file"]),
        ("LARDER_METRICS_ADDR", ["127.0.0.1:9100", "default"]),
        ("LARDER_MASTER_KEY", ["(secret)", "environment"]),
        ("LARDER_HEROKU_PASSWORD", ["(secret)", "file"]),
    ] {
        assert_eq!(row(&printed, setting)[1..], rest, "{setting}");
    }
    assert!(
        !printed.contains("marker") && !printed.contains(KEY),
        "{printed}"
    );

    let wrong = run(
        folder.path(),
        &["serve", "--print-config"],
        &[("LARDER_HTTP_ADDR", "x")],
    )
    .await;
    assert!(!wrong.status.success(), "mistakes are told too");
    let told = String::from_utf8(wrong.stderr).expect("UTF-8");
    assert!(
        told.contains("LARDER_HTTP_ADDR (environment): must be an address"),
        "{told}"
    );
    assert!(!wrong.stdout.is_empty(), "and what is in force beside them");
}

const KEY: &str = "bWFya2VyLW1hcmtlci1tYXJrZXItbWFya2VyLW1hcms=";
const SECRETS: [(&str, &str); 3] = [
    ("LARDER_MASTER_KEY", KEY),
    ("LARDER_HEROKU_PASSWORD", "0123456789abcdef"),
    ("LARDER_HEROKU_SSO_SALT", "0123456789abcdef"),
];
/// Commands that print, and need no database for it.
const PRINTING: [&[&str]; 3] = [
    &["serve", "--print-config"],
    &["check-config"],
    &[
        "admin",
        "--public-url",
        "https://cache.example.com",
        "manifest",
    ],
];

/// Runs a command with its standard output there.
async fn printing_to(folder: &Path, args: &[&str], stdout: Stdio) -> (bool, String) {
    let child = Command::new(env!("CARGO_BIN_EXE_larder"))
        .args(args)
        .env_clear()
        .envs(SECRETS)
        .current_dir(folder)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let done = child.wait_with_output().await.expect("it ends");
    let told = String::from_utf8(done.stderr).expect("UTF-8");
    (done.status.success(), told)
}

/// As in `larder admin caches | head -1`.
#[tokio::test]
async fn a_reader_that_has_had_enough_is_no_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    for args in PRINTING {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let (success, told) = printing_to(folder.path(), args, writer.into()).await;
        assert!(success && !told.contains("panicked"), "{args:?}: {told}");
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_is_a_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    for args in PRINTING {
        let full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("Linux has it");
        let (success, told) = printing_to(folder.path(), args, full.into()).await;
        assert!(!success && !told.contains("panicked"), "{args:?}: {told}");
        assert!(
            told.contains("cannot write to standard output"),
            "{args:?}: {told}"
        );
    }
}

/// The committed manifest is public, so its placeholders open nothing, on whatever address.
#[tokio::test]
async fn serve_does_not_start_with_the_manifest_s_placeholders() {
    let folder = tempfile::tempdir().expect("a folder");
    for verb in ["serve", "check-config"] {
        let environment = [("LARDER_MASTER_KEY", KEY), ("LARDER_ALLOW_HTTP", "on")];
        let done = run(folder.path(), &[verb], &environment).await;
        let told = String::from_utf8(done.stderr).expect("UTF-8");
        assert!(!done.status.success(), "{verb}: {told}");
        for name in ["LARDER_HEROKU_PASSWORD", "LARDER_HEROKU_SSO_SALT"] {
            assert!(
                told.contains(&format!("{name} is not set")),
                "{verb}: {told}"
            );
        }
    }
}

#[tokio::test]
async fn check_config_advises_on_what_will_not_work_as_meant() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("larder-data");
    std::fs::create_dir(&data).expect("a new folder");
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o755)).expect("ours");
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("ours");
    let file = "heroku_client_secret = \"short\"\n";
    std::fs::write(folder.path().join("larder.toml"), file).expect("written");
    std::fs::set_permissions(
        folder.path().join("larder.toml"),
        PermissionsExt::from_mode(0o644),
    )
    .expect("ours");
    let mut environment = SECRETS.to_vec();
    environment.extend([
        ("LARDER_PUBLIC_URL", "https://no-such-name.invalid"),
        ("LARDER_PROXY_HOSTNAME", "no-such-node.invalid"),
    ]);
    environment[1].1 = "0123456789abcdef\n";
    let done = run(folder.path(), &["check-config"], &environment).await;
    let told = String::from_utf8(done.stdout).expect("UTF-8");
    assert!(done.status.success(), "advice is no mistake: {told}");
    for advice in [
        "no-such-name.invalid, the host of LARDER_PUBLIC_URL, cannot be looked up",
        "HTTP listens on 127.0.0.1:8080, which only this machine reaches",
        "config vars announce no-such-node.invalid, which cannot be looked up",
        "memcached listens on 127.0.0.1:11211, which only this machine reaches",
        "memcached has no TLS",
        "LARDER_HEROKU_CLIENT_SECRET is shorter than 16 characters",
        "LARDER_HEROKU_PASSWORD (environment) has a line end",
        "the manifest sells caches in eu, where no node is (nodes are in us)",
        "others on this machine may read larder-data",
        "others on this machine may read larder.toml",
    ] {
        assert!(told.contains(advice), "{advice}\n{told}");
    }
    assert!(
        !told.contains("short\"") && !told.contains("0123456789"),
        "{told}"
    );
}
