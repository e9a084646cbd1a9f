//! The conversations of `fixtures/conversations` with a stock memcached. Its replies must be the same, except for the
//! listed differences.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::conversations::play_on_socket;
use crate::engine_fixture::Client;
use crate::engine_script::all;

/// Every allowed difference: the name that conversations use for it, and its reason.
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
        "stock checks the length only until the line end has arrived, so its reply depends on packets",
    ),
    (
        "answered-early",
        "stock waits for key and extras before it checks the lengths",
    ),
    (
        "strict-numbers",
        "stock reads `+1`, ` 1` and `1 x` as numbers; the text must be a whole number, blanks may follow",
    ),
    (
        "x-gives-a-new-cas",
        "stock keeps the CAS value of an item that `md x` empties, so a store with the value from before overwrites what \
         its client has not seen; here it no longer fits",
    ),
    (
        "no-cas-of-zero",
        "stock gives an item the CAS value 0 for `E0`, with which no store can compare; here it gets the next value",
    ),
    (
        "longer-number",
        "stock gives `T` and `E` of an `ma` to the item that a number with one more digit replaces, and loses them",
    ),
    (
        "past-ttl",
        "stock tells of an exptime that is past the seconds since then, subtracted from 2^32; here `t0`",
    ),
];

/// Why stock answers otherwise where a conversation names this difference.
pub fn reason_to_differ(name: &str) -> Option<&'static str> {
    let found = DIFFERENCES.iter().find(|(known, _)| *known == name);
    found.map(|(_, reason)| *reason)
}

/// A running stock memcached on a free port.
pub struct Stock {
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
    /// `None` when this machine has no memcached; on CI that is a failure.
    pub fn start_or_skip() -> Option<Stock> {
        let stock = Stock::start();
        if stock.is_none() {
            let on_ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!on_ci, "memcached must be installed on CI");
            println!("SKIPPED: no memcached program on this machine");
        }
        stock
    }

    fn start() -> Option<Stock> {
        let port = {
            let probe = TcpListener::bind("127.0.0.1:0").unwrap();
            probe.local_addr().unwrap().port()
        };
        let program = std::env::var("LARDER_TEST_MEMCACHED").unwrap_or("memcached".to_owned());
        let process = Command::new(program)
            .args(["-l", "127.0.0.1", "-U", "0", "-m", "256", "-t", "1"])
            .args(["-u", "nobody", "-p", &port.to_string()])
            // What has expired stays until somebody meets it, which makes its counters predictable.
            .args(["-o", "no_lru_crawler"])
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

    pub fn client(&self) -> Client {
        Client::to(([127, 0, 0, 1], self.port).into())
    }

    /// The numbers of the program's own version.
    pub fn version(&self) -> (u32, u32, u32) {
        let mut client = self.client();
        client.send(b"version\r\n");
        let line = String::from_utf8(client.more().unwrap()).unwrap();
        let numbers = line.trim().trim_start_matches("VERSION ").split(['.', '-']);
        let mut numbers = numbers.map(|number| number.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        (next(), next(), next())
    }

    /// Whether its clock can be held and moved: only in the program that its own tests use.
    pub fn obeys_debugtime(&self) -> bool {
        let mut client = self.client();
        client.send(b"debugtime r\r\n");
        client.more().unwrap() == b"OK\r\n"
    }
}

#[test]
fn stock_memcached_answers_alike() {
    let Some(stock) = Stock::start_or_skip() else {
        return;
    };
    let mut failures = Vec::new();
    let mut used = BTreeSet::new();
    let is_open_to_all = |role: &str| role == "owner" || role == "open";
    for script in all() {
        if !is_open_to_all(&script.role) || script.takes_time() {
            continue;
        }
        let mut cleaner = stock.client();
        cleaner.talk("flush_all\r\n", "OK\r\n");
        let mut client = stock.client();
        if script.differs.is_some() {
            // An answer that does not come is a difference, and needs no long wait.
            client.patience = Duration::from_millis(100);
        }
        let outcome = play_on_socket(&script, &mut client);
        match (&script.differs, outcome) {
            (None, Ok(())) => {}
            (None, Err(reason)) => failures.push(format!("{}\n  {reason}", script.name)),
            (Some(name), Err(_)) => {
                used.insert(name.clone());
            }
            (Some(name), Ok(())) => {
                failures.push(format!("{}\n  stock answers alike: {name}", script.name));
            }
        }
    }
    let listed: BTreeSet<String> = DIFFERENCES
        .iter()
        .map(|(name, reason)| {
            assert!(!reason.is_empty());
            (*name).to_owned()
        })
        .collect();
    for name in used.symmetric_difference(&listed) {
        failures.push(format!(
            "{name} occurs but is not listed, or is listed but does not occur"
        ));
    }
    assert!(
        failures.is_empty(),
        "{} differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
