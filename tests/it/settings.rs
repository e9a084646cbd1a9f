//! What an operator is told about settings by the program itself.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
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

/// As after `jq .api.password addon-manifest.json`: neither in the environment nor in the file is it a secret.
#[tokio::test]
async fn a_placeholder_that_is_given_as_a_setting_is_no_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let placeholder = "PLACEHOLDER-set-LARDER_HEROKU_PASSWORD";
    for name in [
        "LARDER_HEROKU_PASSWORD",
        "LARDER_HEROKU_SSO_SALT",
        "LARDER_HEROKU_CLIENT_SECRET",
        "LARDER_HEROKU_PASSWORD_PREVIOUS",
        "LARDER_HEROKU_SSO_SALT_PREVIOUS",
    ] {
        let mut sound = SECRETS.to_vec();
        sound.retain(|(other, _)| *other != name);
        let mut wrong = sound.clone();
        wrong.push((name, placeholder));
        let file = format!("{} = \"{placeholder}\"\n", name.to_lowercase());
        for (environment, file, origin) in [(&wrong, "", "environment"), (&sound, &*file, "file")] {
            std::fs::write(folder.path().join("larder.toml"), file).expect("written");
            for verb in ["serve", "check-config"] {
                let done = run(folder.path(), &[verb], environment).await;
                let told = String::from_utf8(done.stderr).expect("UTF-8");
                let expected = format!("{name} ({origin}): is a placeholder");
                assert!(!done.status.success(), "{verb}, {name}: {told}");
                assert!(told.contains(&expected), "{verb}, {name}: {told}");
            }
        }
    }
    std::fs::write(folder.path().join("larder.toml"), "").expect("written");
    let environment = [("LARDER_HEROKU_PASSWORD", placeholder)];
    let done = run(folder.path(), PRINTING[2], &environment).await;
    assert!(
        done.status.success(),
        "what makes a real one works: {done:?}"
    );
}

/// For programs: what is in force and what to do about it, or what is wrong.
#[tokio::test]
async fn check_config_answers_in_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let read = |output: &[u8]| serde_json::from_slice::<Value>(output).expect("JSON");
    let done = run(folder.path(), &["check-config", "--json"], &SECRETS).await;
    assert!(done.status.success(), "{done:?}");
    let sound = read(&done.stdout);
    assert_eq!(sound["sound"], true);
    assert_eq!(sound["memcached"], "127.0.0.1:11211");
    let advice = sound["advice"].as_array().expect("a list");
    let told = |advice: &Value| {
        advice
            .as_str()
            .is_some_and(|text| text.contains("CLIENT_SECRET"))
    };
    assert!(advice.iter().any(told), "{sound}");

    let wrong = [("LARDER_HTTP_ADDR", "x")];
    let done = run(folder.path(), &["check-config", "--json"], &wrong).await;
    assert!(!done.status.success());
    let wrong = read(&done.stdout);
    assert_eq!(wrong["sound"], false);
    let mistakes = wrong["mistakes"].as_array().expect("a list");
    let told = |mistake: &Value| {
        let text = mistake.as_str();
        text.is_some_and(|text| text.starts_with("LARDER_HTTP_ADDR (environment)"))
    };
    assert!(mistakes.iter().any(told), "{wrong}");
}

/// The manifest holds the live password and salt once it was made by `larder admin manifest`.
#[tokio::test]
async fn check_config_advises_on_files_that_others_may_read_or_replace() {
    let folder = tempfile::tempdir().expect("a folder");
    let mode = |name: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("ours");
    };
    let keys = folder.path().join("keys");
    std::fs::create_dir(&keys).expect("a new folder");
    std::fs::write(keys.join("master.key"), KEY).expect("written");
    let committed = include_str!("../../addon-manifest.json");
    let live = committed.replace("PLACEHOLDER-set-LARDER_HEROKU_", "0123456789abcdef-");
    mode("", 0o755);
    mode("keys/master.key", 0o600);
    let environment = [("LARDER_MASTER_KEY_FILE", "keys/master.key")];
    let mut with_secrets = environment.to_vec();
    with_secrets.extend(&SECRETS[1..]);
    for (manifest, keys_mode, environment, is_open) in [
        (live.as_str(), 0o777, &environment[..], true),
        (live.as_str(), 0o700, &environment[..], true),
        (committed, 0o777, &with_secrets[..], false),
        (committed, 0o1777, &with_secrets[..], false),
    ] {
        std::fs::write(folder.path().join("addon-manifest.json"), manifest).expect("written");
        mode("addon-manifest.json", 0o644);
        mode("keys", keys_mode);
        let done = run(folder.path(), &["check-config"], environment).await;
        let told = String::from_utf8(done.stdout).expect("UTF-8");
        assert!(done.status.success(), "{told}{:?}", done.stderr);
        let advised = |advice: &str| told.contains(advice);
        assert_eq!(
            advised("others on this machine may read addon-manifest.json"),
            is_open,
            "{told}"
        );
        assert_eq!(
            advised(
                "others on this machine may put files of their own in the place of ours in keys"
            ),
            keys_mode == 0o777,
            "{keys_mode:o}: {told}"
        );
    }
}

#[tokio::test]
async fn check_config_advises_on_what_travels_in_plain_text_or_to_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["tls.pem", "tls.key"] {
        std::fs::write(folder.path().join(name), "").expect("written");
    }
    let check = async |more: &[(&'static str, &'static str)]| {
        let mut environment = SECRETS.to_vec();
        environment.push(("LARDER_PROXY_HOSTNAME", "no-such-node.invalid"));
        environment.extend(more);
        let done = run(folder.path(), &["check-config"], &environment).await;
        let told = String::from_utf8(done.stdout).expect("UTF-8");
        assert!(done.status.success(), "{told}{:?}", done.stderr);
        told
    };
    let weak = check(&[
        ("LARDER_PUBLIC_URL", "https://no-such-name.invalid"),
        (
            "LARDER_DATABASE_URL",
            "postgres://larder@no-such-db.invalid/x",
        ),
        ("LARDER_MEMCACHED_TLS_ADDR", "127.0.0.1:11219"),
        ("LARDER_TLS_CERT", "tls.pem"),
        ("LARDER_TLS_KEY", "tls.key"),
        ("LARDER_HEROKU_PASSWORD_PREVIOUS", "x"),
        ("LARDER_HEROKU_SSO_SALT_PREVIOUS", "0123456789abcdef"),
    ])
    .await;
    for advice in [
        "a proxy ends the TLS of https://no-such-name.invalid, and LARDER_TRUSTED_PROXIES is not set",
        "PostgreSQL is on no-such-db.invalid, and LARDER_DATABASE_URL does not insist on TLS",
        "memcached takes TLS on 127.0.0.1:11219, which only this machine reaches",
        "LARDER_HEROKU_PASSWORD_PREVIOUS is shorter than 16 characters",
    ] {
        assert!(weak.contains(advice), "{advice}\n{weak}");
    }
    assert!(!weak.contains("SSO_SALT_PREVIOUS is shorter"), "{weak}");
    let sound = check(&[
        ("LARDER_PUBLIC_URL", "https://no-such-name.invalid"),
        ("LARDER_TRUSTED_PROXIES", "127.0.0.1"),
        (
            "LARDER_DATABASE_URL",
            "postgres://larder@no-such-db.invalid/x?sslmode=require",
        ),
        ("LARDER_MEMCACHED_TLS_ADDR", "0.0.0.0:11219"),
        ("LARDER_TLS_CERT", "tls.pem"),
        ("LARDER_TLS_KEY", "tls.key"),
    ])
    .await;
    for advice in [
        "LARDER_TRUSTED_PROXIES",
        "insist on TLS",
        "memcached takes TLS",
    ] {
        assert!(!sound.contains(advice), "{advice}\n{sound}");
    }
    let plain = check(&[
        ("LARDER_ALLOW_HTTP", "on"),
        ("LARDER_PUBLIC_URL", "http://no-such-name.invalid"),
    ])
    .await;
    assert!(
        plain.contains("http://no-such-name.invalid has no TLS"),
        "{plain}"
    );
    assert!(!plain.contains("LARDER_TRUSTED_PROXIES"), "{plain}");
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
        "start a node with that LARDER_REGION, in a LARDER_CLUSTER of its own",
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
