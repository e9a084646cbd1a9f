//! Many clients that do little, all at once: nobody else may notice. `scripts/bench crowd` has the large numbers and
//! the times.

use std::io::Write;
use std::time::Duration;

use larder::engine::{EngineSettings, Limits};

use crate::engine_connections::wait_until;
use crate::engine_stage::{ALICE, BOB, Client, OWNER, READER, STRANGER, Stage, settings};

const EACH: usize = 100;

/// Asks for much more than the socket holds and reads nothing.
fn slow_reader(stage: &Stage) -> Client {
    let client = stage.text(READER);
    client.stream().set_nonblocking(true).unwrap();
    // What does not fit is not sent; the replies to what did are more than enough.
    let _ = client.stream().write(&b"get big\r\n".repeat(2_000));
    client
}

/// In the middle of a request when the peer vanished: nothing comes any more, and no end either.
fn vanished(stage: &Stage) -> Client {
    let mut client = stage.text(OWNER);
    client.send(b"set cut 0 0 100000\r\nbegin");
    client
}

#[test]
fn nobody_notices_the_idle_the_slow_the_vanished_and_those_who_come_and_go() {
    let stage = Stage::with(EngineSettings {
        limits: Limits {
            unread_output_deadline: Duration::from_secs(2),
            stalled_request_deadline: Duration::from_secs(2),
            ..Limits::default()
        },
        ..settings()
    });
    let value = "b".repeat(500_000);
    let big = format!("set big 0 0 500000\r\n{value}\r\n");
    stage.text(OWNER).talk(&big, "STORED\r\n");
    let mut other = stage.text(STRANGER);
    let mut idle: Vec<Client> = (0..EACH).map(|_| stage.text(OWNER)).collect();
    let slow: Vec<Client> = (0..EACH).map(|_| slow_reader(&stage)).collect();
    let gone: Vec<Client> = (0..EACH).map(|_| vanished(&stage)).collect();
    for round in 0..5 * EACH {
        stage.text(READER).talk("mn\r\n", "MN\r\n");
        other.talk(
            &format!("set k{round} 0 0 2\r\nv!\r\nget k{round}\r\n"),
            &format!("STORED\r\nVALUE k{round} 0 2\r\nv!\r\nEND\r\n"),
        );
    }
    // The slow and the vanished lose their connections, the idle keep theirs, and what they held is given back.
    wait_until(|| stage.engine.figures(ALICE).unwrap().connections == EACH as u32);
    for client in &mut idle {
        client.talk("mn\r\n", "MN\r\n");
    }
    wait_until(|| stage.engine.figures(ALICE).unwrap().used_bytes < 2 << 20);
    assert_eq!(stage.engine.figures(BOB).unwrap().connections, 1);
    drop((slow, gone));
}
