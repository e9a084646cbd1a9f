//! The same conversations with a stock memcached, which must answer alike but for the listed differences.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::conversations::play_on_socket;
use crate::engine_script::all;
use crate::engine_stage::Client;

/// Every difference that is allowed, by the word that conversations name it with.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "newer-than-1.6.18",
        "the behaviour is that of 1.6.45; Debian 12 has 1.6.18, which has not got it yet",
    ),
    (
        "refused-to-tenants",
        "process-wide commands and statistics would reach or show other tenants",
    ),
    (
        "control-bytes-in-keys",
        "stock checks the length only; clients that forward unchecked input are protected here",
    ),
    (
        "flags-past-32-bits",
        "stock stores 4294967296 as 0; refusing is better than losing",
    ),
    (
        "size-limit",
        "stock counts its item header; here key and value may have 1,048,576 bytes",
    ),
    (
        "unknown-opcode-with-body",
        "stock swallows too many bytes and its reply hangs; only the body is swallowed here",
    ),
    (
        "version",
        "the text names the version whose behaviour is offered",
    ),
    (
        "long-line",
        "stock looks at the length only while the end has not come, so its answer depends on packets",
    ),
    (
        "answered-early",
        "stock waits for key and extras before it looks at the lengths",
    ),
    (
        "strict-numbers",
        "stock reads `+1`, ` 1` and `1 x` as numbers; the text must be a whole number, blanks may follow",
    ),
];

/// A memcached of its own on a free port.
struct Stock {
    process: Child,
    port: u16,
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Stock {
    /// `None` when there is no such program.
    fn start() -> Option<Stock> {
        let port = {
            let probe = TcpListener::bind("127.0.0.1:0").unwrap();
            probe.local_addr().unwrap().port()
        };
        let process = Command::new("memcached")
            .args(["-l", "127.0.0.1", "-U", "0", "-m", "256", "-t", "1"])
            .args(["-u", "nobody", "-p", &port.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let stock = Stock { process, port };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(stock);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the stock memcached does not answer");
    }

    fn client(&self) -> Client {
        Client::to(([127, 0, 0, 1], self.port).into())
    }
}

#[test]
fn stock_memcached_answers_alike() {
    let Some(stock) = Stock::start() else {
        let on_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!on_ci, "memcached must be installed on CI");
        println!("SKIPPED: no memcached program on this machine");
        return;
    };
    let mut failures = Vec::new();
    let mut used = BTreeSet::new();
    let is_open_to_all = |role: &str| role == "owner" || role == "open";
    for script in all() {
        if !is_open_to_all(&script.role) || script.takes_time() {
            continue;
        }
        let mut broom = stock.client();
        broom.talk("flush_all\r\n", "OK\r\n");
        let mut client = stock.client();
        if script.differs.is_some() {
            // An answer that does not come is a difference, and needs no long wait.
            client.patience = Duration::from_millis(100);
        }
        let outcome = play_on_socket(&script, &mut client);
        match (&script.differs, outcome) {
            (None, Ok(())) => {}
            (None, Err(reason)) => failures.push(format!("{}\n  {reason}", script.name)),
            (Some(word), Err(_)) => {
                used.insert(word.clone());
            }
            (Some(word), Ok(())) => {
                failures.push(format!("{}\n  stock answers alike: {word}", script.name));
            }
        }
    }
    let listed: BTreeSet<String> = DIFFERENCES
        .iter()
        .map(|(word, reason)| {
            assert!(!reason.is_empty());
            (*word).to_owned()
        })
        .collect();
    for word in used.symmetric_difference(&listed) {
        failures.push(format!(
            "{word} is met but not listed, or listed but not met"
        ));
    }
    assert!(
        failures.is_empty(),
        "{} differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
