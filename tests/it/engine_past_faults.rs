//! What memcached's published record says went wrong there, 2011 to 2021: one test for each row of the list in the
//! security requirements. `engine_recent_faults.rs` has the later ones.

use std::io::Write;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};

use larder::config::Manifest;
use larder::engine::node::Node;
use larder::engine::protocol::Output;
use larder::engine::session::Session;
use larder::engine::{Listeners, TlsListener};

use crate::engine_connections::wait_until;
use crate::engine_oracle::Line;
use crate::engine_stage::{
    ALICE, Diary, OWNER, Stage, WallClock, alice, key, loopback, packet, settings,
};

/// A binary header with lengths of its own, and whatever is to follow it.
fn header(opcode: u8, key: u16, extras: u8, body: u32, behind: &[u8]) -> Vec<u8> {
    let mut bytes = packet(opcode, 0, &[], b"", b"", 0);
    bytes[2..4].copy_from_slice(&key.to_be_bytes());
    bytes[4] = extras;
    bytes[8..12].copy_from_slice(&body.to_be_bytes());
    bytes.extend(behind);
    bytes
}

/// Sends each of `attacks` on a connection of its own that has logged in by SASL. Whatever comes of it, Alice's
/// item is as it was and others are served.
pub fn survives(stage: &Stage, attacks: &[Vec<u8>]) {
    let mut other = stage.text(OWNER);
    other.talk("set safe 1 0 5\r\nsound\r\n", "STORED\r\n");
    for attack in attacks {
        let mut attacker = stage.binary(OWNER);
        attacker.send_if_open(attack);
        attacker.end_sending();
        attacker.rest();
        other.talk("get safe\r\n", "VALUE safe 1 5\r\nsound\r\nEND\r\n");
    }
    wait_until(|| stage.engine.figures(ALICE).unwrap().connections == 1);
}

/// CVE-2011-4971: a body length that is negative as a signed number crashed the server.
#[test]
fn y2011_a_negative_body_length() {
    let stage = Stage::start();
    let lengths = [u32::MAX, 1 << 31, (1 << 31) - 1, u32::MAX - 23];
    let attacks: Vec<_> = (0..=0x24)
        .flat_map(|opcode| lengths.map(|body| header(opcode, 1, 0, body, b"kkkkkkkkkkkkkkkk")))
        .collect();
    survives(&stage, &attacks);
}

/// CVE-2013-0179: the verbose log printed a key without looking at its length. Here no log has a key at all, and no
/// password, right or wrong.
#[test]
fn y2013_a_key_in_the_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let node = node();
    let marker = "MARKERMARKER".repeat(20);
    tracing::subscriber::with_default(subscriber, || {
        tracing::trace!("the log works");
        for first in [b's', 0x80] {
            let mut line = Line::new();
            let wrong = crate::conversations::login_bytes(OWNER.0, "MARKERWRONG", first);
            line.send(&node, &wrong);
            let login = crate::conversations::login_bytes(OWNER.0, OWNER.1, first);
            line.send(&node, &login);
            line.send(&node, b"verbosity 9\r\n");
            line.send(&node, format!("delete {marker}{marker}\r\n").as_bytes());
            line.send(&node, &packet(0x04, 0, &[], marker.as_bytes(), b"", 0));
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

/// CVE-2013-7239: what a failed login left behind let the next wrong one in.
#[test]
fn y2013_a_second_wrong_login_is_no_login() {
    let stage = Stage::start();
    stage.text(OWNER).talk("set k 0 0 1\r\nv\r\n", "STORED\r\n");
    let wrong = format!("\0{}\0wrong", OWNER.0);
    let attempts = [
        packet(0x21, 0, &[], b"PLAIN", wrong.as_bytes(), 0),
        packet(0x22, 0, &[], b"PLAIN", wrong.as_bytes(), 0),
    ];
    for second in &attempts {
        let mut client = stage.stranger();
        for attempt in [&attempts[0], second] {
            client.send(attempt);
            assert_eq!(client.packet().status, 0x20);
        }
        client.send(&packet(0x00, 0, &[], b"k", b"", 0));
        assert_eq!(client.packet().status, 0x20);
        assert!(client.rest().is_empty());
    }
}

/// CVE-2016-8704, -8705, -8706: a body shorter than its key and extras, in append and prepend, in set, add and
/// replace, and in SASL, was taken for a huge value.
#[test]
fn y2016_a_body_shorter_than_its_key() {
    let stage = Stage::start();
    let appends = [0x0e, 0x0f, 0x19, 0x1a].map(|opcode| header(opcode, 0xfa, 0, 0, b""));
    let updates =
        [0x01, 0x02, 0x03, 0x11, 0x12, 0x13].map(|opcode| header(opcode, 0xfa, 8, 8, &[b'k'; 300]));
    let logins = [0x20, 0x21, 0x22].map(|opcode| header(opcode, 0x20, 0, 1, &[b'k'; 64]));
    survives(&stage, &[&appends[..], &updates, &logins].concat());
}

/// CVE-2017-9951: the fix of the year before was not whole: lengths were still compared as signed numbers.
#[test]
fn y2017_lengths_around_every_bound() {
    let stage = Stage::start();
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
    survives(&stage, &attacks);
}

/// CVE-2018-1000115: UDP was on by default and amplified 50,000 times. Here no port is one of UDP: each of ours is
/// free for whoever asks.
#[test]
fn y2018_no_udp() {
    let stage = Stage::start();
    for addr in [stage.addresses.plain, stage.addresses.open] {
        let ours = UdpSocket::bind(addr.unwrap());
        assert!(ours.is_ok(), "somebody has the UDP port");
    }
}

/// CVE-2018-1000127: a 16-bit count of references ran over, and an item in use was freed.
#[test]
fn y2018_more_readers_than_a_counter_holds() {
    let node = node();
    let account = node.directory.open_account(ALICE).unwrap();
    let mut session = Session::open(node.seat(account).unwrap(), None, 0);
    let mut feed = |bytes: &[u8]| {
        let mut out = Output::default();
        session.feed(&node, bytes, &mut out);
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
    node.upkeep();
    let used = node.directory.tenancy(ALICE).unwrap().items.used_bytes();
    assert!(used < 50_000, "{used} bytes are held by nobody");
}

/// CVE-2019-11596: `lru` without its arguments crashed; and UDP with SASL was let in without a login. The commands
/// of memcached's operators do not exist here, with or without arguments.
#[test]
fn y2019_commands_of_the_operator() {
    let stage = Stage::start();
    let mut client = stage.text(OWNER);
    let mut stranger = stage.stranger();
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
        stranger.talk(&format!("{line}\r\n"), "CLIENT_ERROR unauthenticated\r\n");
    }
    client.talk("mn\r\n", "MN\r\n");
}

/// CVE-2020-10931 and -22570: the new parser lacked checks of the old one, for the length of extras and for meta
/// commands without a key.
#[test]
fn y2020_extras_of_any_length_and_keys_of_none() {
    let stage = Stage::start();
    let attacks: Vec<_> = [1, 21, 255]
        .iter()
        .flat_map(|&extras| (0..=0x24).map(move |opcode| (opcode, extras)))
        .map(|(opcode, extras)| header(opcode, 0, extras, u32::from(extras), &[b'e'; 255]))
        .collect();
    survives(&stage, &attacks);
    let mut client = stage.text(OWNER);
    for command in [
        "mg", "ms", "md", "ma", "me", "mg ", "ms  ", "ms k", "ms k b",
    ] {
        client.talk(
            &format!("{command}\r\nmn\r\n"),
            "CLIENT_ERROR bad command line format\r\nMN\r\n",
        );
    }
}

/// CVE-2021-37519: a malformed file of credentials overran a buffer. Ours come from no file; what is read from files
/// is refused in words, however it is cut.
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
        let stage = Stage::start();
        stage.engine.stop(std::time::Duration::ZERO);
        let refused = stage.engine.start(Listeners {
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

/// A node with Alice's cache, without sockets.
pub fn node() -> Arc<Node> {
    let sink = Arc::new(Diary::default());
    let node = Arc::new(Node::new(settings(), key(), Arc::new(WallClock), sink));
    node.apply(&alice());
    node
}
