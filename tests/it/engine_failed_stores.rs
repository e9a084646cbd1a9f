//! Stores that fail for their size or for want of memory: which of them remove the old item, so that no stale value
//! stays. The rule is memcached's: text `set`, `ms` in every mode, and binary SET; all others keep the old item. It was
//! checked with memcached 1.6.18 for both kinds of failure; for the size a test here does that again. Here each of them is
//! counted as a refused store; stock counts text and meta stores only.

use larder::domain::CacheSpec;

use crate::engine_connections::wait_until;
use crate::engine_differential::Stock;
use crate::engine_differing_counters::COUNTED_FURTHER;
use crate::engine_fixture::{ALICE, Client, EngineFixture, OWNER, alice, packet};

const TOO_LARGE: usize = 1 << 20;
/// Fits the size limit, but half of [`SMALL_CACHE`] has no room for two of them.
const LARGE: usize = 900_000;
/// Has room for one upload, and for a read of each other client that waits: that is charged too.
const SMALL_CACHE: u64 = 3_500_000;

/// How a store is sent.
#[derive(Clone, Copy)]
enum Command {
    /// A storage command, perhaps with `noreply`.
    Text(&'static str, &'static str),
    /// `ms` with these flags.
    Meta(&'static str),
    /// `ms` with these flags and the item's CAS value.
    MetaCas(&'static str),
    /// An opcode. Its header has the item's CAS value if the flag is set.
    Binary(u8, bool),
}

use Command::{Binary, Meta, MetaCas, Text};

/// Every store, and whether it removes the old item when it fails.
const STORES: &[(Command, bool)] = &[
    (Text("set", ""), true),
    (Text("set", " noreply"), true),
    (Text("add", ""), false),
    (Text("replace", ""), false),
    (Text("replace", " noreply"), false),
    (Text("append", ""), false),
    (Text("prepend", ""), false),
    (Text("cas", ""), false),
    (Text("cas", " noreply"), false),
    (Meta(""), true),
    (Meta("q"), true),
    (Meta("ME"), true),
    (Meta("MA"), true),
    (Meta("MP q"), true),
    (Meta("MR"), true),
    (MetaCas(""), true),
    (MetaCas("I"), true),
    (MetaCas("MA q"), true),
    (MetaCas("MR"), true),
    (Binary(0x01, false), true),
    (Binary(0x01, true), true),
    (Binary(0x11, false), true),
    (Binary(0x11, true), true),
    (Binary(0x02, false), false),
    (Binary(0x02, true), false),
    (Binary(0x12, false), false),
    (Binary(0x03, false), false),
    (Binary(0x03, true), false),
    (Binary(0x13, true), false),
    (Binary(0x0e, false), false),
    (Binary(0x0f, false), false),
    (Binary(0x19, false), false),
    (Binary(0x1a, false), false),
];

impl Command {
    fn is_binary(self) -> bool {
        matches!(self, Binary(..))
    }

    fn request(self, key: &str, cas: u64, value: &[u8]) -> Vec<u8> {
        let length = value.len();
        let line = match self {
            Text("cas", noreply) => format!("cas {key} 0 0 {length} {cas}{noreply}\r\n"),
            Text(name, noreply) => format!("{name} {key} 0 0 {length}{noreply}\r\n"),
            Meta(flags) => format!("ms {key} {length} {flags}\r\n"),
            MetaCas(flags) => format!("ms {key} {length} C{cas} {flags}\r\n"),
            Binary(opcode, with_cas) => {
                let appends = matches!(opcode, 0x0e | 0x0f | 0x19 | 0x1a);
                let extras = if appends { &[][..] } else { &[0; 8] };
                let cas = if with_cas { cas } else { 0 };
                return packet(opcode, 0, extras, key.as_bytes(), value, cas);
            }
        };
        [line.as_bytes(), value, b"\r\n"].concat()
    }

    /// The reply to the failed store. Only `noreply` hides it.
    fn expect_failure(self, client: &mut Client, text: &str, status: u16) {
        match self {
            Text(_, " noreply") => {}
            Text(..) | Meta(_) | MetaCas(_) => client.expect(&format!("SERVER_ERROR {text}\r\n")),
            Binary(opcode, _) => {
                let reply = client.packet();
                assert_eq!((reply.opcode, reply.status), (opcode, status));
            }
        }
    }
}

/// Stores the old item and returns its CAS value.
fn store_old(client: &mut Client, key: &str) -> u64 {
    client.talk(&format!("ms {key} 3 c\r\nold\r\n"), "HD c");
    let mut digits = String::new();
    loop {
        match client.read_exact(1)[0] {
            b'\r' => break,
            digit => digits.push(char::from(digit)),
        }
    }
    client.expect("\n");
    digits.parse().unwrap()
}

/// Checks that the connection is still in step, and whether the old item is there.
#[track_caller]
fn expect_old(client: &mut Client, key: &str, stays: bool, store: usize) {
    client.send(format!("mg {key} v\r\nmn\r\n").as_bytes());
    let expected = if stays {
        "VA 3\r\nold\r\nMN\r\n"
    } else {
        "EN\r\nMN\r\n"
    };
    let got = client.read_exact(expected.len());
    assert_eq!(String::from_utf8_lossy(&got), expected, "store {store}");
}

/// A counter of refused stores, in which ours count further than stock's.
fn refused(client: &mut Client, counter: &str) -> u64 {
    assert!(COUNTED_FURTHER.iter().any(|(name, _)| *name == counter));
    client.send(b"stats\r\n");
    let stats = client.until("END\r\n");
    let prefix = format!("STAT {counter} ");
    let line = stats.lines().find_map(|line| line.strip_prefix(&prefix));
    line.unwrap().parse().unwrap()
}

/// Whose counters are looked at.
#[derive(Clone, Copy, PartialEq)]
enum Counts {
    Ours,
    Stock,
}

/// Plays all stores with a value that is too large. `connect` makes a connection for text or binary.
fn fail_for_size(counts: Counts, mut connect: impl FnMut(bool) -> Client) {
    let mut reader = connect(false);
    let value = vec![b'v'; TOO_LARGE];
    for (number, &(command, removes)) in STORES.iter().enumerate() {
        let key = format!("key-{number}");
        let cas = store_old(&mut reader, &key);
        let mut client = connect(command.is_binary());
        let before = refused(&mut reader, "store_too_large");
        client.send(&command.request(&key, cas, &value));
        command.expect_failure(&mut client, "object too large for cache", 0x03);
        if matches!(command, Text(_, " noreply")) {
            // There is no reply to wait for, so another command on the connection must have been answered.
            client.talk("mn\r\n", "MN\r\n");
        }
        expect_old(&mut reader, &key, !removes, number);
        let counted = counts == Counts::Ours || !command.is_binary();
        let after = refused(&mut reader, "store_too_large");
        assert_eq!(after - before, u64::from(counted), "store {number}");
    }
    grow_too_large(&mut reader, counts);
}

/// What is appended fits by itself, but not with the value that is there: the old one stays.
fn grow_too_large(client: &mut Client, counts: Counts) {
    let half = "v".repeat(TOO_LARGE / 2 + 1);
    let store = |verb: &str| format!("{verb} grows 0 0 {}\r\n{half}\r\n", half.len());
    client.talk(&store("set"), "STORED\r\n");
    let before = refused(client, "store_too_large");
    client.talk(&store("append"), "NOT_STORED\r\n");
    let after = refused(client, "store_too_large");
    assert_eq!(after - before, u64::from(counts == Counts::Ours));
}

#[test]
fn a_store_that_is_too_large_leaves_no_stale_value() {
    let fixture = EngineFixture::start();
    fail_for_size(Counts::Ours, |binary| match binary {
        true => fixture.binary(OWNER),
        false => fixture.text(OWNER),
    });
}

#[test]
fn stock_memcached_removes_the_same_items_for_their_size() {
    let Some(stock) = Stock::start_or_skip() else {
        return;
    };
    fail_for_size(Counts::Stock, |_| stock.client());
}

/// Unfinished uploads of another client use half of the cache, so a further upload waits for room and is then refused.
/// Nothing is evicted for it, so the old item would stay.
#[test]
fn a_store_without_memory_leaves_no_stale_value() {
    let fixture = EngineFixture::start();
    fixture.engine.apply(&CacheSpec {
        limit_bytes: SMALL_CACHE,
        ..alice()
    });
    let mut reader = fixture.text(OWNER);
    let olds: Vec<(String, u64)> = (0..STORES.len())
        .map(|number| {
            let key = format!("key-{number}");
            let cas = store_old(&mut reader, &key);
            (key, cas)
        })
        .collect();
    let mut unfinished = fixture.text(OWNER);
    unfinished.send(format!("set other 0 0 {LARGE}\r\n").as_bytes());
    unfinished.send(&vec![b'v'; LARGE / 2]);
    wait_until(|| fixture.engine.figures(ALICE).unwrap().used_bytes >= LARGE as u64);
    // All at once, because each waits for some seconds.
    let failing: Vec<_> = STORES
        .iter()
        .zip(olds.clone())
        .map(|(&(command, _), (key, cas))| {
            let mut client = match command.is_binary() {
                true => fixture.binary(OWNER),
                false => fixture.text(OWNER),
            };
            std::thread::spawn(move || {
                client.send(&command.request(&key, cas, &vec![b'v'; LARGE]));
                command.expect_failure(&mut client, "out of memory storing object", 0x82);
                if matches!(command, Text(_, " noreply")) {
                    client.talk("mn\r\n", "MN\r\n");
                }
            })
        })
        .collect();
    failing
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    for (number, (&(_, removes), (key, _))) in STORES.iter().zip(&olds).enumerate() {
        expect_old(&mut reader, key, !removes, number);
    }
    drop(unfinished);
}
