//! Random streams of valid and invalid commands: wherever they are cut, they give the same replies. `engine_million.rs`
//! checks what the replies to valid ones must be.

use std::sync::Arc;

use larder::engine::EngineClock;
use larder::engine::protocol::Output;
use larder::engine::session::{ClientSession, LoginMode, Next};
use larder::engine::state::EngineState;
use proptest::prelude::*;

use crate::conversations::login_bytes;
use crate::engine_fixture::{EventRecorder, OWNER, WallClock, alice, bob, key, packet, settings};

fn engine() -> Arc<EngineState> {
    let settings = larder::engine::EngineSettings {
        engine_clock: Some(EngineClock::manual(1_800_000_000)),
        ..settings()
    };
    let sink = Arc::new(EventRecorder::default());
    let engine = Arc::new(EngineState::new(settings, key(), Arc::new(WallClock), sink));
    engine.apply(&alice());
    engine.apply(&bob());
    engine
}

/// A session without a socket, and the bytes that its connection would keep.
pub struct SessionClient {
    session: ClientSession,
    pending: Vec<u8>,
    closed: bool,
}

impl SessionClient {
    pub fn new() -> SessionClient {
        SessionClient {
            session: ClientSession::new(LoginMode::Required, None, 0),
            pending: Vec::new(),
            closed: false,
        }
    }

    pub fn send(&mut self, engine: &EngineState, bytes: &[u8]) -> Vec<u8> {
        let mut received = Vec::new();
        self.pending.extend_from_slice(bytes);
        while !self.closed {
            let mut out = Output::default();
            let fed = self.session.feed(engine, &self.pending, &mut out);
            received.extend(out.to_vec());
            self.pending.drain(..fed.used);
            match fed.next {
                Next::Read => break,
                Next::Again => {}
                Next::Wait => panic!("no room"),
                Next::Close => self.closed = true,
            }
        }
        received
    }
}

/// Tokens of commands, valid and invalid.
fn token() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-d]",
        2 => Just("noreply".to_owned()),
        2 => "[0-9]{1,3}",
        1 => Just("-1".to_owned()),
        1 => Just("x".repeat(251)),
        1 => "[!-~]{1,8}",
        1 => Just(String::new()),
        1 => "[NTRCEFJDM][0-9]{0,3}",
        1 => "[bkqvcsfthlu]",
        1 => Just("MA".to_owned()),
    ]
}

fn verb() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "get",
        "gets",
        "gat",
        "gats",
        "set",
        "add",
        "replace",
        "append",
        "prepend",
        "cas",
        "delete",
        "incr",
        "decr",
        "touch",
        "mg",
        "ms",
        "md",
        "ma",
        "me",
        "mn",
        "flush_all",
        "verbosity",
        "version",
        "stats items",
        "nonsense",
        "GET",
        "",
    ])
}

/// A piece of a text stream. Most are whole commands.
fn text_piece() -> impl Strategy<Value = Vec<u8>> {
    let line = (verb(), proptest::collection::vec(token(), 0..6));
    let any_line =
        line.prop_map(|(verb, tokens)| format!("{verb} {}\r\n", tokens.join(" ")).into_bytes());
    let stores = proptest::sample::select(vec!["set", "add", "append", "replace", "prepend"]);
    let store =
        (stores, "[a-d]", 0usize..40_000, any::<bool>()).prop_map(|(verb, key, length, quiet)| {
            let noreply = if quiet { " noreply" } else { "" };
            let value = "v".repeat(length);
            format!("{verb} {key} 0 0 {length}{noreply}\r\n{value}\r\n").into_bytes()
        });
    let meta = (
        "[a-d]",
        0usize..100,
        proptest::collection::vec(token(), 0..4),
    )
        .prop_map(|(key, length, flags)| {
            let value = "m".repeat(length);
            format!("ms {key} {length} {}\r\n{value}\r\n", flags.join(" ")).into_bytes()
        });
    let garbage = proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![6 => any_line, 4 => store, 2 => meta, 1 => garbage]
}

fn binary_piece() -> impl Strategy<Value = Vec<u8>> {
    let extras = prop_oneof![Just(0usize), Just(4), Just(8), Just(20), 0usize..30];
    let packets = (0u8..0x28, extras, "[a-d]{0,2}", 0usize..3000, 0u64..3).prop_map(
        |(opcode, extras, key, value, cas)| {
            let value = vec![b'v'; if value > 2900 { value * 20 } else { value % 3 }];
            packet(opcode, 7, &vec![0; extras], key.as_bytes(), &value, cas)
        },
    );
    let sets = ("[a-d]", 0usize..40_000)
        .prop_map(|(key, length)| packet(0x01, 8, &[0; 8], key.as_bytes(), &vec![b'w'; length], 0));
    let gets = "[a-d]".prop_map(|key| packet(0x0c, 9, &[], key.as_bytes(), b"", 0));
    let garbage = proptest::collection::vec(any::<u8>(), 1..40);
    prop_oneof![6 => packets, 6 => sets, 6 => gets, 1 => garbage]
}

/// Sends `stream` as a whole to one engine and in pieces to another.
fn same_when_cut(login: &[u8], stream: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
    let (whole_node, cut_node) = (engine(), engine());
    let (mut whole, mut cut) = (SessionClient::new(), SessionClient::new());
    let expected = [
        whole.send(&whole_node, login),
        whole.send(&whole_node, stream),
    ]
    .concat();
    let mut got = cut.send(&cut_node, login);
    let mut lengths = cuts.iter().cycle();
    let mut rest = stream;
    while let (Some(&length), false) = (lengths.next(), rest.is_empty()) {
        let (piece, more) = rest.split_at(length.min(rest.len()));
        got.extend(cut.send(&cut_node, piece));
        rest = more;
    }
    prop_assert_eq!(whole.closed, cut.closed);
    prop_assert!(
        expected == got,
        "whole: {}\ncut: {}",
        crate::engine_script::show(&expected),
        crate::engine_script::show(&got)
    );
    Ok(())
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    let length = prop_oneof![3 => 1usize..8, 2 => 8usize..200, 1 => 200usize..20_000];
    proptest::collection::vec(length, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_text_stream_may_be_cut_anywhere(
        pieces in proptest::collection::vec(text_piece(), 1..25),
        cuts in cuts(),
        logs_in in any::<bool>(),
    ) {
        let login = if logs_in { login_bytes(OWNER.0, OWNER.1, b's') } else { Vec::new() };
        same_when_cut(&login, &pieces.concat(), &cuts)?;
    }

    #[test]
    fn a_binary_stream_may_be_cut_anywhere(
        pieces in proptest::collection::vec(binary_piece(), 1..25),
        cuts in cuts(),
        logs_in in any::<bool>(),
    ) {
        let login = if logs_in { login_bytes(OWNER.0, OWNER.1, 0x80) } else { Vec::new() };
        same_when_cut(&login, &pieces.concat(), &cuts)?;
    }
}
