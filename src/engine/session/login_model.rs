//! Drawn sequences of logins and requests against a model: who the client is after each step, and when it is closed
//! (security.md MC-4).

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::{CacheId, CacheSpec, Capabilities, CredentialSpec};
use crate::engine::{Limits, testing};

const ALICE: CacheId = CacheId(1);
const BOB: CacheId = CacheId(2);

/// A user name, the cache that it belongs to, and whether it may write. The passwords are the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User(&'static str, CacheId, bool);

const USERS: [User; 3] = [
    User("A11CE0", ALICE, true),
    User("A11CE1", ALICE, false),
    User("B0B000", BOB, true),
];
/// No credential has this name.
const UNKNOWN: &str = "FFFFFF";

/// What a login names and proves.
#[derive(Clone, Copy, Debug)]
enum Proof {
    Right(User),
    Wrong(User),
    Unknown,
}

impl Proof {
    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Proof::Right(user) => (user.0, user.0),
            Proof::Wrong(user) => (user.0, "wrong"),
            Proof::Unknown => (UNKNOWN, UNKNOWN),
        }
    }

    fn user(self) -> Option<User> {
        match self {
            Proof::Right(user) => Some(user),
            _ => None,
        }
    }
}

fn proofs() -> impl Strategy<Value = Proof> {
    let user = || prop::sample::select(&USERS[..]);
    prop_oneof![
        4 => user().prop_map(Proof::Right),
        1 => user().prop_map(Proof::Wrong),
        1 => Just(Proof::Unknown),
    ]
}

#[derive(Clone, Copy, Debug)]
enum TextStep {
    /// `set NAME`, whose block is the password.
    Set(Proof),
    /// `set` of any key, whose block is name and password.
    Block(Proof),
    /// `ms`, as its key or in its block.
    Meta(Proof),
    Read,
    Write,
}

fn text_steps() -> impl Strategy<Value = TextStep> {
    prop_oneof![
        proofs().prop_map(TextStep::Set),
        proofs().prop_map(TextStep::Block),
        proofs().prop_map(TextStep::Meta),
        Just(TextStep::Read),
        Just(TextStep::Write),
    ]
}

#[derive(Clone, Copy, Debug)]
enum SaslStep {
    List,
    Auth(Proof),
    /// Names the mechanism and sends nothing: the data comes in a step.
    Begin,
    Continue(Proof),
    OtherMechanism(Proof),
    Read,
}

fn sasl_steps() -> impl Strategy<Value = SaslStep> {
    prop_oneof![
        Just(SaslStep::List),
        proofs().prop_map(SaslStep::Auth),
        Just(SaslStep::Begin),
        proofs().prop_map(SaslStep::Continue),
        proofs().prop_map(SaslStep::OtherMechanism),
        Just(SaslStep::Read),
    ]
}

/// Who the client is by the rules.
#[derive(Default)]
struct Model {
    identity: Option<User>,
    failures: u8,
    begun: bool,
    closed: bool,
}

impl Model {
    /// A login attempt ends the identity of before; a right one gives the new one.
    fn attempt(&mut self, accepted: Option<User>) -> bool {
        self.begun = false;
        self.identity = accepted;
        if accepted.is_none() {
            self.failures += 1;
            self.closed = self.failures >= Limits::default().login_failures_max;
        }
        accepted.is_some()
    }

    /// A text client that is logged in may become another user of the same cache only.
    fn text_attempt(&mut self, proof: Proof) -> bool {
        let before = self.identity;
        let allowed = |user: &User| before.is_none_or(|before| before.1 == user.1);
        self.attempt(proof.user().filter(allowed))
    }
}

/// A client of an engine with both caches, each with its owner's name under the key `k`.
struct Client {
    engine: Arc<EngineState>,
    session: ClientSession,
    closed: bool,
}

impl Client {
    fn new() -> Client {
        let engine = testing::engine(Limits::default());
        for cache in [ALICE, BOB] {
            engine.apply(&spec(cache));
            let account = engine.directory.open_account(cache).expect("it is known");
            let slot = engine.take_slot(account).expect("there is room");
            let stored = format!("set k 0 0 1\r\n{}\r\n", cache.0);
            let mut owner = ClientSession::open(slot, None, 0);
            owner.feed(&engine, stored.as_bytes(), &mut Output::default());
        }
        Client {
            engine,
            session: ClientSession::new(LoginMode::Required, None, 0),
            closed: false,
        }
    }

    fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        let mut out = Output::default();
        let fed = self.session.feed(&self.engine, request, &mut out);
        self.closed = fed.next == Next::Close;
        out.to_vec()
    }

    fn ask_text(&mut self, request: &str) -> String {
        String::from_utf8(self.ask(request.as_bytes())).expect("a text reply")
    }

    /// The status of the reply and its value.
    fn ask_binary(&mut self, opcode: u8, key: &[u8], value: &[u8]) -> (u16, Vec<u8>) {
        let mut packet = vec![0x80, opcode, 0, key.len() as u8];
        packet.extend([0; 4]);
        packet.extend(((key.len() + value.len()) as u32).to_be_bytes());
        packet.extend([0; 12]);
        packet.extend([key, value].concat());
        let reply = self.ask(&packet);
        let value_at = 24 + usize::from(reply[4]) + usize::from(reply[3]);
        let status = u16::from_be_bytes([reply[6], reply[7]]);
        (status, reply[value_at..].to_vec())
    }

    fn follows(&self, model: &Model) -> bool {
        let account = self.session.account();
        let name = account.and_then(|account| account.username.as_ref());
        self.closed == model.closed
            && name.map(|name| name.as_str()) == model.identity.map(|user| user.0)
    }
}

fn spec(cache: CacheId) -> CacheSpec {
    let of_cache = USERS.iter().filter(|user| user.1 == cache);
    let credential = |user: &User| CredentialSpec {
        username: user.0.parse().expect("a user name"),
        verifier: testing::key().verifier(user.0.as_bytes(), user.0.as_bytes()),
        capabilities: if user.2 {
            Capabilities::ALL
        } else {
            Capabilities::NONE
        },
        certificates: Vec::new(),
    };
    CacheSpec {
        cache,
        label: format!("A{:05}", cache.0),
        limit_bytes: 1 << 20,
        connections_max: 10,
        credentials: of_cache.map(credential).collect(),
        flush_orders: Vec::new(),
    }
}

const UNAUTHENTICATED: &str = "CLIENT_ERROR unauthenticated\r\n";
const REFUSED: &str = "CLIENT_ERROR authentication failure\r\n";

fn play_text(client: &mut Client, model: &mut Model, step: TextStep) {
    let login = |(key, block): (&str, String)| format!("{key} 0 0 {}\r\n{block}\r\n", block.len());
    let (request, proof, accepted) = match step {
        TextStep::Set(proof) => {
            let (name, password) = proof.texts();
            let request = login((&format!("set {name}"), password.to_owned()));
            (request, proof, "STORED\r\n")
        }
        TextStep::Block(proof) => {
            let (name, password) = proof.texts();
            let request = login(("set any", format!("{name} {password}")));
            (request, proof, "STORED\r\n")
        }
        TextStep::Meta(proof) => {
            let (name, password) = proof.texts();
            let request = format!("ms {name} {}\r\n{password}\r\n", password.len());
            (request, proof, "HD\r\n")
        }
        TextStep::Read => {
            let expected = model.identity.map_or(UNAUTHENTICATED.to_owned(), |user| {
                format!("VALUE k 0 1\r\n{}\r\nEND\r\n", user.1.0)
            });
            assert_eq!(client.ask_text("get k\r\n"), expected);
            return;
        }
        TextStep::Write => {
            let expected = match model.identity {
                None => UNAUTHENTICATED,
                Some(User(.., true)) => "STORED\r\n",
                Some(User(.., false)) => "NOT_STORED\r\n",
            };
            // Before a login `replace` is nobody's, and its block is dropped.
            let value = model.identity.map_or(0, |user| user.1.0);
            let request = format!("replace k 0 0 1\r\n{value}\r\n");
            assert_eq!(client.ask_text(&request), expected);
            return;
        }
    };
    let names_nobody = proof.user().is_none() && proof.texts().0 == UNKNOWN;
    if names_nobody && let Some(user) = model.identity {
        // An ordinary key: to the client that is logged in this is a store.
        let stored = match (user.2, accepted) {
            (true, accepted) => accepted,
            (false, "HD\r\n") => "NS\r\n",
            (false, _) => "NOT_STORED\r\n",
        };
        assert_eq!(client.ask_text(&request), stored);
        return;
    }
    let expected = if model.text_attempt(proof) {
        accepted
    } else {
        REFUSED
    };
    assert_eq!(client.ask_text(&request), expected);
}

fn play_sasl(client: &mut Client, model: &mut Model, step: SaslStep) {
    const GET: u8 = 0x00;
    const LIST: u8 = 0x20;
    const AUTH: u8 = 0x21;
    const STEP: u8 = 0x22;
    let data = |proof: Proof| {
        let (name, password) = proof.texts();
        format!("\0{name}\0{password}").into_bytes()
    };
    let status = |accepted: bool| if accepted { 0x00 } else { 0x20 };
    match step {
        SaslStep::List => {
            assert_eq!(client.ask_binary(LIST, b"", b""), (0, b"PLAIN".to_vec()));
        }
        SaslStep::Auth(proof) => {
            let expected = status(model.attempt(proof.user()));
            assert_eq!(client.ask_binary(AUTH, b"PLAIN", &data(proof)).0, expected);
        }
        SaslStep::Begin => {
            (model.identity, model.begun) = (None, true);
            assert_eq!(client.ask_binary(AUTH, b"PLAIN", b"").0, 0x21);
        }
        SaslStep::Continue(proof) => {
            let begun = model.begun;
            let expected = status(model.attempt(proof.user().filter(|_| begun)));
            assert_eq!(client.ask_binary(STEP, b"PLAIN", &data(proof)).0, expected);
        }
        SaslStep::OtherMechanism(proof) => {
            let expected = status(model.attempt(None));
            let told = client.ask_binary(AUTH, b"CRAM-MD5", &data(proof)).0;
            assert_eq!(told, expected);
        }
        SaslStep::Read => {
            let told = client.ask_binary(GET, b"k", b"");
            match model.identity {
                Some(user) => assert_eq!(told, (0, user.1.0.to_string().into_bytes())),
                None => {
                    assert_eq!(told.0, 0x20);
                    model.closed = true;
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_text_client_is_who_it_last_proved_to_be(steps in prop::collection::vec(text_steps(), 1..40)) {
        let (mut client, mut model) = (Client::new(), Model::default());
        for step in steps {
            play_text(&mut client, &mut model, step);
            prop_assert!(client.follows(&model), "after {step:?}");
            if model.closed {
                break;
            }
        }
    }

    #[test]
    fn a_binary_client_is_who_it_last_proved_to_be(steps in prop::collection::vec(sasl_steps(), 1..40)) {
        let (mut client, mut model) = (Client::new(), Model::default());
        for step in steps {
            play_sasl(&mut client, &mut model, step);
            prop_assert!(client.follows(&model), "after {step:?}");
            if model.closed {
                break;
            }
        }
    }
}
