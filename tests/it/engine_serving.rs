//! The engine over real sockets.

use crate::engine_fixture::{EngineFixture, OTHER_TENANT, OWNER, packet};

#[test]
fn a_text_client_stores_and_reads() {
    let fixture = EngineFixture::start();
    let mut alice = fixture.text(OWNER);
    alice.talk("set greeting 7 0 5\r\nhello\r\n", "STORED\r\n");
    alice.talk("get greeting\r\n", "VALUE greeting 7 5\r\nhello\r\nEND\r\n");
    alice.talk(
        "get greeting nothing greeting\r\n",
        "VALUE greeting 7 5\r\nhello\r\nVALUE greeting 7 5\r\nhello\r\nEND\r\n",
    );
    alice.talk("add greeting 0 0 1\r\nx\r\n", "NOT_STORED\r\n");
    alice.talk("replace greeting 0 0 2\r\n10\r\n", "STORED\r\n");
    alice.talk("incr greeting 5\r\n", "15\r\n");
    alice.talk("decr greeting 20\r\n", "0\r\n");
    alice.talk("append greeting 0 0 1\r\n1\r\n", "STORED\r\n");
    alice.talk("prepend greeting 0 0 1\r\n7\r\n", "STORED\r\n");
    alice.talk("touch greeting 0\r\n", "TOUCHED\r\n");
    alice.talk("delete greeting\r\n", "DELETED\r\n");
    alice.talk("delete greeting\r\n", "NOT_FOUND\r\n");
    alice.talk("flush_all\r\n", "OK\r\n");
    alice.talk("version\r\n", "VERSION 1.6.45\r\n");
    alice.talk("mn\r\n", "MN\r\n");
    alice.talk("nonsense\r\n", "ERROR\r\n");
    alice.send(b"quit\r\n");
    assert!(alice.rest().is_empty());
}

#[test]
fn the_same_key_in_two_caches_never_meets() {
    let fixture = EngineFixture::start();
    let (mut alice, mut bob) = (fixture.text(OWNER), fixture.text(OTHER_TENANT));
    alice.talk("set k 0 0 1\r\na\r\n", "STORED\r\n");
    bob.talk("get k\r\n", "END\r\n");
    bob.talk("set k 0 0 1\r\nb\r\n", "STORED\r\n");
    bob.talk("flush_all\r\n", "OK\r\n");
    alice.talk("get k\r\n", "VALUE k 0 1\r\na\r\nEND\r\n");
}

#[test]
fn a_binary_client_stores_and_reads() {
    let fixture = EngineFixture::start();
    let mut alice = fixture.binary(OWNER);
    let flags_and_exptime = [0, 0, 0, 9, 0, 0, 0, 0];
    alice.send(&packet(0x01, 1, &flags_and_exptime, b"k", b"value", 0));
    let stored = alice.packet();
    assert_eq!((stored.status, stored.opaque), (0, 1));
    assert_ne!(stored.cas, 0);
    alice.send(&packet(0x00, 2, &[], b"k", b"", 0));
    let read = alice.packet();
    assert_eq!(read.value, b"value");
    assert_eq!(read.extras, [0, 0, 0, 9]);
    assert_eq!(read.cas, stored.cas);
    alice.send(&packet(0x0a, 3, &[], b"", b"", 0));
    assert_eq!(alice.packet().opcode, 0x0a);
}

#[test]
fn large_values_pass_both_ways() {
    let fixture = EngineFixture::start();
    let mut alice = fixture.text(OWNER);
    for length in [8_000, 40_000, 100_000, 1_000_000, 1_048_575] {
        let value = "x".repeat(length - 1) + "y";
        alice.talk(&format!("set k 0 0 {length}\r\n{value}\r\n"), "STORED\r\n");
        alice.talk(
            "get k\r\n",
            &format!("VALUE k 0 {length}\r\n{value}\r\nEND\r\n"),
        );
    }
    let value = "x".repeat(1_048_576);
    alice.talk(
        &format!("set k 0 0 1048576\r\n{value}\r\n"),
        "SERVER_ERROR object too large for cache\r\n",
    );
    alice.talk("get k\r\n", "END\r\n");
}
