//! A whole connection, on an engine with two caches.
//!
//! The first byte of an input chooses the client and whether the cache is full; the second chooses how the rest is cut.
//! Checked is: the same bytes, cut in another way, give the same replies; Bob's cache is neither read nor changed; a
//! credential that may only read changes nothing; no tenant exceeds its limit; nothing remains after the connection.

use larder::domain::Capabilities;

use super::fixture::{ALICE, BOB, FuzzFixture, OWNER, READER, SessionClient};

const ROOMY_BYTES: u64 = 16 << 20;
const TIGHT_BYTES: u64 = 256 << 10;
const MARKER: &[u8] = b"only-Bob-knows-this";
const READ_ALL: &[u8] = b"mg k s v f c\r\nmg a s v f c\r\nmg b s v f c t\r\nmg n s v f c\r\n";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    NotLoggedIn,
    Open,
    Owner,
    Reader,
}

/// How an input is run.
struct Plan<'a> {
    who: Who,
    /// The cache is full at the start.
    tight: bool,
    /// Seconds that pass in the middle of the stream.
    passing_secs: u32,
    stream: &'a [u8],
}

pub fn session(data: &[u8]) {
    let [mode, cut, stream @ ..] = data else {
        return;
    };
    let who = match mode % 4 {
        0 => Who::NotLoggedIn,
        1 => Who::Open,
        2 => Who::Owner,
        _ => Who::Reader,
    };
    let tight = mode & 4 != 0 && who != Who::Reader;
    let passes = mode & 8 != 0 && who != Who::Reader;
    let plan = Plan {
        who,
        tight,
        passing_secs: if passes { 3 } else { 0 },
        stream,
    };
    let whole = play(&plan, usize::MAX);
    // With eviction, which items remain depends on when the memory for a value is taken.
    if !tight {
        let pieces = match usize::from(*cut) {
            length @ 0..200 => length + 1,
            share => 1 + stream.len() * (share - 199) / 57,
        };
        let cut = play(&plan, pieces);
        assert!(
            whole == cut,
            "cut every {pieces} bytes:\n{}\nwhole:\n{}",
            cut.0.escape_ascii(),
            whole.0.escape_ascii()
        );
    }
}

/// The replies, and whether the connection was closed.
fn play(plan: &Plan<'_>, piece_bytes: usize) -> (Vec<u8>, bool) {
    let (credential, capabilities) = match plan.who {
        Who::Reader => (READER, Capabilities::NONE),
        _ => (OWNER, Capabilities::ALL),
    };
    let limit_bytes = if plan.tight { TIGHT_BYTES } else { ROOMY_BYTES };
    let fixture = FuzzFixture::new(limit_bytes, credential, capabilities);
    let bob_saw = furnish_bob(&fixture);
    furnish_alice(&fixture, plan.tight);
    let alice_saw = (plan.who == Who::Reader).then(|| snapshot(&fixture));

    let mut client = enter(&fixture, plan);
    let tenancy = fixture.tenancy(ALICE);
    let mut received = Vec::new();
    let (before, after) = plan.stream.split_at(plan.stream.len() / 2);
    for (half, secs) in [(before, plan.passing_secs), (after, 0)] {
        for piece in half.chunks(piece_bytes.min(half.len().max(1))) {
            received.extend(client.send(piece, |_| {
                let used = tenancy.items.used_bytes();
                assert!(used <= limit_bytes, "{used} bytes of {limit_bytes}");
            }));
        }
        fixture.clock.advance(secs);
        fixture.engine.housekeeping();
    }
    let closed = client.closed;
    drop(client);

    if let Some(saw) = alice_saw {
        assert!(saw == snapshot(&fixture), "a reader changed something");
    }
    assert!(bob_saw == read_as_bob(&fixture), "Bob's cache changed");
    assert!(
        contains(plan.stream, MARKER) || !contains(&received, MARKER),
        "Alice sees what Bob stored"
    );
    assert_eq!(tenancy.connections(), 0, "a slot without a client");
    assert!(tenancy.items.used_bytes() <= limit_bytes);
    (received, closed)
}

fn enter<'w>(fixture: &'w FuzzFixture, plan: &Plan<'_>) -> SessionClient<'w> {
    let who = match plan.who {
        Who::NotLoggedIn => return fixture.not_logged_in(),
        Who::Open => return fixture.open(ALICE),
        Who::Owner => OWNER,
        Who::Reader => READER,
    };
    let mut client = fixture.not_logged_in();
    let is_binary = plan.stream.first() == Some(&0x80);
    client.send(&login(who, is_binary), |_| ());
    assert!(client.session.account().is_some(), "a right login fails");
    client
}

fn login((username, password): (&str, &str), is_binary: bool) -> Vec<u8> {
    if !is_binary {
        let length = password.len();
        return format!("set {username} 0 0 {length}\r\n{password}\r\n").into_bytes();
    }
    let data = format!("PLAIN\0{username}\0{password}");
    let mut packet = vec![0x80, 0x21, 0, 5];
    packet.extend([0; 4]);
    packet.extend((data.len() as u32).to_be_bytes());
    packet.extend([0; 12]);
    packet.extend(data.bytes());
    packet
}

fn furnish_bob(fixture: &FuzzFixture) -> Vec<u8> {
    let mut client = fixture.open(BOB);
    for key in ["k", "a", "b", "n"] {
        let head = format!("set {key} 0 0 {}\r\n", MARKER.len());
        client.send(&[head.as_bytes(), MARKER, b"\r\n"].concat(), |_| ());
    }
    read_as_bob(fixture)
}

fn read_as_bob(fixture: &FuzzFixture) -> Vec<u8> {
    fixture.open(BOB).send(READ_ALL, |_| ())
}

fn furnish_alice(fixture: &FuzzFixture, to_the_brim: bool) {
    let mut client = fixture.open(ALICE);
    client.send(
        b"set k 5 0 5\r\nvalue\r\nset n 0 0 2\r\n41\r\nset b 1 100 1\r\nb\r\n",
        |_| (),
    );
    if to_the_brim {
        for number in 0..60 {
            let request = format!("set full{number} 0 0 6000\r\n{}\r\n", "f".repeat(6000));
            client.send(request.as_bytes(), |_| ());
        }
    }
}

/// Everything that would show a change: the items, and the counters of changes.
fn snapshot(fixture: &FuzzFixture) -> (Vec<u8>, [u64; 6]) {
    let items = fixture.open(ALICE).send(READ_ALL, |_| ());
    let counters = fixture.tenancy(ALICE).items.counters();
    let counts = [
        counters.curr_items,
        counters.bytes,
        counters.total_items,
        counters.cmd_flush,
        counters.evictions,
        counters.expired,
    ];
    (items, counts)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
