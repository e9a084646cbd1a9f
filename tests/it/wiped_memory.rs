//! What is left of a cache's passwords in the memory of the process, once the cache is gone (security.md ST-9).

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use reqwest::StatusCode;

use crate::support::full_service::{PASSWORD, setting};
use crate::support::machine::{Machine, on_both};
use crate::support::plain::Plain;

const CACHES: usize = 10;

/// How often each text stands in the memory that the process may write to. The stacks of its threads are among it.
fn found(pid: u32, texts: &[String]) -> Vec<usize> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("its maps");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("its memory");
    let mut counts = vec![0; texts.len()];
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').expect("a range");
        if !rest.starts_with("rw") {
            continue;
        }
        let (begin, end) = range.split_once('-').expect("two addresses");
        let address = |text| u64::from_str_radix(text, 16).expect("an address");
        let (begin, end) = (address(begin), address(end));
        let mut bytes = vec![0; usize::try_from(end - begin).expect("it fits")];
        // What was unmapped meanwhile is left.
        if memory.read_exact_at(&mut bytes, begin).is_ok() {
            for (count, text) in counts.iter_mut().zip(texts) {
                *count += times(&bytes, text.as_bytes());
            }
        }
    }
    counts
}

fn times(bytes: &[u8], text: &[u8]) -> usize {
    memchr::memmem::find_iter(bytes, text).count()
}

/// They were answered to the marketplace, and clients logged in with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_of_ended_caches_are_in_no_memory() {
    on_both(async |database| {
        let mut machine = Machine::new(&database, "127.0.0.1");
        // Else nobody but root may read its memory.
        machine.settings = setting(&machine.settings, "LARDER_ALLOW_DUMPS", "on");
        let process = machine.start().await;
        let mut passwords = Vec::new();
        for number in 0..CACHES {
            let made = machine.order(&format!("r-{number}"), false).await;
            made.is_on(&machine);
            let mut client = Plain::connect(&made.servers).await;
            let greeting = client.login(&made.username, &made.password).await;
            assert_eq!(greeting, "STORED");
            client.say("set k 0 0 1\r\nv\r\n").await;
            assert_eq!(client.line().await, "STORED");
            passwords.push(made.password);
        }
        // A key is in force as long as the service runs, so the search finds what is there.
        let sealed_with = [PASSWORD.to_owned()];
        assert_ne!(found(process.id(), &sealed_with), [0], "of a live secret");
        for number in 0..CACHES {
            let ended = machine.end(&format!("r-{number}")).await;
            assert_eq!(ended, StatusCode::NO_CONTENT);
        }
        let left = found(process.id(), &passwords);
        assert_eq!(left, [0; CACHES], "copies of each password");
        process.kill().await;
        database.drop().await;
    })
    .await;
}
