//! Every conversation of `fixtures/conversations`, cut in every way that a network may cut it.

use std::collections::HashMap;
use std::sync::Arc;

use larder::engine::EngineClock;
use larder::engine::protocol::Output;
use larder::engine::session::{ClientSession, LoginMode, Next};
use larder::engine::state::EngineState;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::engine_fixture::{
    ALICE, Client, EngineFixture, EventRecorder, FLUSHER, OTHER_TENANT, OWNER, READER, WRITER,
    WallClock, alice, bob, key, settings,
};
use crate::engine_script::{Bound, Script, Step, all, compare, fill, show};

/// A session fed by hand, with the caller's buffer that a socket loop would keep.
struct Wire {
    engine: Arc<EngineState>,
    session: ClientSession,
    pending: Vec<u8>,
    received: Vec<u8>,
    closed: bool,
    clock: EngineClock,
}

impl Wire {
    fn new(role: &str) -> Wire {
        let clock = EngineClock::manual(1_800_000_000);
        let settings = larder::engine::EngineSettings {
            engine_clock: Some(clock.clone()),
            ..settings()
        };
        let sink = Arc::new(EventRecorder::default());
        let engine = Arc::new(EngineState::new(settings, key(), Arc::new(WallClock), sink));
        engine.apply(&alice());
        engine.apply(&bob());
        let session = match role {
            "open" => {
                let account = engine.directory.open_account(ALICE).unwrap();
                ClientSession::open(engine.take_slot(account).unwrap(), None, 0)
            }
            _ => ClientSession::new(LoginMode::Required, None, 0),
        };
        Wire {
            engine,
            session,
            pending: Vec::new(),
            received: Vec::new(),
            closed: false,
            clock,
        }
    }

    /// Logged in as `role`, in the dialect that `first` begins.
    fn logged_in(role: &str, first: u8) -> Wire {
        let mut wire = Wire::new(role);
        if let Some((username, password)) = credential_of(role) {
            wire.send(&login_bytes(username, password, first));
            assert!(!wire.closed && !wire.received.is_empty());
            wire.received.clear();
        }
        wire
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        self.pending.extend_from_slice(bytes);
        loop {
            let mut out = Output::default();
            let fed = self.session.feed(&self.engine, &self.pending, &mut out);
            self.received.extend(out.to_vec());
            self.pending.drain(..fed.used);
            match fed.next {
                Next::Read => return,
                Next::Again => {}
                Next::Wait => panic!("a conversation ran out of room"),
                Next::Close => {
                    self.closed = true;
                    return;
                }
            }
        }
    }
}

fn credential_of(role: &str) -> Option<(&'static str, &'static str)> {
    match role {
        "owner" => Some(OWNER),
        "reader" => Some(READER),
        "writer" => Some(WRITER),
        "flusher" => Some(FLUSHER),
        "bob" => Some(OTHER_TENANT),
        _ => None,
    }
}

pub fn login_bytes(username: &str, password: &str, first: u8) -> Vec<u8> {
    if first == 0x80 {
        let data = format!("\0{username}\0{password}");
        crate::engine_fixture::packet(0x21, 0, &[], b"PLAIN", data.as_bytes(), 0)
    } else {
        format!("set {username} 0 0 {}\r\n{password}\r\n", password.len()).into_bytes()
    }
}

pub fn first_byte(script: &Script) -> u8 {
    let sent = script.steps.iter().find_map(|step| match step {
        Step::Send(parts) => fill(parts, &HashMap::new()).first().copied(),
        _ => None,
    });
    sent.unwrap_or(b'x')
}

/// Plays a script; `cut` decides into what pieces each sending is cut.
fn play(script: &Script, cut: &mut dyn FnMut(&[u8]) -> Vec<Vec<u8>>) -> Result<(), String> {
    let mut wire = Wire::logged_in(&script.role, first_byte(script));
    let mut bound = Bound::new();
    for step in &script.steps {
        match step {
            Step::Send(parts) => {
                for piece in cut(&fill(parts, &bound)) {
                    wire.send(&piece);
                }
            }
            Step::Expect(parts) => {
                let length = compare(parts, &wire.received, &mut bound)?;
                wire.received.drain(..length);
            }
            Step::Closed if !wire.closed => return Err("the connection stays open".to_owned()),
            Step::Closed => {}
            Step::Advance(secs) => wire.clock.advance(*secs),
        }
    }
    if !wire.received.is_empty() {
        return Err(format!("too much was answered: {}", show(&wire.received)));
    }
    let ends = script.steps.iter().any(|step| matches!(step, Step::Closed));
    if wire.closed != ends {
        return Err(format!("closed: {}", wire.closed));
    }
    Ok(())
}

fn play_all(mut cut: impl FnMut(&[u8]) -> Vec<Vec<u8>>) {
    let scripts = all();
    let mut failures = Vec::new();
    for script in &scripts {
        if let Err(reason) = play(script, &mut cut) {
            failures.push(format!("{}\n  {reason}", script.name));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} failed:\n{}",
        failures.len(),
        scripts.len(),
        failures.join("\n")
    );
}

#[test]
fn there_are_enough_of_them() {
    let count = all().len();
    assert!(count >= 600, "{count} conversations");
}

#[test]
fn whole() {
    play_all(|bytes| vec![bytes.to_vec()]);
}

#[test]
fn byte_by_byte() {
    play_all(|bytes| {
        // Large blocks go in steps of 61 bytes, or this would take minutes.
        let step = if bytes.len() > 5_000 { 61 } else { 1 };
        bytes.chunks(step).map(<[u8]>::to_vec).collect()
    });
}

#[test]
fn in_random_pieces() {
    let scripts = all();
    let mut runner = TestRunner::new(Config::with_cases(12));
    let seeds = proptest::collection::vec(1usize..200, 1..12);
    runner
        .run(&seeds, |lengths| {
            for script in &scripts {
                let mut next = lengths.iter().cycle();
                let mut cut = |bytes: &[u8]| {
                    let mut pieces = Vec::new();
                    let mut rest = bytes;
                    while !rest.is_empty() {
                        let scale = 1 + bytes.len() / 2_000;
                        let length = (next.next().unwrap() * scale).min(rest.len());
                        pieces.push(rest[..length].to_vec());
                        rest = &rest[length..];
                    }
                    pieces
                };
                if let Err(reason) = play(script, &mut cut) {
                    return Err(TestCaseError::fail(format!("{}\n  {reason}", script.name)));
                }
            }
            Ok(())
        })
        .unwrap();
}

/// All that a client sends arrives in one piece, as from a pipelining client.
#[test]
fn pipelined() {
    let mut failures = Vec::new();
    for script in all().iter().filter(|script| script.is_one_piece()) {
        let mut wire = Wire::logged_in(&script.role, first_byte(script));
        let mut expected = Vec::new();
        let mut sent = Vec::new();
        for step in &script.steps {
            match step {
                Step::Send(parts) => sent.extend(fill(parts, &Bound::new())),
                Step::Expect(parts) => expected.extend(parts.clone()),
                Step::Closed | Step::Advance(_) => {}
            }
        }
        wire.send(&sent);
        match compare(&expected, &wire.received, &mut Bound::new()) {
            Ok(length) if length == wire.received.len() => {}
            Ok(length) => {
                let surplus = show(&wire.received[length..]);
                failures.push(format!("{}\n  too much: {surplus}", script.name));
            }
            Err(reason) => failures.push(format!("{}\n  {reason}", script.name)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Over a real socket, one connection and an emptied cache for each.
#[test]
fn over_a_socket() {
    let fixture = EngineFixture::start();
    let mut failures = Vec::new();
    for script in all().iter().filter(|script| !script.takes_time()) {
        fixture
            .engine
            .flush(ALICE, larder::domain::Origin::AdminOperation, None);
        let mut client = match &*script.role {
            "open" => fixture.open(),
            _ => fixture.connect(),
        };
        if let Some((username, password)) = credential_of(&script.role) {
            let first = first_byte(script);
            client.send(&login_bytes(username, password, first));
            let reply = if first == 0x80 { 24 + 13 } else { 8 };
            client.read_exact(reply);
        }
        if let Err(reason) = play_on_socket(script, &mut client) {
            failures.push(format!("{}\n  {reason}", script.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Plays a script on a connection; at the end nothing more may come.
pub fn play_on_socket(script: &Script, client: &mut Client) -> Result<(), String> {
    let mut bound = Bound::new();
    let mut received = Vec::new();
    let mut closed = false;
    for step in &script.steps {
        match step {
            Step::Send(parts) => client.send_if_open(&fill(parts, &bound)),
            Step::Expect(parts) => {
                let length = loop {
                    let mut trial = bound.clone();
                    match compare(parts, &received, &mut trial) {
                        Ok(length) => {
                            bound = trial;
                            break length;
                        }
                        Err(reason) if closed => return Err(reason),
                        Err(reason) => match client.more() {
                            Some(bytes) if bytes.is_empty() => closed = true,
                            Some(bytes) => received.extend(bytes),
                            None => return Err(format!("{reason}\n  and nothing more comes")),
                        },
                    }
                };
                received.drain(..length);
            }
            Step::Closed => {
                let (bytes, closed) = client.until_closed();
                received.extend(bytes);
                if !closed {
                    return Err("the connection stays open".to_owned());
                }
            }
            Step::Advance(_) => return Err("time cannot be moved here".to_owned()),
        }
    }
    client.end_sending();
    received.extend(client.until_closed().0);
    if received.is_empty() {
        Ok(())
    } else {
        Err(format!("too much was answered: {}", show(&received)))
    }
}
