use std::sync::Arc;

use super::*;
use crate::domain::CacheId;
use crate::engine::{Limits, testing};

fn engine(limits: Limits, limit_bytes: u64) -> Arc<EngineState> {
    let engine = testing::engine(limits);
    testing::add_cache(&engine, CacheId(1), limit_bytes);
    engine
}

fn open(engine: &Arc<EngineState>) -> ClientSession {
    let account = engine.directory.open_account(CacheId(1)).unwrap();
    ClientSession::open(engine.take_slot(account).unwrap(), None, 0)
}

#[test]
fn a_visit_ends_with_its_commands() {
    let limits = Limits {
        visit_commands_max: 3,
        ..Limits::default()
    };
    let engine = engine(limits, 1 << 20);
    let (mut session, mut out) = (open(&engine), Output::default());
    let fed = session.feed(&engine, &b"mn\r\n".repeat(5), &mut out);
    assert_eq!((fed.used, fed.next), (12, Next::Again));
    assert_eq!(out.to_vec(), b"MN\r\nMN\r\nMN\r\n");
}

/// The sweep that closes such connections comes later; nothing is executed meanwhile.
#[test]
fn a_revoked_credential_reads_nothing_in_any_dialect() {
    let binary_get = [&[0x80, 0, 0, 1][..], &[0; 4], &[0, 0, 0, 1], &[0; 12], b"k"].concat();
    for request in [
        &b"get k\r\n"[..],
        b"gets k\r\n",
        b"get k k\r\n",
        b"gat 0 k\r\n",
        b"mg k v\r\n",
        &binary_get,
    ] {
        let engine = engine(Limits::default(), 1 << 20);
        let account = engine.directory.open_account(CacheId(1)).unwrap();
        let mut out = Output::default();
        let stored = b"set k 0 0 6\r\nsecret\r\n";
        open(&engine).feed(&engine, stored, &mut out);
        let mut session = open(&engine);
        out.clear();
        session.feed(&engine, request, &mut out);
        let readable = |out: &Output| String::from_utf8_lossy(&out.to_vec()).contains("secret");
        assert!(readable(&out), "{}", request.escape_ascii());
        out.clear();
        account.revoke();
        session.feed(&engine, request, &mut out);
        assert!(!readable(&out), "{}", request.escape_ascii());
    }
}

#[test]
fn connections_of_a_credential_are_counted_up_and_down() {
    let engine = engine(Limits::default(), 1 << 20);
    let account = engine.directory.open_account(CacheId(1)).unwrap();
    let sessions = [open(&engine), open(&engine)];
    assert_eq!(account.connections(), 2);
    drop(sessions);
    assert_eq!(account.connections(), 0);
}

#[test]
fn a_line_of_many_keys_is_bounded_like_many_commands() {
    let limits = Limits {
        output_bytes_max: 1000,
        ..Limits::default()
    };
    let engine = engine(limits, 1 << 20);
    let (mut session, mut out) = (open(&engine), Output::default());
    let value = "v".repeat(600);
    session.feed(
        &engine,
        format!("set k 0 0 600\r\n{value}\r\n").as_bytes(),
        &mut out,
    );
    out.clear();
    let line = format!("get {}\r\nmn\r\n", ["k"; 10].join(" "));
    let mut at = 0;
    let mut visits = 0;
    let mut received = Vec::new();
    loop {
        let fed = session.feed(&engine, &line.as_bytes()[at..], &mut out);
        assert!(out.len() < 1000 + 700);
        received.extend(out.to_vec());
        out.clear();
        at += fed.used;
        visits += 1;
        if fed.next == Next::Read {
            break;
        }
    }
    assert_eq!(at, line.len());
    assert!(visits >= 5, "{visits}");
    let item = format!("VALUE k 0 600\r\n{value}\r\n");
    assert_eq!(
        received,
        format!("{}END\r\nMN\r\n", item.repeat(10)).as_bytes()
    );
}

#[test]
fn a_large_value_goes_straight_to_its_place() {
    let engine = engine(Limits::default(), 64 << 20);
    let (mut session, mut out) = (open(&engine), Output::default());
    let head = b"set k 0 0 100000\r\nbegin";
    let fed = session.feed(&engine, head, &mut out);
    assert_eq!((fed.used, fed.next), (head.len(), Next::Read));
    assert!(!session.is_between_requests());
    let used = engine
        .directory
        .tenancy(CacheId(1))
        .unwrap()
        .items
        .used_bytes();
    assert!(used >= 100_000, "an upload is charged from its start");
    for piece in vec![b'x'; 100_000 - 5].chunks(30_000) {
        let fed = session.feed(&engine, piece, &mut out);
        assert_eq!((fed.used, fed.next), (piece.len(), Next::Read));
    }
    session.feed(&engine, b"\r\nget k\r\n", &mut out);
    let reply = out.to_vec();
    assert!(reply.starts_with(b"STORED\r\nVALUE k 0 100000\r\nbeginxxx"));
    assert!(session.is_between_requests());
}

#[test]
fn an_upload_that_is_dropped_gives_its_room_back() {
    let engine = engine(Limits::default(), 64 << 20);
    let (mut session, mut out) = (open(&engine), Output::default());
    session.feed(&engine, b"set k 0 0 900000\r\n", &mut out);
    let tenancy = engine.directory.tenancy(CacheId(1)).unwrap();
    assert!(tenancy.items.used_bytes() >= 900_000);
    drop(session);
    assert!(tenancy.items.used_bytes() < 100_000);
    assert_eq!(tenancy.connections(), 0);
    // Uploads may fill half of the limit. Those that were dropped before do not count against it.
    for _ in 0..100 {
        let mut session = open(&engine);
        let fed = session.feed(&engine, b"set k 0 0 900000\r\n", &mut out);
        assert_eq!(fed.next, Next::Read);
    }
}

#[test]
fn uploads_beyond_the_room_wait_and_are_refused_in_step() {
    let engine = engine(Limits::default(), 2 << 20);
    let mut others: Vec<ClientSession> = (0..8).map(|_| open(&engine)).collect();
    let mut out = Output::default();
    let mut waiting = 0;
    for session in &mut others {
        let fed = session.feed(&engine, b"set k 0 0 500000\r\n", &mut out);
        waiting += u32::from(fed.next == Next::Wait);
    }
    assert!(
        waiting > 0,
        "eight values of 500 kB fill more than half of 2 MiB"
    );
    let last = others.last_mut().unwrap();
    let mut tries = 0;
    while last.feed(&engine, b"set k 0 0 500000\r\n", &mut out).next == Next::Wait {
        tries += 1;
        assert!(tries < 10_000, "it waits for ever");
    }
    let mut rest = vec![b'x'; 500_000];
    rest.extend(b"\r\nmn\r\n");
    last.feed(&engine, &rest, &mut out);
    let refused = b"SERVER_ERROR out of memory storing object\r\nMN\r\n";
    assert_eq!(out.to_vec(), refused);
}

/// Feeds all of `stream` and drops the replies, as the visits of a connection do.
fn play(engine: &Arc<EngineState>, session: &mut ClientSession, out: &mut Output, stream: &[u8]) {
    let mut at = 0;
    while at < stream.len() {
        let fed = session.feed(engine, &stream[at..], out);
        assert!(fed.used > 0, "{:?}", String::from_utf8_lossy(&stream[at..]));
        at += fed.used;
        out.clear();
    }
}

/// `engine-design.md`: what allocates on the way of a request does so a million times a second.
#[test]
fn ordinary_requests_allocate_nothing() {
    const KEYS: usize = 300;
    let engine = engine(Limits::default(), 16 << 20);
    let mut out = Output::default();
    let lines = |line: &dyn Fn(usize) -> String| (0..KEYS).map(line).collect::<String>();
    let opaque_get = |opcode: u8| {
        let packet = |n: usize| {
            let key = format!("key-{n:04}");
            let mut packet = vec![binary::REQUEST_MAGIC, opcode, 0, key.len() as u8];
            packet.extend([0; 7]);
            packet.push(key.len() as u8);
            packet.extend([0; 12]);
            packet.extend(key.as_bytes());
            packet
        };
        (0..KEYS).flat_map(packet).collect::<Vec<u8>>()
    };
    let fill = lines(&|n| format!("set key-{n:04} 0 0 8\r\n{n:08}\r\n"));
    let streams = [
        ("text get", lines(&|n| format!("get key-{n:04}\r\n"))),
        ("text miss", lines(&|n| format!("get other-{n:04}\r\n"))),
        (
            "text get of two",
            lines(&|n| format!("gets key-{n:04} other key-0001\r\n")),
        ),
        ("text set over the old", fill.clone()),
        ("text incr", lines(&|n| format!("incr key-{n:04} 1\r\n"))),
        ("text touch", lines(&|n| format!("touch key-{n:04} 0\r\n"))),
        ("text gat", lines(&|n| format!("gat 0 key-{n:04}\r\n"))),
        (
            "text delete and set",
            lines(&|n| format!("delete key-{n:04}\r\nset key-{n:04} 0 0 8\r\n{n:08}\r\n")),
        ),
        (
            "meta get",
            lines(&|n| format!("mg key-{n:04} k v t f Oabc\r\n")),
        ),
        (
            "meta set",
            lines(&|n| format!("ms key-{n:04} 8 c\r\n{n:08}\r\n")),
        ),
        ("meta arithmetic", lines(&|n| format!("ma key-{n:04}\r\n"))),
        ("meta noop", lines(&|_| "mn\r\n".to_owned())),
    ];
    let mut allocations = Vec::new();
    let mut measure = |name: &str, stream: &[u8]| {
        let mut session = open(&engine);
        play(&engine, &mut session, &mut out, fill.as_bytes());
        let mut session = open(&engine);
        // Once before, for what grows to its size and stays.
        play(&engine, &mut session, &mut out, stream);
        let seen = allocation_counter::measure(|| play(&engine, &mut session, &mut out, stream));
        allocations.push((name.to_owned(), seen.count_total));
    };
    for (name, stream) in &streams {
        measure(name, stream.as_bytes());
    }
    for (name, opcode) in [("binary get", 0x00), ("binary get with key, quiet", 0x0d)] {
        measure(name, &opaque_get(opcode));
    }
    allocations.retain(|&(_, count)| count > 0);
    assert!(allocations.is_empty(), "{allocations:?}");
}
