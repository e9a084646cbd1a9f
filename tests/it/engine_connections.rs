//! Limits, deadlines, revocation and the graceful stop, over real sockets.

use std::io::Write;
use std::time::Duration;

use larder::domain::{CacheSpec, Capabilities};
use larder::engine::{EngineSettings, Limits};

use crate::engine_stage::{
    ALICE, Client, OWNER, READER, STRANGER, Stage, WRITER, alice, credential, packet, settings,
};

fn with_limits(change: impl FnOnce(&mut Limits)) -> EngineSettings {
    let mut settings = settings();
    change(&mut settings.limits);
    settings
}

#[test]
fn a_silent_stranger_is_closed() {
    let stage = Stage::with(with_limits(|limits| {
        limits.login_deadline = Duration::from_millis(200);
    }));
    let mut silent = stage.stranger();
    let mut busy = stage.stranger();
    busy.talk("get k\r\n", "CLIENT_ERROR unauthenticated\r\n");
    let mut known = stage.text(OWNER);
    assert!(silent.rest().is_empty());
    assert!(busy.rest().is_empty());
    known.talk("mn\r\n", "MN\r\n");
}

#[test]
fn a_stranger_gets_no_answer_to_any_opcode_but_those_of_a_login() {
    let stage = Stage::start();
    for opcode in 0..=u8::MAX {
        // Quit, version, and SASL.
        if matches!(opcode, 0x07 | 0x0b | 0x17 | 0x20..=0x22) {
            continue;
        }
        let mut stranger = stage.stranger();
        stranger.send(&packet(opcode, 7, &[], b"", b"", 0));
        let reply = stranger.packet();
        let told = (reply.opcode, reply.status, reply.opaque);
        assert_eq!(told, (opcode, 0x20, 7));
        assert!(stranger.rest().is_empty());
    }
}

#[test]
fn a_request_that_stalls_is_closed_and_a_silent_client_is_not() {
    let stage = Stage::with(with_limits(|limits| {
        limits.stalled_request_deadline = Duration::from_millis(300);
    }));
    let mut silent = stage.text(OWNER);
    let mut stalled = stage.text(OWNER);
    stalled.send(b"set k 0 0 5\r\nhal");
    let mut stalled_upload = stage.text(OWNER);
    stalled_upload.send(b"set k 0 0 100000\r\nbegin");
    assert!(stalled.rest().is_empty());
    assert!(stalled_upload.rest().is_empty());
    silent.talk("get k\r\n", "END\r\n");
}

#[test]
fn a_cache_takes_as_many_connections_as_it_may() {
    let stage = Stage::start();
    stage.engine.apply(&CacheSpec {
        connections_max: 2,
        ..alice()
    });
    let mut first = stage.text(OWNER);
    let second = stage.text(READER);
    let mut third = stage.stranger();
    let login = format!("set {} 0 0 32\r\n{}\r\n", OWNER.0, OWNER.1);
    third.send(login.as_bytes());
    assert_eq!(third.rest(), b"ERROR Too many open connections\r\n");
    let mut fourth = stage.stranger();
    let data = format!("\0{}\0{}", OWNER.0, OWNER.1);
    fourth.send(&packet(0x21, 0, &[], b"PLAIN", data.as_bytes(), 0));
    let busy = fourth.packet();
    assert_eq!((busy.status, &busy.value[..]), (0x85, &b"Busy"[..]));
    assert!(fourth.rest().is_empty());
    let mut fifth = stage.open();
    assert_eq!(fifth.rest(), b"ERROR Too many open connections\r\n");
    // A place that falls free is given again.
    drop(second);
    wait_until(|| stage.engine.figures(ALICE).unwrap().connections == 1);
    stage.text(OWNER).talk("mn\r\n", "MN\r\n");
    first.talk("mn\r\n", "MN\r\n");
    stage.text(STRANGER).talk("mn\r\n", "MN\r\n");
}

#[test]
fn the_node_takes_as_many_connections_as_it_may() {
    let stage = Stage::with(with_limits(|limits| limits.connections_max = 1));
    let _first = stage.text(OWNER);
    let second = stage.stranger().rest();
    assert_eq!(second, b"ERROR Too many open connections\r\n");
}

#[test]
fn a_removed_credential_loses_idle_and_busy_connections() {
    let stage = Stage::start();
    let mut idle = stage.text(WRITER);
    let mut uploading = stage.text(WRITER);
    uploading.send(b"set k 0 0 100000\r\npartial");
    let mut idle_binary = stage.binary(WRITER);
    let mut other = stage.text(OWNER);
    let mut spec = alice();
    spec.credentials
        .retain(|credential| credential.username.as_str() != WRITER.0);
    stage.engine.apply(&spec);
    assert!(idle.rest().is_empty());
    assert!(uploading.rest().is_empty());
    assert!(idle_binary.rest().is_empty());
    other.talk("get k\r\n", "END\r\n");
    let mut again = stage.stranger();
    let login = format!("set {} 0 0 32\r\n{}\r\n", WRITER.0, WRITER.1);
    again.talk(&login, "CLIENT_ERROR authentication failure\r\n");
}

#[test]
fn a_revoked_credential_executes_nothing_more() {
    let stage = Stage::start();
    let mut writer = stage.text(WRITER);
    writer.talk("set k 0 0 1\r\n1\r\n", "STORED\r\n");
    stage.engine.forget(ALICE);
    stage.engine.apply(&alice());
    writer.send_if_open(b"set k 0 0 1\r\n2\r\nget k\r\n");
    assert!(writer.rest().is_empty());
    stage.text(OWNER).talk("get k\r\n", "END\r\n");
}

#[test]
fn a_changed_password_is_a_new_credential() {
    let stage = Stage::start();
    let mut old = stage.text(OWNER);
    let renewed = (OWNER.0, "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF");
    let mut spec = alice();
    spec.credentials[0] = credential(renewed, Capabilities::ALL);
    stage.engine.apply(&spec);
    assert!(old.rest().is_empty());
    stage.text(renewed).talk("mn\r\n", "MN\r\n");
}

#[test]
fn capabilities_change_under_an_open_connection() {
    let stage = Stage::start();
    let mut reader = stage.text(READER);
    reader.talk("set k 0 0 1\r\nv\r\n", "NOT_STORED\r\n");
    let mut spec = alice();
    spec.credentials[1].capabilities = Capabilities::WRITE;
    stage.engine.apply(&spec);
    reader.talk("set k 0 0 1\r\nv\r\n", "STORED\r\n");
    stage.engine.apply(&alice());
    reader.talk("delete k\r\n", "NOT_STORED\r\n");
    reader.talk("get k\r\n", "VALUE k 0 1\r\nv\r\nEND\r\n");
}

#[test]
fn a_peer_that_ends_its_side_gets_the_replies_to_whole_requests() {
    let stage = Stage::start();
    let mut client = stage.text(OWNER);
    client.send(b"set a 0 0 1\r\n1\r\nget a\r\nset a 0 0 5\r\ncut");
    client.end_sending();
    assert_eq!(client.rest(), b"STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n");
    let read = "VALUE a 0 1\r\n1\r\nEND\r\n";
    stage.text(OWNER).talk("get a\r\n", read);
}

#[test]
fn a_slow_reader_is_paused_and_closed_and_nobody_else_notices() {
    let stage = Stage::with(with_limits(|limits| {
        limits.unread_output_deadline = Duration::from_millis(500);
    }));
    let mut other = stage.text(OWNER);
    let value = "v".repeat(500_000);
    other.talk(&format!("set k 0 0 500000\r\n{value}\r\n"), "STORED\r\n");
    let greedy = stage.text(OWNER);
    greedy
        .stream()
        .set_write_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    // Far more requests than replies can be held; the writes stop going through when the engine stops reading.
    let requests = b"get k\r\n".repeat(10_000);
    let mut failed = false;
    for _ in 0..1_000 {
        if greedy.stream().write_all(&requests).is_err() {
            failed = true;
            break;
        }
    }
    assert!(
        failed,
        "the engine took 70 MB of requests for 5 TB of replies"
    );
    other.talk("mn\r\n", "MN\r\n");
    wait_until(|| stage.engine.figures(ALICE).unwrap().connections == 1);
}

#[test]
fn many_pipelined_requests_are_answered_in_order() {
    let stage = Stage::start();
    let mut client = stage.text(OWNER);
    let mut sent = String::new();
    let mut expected = String::new();
    for number in 0..20_000 {
        sent += &format!("set k{number} 0 0 1\r\nv\r\nget k{number} absent\r\n");
        expected += &format!("STORED\r\nVALUE k{number} 0 1\r\nv\r\nEND\r\n");
    }
    let mut sender = client.stream().try_clone().unwrap();
    let sending = std::thread::spawn(move || sender.write_all(sent.as_bytes()));
    client.expect(&expected);
    sending.join().unwrap().unwrap();
}

#[test]
fn a_stop_answers_what_was_asked_and_closes_between_requests() {
    let stage = Stage::with(EngineSettings {
        threads: 1,
        ..settings()
    });
    let mut idle = stage.text(OWNER);
    let mut uploading = stage.text(OWNER);
    uploading.send(b"set large 0 0 100000\r\nbegin");
    let mut busy = stage.text(OWNER);
    busy.send(b"set k 0 0 5\r\nhal");
    // The one thread has read the first half when it has answered somebody who came later.
    stage.text(OWNER).talk("mn\r\n", "MN\r\n");
    let engine = stage.engine.clone();
    let stopping = std::thread::spawn(move || engine.stop(Duration::from_secs(20)));
    assert!(idle.rest().is_empty());
    busy.send(b"f!\r\n");
    busy.expect("STORED\r\n");
    assert!(busy.rest().is_empty());
    uploading.send("v".repeat(99_995).as_bytes());
    uploading.send(b"\r\n");
    uploading.expect("STORED\r\n");
    assert!(uploading.rest().is_empty());
    stopping.join().unwrap();
    let addr = stage.addresses.plain.unwrap();
    assert!(std::net::TcpStream::connect(addr).is_err());
}

#[test]
fn a_stop_cuts_off_what_does_not_end() {
    let stage = Stage::start();
    let mut busy = stage.text(OWNER);
    busy.send(b"set k 0 0 5\r\nhal");
    stage.engine.stop(Duration::from_millis(100));
    assert!(busy.rest().is_empty());
}

#[test]
fn the_open_listener_stays_at_home() {
    use larder::engine::{EngineError, Listeners, OpenListener};
    let stage = Stage::start();
    stage.engine.stop(Duration::ZERO);
    let open = OpenListener {
        addr: "0.0.0.0:0".parse().unwrap(),
        cache: ALICE,
    };
    let refused = stage.engine.start(Listeners {
        open: Some(open),
        ..Listeners::default()
    });
    assert!(matches!(refused, Err(EngineError::OpenToTheWorld(_))));
}

#[test]
fn the_open_listener_needs_no_login_and_knows_no_sasl() {
    let stage = Stage::start();
    let mut client = stage.open();
    client.talk("set k 0 0 1\r\nv\r\n", "STORED\r\n");
    stage
        .text(OWNER)
        .talk("get k\r\n", "VALUE k 0 1\r\nv\r\nEND\r\n");
    let mut binary = stage.open();
    binary.send(&packet(0x20, 0, &[], b"", b"", 0));
    assert_eq!(binary.packet().status, 0x81);
    stage.engine.forget(ALICE);
    assert!(client.rest().is_empty());
}

/// Polls until `done`; a wait without end is the test's failure.
pub fn wait_until(done: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it never came about");
}

#[test]
fn two_users_alternate_on_one_connection() {
    let stage = Stage::start();
    let mut client: Client = stage.binary(OWNER);
    for round in 0u32..3 {
        for (who, value) in [(OWNER, b"a"), (STRANGER, b"b")] {
            let data = format!("\0{}\0{}", who.0, who.1);
            client.send(&packet(0x21, 0, &[], b"PLAIN", data.as_bytes(), 0));
            assert_eq!(client.packet().status, 0);
            if round == 0 {
                client.send(&packet(0x01, 0, &[0; 8], b"k", value, 0));
                assert_eq!(client.packet().status, 0);
            }
            client.send(&packet(0x00, 0, &[], b"k", b"", 0));
            assert_eq!(client.packet().value, value);
        }
    }
}
