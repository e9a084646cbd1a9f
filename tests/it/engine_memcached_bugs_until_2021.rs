//! Bugs of memcached that were published from 2011 to 2021: one test for each row of the list in the security requirements.
//! `engine_memcached_bugs_since_2023.rs` has the later ones.

use std::io::Write;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};

use larder::config::Manifest;
use larder::engine::protocol::Output;
use larder::engine::session::ClientSession;
use larder::engine::state::EngineState;
use larder::engine::{Listeners, TlsListener};

use crate::engine_connections::wait_until;
use crate::engine_fixture::{
    ALICE, EngineFixture, EventRecorder, OWNER, WallClock, alice, key, loopback, packet, settings,
};
use crate::engine_oracle::SessionClient;

/// A packet whose header has the given lengths, right or wrong.
pub fn header(opcode: u8, key: u16, extras: u8, body: u32, behind: &[u8]) -> Vec<u8> {
    let mut bytes = packet(opcode, 0, &[], b"", b"", 0);
    bytes[2..4].copy_from_slice(&key.to_be_bytes());
    bytes[4] = extras;
    bytes[8..12].copy_from_slice(&body.to_be_bytes());
    bytes.extend(behind);
    bytes
}

/// Sends each of `attacks` on its own connection that has logged in by SASL. Whatever the reply, Alice's item must stay as
/// it was, and other clients must be served.
pub fn survives(fixture: &EngineFixture, attacks: &[Vec<u8>]) {
    let mut other = fixture.text(OWNER);
    other.talk("set safe 1 0 5\r\nsound\r\n", "STORED\r\n");
    for attack in attacks {
        let mut attacker = fixture.binary(OWNER);
        attacker.send_if_open(attack);
        attacker.end_sending();
        attacker.rest();
        other.talk("get safe\r\n", "VALUE safe 1 5\r\nsound\r\nEND\r\n");
    }
    wait_until(|| fixture.engine.figures(ALICE).unwrap().connections == 1);
}

/// CVE-2011-4971: a body length that is negative as a signed number crashed the server.
#[test]
fn y2011_a_negative_body_length() {
    let fixture = EngineFixture::start();
    let lengths = [u32::MAX, 1 << 31, (1 << 31) - 1, u32::MAX - 23];
    let attacks: Vec<_> = (0..=0x24)
        .flat_map(|opcode| lengths.map(|body| header(opcode, 1, 0, body, b"kkkkkkkkkkkkkkkk")))
        .collect();
    survives(&fixture, &attacks);
}

/// CVE-2013-0179: the verbose log printed a key without checking its length. Here no log has a key at all, nor a password,
/// right or wrong.
#[test]
fn y2013_a_key_in_the_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let engine = engine();
    let marker = "MARKERMARKER".repeat(20);
    tracing::subscriber::with_default(subscriber, || {
        tracing::trace!("the log works");
        // What succeeds is no more worth a line than what fails.
        let text = format!(
            "verbosity 9\r\ndelete {marker}{marker}\r\nset MARKERKEY 0 0 11\r\nMARKERVALUE\r\nget MARKERKEY\r\n"
        );
        let binary = [
            packet(0x04, 0, &[], marker.as_bytes(), b"", 0),
            packet(0x01, 0, &[0; 8], b"MARKERKEY", b"MARKERVALUE", 0),
            packet(0x00, 0, &[], b"MARKERKEY", b"", 0),
        ]
        .concat();
        for (first, requests) in [(b's', text.as_bytes()), (0x80, &binary)] {
            let mut client = SessionClient::new();
            let wrong = crate::conversations::login_bytes(OWNER.0, "MARKERWRONG", first);
            client.send(&engine, &wrong);
            let login = crate::conversations::login_bytes(OWNER.0, OWNER.1, first);
            client.send(&engine, &login);
            let received = client.send(&engine, requests);
            let received = String::from_utf8_lossy(&received).into_owned();
            assert!(received.contains("MARKERVALUE"), "{received}");
        }
    });
    let written = log.0.lock().unwrap().clone();
    let written = String::from_utf8_lossy(&written);
    assert!(written.contains("the log works"));
    for secret in ["MARKER", OWNER.1] {
        assert!(!written.contains(secret), "{written}");
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Log;

    fn make_writer(&self) -> Log {
        self.clone()
    }
}

/// CVE-2013-7239: state that a failed login left behind made the next wrong login succeed.
#[test]
fn y2013_a_second_wrong_login_is_no_login() {
    let fixture = EngineFixture::start();
    fixture
        .text(OWNER)
        .talk("set k 0 0 1\r\nv\r\n", "STORED\r\n");
    let wrong = format!("\0{}\0wrong", OWNER.0);
    let attempts = [
        packet(0x21, 0, &[], b"PLAIN", wrong.as_bytes(), 0),
        packet(0x22, 0, &[], b"PLAIN", wrong.as_bytes(), 0),
    ];
    for second in &attempts {
        let mut client = fixture.connect();
        for attempt in [&attempts[0], second] {
            client.send(attempt);
            assert_eq!(client.packet().status, 0x20);
        }
        client.send(&packet(0x00, 0, &[], b"k", b"", 0));
        assert_eq!(client.packet().status, 0x20);
        assert!(client.rest().is_empty());
    }
}

/// CVE-2016-8704, -8705, -8706: a body shorter than its key and extras (in append and prepend, in set, add and replace, and
/// in SASL) was taken for a huge value.
#[test]
fn y2016_a_body_shorter_than_its_key() {
    let fixture = EngineFixture::start();
    let appends = [0x0e, 0x0f, 0x19, 0x1a].map(|opcode| header(opcode, 0xfa, 0, 0, b""));
    let updates =
        [0x01, 0x02, 0x03, 0x11, 0x12, 0x13].map(|opcode| header(opcode, 0xfa, 8, 8, &[b'k'; 300]));
    let logins = [0x20, 0x21, 0x22].map(|opcode| header(opcode, 0x20, 0, 1, &[b'k'; 64]));
    survives(&fixture, &[&appends[..], &updates, &logins].concat());
}

/// CVE-2017-9951: the fix of the year before was incomplete: lengths were still compared as signed numbers.
#[test]
fn y2017_lengths_around_every_bound() {
    let fixture = EngineFixture::start();
    let keys = [0, 1, 250, 251, 0x7fff, 0x8000, 0xffff];
    let bodies = [
        0,
        7,
        8,
        9,
        258,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_0000,
    ];
    let attacks: Vec<_> = [0x01, 0x12]
        .iter()
        .flat_map(|&opcode| keys.map(|key| bodies.map(|body| header(opcode, key, 8, body, b""))))
        .flatten()
        .collect();
    survives(&fixture, &attacks);
}

/// CVE-2018-1000115: UDP was on by default and amplified traffic 50,000 times. Here the engine uses no UDP port, so another
/// socket can bind each of ours.
#[test]
fn y2018_no_udp() {
    let fixture = EngineFixture::start();
    for addr in [fixture.addresses.plain, fixture.addresses.open] {
        let ours = UdpSocket::bind(addr.unwrap());
        assert!(ours.is_ok(), "somebody has the UDP port");
    }
}

/// CVE-2018-1000127: a 16-bit reference count overflowed, and an item in use was freed.
#[test]
fn y2018_more_readers_than_a_counter_holds() {
    let engine = engine();
    let account = engine.directory.open_account(ALICE).unwrap();
    let mut session = ClientSession::open(engine.take_slot(account).unwrap(), None, 0);
    let mut feed = |bytes: &[u8]| {
        let mut out = Output::default();
        session.feed(&engine, bytes, &mut out);
        out
    };
    let value = "v".repeat(50_000);
    feed(format!("set k 0 0 50000\r\n{value}\r\n").as_bytes());
    let unread: Vec<Output> = (0..70_000).map(|_| feed(b"get k\r\n")).collect();
    feed(b"delete k\r\n");
    feed(format!("set other 0 0 50000\r\n{}\r\n", "o".repeat(50_000)).as_bytes());
    let expected = format!("VALUE k 0 50000\r\n{value}\r\nEND\r\n");
    assert!(unread.last().unwrap().to_vec() == expected.as_bytes());
    drop(unread);
    feed(b"flush_all\r\n");
    engine.housekeeping();
    let used = engine.directory.tenancy(ALICE).unwrap().items.used_bytes();
    assert!(used < 50_000, "{used} bytes are held by nobody");
}

/// CVE-2019-11596: `lru` without arguments crashed the server; and with SASL, UDP needed no login. memcached's commands for
/// operators do not exist here, with or without arguments.
#[test]
fn y2019_commands_of_the_operator() {
    let fixture = EngineFixture::start();
    let mut client = fixture.text(OWNER);
    let mut anonymous = fixture.connect();
    for line in [
        "lru",
        "lru mode",
        "lru mode flat",
        "lru tune",
        "lru temp_ttl",
        "lru_crawler",
        "lru_crawler metadump",
        "slabs",
        "slabs reassign",
        "slabs automove",
        "cache_memlimit",
        "watch",
        "extstore",
        "refresh_certs",
        "debugtime p",
        "misbehave",
    ] {
        client.talk(&format!("{line}\r\n"), "ERROR\r\n");
        anonymous.talk(&format!("{line}\r\n"), "CLIENT_ERROR unauthenticated\r\n");
    }
    client.talk("mn\r\n", "MN\r\n");
}

/// CVE-2020-10931 and -22570: the new parser lacked two checks of the old one: the length of extras, and meta commands
/// without a key.
#[test]
fn y2020_extras_of_any_length_and_keys_of_none() {
    let fixture = EngineFixture::start();
    let attacks: Vec<_> = [1, 21, 255]
        .iter()
        .flat_map(|&extras| (0..=0x24).map(move |opcode| (opcode, extras)))
        .map(|(opcode, extras)| header(opcode, 0, extras, u32::from(extras), &[b'e'; 255]))
        .collect();
    survives(&fixture, &attacks);
    let mut client = fixture.text(OWNER);
    for command in [
        "mg", "ms", "md", "ma", "me", "mg ", "ms  ", "ms k", "ms k b",
    ] {
        client.talk(
            &format!("{command}\r\nmn\r\n"),
            "CLIENT_ERROR bad command line format\r\nMN\r\n",
        );
    }
}

/// CVE-2021-37519: a malformed file of credentials overran a buffer. Here credentials come from no file; other files are
/// refused with a message, wherever they are cut.
#[test]
fn y2021_files_cut_anywhere() {
    let manifest = include_str!("../../addon-manifest.json");
    let parts = (0..manifest.len()).filter_map(|end| manifest.get(..end));
    for part in parts {
        assert!(Manifest::parse(part).is_err() || part.trim_end() == manifest.trim_end());
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pem");
    let head = "-----BEGIN CERTIFICATE-----\n";
    for content in [
        "",
        head,
        "\0",
        &"A".repeat(100_000),
        &format!("{head}!!!\n"),
    ] {
        std::fs::write(&file, content).unwrap();
        let fixture = EngineFixture::start();
        fixture.engine.stop(std::time::Duration::ZERO);
        let refused = fixture.engine.start(Listeners {
            tls: Some(TlsListener {
                addr: loopback(),
                cert: file.clone(),
                key: file.clone(),
            }),
            ..Listeners::default()
        });
        assert!(refused.is_err(), "{content:.30?} is no certificate");
    }
}

/// An engine with Alice's cache, without sockets.
pub fn engine() -> Arc<EngineState> {
    let sink = Arc::new(EventRecorder::default());
    let engine = Arc::new(EngineState::new(
        settings(),
        key(),
        Arc::new(WallClock),
        sink,
    ));
    engine.apply(&alice());
    engine
}
