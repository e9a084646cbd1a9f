//! The README's commands, as somebody types them who has nothing yet.

use std::path::{Path, PathBuf};
use std::process::Output;

use larder::config::settings;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::control_plane::eventually;
use crate::support::full_service::{PATIENCE, free_port};
use crate::support::needs;
use crate::support::process_log::ProcessLog;

const README: &str = include_str!("../../README.md");
/// In the place of the README's, which a name server would be asked for.
const HOST: &str = "cache.invalid";

/// The blocks of shell lines, and the text between them.
fn blocks() -> (Vec<&'static str>, String) {
    let (mut shell, mut text) = (Vec::new(), String::new());
    for (number, part) in README.split("```").enumerate() {
        match part.split_once('\n') {
            // A block of a language has its name behind the fence.
            Some(("", lines)) if number % 2 == 1 => shell.push(lines),
            _ if number % 2 == 1 => {}
            _ => text += part,
        }
    }
    (shell, text)
}

fn block_with(text: &str) -> &'static str {
    let (shell, _) = blocks();
    let found = shell.into_iter().find(|block| block.contains(text));
    found.unwrap_or_else(|| panic!("no block has {text}"))
}

/// Words behind `larder` of each command, without what the shell does with its output.
fn commands() -> Vec<Vec<String>> {
    let (shell, text) = blocks();
    let typed = shell
        .iter()
        .flat_map(|block| block.split(['\n', ';', '|', '&']));
    let named = text.split('`').skip(1).step_by(2);
    let of_larder = typed
        .chain(named)
        .filter_map(|command| command.trim().strip_prefix("larder "));
    let words = |command: &str| -> Vec<String> {
        let words = command.split_whitespace().map(str::to_owned);
        words.take_while(|word| !word.starts_with('>')).collect()
    };
    of_larder.map(words).collect()
}

#[tokio::test]
async fn each_command_in_it_exists() {
    let commands = commands();
    assert!(commands.len() > 15, "{commands:?}");
    for words in commands {
        let help = Command::new(env!("CARGO_BIN_EXE_larder"))
            .args(&words)
            .arg("--help")
            .env_clear()
            .output();
        let help = help.await.expect("the program runs");
        let told = String::from_utf8_lossy(&help.stderr);
        assert!(help.status.success(), "larder {}: {told}", words.join(" "));
    }
}

#[test]
fn each_setting_in_it_exists() {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let words = README.split(|c: char| !is_part(c));
    let mut names: Vec<String> = words
        // `LARDER_*` stands for all.
        .filter(|word| word.starts_with("LARDER_") && !word.ends_with('_'))
        .map(str::to_owned)
        .collect();
    // Lines for `larder.toml`, which stand as they are or behind an `echo`.
    let (shell, _) = blocks();
    let lines = shell.iter().flat_map(|block| block.lines());
    let keys = lines.filter_map(|line| line.split_once(" = ")?.0.rsplit(['"', ' ']).next());
    names.extend(keys.map(|key| format!("LARDER_{}", key.to_uppercase())));
    assert!(names.contains(&"LARDER_HEROKU_CLIENT_SECRET".to_owned()));
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(settings::find(&name).is_some(), "{name} is no setting");
    }
}

/// Runs shell lines in the folder, with the program in the path.
async fn typed(lines: &str, folder: &Path) -> Output {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_larder"));
    let bin = program.parent().expect("a folder").display().to_string();
    let path = std::env::var("PATH").expect("a path");
    let shell = Command::new("sh")
        .args(["-eu", "-c", &format!("umask 077\n{lines}")])
        .env_clear()
        .env("PATH", format!("{bin}:{path}"))
        .env("HOST", HOST)
        .current_dir(folder)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = timeout(PATIENCE, shell).await;
    ended.expect("it ends").expect("a shell")
}

/// From nothing to a customer's client that meets the service over TLS by its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_says_to_type_makes_a_service_that_a_client_can_use() {
    let curl = Command::new("curl").arg("--version").output().await;
    if needs(curl.ok(), "curl").is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (made, serve) = block_with("larder check-config")
        .split_once("larder serve")
        .expect("the last line");
    assert_eq!(serve.trim(), "", "what follows runs beside it");
    let checked = typed(made, folder.path()).await;
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{told}{checked:?}");
    assert!(told.contains("The configuration is sound."), "{told}");
    for mended in ["others on this machine", "LARDER_TRUSTED_PROXIES", "no TLS"] {
        assert!(!told.contains(mended), "{mended}: {told}");
    }

    // As it is, but for ports that other programs of this machine may have.
    let port = || format!("127.0.0.1:{}", free_port());
    let (http, tls) = (port(), port());
    let log = ProcessLog::of_our_own();
    let mut serving = Command::new(env!("CARGO_BIN_EXE_larder"))
        .arg("serve")
        .env_clear()
        .envs([
            ("LARDER_HTTP_ADDR", http.clone()),
            ("LARDER_METRICS_ADDR", port()),
            ("LARDER_MEMCACHED_ADDR", port()),
            ("LARDER_MEMCACHED_TLS_ADDR", tls.clone()),
            ("LARDER_ENGINE_MEMORY", "64MiB".to_owned()),
            ("LARDER_SHUTDOWN_DELAY_SECS", "0".to_owned()),
        ])
        // Nothing of a test reaches the marketplace.
        .envs(["API", "ADDONS", "ID"].map(|name| {
            let nowhere = "https://127.0.0.1:1".to_owned();
            (format!("LARDER_HEROKU_{name}_URL"), nowhere)
        }))
        .current_dir(folder.path())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(log.writer())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    eventually("the service is ready", async || {
        let ready = reqwest::get(format!("http://{http}/readyz")).await;
        ready.is_ok_and(|answer| answer.status().is_success())
    })
    .await;

    let used = block_with("openssl s_client")
        .replace("127.0.0.1:8080", &http)
        .replace("127.0.0.1:11219", &tls);
    let used = typed(&used, folder.path()).await;
    let said = String::from_utf8_lossy(&used.stdout).into_owned();
    assert_eq!(said.matches("STORED").count(), 2, "{said}{used:?}");
    assert!(said.contains("world"), "{said}");

    let pid = serving.id().expect("it runs").to_string();
    let ended = Command::new("kill").args(["-TERM", &pid]).status().await;
    assert!(ended.expect("kill runs").success());
    let ended = timeout(PATIENCE, serving.wait()).await.expect("it ends");
    assert!(ended.expect("ours").success());
}
