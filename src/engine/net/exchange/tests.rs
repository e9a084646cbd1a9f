use std::sync::Arc;

use super::super::phase::SWEEP;
use super::*;
use crate::domain::CacheId;
use crate::engine::session::LoginMode;
use crate::engine::testing;

const CACHE: CacheId = CacheId(1);
const LIMIT: u64 = 16 << 20;

fn engine() -> Arc<EngineState> {
    let limits = Limits {
        request_deadline: SWEEP * 20,
        unread_output_deadline: SWEEP * 10,
        ..Limits::default()
    };
    let engine = testing::engine(limits);
    testing::add_cache(&engine, CACHE, LIMIT);
    engine
}

fn logged_in(engine: &Arc<EngineState>) -> Exchange {
    let account = engine.directory.open_account(CACHE).unwrap();
    let session = ClientSession::open(engine.take_slot(account).unwrap(), None, 0);
    Exchange::new(session, 0)
}

fn anonymous() -> Exchange {
    Exchange::new(ClientSession::new(LoginMode::Required, None, 0), 0)
}

fn used(engine: &EngineState) -> u64 {
    engine.directory.tenancy(CACHE).unwrap().items.used_bytes()
}

/// Feeds `piece` again and again. Returns how many bytes were taken, and the reply with which that ended.
fn feed_for_ever(engine: &EngineState, exchange: &mut Exchange, head: &[u8]) -> (usize, Vec<u8>) {
    let mut out = Output::default();
    let mut taken = 0;
    let mut piece = head.to_vec();
    loop {
        let fed = exchange.receive(engine, &piece, &mut out);
        assert!(
            exchange.held_bytes() as u64 <= exchange.charged_bytes(),
            "charged"
        );
        assert!(taken < 64 << 20, "it is taken for ever");
        if fed.next == Next::Close {
            return (taken, out.to_vec());
        }
        taken += piece.len();
        piece = b"k ".repeat(16 << 10);
    }
}

#[test]
fn a_request_that_never_ends_is_charged_until_there_is_no_room() {
    let engine = engine();
    let mut connections: Vec<Exchange> = (0..8).map(|_| logged_in(&engine)).collect();
    let piece = b"k ".repeat(16 << 10);
    let mut refused = 0;
    for round in 0..63 {
        let piece: &[u8] = if round == 0 { b"get " } else { &piece };
        connections.retain_mut(|exchange| {
            let mut out = Output::default();
            let fed = exchange.receive(&engine, piece, &mut out);
            assert!(exchange.held_bytes() as u64 <= exchange.charged_bytes());
            if fed.next == Next::Close {
                refused += 1;
                let reply = out.to_vec();
                assert_eq!(reply, b"SERVER_ERROR out of memory reading request\r\n");
                assert_eq!(exchange.held_bytes(), 0, "its memory is free at once");
            }
            fed.next != Next::Close
        });
        let held: usize = connections.iter().map(Exchange::held_bytes).sum();
        assert!(used(&engine) >= held as u64, "nobody is charged for it");
        assert!(used(&engine) <= LIMIT, "{} bytes", used(&engine));
    }
    assert!(refused > 0, "eight lines of 2 MiB in half of 16 MiB");
    drop(connections);
    assert_eq!(used(&engine), 0);
}

#[test]
fn a_line_has_an_end_also_where_there_is_room() {
    let engine = testing::engine(Limits::default());
    testing::add_cache(&engine, CACHE, 256 << 20);
    for head in [&b"get "[..], b"gats 0 "] {
        let (taken, reply) = feed_for_ever(&engine, &mut logged_in(&engine), head);
        assert!(taken > (4 << 20) - (64 << 10), "{taken}");
        assert_eq!(reply, b"CLIENT_ERROR line too long\r\n");
    }
    for head in [&b"set "[..], b"mg "] {
        let (taken, reply) = feed_for_ever(&engine, &mut logged_in(&engine), head);
        assert!(taken < 64 << 10, "{taken}");
        assert_eq!(reply, b"CLIENT_ERROR line too long\r\n");
    }
}

#[test]
fn what_was_charged_is_given_back_when_the_connection_rests() {
    let engine = engine();
    let mut exchange = logged_in(&engine);
    let mut out = Output::default();
    exchange.receive(&engine, b"get k", &mut out);
    assert!(used(&engine) > 0, "a part of a request is charged");
    exchange.receive(&engine, b"\r\n", &mut out);
    exchange.settle();
    assert_eq!((used(&engine), exchange.held_bytes()), (0, 0));
}

#[test]
fn replies_that_nobody_takes_are_charged_in_their_own_size() {
    let engine = engine();
    let mut exchange = logged_in(&engine);
    let mut out = Output::default();
    let value = "v".repeat(1000);
    let store = format!("set k 0 0 1000\r\n{value}\r\n");
    exchange.receive(&engine, store.as_bytes(), &mut out);
    out.clear();
    let before = used(&engine);
    exchange.receive(&engine, &b"get k\r\n".repeat(200), &mut out);
    let unsent = out.len();
    assert!(exchange.keep_unsent(&engine.limits, &mut out, 0, 0));
    assert!(out.is_empty());
    assert_eq!(exchange.held_bytes(), unsent, "not the thread's buffer");
    assert!(used(&engine) - before >= unsent as u64);
    exchange.all_sent();
    exchange.settle();
    assert_eq!(used(&engine), before);
}

/// Sends what is left of a request byte by byte, one each sweep. Returns at which sweep the connection is overdue.
fn overdue_at(engine: &EngineState, exchange: &mut Exchange, request: &[u8]) -> Option<u32> {
    let mut out = Output::default();
    for (sweep, byte) in (1..).zip(request) {
        if exchange.is_overdue(sweep, &engine.limits) {
            return Some(sweep);
        }
        let fed = exchange.receive(engine, &[*byte], &mut out);
        exchange.end_visit(fed.commands > 0, sweep);
    }
    None
}

/// Each of these kept a connection busy for ever, or was at least never tried.
#[test]
fn a_byte_now_and_then_does_not_prolong_a_request() {
    let engine = engine();
    let packet = |opcode: u8, extras: u8, key: u8, body: u8| {
        let mut packet = vec![0x80, opcode, 0, key, extras];
        packet.extend([0, 0, 0, 0, 0, 0, body]);
        packet.resize(24 + usize::from(body), b'k');
        packet
    };
    let slow = [
        (
            "a line of keys",
            format!("get {}", "k ".repeat(99)).into_bytes(),
        ),
        ("a meta line", format!("mg {}", "k".repeat(99)).into_bytes()),
        (
            "a small block",
            format!("set k 0 0 200\r\n{}", "v".repeat(99)).into_bytes(),
        ),
        (
            "a large block",
            format!("set k 0 0 200000\r\n{}", "v".repeat(99)).into_bytes(),
        ),
        (
            "a refused block",
            format!("set k 0 0 9999999\r\n{}", "v".repeat(99)).into_bytes(),
        ),
        ("a packet", packet(0x01, 8, 1, 200)),
        ("a SASL packet", packet(0x21, 0, 5, 200)),
    ];
    for (name, request) in slow {
        let overdue = overdue_at(&engine, &mut logged_in(&engine), &request);
        // Refusing a block completes a request, and what is dropped of it has a deadline of its own.
        let most = if name == "a refused block" {
            21 + 20
        } else {
            22
        };
        assert!(
            overdue.is_some_and(|sweep| sweep <= most),
            "{name}: {overdue:?}"
        );
    }
    let many = overdue_at(&engine, &mut logged_in(&engine), &b"get k\r\n".repeat(20));
    assert_eq!(many, None, "each request has a deadline of its own");
}

#[test]
fn the_deadline_of_a_login_holds_whatever_is_sent() {
    let engine = engine();
    let deadline = (Limits::default().login_deadline.as_millis() / SWEEP.as_millis()) as u32;
    let slow_login = format!("set A00001 0 0 32\r\n{}", "p".repeat(32));
    for request in [slow_login.into_bytes(), b"mn\r\n".repeat(60)] {
        let overdue = overdue_at(&engine, &mut anonymous(), &request);
        assert_eq!(overdue, Some(deadline + 1));
    }
}

#[test]
fn an_anonymous_client_holds_little_and_is_answered_so_often_only() {
    let engine = engine();
    let streams = [
        b"version\r\n".repeat(20_000),
        b"x".repeat(100_000),
        b"set user 0 0 1024\r\nhalf".to_vec(),
        b"set user 0 0 100000\r\n".repeat(20_000),
        [&[0x80, 0x20][..], &[0; 22]].concat().repeat(5000),
        [&[0x80, 0x21, 0, 5, 0, 0, 0, 0, 0, 0, 4, 0][..], &[0; 512]].concat(),
    ];
    for stream in streams {
        let (mut exchange, mut out) = (anonymous(), Output::default());
        for piece in stream.chunks(64 << 10) {
            let fed = exchange.receive(&engine, piece, &mut out);
            assert!(exchange.held_bytes() <= engine.limits.anonymous_bytes_max);
            assert!(out.len() < 8 << 10, "{} bytes of replies", out.len());
            if fed.next == Next::Close {
                break;
            }
            assert_eq!(fed.next, Next::Read);
        }
    }
}

/// A wrong login ends the identity, and with it the charge: what a client may hold then is what anonymous ones may.
#[test]
fn a_client_that_loses_its_identity_holds_no_more_than_a_anonymous() {
    let engine = engine();
    let mut exchange = logged_in(&engine);
    let mut out = Output::default();
    out.push(&[b'r'; 100_000]);
    *exchange.session_mut() = ClientSession::new(LoginMode::Required, None, 0);
    assert!(
        !exchange.keep_unsent(&engine.limits, &mut out, 0, 0),
        "it has to close"
    );
}
