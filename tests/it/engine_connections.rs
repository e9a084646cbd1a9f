//! Limits, deadlines, revocation and graceful stop, over real sockets.

use std::io::Write;
use std::time::Duration;

use larder::domain::{CacheSpec, Capabilities};
use larder::engine::{EngineSettings, Limits};

use crate::engine_counters::stats;
use crate::engine_fixture::{
    ALICE, Client, EngineFixture, OTHER_TENANT, OWNER, READER, WRITER, alice, credential, packet,
    settings,
};

fn with_limits(change: impl FnOnce(&mut Limits)) -> EngineSettings {
    let mut settings = settings();
    change(&mut settings.limits);
    settings
}

#[test]
fn a_silent_anonymous_client_is_closed() {
    let fixture = EngineFixture::with(with_limits(|limits| {
        limits.login_deadline = Duration::from_millis(200);
    }));
    let mut silent = fixture.connect();
    let mut busy = fixture.connect();
    busy.talk("get k\r\n", "CLIENT_ERROR unauthenticated\r\n");
    let mut known = fixture.text(OWNER);
    assert!(silent.rest().is_empty());
    assert!(busy.rest().is_empty());
    known.talk("mn\r\n", "MN\r\n");
}

/// A login takes one to three requests. The last one that may be sent is answered.
#[test]
fn who_does_not_log_in_may_ask_sixty_four_times() {
    let fixture = EngineFixture::with(with_limits(|limits| {
        limits.login_deadline = Duration::from_secs(600);
    }));
    let (ask, answer) = ("get k\r\n", "CLIENT_ERROR unauthenticated\r\n");
    let mut patient = fixture.connect();
    for _ in 0..64 {
        patient.talk(ask, answer);
    }
    assert!(patient.rest().is_empty());
    let mut hasty = fixture.connect();
    hasty.send(ask.repeat(100).as_bytes());
    assert_eq!(String::from_utf8_lossy(&hasty.rest()), answer.repeat(64));
    let mut binary = fixture.connect();
    let version = packet(0x0b, 0, &[], b"", b"", 0);
    for _ in 0..64 {
        binary.send(&version);
        assert_eq!(binary.packet().status, 0);
    }
    assert!(binary.rest().is_empty());

    let mut late = fixture.connect();
    for _ in 0..63 {
        late.talk(ask, answer);
    }
    late.text_login(OWNER);
    for _ in 0..100 {
        late.talk("mn\r\n", "MN\r\n");
    }
}

#[test]
fn an_anonymous_client_gets_no_answer_to_any_opcode_but_those_of_a_login() {
    let fixture = EngineFixture::start();
    for opcode in 0..=u8::MAX {
        // Quit, version, and SASL.
        if matches!(opcode, 0x07 | 0x0b | 0x17 | 0x20..=0x22) {
            continue;
        }
        let mut anonymous = fixture.connect();
        anonymous.send(&packet(opcode, 7, &[], b"", b"", 0));
        let reply = anonymous.packet();
        let told = (reply.opcode, reply.status, reply.opaque);
        assert_eq!(told, (opcode, 0x20, 7));
        assert!(anonymous.rest().is_empty());
    }
}

/// No proxy is configured, so nobody may say for another who connects. The second version begins with two empty lines, which
/// are answered like those of any client.
#[test]
fn a_proxy_header_is_not_believed() {
    let fixture = EngineFixture::start();
    let unauthenticated = b"CLIENT_ERROR unauthenticated\r\n".repeat(2);
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\x7f\0\0\x01\x1f\x90\x2b\xcb";
    for (header, replies) in [
        (
            &b"PROXY TCP4 192.0.2.1 127.0.0.1 8080 11211\r\n"[..],
            &b""[..],
        ),
        (b"PROXY UNKNOWN\r\n", b""),
        (v2, &unauthenticated),
    ] {
        let login = format!("set {} 0 0 32\r\n{}\r\n", OWNER.0, OWNER.1);
        let sent = [header, login.as_bytes(), b"get k\r\n"].concat();
        for piece_bytes in [sent.len(), 3, 1] {
            let mut client = fixture.connect();
            for piece in sent.chunks(piece_bytes) {
                client.send_if_open(piece);
            }
            let answered = client.rest();
            assert_eq!(
                answered.escape_ascii().to_string(),
                replies.escape_ascii().to_string()
            );
        }
    }
    let figures = fixture.engine.figures(ALICE).unwrap();
    let logins: Vec<_> = figures
        .credentials
        .iter()
        .filter_map(|one| one.last_login.clone())
        .collect();
    assert!(logins.is_empty(), "{logins:?}");
}

#[test]
fn a_request_that_stalls_is_closed_and_a_silent_client_is_not() {
    let fixture = EngineFixture::with(with_limits(|limits| {
        limits.request_deadline = Duration::from_millis(300);
    }));
    let mut silent = fixture.text(OWNER);
    let mut stalled = fixture.text(OWNER);
    stalled.send(b"set k 0 0 5\r\nhal");
    let mut stalled_upload = fixture.text(OWNER);
    stalled_upload.send(b"set k 0 0 100000\r\nbegin");
    assert!(stalled.rest().is_empty());
    assert!(stalled_upload.rest().is_empty());
    silent.talk("get k\r\n", "END\r\n");
}

#[test]
fn a_cache_takes_as_many_connections_as_it_may() {
    let fixture = EngineFixture::start();
    fixture.engine.apply(&CacheSpec {
        connections_max: 2,
        ..alice()
    });
    let mut first = fixture.text(OWNER);
    let second = fixture.text(READER);
    let mut third = fixture.connect();
    let login = format!("set {} 0 0 32\r\n{}\r\n", OWNER.0, OWNER.1);
    third.send(login.as_bytes());
    assert_eq!(third.rest(), b"ERROR Too many open connections\r\n");
    let mut fourth = fixture.connect();
    let data = format!("\0{}\0{}", OWNER.0, OWNER.1);
    fourth.send(&packet(0x21, 0, &[], b"PLAIN", data.as_bytes(), 0));
    let busy = fourth.packet();
    assert_eq!((busy.status, &busy.value[..]), (0x85, &b"Busy"[..]));
    assert!(fourth.rest().is_empty());
    let mut fifth = fixture.open();
    assert_eq!(fifth.rest(), b"ERROR Too many open connections\r\n");
    assert_eq!(stats(&mut first, "")["rejected_connections"], "3");
    assert_eq!(fixture.engine.totals().traffic.connections_refused, 3);
    first.talk("stats reset\r\n", "RESET\r\n");
    assert_eq!(stats(&mut first, "")["rejected_connections"], "0");
    // A slot that becomes free can be taken again.
    drop(second);
    wait_until(|| fixture.engine.figures(ALICE).unwrap().connections == 1);
    fixture.text(OWNER).talk("mn\r\n", "MN\r\n");
    first.talk("mn\r\n", "MN\r\n");
    fixture.text(OTHER_TENANT).talk("mn\r\n", "MN\r\n");
}

#[test]
fn the_node_takes_as_many_connections_as_it_may() {
    let fixture = EngineFixture::with(with_limits(|limits| limits.connections_max = 1));
    let _first = fixture.text(OWNER);
    let second = fixture.connect().rest();
    assert_eq!(second, b"ERROR Too many open connections\r\n");
}

/// Whoever only holds connections open loses the oldest to those who come, and keeps none of them out.
#[test]
fn silent_connections_make_room_for_those_who_log_in() {
    let fixture = EngineFixture::with(EngineSettings {
        threads: 1,
        ..with_limits(|limits| {
            limits.anonymous_max = 8;
            limits.anonymous_per_address_max = 8;
            limits.login_deadline = Duration::from_secs(600);
        })
    });
    // Apps behind one address are many: who has logged in is not anonymous.
    let mut known: Vec<Client> = (0..40).map(|_| fixture.text(OWNER)).collect();
    let mut silent: Vec<Client> = Vec::new();
    for _ in 0..40 {
        silent.push(fixture.connect());
        fixture.text(OWNER).talk("mn\r\n", "MN\r\n");
    }
    for oldest in &mut silent[..32] {
        assert!(oldest.rest().is_empty());
    }
    for client in &mut known {
        client.talk("mn\r\n", "MN\r\n");
    }
    // A failed login makes a client anonymous again that was known.
    let mut binary = fixture.binary(OWNER);
    binary.send(&packet(0x21, 0, &[], b"PLAIN", b"\0nobody\0password", 0));
    assert_eq!(binary.packet().status, 0x20);
    let _others: Vec<Client> = (0..8).map(|_| fixture.connect()).collect();
    assert!(binary.rest().is_empty());
}

/// Whoever holds connections open from one address loses their own, and nobody from elsewhere does.
#[test]
fn silent_connections_of_one_address_close_only_their_own() {
    let fixture = EngineFixture::with(EngineSettings {
        threads: 1,
        ..with_limits(|limits| {
            limits.anonymous_max = 100;
            limits.anonymous_per_address_max = 3;
            limits.login_deadline = Duration::from_secs(600);
        })
    });
    // The oldest of all, and silent like the others.
    let mut elsewhere = fixture.connect_from(1);
    let mut flood: Vec<Client> = (0..20).map(|_| fixture.connect_from(2)).collect();
    for oldest in &mut flood[..17] {
        assert!(oldest.rest().is_empty());
    }
    for kept in &mut flood[17..] {
        kept.text_login(OWNER);
    }
    elsewhere.text_login(OWNER);
}

/// Where the node has all the connections that it may have, one that has not logged in goes.
#[test]
fn a_full_node_takes_a_client_in_place_of_an_anonymous_one() {
    let fixture = EngineFixture::with(EngineSettings {
        threads: 1,
        ..with_limits(|limits| limits.connections_max = 3)
    });
    let _known = fixture.text(OWNER);
    let mut silent = fixture.connect();
    let _also_silent = fixture.connect();
    fixture.text(OWNER).talk("mn\r\n", "MN\r\n");
    assert!(silent.rest().is_empty());
}

/// Fifty connections of a cache of 25 MiB, each with a request that does not end: 821 MiB before.
#[test]
fn requests_that_never_end_fit_into_their_cache() {
    const LIMIT: u64 = 25 << 20;
    let fixture = EngineFixture::with(EngineSettings {
        memory_max_bytes: 64 << 20,
        ..settings()
    });
    fixture.engine.apply(&CacheSpec {
        limit_bytes: LIMIT,
        ..alice()
    });
    let line = format!("get {}", "k ".repeat(1_045_000));
    let mut greedy: Vec<Client> = (0..50).map(|_| fixture.text(OWNER)).collect();
    for client in &mut greedy {
        client.send_if_open(line.as_bytes());
        let used = fixture.engine.memory_used_bytes();
        assert!(used <= LIMIT, "{used} bytes");
    }
    // Half of the limit has room for a few of them. The others are told, and closed.
    wait_until(|| fixture.engine.figures(ALICE).unwrap().connections <= 12);
    let refused = greedy.iter_mut().filter_map(|client| {
        client.patience = Duration::from_millis(100);
        let (told, closed) = client.until_closed();
        closed.then_some(told)
    });
    let refused: Vec<_> = refused.collect();
    assert!(refused.len() >= 38, "{} refused", refused.len());
    for told in refused {
        assert_eq!(told, b"SERVER_ERROR out of memory reading request\r\n");
    }
    fixture
        .text(OTHER_TENANT)
        .talk("set k 0 0 1\r\nv\r\n", "STORED\r\n");
    fixture.text(OWNER).talk("get k\r\n", "END\r\n");
    drop(greedy);
    wait_until(|| fixture.engine.figures(ALICE).unwrap().used_bytes == 0);
}

#[test]
fn a_removed_credential_loses_idle_and_busy_connections() {
    let fixture = EngineFixture::start();
    let mut idle = fixture.text(WRITER);
    let mut uploading = fixture.text(WRITER);
    uploading.send(b"set k 0 0 100000\r\npartial");
    let mut idle_binary = fixture.binary(WRITER);
    let mut other = fixture.text(OWNER);
    let mut spec = alice();
    spec.credentials
        .retain(|credential| credential.username.as_str() != WRITER.0);
    fixture.engine.apply(&spec);
    assert!(idle.rest().is_empty());
    assert!(uploading.rest().is_empty());
    assert!(idle_binary.rest().is_empty());
    other.talk("get k\r\n", "END\r\n");
    let mut again = fixture.connect();
    let login = format!("set {} 0 0 32\r\n{}\r\n", WRITER.0, WRITER.1);
    again.talk(&login, "CLIENT_ERROR authentication failure\r\n");
}

#[test]
fn a_revoked_credential_executes_nothing_more() {
    let fixture = EngineFixture::start();
    let mut writer = fixture.text(WRITER);
    writer.talk("set k 0 0 1\r\n1\r\n", "STORED\r\n");
    fixture.engine.forget(ALICE);
    fixture.engine.apply(&alice());
    writer.send_if_open(b"set k 0 0 1\r\n2\r\nget k\r\n");
    assert!(writer.rest().is_empty());
    fixture.text(OWNER).talk("get k\r\n", "END\r\n");
}

#[test]
fn a_changed_password_is_a_new_credential() {
    let fixture = EngineFixture::start();
    let mut old = fixture.text(OWNER);
    let renewed = (OWNER.0, "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF");
    let mut spec = alice();
    spec.credentials[0] = credential(renewed, Capabilities::ALL);
    fixture.engine.apply(&spec);
    assert!(old.rest().is_empty());
    fixture.text(renewed).talk("mn\r\n", "MN\r\n");
}

#[test]
fn capabilities_change_under_an_open_connection() {
    let fixture = EngineFixture::start();
    let mut reader = fixture.text(READER);
    reader.talk("set k 0 0 1\r\nv\r\n", "NOT_STORED\r\n");
    let mut spec = alice();
    spec.credentials[1].capabilities = Capabilities::WRITE;
    fixture.engine.apply(&spec);
    reader.talk("set k 0 0 1\r\nv\r\n", "STORED\r\n");
    fixture.engine.apply(&alice());
    reader.talk("delete k\r\n", "NOT_STORED\r\n");
    reader.talk("get k\r\n", "VALUE k 0 1\r\nv\r\nEND\r\n");
}

#[test]
fn a_peer_that_ends_its_side_gets_the_replies_to_whole_requests() {
    let fixture = EngineFixture::start();
    let mut client = fixture.text(OWNER);
    client.send(b"set a 0 0 1\r\n1\r\nget a\r\nset a 0 0 5\r\ncut");
    client.end_sending();
    assert_eq!(client.rest(), b"STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\n");
    let read = "VALUE a 0 1\r\n1\r\nEND\r\n";
    fixture.text(OWNER).talk("get a\r\n", read);
}

#[test]
fn a_slow_reader_is_paused_and_closed_and_nobody_else_notices() {
    let fixture = EngineFixture::with(with_limits(|limits| {
        limits.unread_output_deadline = Duration::from_millis(500);
    }));
    let mut other = fixture.text(OWNER);
    let value = "v".repeat(500_000);
    other.talk(&format!("set k 0 0 500000\r\n{value}\r\n"), "STORED\r\n");
    let greedy = fixture.text(OWNER);
    greedy
        .stream()
        .set_write_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    // Their replies do not fit into the buffers. Writes block once the engine stops reading.
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
    wait_until(|| fixture.engine.figures(ALICE).unwrap().connections == 1);
}

#[test]
fn many_pipelined_requests_are_answered_in_order() {
    let fixture = EngineFixture::start();
    let mut client = fixture.text(OWNER);
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
    let fixture = EngineFixture::with(EngineSettings {
        threads: 1,
        ..settings()
    });
    let mut idle = fixture.text(OWNER);
    let mut uploading = fixture.text(OWNER);
    uploading.send(b"set large 0 0 100000\r\nbegin");
    let mut busy = fixture.text(OWNER);
    busy.send(b"set k 0 0 5\r\nhal");
    // There is one thread, so it has read the first half once it has answered a client that came later.
    fixture.text(OWNER).talk("mn\r\n", "MN\r\n");
    let engine = fixture.engine.clone();
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
    let addr = fixture.addresses.plain.unwrap();
    assert!(std::net::TcpStream::connect(addr).is_err());
}

#[test]
fn a_stop_cuts_off_what_does_not_end() {
    let fixture = EngineFixture::start();
    let mut busy = fixture.text(OWNER);
    busy.send(b"set k 0 0 5\r\nhal");
    fixture.engine.stop(Duration::from_millis(100));
    assert!(busy.rest().is_empty());
}

#[test]
fn the_open_listener_stays_at_home() {
    use larder::engine::{EngineError, Listeners, OpenListener};
    let fixture = EngineFixture::start();
    fixture.engine.stop(Duration::ZERO);
    let open = OpenListener {
        addr: "0.0.0.0:0".parse().unwrap(),
        cache: ALICE,
    };
    let refused = fixture.engine.start(Listeners {
        open: Some(open),
        ..Listeners::default()
    });
    assert!(matches!(refused, Err(EngineError::OpenToTheWorld(_))));
}

#[test]
fn the_open_listener_needs_no_login_and_knows_no_sasl() {
    let fixture = EngineFixture::start();
    let mut client = fixture.open();
    client.talk("set k 0 0 1\r\nv\r\n", "STORED\r\n");
    fixture
        .text(OWNER)
        .talk("get k\r\n", "VALUE k 0 1\r\nv\r\nEND\r\n");
    let mut binary = fixture.open();
    binary.send(&packet(0x20, 0, &[], b"", b"", 0));
    assert_eq!(binary.packet().status, 0x81);
    fixture.engine.forget(ALICE);
    assert!(client.rest().is_empty());
}

/// Polls until `done`. Fails the test if that takes too long.
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
    let fixture = EngineFixture::start();
    let mut client: Client = fixture.binary(OWNER);
    for round in 0u32..3 {
        for (who, value) in [(OWNER, b"a"), (OTHER_TENANT, b"b")] {
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
