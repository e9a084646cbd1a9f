//! `larder serve` as a process of its own, to be killed. Its log tells in the end whether it has panicked.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::full_service::PATIENCE;
use super::panics;
use super::process_log::ProcessLog;

/// A running `larder serve`. The test fails in the end if it has panicked.
pub struct Process {
    child: Child,
    base: String,
    _log: ProcessLog,
}

impl Process {
    /// Starts it with exactly these settings and waits until it is ready.
    pub async fn start(base: &str, settings: &[(String, String)]) -> Process {
        Process::start_in(base, settings, &std::env::temp_dir()).await
    }

    /// The same in a folder that may hold a `larder.toml`.
    pub async fn start_in(base: &str, settings: &[(String, String)], folder: &Path) -> Process {
        Process::start_with(base, settings, folder, ProcessLog::of_our_own()).await
    }

    /// The same, with its log in a file.
    pub async fn start_logging(base: &str, settings: &[(String, String)], log: &Path) -> Process {
        let log = ProcessLog::in_new_file(log);
        Process::start_with(base, settings, &std::env::temp_dir(), log).await
    }

    /// The same on a full disk: nothing that it logs or prints can be written.
    pub async fn start_on_full_disk(base: &str, settings: &[(String, String)]) -> Process {
        let full = File::options().write(true).open("/dev/full");
        let full = full.expect("Linux has it");
        let log = ProcessLog::unreadable(full.try_clone().expect("a second handle"));
        let folder = std::env::temp_dir();
        let mut process = Process::spawn(base, settings, &folder, full.into(), log);
        process.wait_ready().await;
        process
    }

    async fn start_with(
        base: &str,
        settings: &[(String, String)],
        folder: &Path,
        log: ProcessLog,
    ) -> Process {
        let mut process = Process::spawn(base, settings, folder, Stdio::null(), log);
        process.wait_ready().await;
        process
    }

    /// The same with its log in a file, and with limits of open files: what it begins with, and how far it may raise it.
    pub async fn start_with_files(
        base: &str,
        settings: &[(String, String)],
        log: &Path,
        (soft, hard): (u32, u32),
    ) -> Process {
        let log = ProcessLog::in_new_file(log);
        let limits = format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$0\" serve");
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &limits, env!("CARGO_BIN_EXE_larder")])
            .env_clear();
        let folder = std::env::temp_dir();
        let mut process = Process::run(shell, base, settings, &folder, Stdio::null(), log);
        process.wait_ready().await;
        process
    }

    /// The same behind words that take rights away from what follows them.
    pub async fn start_under(
        words: &[&str],
        base: &str,
        settings: &[(String, String)],
        folder: &Path,
    ) -> Process {
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args([env!("CARGO_BIN_EXE_larder"), "serve"])
            .env_clear();
        let mut process = Process::run(
            command,
            base,
            settings,
            folder,
            Stdio::null(),
            ProcessLog::of_our_own(),
        );
        process.wait_ready().await;
        process
    }

    /// Starts it and does not wait for anything.
    pub fn launch(base: &str, settings: &[(String, String)], folder: &Path) -> Process {
        let log = ProcessLog::of_our_own();
        Process::spawn(base, settings, folder, Stdio::null(), log)
    }

    /// `larder serve --role worker`, with its log in a file. It has no address to be asked at, so nothing is waited for.
    pub fn worker(settings: &[(String, String)], log: &Path) -> Process {
        Process::launch_role("worker", "", settings, log)
    }

    /// `larder serve --role ROLE`, with its log in a file. It does not wait for anything: see [`Process::answers`].
    pub fn launch_role(
        role: &str,
        base: &str,
        settings: &[(String, String)],
        log: &Path,
    ) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command.args(["serve", "--role", role]).env_clear();
        let (folder, log) = (std::env::temp_dir(), ProcessLog::in_new_file(log));
        Process::run(command, base, settings, &folder, Stdio::null(), log)
    }

    fn spawn(
        base: &str,
        settings: &[(String, String)],
        folder: &Path,
        stdout: Stdio,
        log: ProcessLog,
    ) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command.arg("serve").env_clear();
        Process::run(command, base, settings, folder, stdout, log)
    }

    fn run(
        mut command: Command,
        base: &str,
        settings: &[(String, String)],
        folder: &Path,
        stdout: Stdio,
        log: ProcessLog,
    ) -> Process {
        let child = command
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(log.writer())
            .kill_on_drop(true)
            .spawn()
            .expect("larder starts");
        Process {
            child,
            base: base.to_owned(),
            _log: log,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id().expect("still running")
    }

    /// `kill -9`.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(mut self) -> std::process::ExitStatus {
        let pid = self.child.id().expect("still running").to_string();
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .expect("kill runs");
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("it winds down")
            .expect("it ends")
    }

    async fn wait_ready(&mut self) {
        self.answers("/readyz").await;
    }

    /// Waits until it answers with success at this path of its base.
    pub async fn answers(&mut self, path: &str) {
        let deadline = Instant::now() + PATIENCE;
        let url = format!("{}{path}", self.base);
        loop {
            if let Ok(answer) = reqwest::get(&url).await
                && answer.status().is_success()
            {
                return;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("larder ended with {status} instead of getting ready");
            }
            assert!(Instant::now() < deadline, "larder is not ready in time");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// How a command ended that was expected to end by itself, without a panic.
#[derive(Debug)]
pub struct Ended {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `larder VERB`, of one word or more, in this folder with exactly these settings in its environment.
pub async fn larder(verb: &str, settings: &[(String, String)], folder: &Path) -> Ended {
    let run = Command::new(env!("CARGO_BIN_EXE_larder"))
        .args(verb.split(' '))
        .env_clear()
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, run)
        .await
        .unwrap_or_else(|_| panic!("larder {verb} does not end"))
        .expect("larder starts");
    let ended = Ended {
        success: output.status.success(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    };
    panics::none_in(&ended.stderr);
    ended
}
