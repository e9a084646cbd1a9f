//! Many connections that do little or nothing: other clients must not notice. `scripts/bench crowd` measures this with
//! larger numbers.

use std::io::Write;
use std::time::Duration;

use larder::engine::{EngineSettings, Limits};

use crate::engine_connections::wait_until;
use crate::engine_fixture::{
    ALICE, BOB, Client, EngineFixture, OTHER_TENANT, OWNER, READER, settings,
};

const EACH: usize = 100;

/// A client that asks for much more than the socket's buffers hold, and reads nothing.
fn slow_reader(fixture: &EngineFixture) -> Client {
    let client = fixture.text(READER);
    client.stream().set_nonblocking(true).unwrap();
    // Requests that do not fit are not sent. The replies to the others are more than enough.
    let _ = client.stream().write(&b"get big\r\n".repeat(2_000));
    client
}

/// A client that vanished in the middle of a request: it sends nothing more, and no end of the stream.
fn vanished(fixture: &EngineFixture) -> Client {
    let mut client = fixture.text(OWNER);
    client.send(b"set cut 0 0 100000\r\nbegin");
    client
}

#[test]
fn nobody_notices_the_idle_the_slow_the_vanished_and_those_who_come_and_go() {
    let fixture = EngineFixture::with(EngineSettings {
        limits: Limits {
            unread_output_deadline: Duration::from_secs(2),
            request_deadline: Duration::from_secs(2),
            ..Limits::default()
        },
        ..settings()
    });
    let value = "b".repeat(500_000);
    let big = format!("set big 0 0 500000\r\n{value}\r\n");
    fixture.text(OWNER).talk(&big, "STORED\r\n");
    let mut other = fixture.text(OTHER_TENANT);
    let mut idle: Vec<Client> = (0..EACH).map(|_| fixture.text(OWNER)).collect();
    let slow: Vec<Client> = (0..EACH).map(|_| slow_reader(&fixture)).collect();
    let gone: Vec<Client> = (0..EACH).map(|_| vanished(&fixture)).collect();
    for round in 0..5 * EACH {
        fixture.text(READER).talk("mn\r\n", "MN\r\n");
        other.talk(
            &format!("set k{round} 0 0 2\r\nv!\r\nget k{round}\r\n"),
            &format!("STORED\r\nVALUE k{round} 0 2\r\nv!\r\nEND\r\n"),
        );
    }
    // The slow and the vanished clients lose their connections and what they held is freed. The idle ones keep theirs.
    wait_until(|| fixture.engine.figures(ALICE).unwrap().connections == EACH as u32);
    for client in &mut idle {
        client.talk("mn\r\n", "MN\r\n");
    }
    wait_until(|| fixture.engine.figures(ALICE).unwrap().used_bytes < 2 << 20);
    assert_eq!(fixture.engine.figures(BOB).unwrap().connections, 1);
    drop((slow, gone));
}
