//! Refused logins of memcached clients: all are counted, few are told, and none with a password.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use larder::domain::{Clock, Timestamp};
use larder::engine::EngineEvent;
use larder::engine::protocol::Output;
use larder::engine::session::{ClientSession, LoginMode};
use larder::engine::state::EngineState;

use crate::engine_fixture::{
    ALICE, BOB, EngineFixture, EventRecorder, OTHER_TENANT, OWNER, READER, alice, bob, key, packet,
    settings,
};

const WRONG: &str = "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF";
const ATTACKER: [u8; 4] = [203, 0, 113, 9];

/// A clock that the test sets.
pub struct SetClock(pub AtomicI64);

impl SetClock {
    pub fn at(secs: i64) -> Arc<SetClock> {
        Arc::new(SetClock(AtomicI64::new(secs)))
    }

    fn advance(&self, secs: i64) {
        self.0.fetch_add(secs, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// An engine without sockets, and who tries to log in to it.
struct GuessFixture {
    engine: Arc<EngineState>,
    clock: Arc<SetClock>,
    recorder: Arc<EventRecorder>,
}

/// What was told of a cache or an address: how often, and of the latest its user name and address.
type Told = (u64, String, Option<IpAddr>);

impl GuessFixture {
    fn new() -> GuessFixture {
        let clock = SetClock::at(1_800_000_000);
        let recorder = Arc::new(EventRecorder::default());
        let engine = EngineState::new(settings(), key(), clock.clone(), recorder.clone());
        engine.apply(&alice());
        engine.apply(&bob());
        GuessFixture {
            engine: Arc::new(engine),
            clock,
            recorder,
        }
    }

    /// One attempt on a connection of its own; the answer.
    fn attempt(&self, from: impl Into<IpAddr>, bytes: &[u8]) -> Vec<u8> {
        let mut session = ClientSession::new(LoginMode::Required, Some(from.into()), 0);
        let mut out = Output::default();
        session.feed(&self.engine, bytes, &mut out);
        out.to_vec()
    }

    fn guess(&self, (username, password): (&str, &str)) {
        let line = format!("set {username} 0 0 {}\r\n{password}\r\n", password.len());
        let answer = self.attempt(ATTACKER, line.as_bytes());
        assert_eq!(answer, b"CLIENT_ERROR authentication failure\r\n");
    }

    /// What the owner of Alice's cache was told.
    fn for_alice(&self) -> Vec<Told> {
        let told = |event| match event {
            EngineEvent::LoginsRefused {
                cache: ALICE,
                credential,
                remote,
                refused,
                ..
            } => Some((refused, credential.to_string(), remote)),
            _ => None,
        };
        self.recorder
            .events()
            .into_iter()
            .filter_map(told)
            .collect()
    }

    /// What the operator was told.
    fn for_operator(&self) -> Vec<Told> {
        let told = |event| match event {
            EngineEvent::AddressRefused {
                remote,
                username,
                refused,
                ..
            } => Some((refused, username, remote)),
            _ => None,
        };
        self.recorder
            .events()
            .into_iter()
            .filter_map(told)
            .collect()
    }
}

#[test]
fn a_guessing_client_is_told_of_with_a_count() {
    let guesses = GuessFixture::new();
    let attacker = Some(IpAddr::from(ATTACKER));
    for _ in 0..1_000 {
        guesses.guess((OWNER.0, WRONG));
    }
    guesses.guess((READER.0, WRONG));
    let first = [(1, OWNER.0.to_owned(), attacker)];
    assert_eq!(guesses.for_alice(), first);
    assert_eq!(guesses.for_operator(), first);
    guesses.engine.housekeeping();
    assert_eq!(guesses.for_operator().len(), 1, "the minute is not over");

    guesses.clock.advance(60);
    guesses.engine.housekeeping();
    let rest = (1_000, READER.0.to_owned(), attacker);
    assert_eq!(guesses.for_operator()[1], rest);
    assert_eq!(guesses.for_alice().len(), 1, "ten minutes are not over");
    guesses.clock.advance(540);
    guesses.engine.housekeeping();
    guesses.engine.housekeeping();
    assert_eq!(guesses.for_alice()[1..], [rest]);
    assert_eq!(guesses.for_operator().len(), 2);
    let tenancy = guesses.engine.directory.tenancy(ALICE).unwrap();
    assert_eq!(tenancy.traffic_sum().auth_errors, 1_001);
}

#[test]
fn a_name_that_nobody_has_is_counted_by_the_node_and_shown_as_far_as_it_is_safe() {
    let guesses = GuessFixture::new();
    let minutes = [
        ("C0FFEE", "C0FFEE"),
        ("admin\"\x1b[2J", r#"admin\"\x1b[2J"#),
        // A password in the place of the name is not shown, whoever's it is.
        (OWNER.1, "(32 bytes)"),
    ];
    for (name, _) in minutes {
        guesses.guess((name, "x"));
        guesses.clock.advance(60);
        guesses.engine.housekeeping();
    }
    let shown = guesses.for_operator();
    let shown: Vec<_> = shown.iter().map(|told| told.1.as_str()).collect();
    assert_eq!(shown, minutes.map(|(_, shown)| shown));
    assert_eq!(guesses.engine.refused_logins.unnamed(), 3);
    // The control plane hears of what may be a user name, and of nothing that may be a password.
    let asked = |event| match event {
        EngineEvent::UnknownUserRefused { username, .. } => Some(username.to_string()),
        _ => None,
    };
    let asked: Vec<_> = guesses
        .recorder
        .events()
        .into_iter()
        .filter_map(asked)
        .collect();
    assert_eq!(asked, ["C0FFEE"]);
    assert_eq!(guesses.for_alice(), []);
}

#[test]
fn every_kind_of_refused_login_counts() {
    let guesses = GuessFixture::new();
    let sasl = |mechanism: &[u8], data: &[u8]| packet(0x21, 0, &[], mechanism, data, 0);
    let step = packet(0x22, 0, &[], b"PLAIN", b"\0A11CE0\0x", 0);
    let unnamed: [&[u8]; 7] = [
        b"set A11CE0 0 0 0\r\n\r\n",
        b"set A11CE0 0 0 1025\r\n",
        b"set A11CE0 0 0 1\r\nxyz",
        &sasl(b"CRAM-MD5", b"x"),
        &sasl(&[b'm'; 33], b"x"),
        &sasl(b"PLAIN", &[b'x'; 1025]),
        &step,
    ];
    for bytes in unnamed {
        assert!(!guesses.attempt(ATTACKER, bytes).is_empty());
    }
    assert_eq!(guesses.engine.refused_logins.unnamed(), 7);
    guesses.attempt(ATTACKER, &sasl(b"PLAIN", b"\0A11CE0\0wrong"));
    guesses.attempt(ATTACKER, b"ms any 12\r\nA11CE0 wrong\r\n");
    // The right password on a connection of another cache.
    let (own, others) = (OTHER_TENANT, OWNER);
    let lines = format!(
        "set {} 0 0 32\r\n{}\r\nset {} 0 0 32\r\n{}\r\n",
        own.0, own.1, others.0, others.1
    );
    let answer = guesses.attempt(ATTACKER, lines.as_bytes());
    assert_eq!(answer, b"STORED\r\nCLIENT_ERROR authentication failure\r\n");
    let errors = |cache| {
        let tenancy = guesses.engine.directory.tenancy(cache).unwrap();
        tenancy.traffic_sum().auth_errors
    };
    assert_eq!((errors(ALICE), errors(BOB)), (3, 0));
}

#[test]
fn many_addresses_do_not_fill_log_or_memory() {
    let guesses = GuessFixture::new();
    for number in 0..20_000_u32 {
        let [_, high, middle, low] = number.to_be_bytes();
        let from = IpAddr::from([10, high, middle, low]);
        guesses.attempt(from, b"set C0FFEE 0 0 1\r\nx\r\n");
    }
    guesses.clock.advance(60);
    guesses.engine.housekeeping();
    let told = guesses.for_operator();
    assert!(told.len() <= 260, "{}", told.len());
    assert_eq!(told.iter().map(|told| told.0).sum::<u64>(), 20_000);
}

#[test]
fn many_names_do_not_fill_the_table_or_the_link() {
    let guesses = GuessFixture::new();
    for number in 0..20_000 {
        guesses.guess((&format!("{number:06X}"), "x"));
    }
    guesses.clock.advance(600);
    guesses.engine.housekeeping();
    let is_asked = |event: &EngineEvent| matches!(event, EngineEvent::UnknownUserRefused { .. });
    let asked = guesses.recorder.events();
    let asked = asked.iter().filter(|event| is_asked(event)).count();
    assert!(asked <= 256, "{asked}");
}

#[test]
fn the_node_counts_all_of_them() {
    let fixture = EngineFixture::start();
    for name in [OWNER.0, "C0FFEE"] {
        let mut client = fixture.connect();
        let login = format!("set {name} 0 0 5\r\nwrong\r\n");
        client.talk(&login, "CLIENT_ERROR authentication failure\r\n");
    }
    let totals = fixture.engine.totals();
    assert_eq!(
        (totals.traffic.auth_errors, totals.traffic.auth_cmds),
        (2, 2)
    );
}
