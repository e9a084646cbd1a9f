//! Bugs of memcached that were published in 2023, 2025 and 2026: one test for each.
//! `engine_memcached_bugs_until_2021.rs` has the earlier ones.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use larder::domain::{CacheSpec, Capabilities};
use larder::engine::{Listeners, TlsListener};

use crate::engine_connections::wait_until;
use crate::engine_fixture::{
    ALICE, EngineFixture, OWNER, READER, WRITER, alice, credential, loopback, packet, settings,
};
use crate::engine_memcached_bugs_until_2021::survives;
use crate::engine_tls::{connect, make_certificate};

/// CVE-2023-46852 and -46853: many blanks behind `get`, and lines without CR.
#[test]
fn y2023_blanks_and_bare_line_feeds() {
    let fixture = EngineFixture::start();
    let mut client = fixture.text(OWNER);
    client.talk("set k 0 0 1\nv\r\n", "STORED\r\n");
    let item = "VALUE k 0 1\r\nv\r\n";
    for blanks in [1, 2, 24, 63, 64, 65, 1000, 2000] {
        let gap = " ".repeat(blanks);
        client.talk(&format!("get{gap}k\n"), &format!("{item}END\r\n"));
        client.talk(&format!("get k{gap}\r\n"), &format!("{item}END\r\n"));
        client.talk(
            &format!("gets{gap}\nmn\n"),
            "CLIENT_ERROR bad command line format\r\nMN\r\n",
        );
        client.talk(&format!("mg{gap}k v\n"), "VA 1\r\nv\r\n");
    }
    client.talk(
        &format!("get {}\r\n", "k ".repeat(300)),
        &format!("{}END\r\n", item.repeat(300)),
    );
}

/// 2025: pipelined sets confused the state of the connection, and over TLS the server waited for bytes that it had already
/// received. The test cuts TLS records at every size, so that requests end anywhere in them.
#[test]
fn y2025_pipelined_sets_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path(), "only");
    let trusted = folder.path().join("only.pem");
    let tls = TlsListener {
        addr: loopback(),
        cert: trusted.clone(),
        key: folder.path().join("only.key"),
    };
    let listeners = Listeners {
        tls: Some(tls),
        ..Listeners::default()
    };
    let fixture = EngineFixture::listening(settings(), listeners);
    let mut requests = format!("set {} 0 0 32\r\n{}\r\n", OWNER.0, OWNER.1);
    let mut replies = "STORED\r\n".to_owned();
    for number in 0..200 {
        let value = "v".repeat(number * 13 % 700);
        let length = value.len();
        requests += &format!("set k{number} 0 0 {length}\r\n{value}\r\nget k{number}\r\n");
        replies += &format!("STORED\r\nVALUE k{number} 0 {length}\r\n{value}\r\nEND\r\n");
    }
    for record in [16_384, 4096, 1024, 255, 7, 1] {
        let mut client = connect(fixture.addresses.tls.unwrap(), &trusted);
        for piece in requests.as_bytes().chunks(record) {
            client.write_all(piece).unwrap();
            client.flush().unwrap();
        }
        let mut got = vec![0; replies.len()];
        client.read_exact(&mut got).unwrap();
        assert!(got == replies.as_bytes(), "records of {record} bytes");
    }
}

/// 2026: a listener's choice of protocol switched the login off. Our listeners require a login, whatever is sent first.
#[test]
fn y2026_no_listener_serves_anonymous_clients() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path(), "only");
    let trusted = folder.path().join("only.pem");
    for tls_on_plain in [false, true] {
        let listeners = Listeners {
            plain: Some(loopback()),
            tls: Some(TlsListener {
                addr: loopback(),
                cert: trusted.clone(),
                key: folder.path().join("only.key"),
            }),
            tls_on_plain,
            ..Listeners::default()
        };
        let fixture = EngineFixture::listening(settings(), listeners);
        fixture
            .text(OWNER)
            .talk("set k 0 0 6\r\nsecret\r\n", "STORED\r\n");
        let requests = [
            b"get k\r\n".to_vec(),
            b"mg k v\r\n".to_vec(),
            b"set k 0 0 1\r\nx\r\nget k\r\n".to_vec(),
            packet(0x00, 0, &[], b"k", b"", 0),
            packet(0x01, 0, &[0; 8], b"k", b"x", 0),
        ];
        for request in &requests {
            let mut plain = fixture.connect();
            plain.send(request);
            plain.end_sending();
            let mut received = vec![plain.rest()];
            let listeners = [fixture.addresses.tls, fixture.addresses.plain];
            for listener in &listeners[..1 + usize::from(tls_on_plain)] {
                let mut secret = connect(listener.unwrap(), &trusted);
                secret.write_all(request).unwrap();
                secret.conn.send_close_notify();
                secret.flush().unwrap();
                let mut bytes = Vec::new();
                secret.read_to_end(&mut bytes).unwrap();
                received.push(bytes);
            }
            for bytes in received {
                let text = String::from_utf8_lossy(&bytes);
                let refused = text.contains("CLIENT_ERROR") || text.contains("Auth failure");
                assert!(refused && !text.contains("secret"), "{text}");
            }
        }
        let read = "VALUE k 0 6\r\nsecret\r\nEND\r\n";
        fixture.text(OWNER).talk("get k\r\n", read);
    }
}

/// 2026: blank lines before login crashed the server, and a huge login was kept in memory.
#[test]
fn y2026_blank_lines_and_huge_logins() {
    let fixture = EngineFixture::start();
    let mut anonymous = fixture.connect();
    for line in ["\r\n", "\n", " \r\n", "\r\r\n", "      \n"] {
        anonymous.talk(line, "CLIENT_ERROR unauthenticated\r\n");
    }
    for length in [
        "2147483646",
        "2147483647",
        "4294967296",
        "-1",
        "99999999999999999999",
    ] {
        let mut greedy = fixture.connect();
        greedy.send(format!("set {} 0 0 {length}\r\n{}\r\n", OWNER.0, OWNER.1).as_bytes());
        greedy.end_sending();
        let received = greedy.rest();
        assert!(
            received.starts_with(b"CLIENT_ERROR"),
            "{}",
            received.escape_ascii()
        );
    }
    fixture
        .text(OWNER)
        .talk(&format!("get {}\r\n", OWNER.0), "END\r\n");
    assert!(fixture.engine.figures(ALICE).unwrap().used_bytes < 1 << 20);
}

/// 2026: a reload of the credentials raced with logins. A credential that stays known must be accepted at every moment; an
/// unknown one never.
#[test]
fn y2026_logins_during_changes_of_the_credentials() {
    let fixture = EngineFixture::start();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = SetAtEnd(&done);
        scope.spawn(|| {
            let mut with_writer = true;
            while !done.load(Ordering::Relaxed) {
                let mut spec: CacheSpec = alice();
                with_writer = !with_writer;
                if !with_writer {
                    spec.credentials
                        .retain(|credential| credential.username.as_str() != WRITER.0);
                }
                fixture.engine.apply(&spec);
            }
        });
        for _ in 0..300 {
            fixture.text(OWNER).talk("mn\r\n", "MN\r\n");
            let mut anonymous = fixture.connect();
            let wrong = format!("set {} 0 0 5\r\nwrong\r\n", OWNER.0);
            anonymous.talk(&wrong, "CLIENT_ERROR authentication failure\r\n");
        }
    });
}

/// Ends a thread that goes on until this is set, also when the test fails before.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The same for passwords: as soon as the change is applied, the old one is refused and the new one accepted, even while
/// others log in.
#[test]
fn y2026_a_new_password_counts_at_once_and_the_old_one_no_more() {
    let fixture = EngineFixture::start();
    let log_in = |username: &str, password: &str, expected: &str| {
        let length = password.len();
        let line = format!("set {username} 0 0 {length}\r\n{password}\r\n");
        fixture.connect().talk(&line, expected);
    };
    let mut passwords = [OWNER.1, "EEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEE"];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..300 {
                fixture.text(READER).talk("mn\r\n", "MN\r\n");
            }
        });
        for _ in 0..100 {
            passwords.reverse();
            let [new, old] = passwords;
            let mut spec: CacheSpec = alice();
            spec.credentials[0] = credential((OWNER.0, new), Capabilities::ALL);
            spec.credentials[2] = credential((WRITER.0, new), Capabilities::WRITE);
            fixture.engine.apply(&spec);
            for username in [OWNER.0, WRITER.0] {
                log_in(username, new, "STORED\r\n");
                log_in(username, old, "CLIENT_ERROR authentication failure\r\n");
            }
        }
    });
}

/// CVE-2026-47783: the time of a reply showed which user names exist. Here the bytes do not show it, and the work is the
/// same: `Authenticator::verify` hashes and compares in every case.
#[test]
fn y2026_an_unknown_user_is_answered_as_a_wrong_password() {
    let fixture = EngineFixture::start();
    let received = ["A11CE0", "A11CEX"].map(|name| {
        let mut text = fixture.connect();
        text.send(format!("set {name} 0 0 5\r\nwrong\r\n").as_bytes());
        text.end_sending();
        let mut binary = fixture.connect();
        let data = format!("\0{name}\0wrong");
        binary.send(&packet(0x21, 0, &[], b"PLAIN", data.as_bytes(), 0));
        binary.end_sending();
        (text.rest(), binary.rest())
    });
    assert_eq!(received[0], received[1]);
}

/// 2026: references and memory leaked when a request failed half-way.
#[test]
fn y2026_failing_requests_leave_nothing() {
    let fixture = EngineFixture::start();
    let mut client = fixture.text(OWNER);
    let too_large = format!("set k 0 0 2000000\r\n{}\r\n", "x".repeat(2_000_000));
    let failing = "set k 0 0 3\r\ntoo long\r\nms k 3 MX\r\nabc\r\nincr k x\r\n".repeat(20);
    for _ in 0..20 {
        client.send(failing.as_bytes());
        client.send(too_large.as_bytes());
        let mut uploading = fixture.text(OWNER);
        uploading.send(b"set u 0 0 100000\r\nbegin");
    }
    client.end_sending();
    client.until_closed();
    wait_until(|| fixture.engine.figures(ALICE).unwrap().connections == 0);
    let used = fixture.engine.figures(ALICE).unwrap().used_bytes;
    assert!(used < 100_000, "{used} bytes are held by nobody");
}

/// 2026: a dump to a client that stops reading overran a buffer. The longest reply here is `stats`.
#[test]
fn y2026_a_client_that_asks_for_figures_and_does_not_read() {
    let fixture = EngineFixture::start();
    let greedy = fixture.text(OWNER);
    greedy.stream().set_nonblocking(true).unwrap();
    let mut other = fixture.text(OWNER);
    let requests = b"stats\r\nstats settings\r\n".repeat(1000);
    let mut taken = 0;
    // Until the engine stops reading, as it does while replies are unsent.
    while let Ok(sent) = greedy.stream().write(&requests) {
        taken += sent;
        assert!(taken < 64 << 20, "the engine takes requests without end");
    }
    other.talk(
        "set k 0 0 1\r\nv\r\nget k\r\n",
        "STORED\r\nVALUE k 0 1\r\nv\r\nEND\r\n",
    );
}

/// 2026: the proxy sent one request's response to another client. Here clients leave in the middle of an exchange, and the
/// others receive only replies to their own requests.
#[test]
fn y2026_nobody_hears_the_reply_to_another() {
    let fixture = EngineFixture::start();
    let mut staying = fixture.text(OWNER);
    for round in 0..300 {
        let mut leaving = fixture.text(OWNER);
        leaving.send(format!("set left{round} 0 0 1\r\nx\r\nget left{round}\r\nget le").as_bytes());
        drop(leaving);
        let nonce = format!("nonce{round}");
        let exchange = format!("ms n 8\r\n{nonce:8}\r\nmg n v O{nonce}\r\n");
        staying.talk(&exchange, &format!("HD\r\nVA 8 O{nonce}\r\n{nonce:8}\r\n"));
    }
}

/// 2026: statistics by key prefix grew without bound. They do not exist here.
#[test]
fn y2026_no_figures_by_key() {
    let fixture = EngineFixture::start();
    let mut client = fixture.text(OWNER);
    for group in ["detail on", "detail dump", "prefix", "cachedump 1 0"] {
        let mut asking = fixture.text(OWNER);
        asking.send(format!("stats {group}\r\nmn\r\n").as_bytes());
        asking.end_sending();
        let received = asking.rest();
        assert!(
            received.ends_with(b"MN\r\n") && received.len() < 100,
            "{}",
            received.escape_ascii()
        );
    }
    let before = fixture.engine.figures(ALICE).unwrap().used_bytes;
    for number in 0..10_000 {
        client.send(format!("mg prefix{number}:k q\r\n").as_bytes());
    }
    client.talk("mn\r\n", "MN\r\n");
    // A request that came in two pieces is charged until the next sweep.
    wait_until(|| fixture.engine.figures(ALICE).unwrap().used_bytes == before);
    drop(client);
    survives(&fixture, &[packet(0x10, 0, &[], b"detail on", b"", 0)]);
}
