//! A customer's client outside the sandbox: `tests/clients/loop.py` with a credential of our choice.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// A running loop of sets and gets.
pub struct LoopClient {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

/// What a loop did, from its last line.
#[derive(Debug, PartialEq, Eq)]
pub struct Tally {
    pub operations: u64,
    pub failed: u64,
}

/// The Python with the client libraries, as `scripts/test` prepared it.
pub fn python() -> Option<String> {
    std::env::var("LARDER_TEST_PYTHON").ok()
}

/// The command line of the loop.
pub fn loop_script() -> String {
    format!("{}/tests/clients/loop.py", env!("CARGO_MANIFEST_DIR"))
}

impl LoopClient {
    /// Starts the loop and waits until its first round trip succeeded.
    pub async fn start(python: &str, servers: &str, username: &str, password: &str) -> LoopClient {
        let mut child = Command::new(python)
            .arg(loop_script())
            .arg("--listen")
            .env("MEMCACHIER_SERVERS", servers)
            .env("MEMCACHIER_USERNAME", username)
            .env("MEMCACHIER_PASSWORD", password)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python starts");
        let stdin = child.stdin.take().expect("piped");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut client = LoopClient {
            child,
            stdin,
            lines,
        };
        client.wait_for("ready").await;
        client
    }

    /// `flush_all` from this client.
    pub async fn flush(&mut self) {
        self.say("flush").await;
        self.wait_for("flushed").await;
    }

    /// Ends the loop and tells what it did.
    pub async fn stop(mut self) -> Tally {
        self.say("stop").await;
        let line = self.wait_for("stopped").await;
        let _ = self.child.wait().await;
        tally(&line)
    }

    async fn say(&mut self, word: &str) {
        self.stdin
            .write_all(format!("{word}\n").as_bytes())
            .await
            .expect("the loop listens");
    }

    async fn wait_for(&mut self, start: &str) -> String {
        loop {
            let line = timeout(PATIENCE, self.lines.next_line())
                .await
                .expect("the loop speaks in time");
            let line = line.expect("readable").expect("the loop goes on");
            assert!(!line.starts_with("error"), "{line}");
            if line.starts_with(start) {
                return line;
            }
        }
    }
}

/// Reads `stopped user=… operations=… failed=…`.
pub fn tally(line: &str) -> Tally {
    let number = |key: &str| {
        let word = line
            .split(' ')
            .find_map(|word| word.strip_prefix(key))
            .expect("the field");
        word.parse().expect("a number")
    };
    Tally {
        operations: number("operations="),
        failed: number("failed="),
    }
}
