//! Logins of clients that are logged in, over sockets. What is answered to each form stands in
//! `fixtures/conversations/login-again.txt`.

use larder::domain::CacheSpec;
use larder::engine::Limits;

use crate::engine_certificates::CertificateFixture;
use crate::engine_fixture::{
    ALICE, BOB, EngineFixture, OTHER_TENANT, OWNER, READER, WRITER, alice, packet,
};
use crate::support::authority::TlsTalk;

fn text_login((username, password): (&str, &str)) -> String {
    format!("set {username} 0 0 {}\r\n{password}\r\n", password.len())
}

fn meta_login((username, password): (&str, &str)) -> String {
    let block = format!("{username} {password}");
    format!("ms any {}\r\n{block}\r\n", block.len())
}

fn sasl((username, password): (&str, &str)) -> Vec<u8> {
    let data = format!("\0{username}\0{password}");
    packet(0x21, 0, &[], b"PLAIN", data.as_bytes(), 0)
}

const REFUSED: &str = "CLIENT_ERROR authentication failure\r\n";
const WRONG: &str = "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF";

#[test]
fn the_password_of_a_client_with_a_certificate_is_no_item() {
    let certified = CertificateFixture::open();
    let identity = certified.ca.client(READER.0);
    certified.know(&[(&identity, READER)]);
    for (login, answer) in [
        (text_login(WRITER), "STORED\r\n"),
        (meta_login(WRITER), "HD\r\n"),
    ] {
        let mut client = certified.connect(&identity);
        client.talk("set k 0 0 1\r\nv\r\n", "NOT_STORED\r\n");
        client.talk(&login, answer);
        client.talk(&format!("get {} any\r\n", WRITER.0), "END\r\n");
        client.talk("set k 0 0 1\r\nv\r\n", "STORED\r\n");
    }
    assert_eq!(
        certified
            .fixture
            .engine
            .figures(ALICE)
            .unwrap()
            .counters
            .curr_items,
        1
    );
}

#[test]
fn a_wrong_login_of_a_client_with_a_certificate_stores_nothing_and_ends_its_identity() {
    let certified = CertificateFixture::open();
    let identity = certified.ca.client(OWNER.0);
    certified.know(&[(&identity, OWNER)]);
    for wrong in [
        (OWNER.0, WRONG),
        (READER.0, WRONG),
        OTHER_TENANT,
        (OTHER_TENANT.0, WRONG),
    ] {
        for login in [text_login(wrong), meta_login(wrong)] {
            let mut client = certified.connect(&identity);
            client.talk(&login, REFUSED);
            client.talk(
                &format!("get {} any\r\n", wrong.0),
                "CLIENT_ERROR unauthenticated\r\n",
            );
            client.talk(&text_login(OWNER), "STORED\r\n");
        }
    }
    let figures = |cache| certified.fixture.engine.figures(cache).unwrap();
    for cache in [ALICE, BOB] {
        assert_eq!(figures(cache).counters.curr_items, 0);
        // The cache that the user name belongs to counts the failure.
        assert_eq!(figures(cache).traffic.auth_errors, 4);
    }
}

#[test]
fn binary_clients_log_in_again_by_sasl() {
    let certified = CertificateFixture::open();
    let identity = certified.ca.client(READER.0);
    certified.know(&[(&identity, READER)]);
    let set = packet(0x01, 0, &[0; 8], b"k", b"v", 0);
    let status = |client: &mut TlsTalk, request: &[u8]| {
        let header = client.try_talk(request, &[0; 24]).unwrap();
        let body = u32::from_be_bytes(header[8..12].try_into().unwrap());
        client.try_talk(b"", &vec![0; body as usize]).unwrap();
        u16::from_be_bytes([header[6], header[7]])
    };
    let mut client = certified.connect(&identity);
    assert_eq!(status(&mut client, &set), 0x05);
    assert_eq!(status(&mut client, &sasl(WRITER)), 0);
    assert_eq!(status(&mut client, &set), 0);
    let wrong = sasl((WRITER.0, WRONG));
    assert_eq!(status(&mut client, &wrong), 0x20);
    assert_eq!(status(&mut client, &set), 0x20);
    client.closed();
}

#[test]
fn a_block_that_is_too_large_for_an_item_is_dropped_like_any_login() {
    let fixture = EngineFixture::start();
    let mut client = fixture.text(OWNER);
    let block = "1".repeat(2_000_000);
    client.send(format!("set {} 0 0 {}\r\n{block}\r\n", READER.0, block.len()).as_bytes());
    client.expect("CLIENT_ERROR auth token too long\r\n");
    client.talk("get k\r\n", "CLIENT_ERROR unauthenticated\r\n");
    client.talk(&text_login(OWNER), "STORED\r\n");
    client.talk(&format!("get {}\r\n", READER.0), "END\r\n");
}

/// A value with an allocation of its own is refused before it is sent, so it evicts nothing.
#[test]
fn a_long_block_under_a_user_name_is_refused_before_it_comes() {
    let fixture = EngineFixture::start();
    let mut client = fixture.text(OWNER);
    let block = "1".repeat(500_000);
    client.send(format!("set {} 0 0 {}\r\n", READER.0, block.len()).as_bytes());
    client.expect("CLIENT_ERROR auth token too long\r\n");
    client.send(format!("{block}\r\n").as_bytes());
    client.talk("get k\r\n", "CLIENT_ERROR unauthenticated\r\n");
}

#[test]
fn the_longest_block_of_a_login_is_tried() {
    let fixture = EngineFixture::start();
    let most = Limits::default().login_block_bytes_max;
    for (bytes, answer) in [
        (most, REFUSED),
        (most + 1, "CLIENT_ERROR auth token too long\r\n"),
    ] {
        let mut client = fixture.text(OWNER);
        let wrong = "x".repeat(bytes - READER.0.len() - 1);
        let login = format!("set any 0 0 {bytes}\r\n{} {wrong}\r\n", READER.0);
        client.talk(&login, answer);
    }
}

/// What a client sent before it logged in does not count when it loses its identity later.
#[test]
fn a_client_that_loses_its_identity_may_ask_as_often_as_a_new_one() {
    let fixture = EngineFixture::start();
    let requests = u32::from(Limits::default().login_requests_max);
    let (ask, answer) = ("get k\r\n", "CLIENT_ERROR unauthenticated\r\n");
    let mut client = fixture.connect();
    for _ in 0..requests - 1 {
        client.talk(ask, answer);
    }
    client.talk(&text_login(OWNER), "STORED\r\n");
    client.talk("mn\r\n", "MN\r\n");
    client.talk(&text_login((OWNER.0, WRONG)), REFUSED);
    for _ in 0..requests / 2 {
        client.talk(ask, answer);
    }
    client.talk(&text_login(OWNER), "STORED\r\n");
}

/// A name that is given out later is a login from then on. The password of a removed one stays a password: an app may still
/// have it.
#[test]
fn a_new_name_is_a_login_and_a_removed_one_stays_one() {
    let fixture = EngineFixture::start();
    let mut client = fixture.text(OWNER);
    let mut with_another = alice();
    let mut another = with_another.credentials[0].clone();
    another.username = "0A0B0C".parse().unwrap();
    client.talk("set 0A0B0C 0 0 1\r\nv\r\n", "STORED\r\n");
    client.talk("delete 0A0B0C\r\n", "DELETED\r\n");
    with_another.credentials.push(another);
    fixture.engine.apply(&with_another);
    client.talk("set 0A0B0C 0 0 1\r\nv\r\n", REFUSED);
    client.talk(&text_login(OWNER), "STORED\r\n");

    fixture.engine.apply(&alice());
    client.talk("set 0A0B0C 0 0 1\r\nv\r\n", REFUSED);
    client.talk(&text_login(OWNER), "STORED\r\n");
    client.talk("get 0A0B0C\r\n", "END\r\n");
}

/// A cache on another node: this one knows its user names and none of its passwords.
#[test]
fn a_name_of_another_node_is_a_login_in_vain() {
    let fixture = EngineFixture::start();
    let (short, long) = ("C0C0C0", "C0C0C0C0C0C0C0C0");
    let names = [short, long].map(|name| name.parse().unwrap());
    fixture.engine.know_usernames(&names);
    for name in [short, long] {
        for login in [text_login((name, "p")), meta_login((name, "p"))] {
            let mut client = fixture.text(OWNER);
            client.talk(&login, REFUSED);
            client.talk(&text_login(OWNER), "STORED\r\n");
            client.talk(&format!("get {name} any\r\n"), "END\r\n");
        }
    }
    // The last six digits are those of a name, the text is none.
    let mut client = fixture.text(OWNER);
    client.talk("set 00000000C0C0C0C0 0 0 1\r\nv\r\n", "STORED\r\n");
}

/// The slot of before is given back first, so a full cache is no obstacle.
#[test]
fn a_second_login_takes_no_second_slot() {
    let fixture = EngineFixture::start();
    fixture.engine.apply(&CacheSpec {
        connections_max: 1,
        ..alice()
    });
    let mut client = fixture.text(OWNER);
    client.talk(&text_login(WRITER), "STORED\r\n");
    let figures = fixture.engine.figures(ALICE).unwrap();
    assert_eq!((figures.connections, figures.traffic.auth_cmds), (1, 2));
}
