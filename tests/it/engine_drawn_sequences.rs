//! Drawn sequences of commands, sent to a memcached and to the engine: replies and counters must be alike.
//!
//! What conversations cannot cover by hand is drawn here: flags of meta commands in every order, explicit CAS values,
//! wrong ones, and keys in every state. The lists of allowed differences stand in [`normal_reply`], [`NOT_DRAWN`] and
//! [`crate::engine_differing_counters`], each with its reason.
//!
//! CI plays some thousands, the same ones in every run, against the memcached of the distribution, without what it has
//! not got yet. A number in `LARDER_TEST_SEQUENCES` draws that many new ones. For the version whose behaviour is offered, build memcached 1.6.45 (the target `memcached-debug`, whose clock can be moved) and
//! name it: `LARDER_TEST_MEMCACHED=… LARDER_TEST_SEQUENCES=100000 cargo test --test it drawn_sequences`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::num::ParseIntError;

use larder::engine::{EngineClock, EngineSettings};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::engine_differential::{Stock, reason_to_differ};
use crate::engine_differing_counters::{COUNTERS_LEFT_OUT, COUNTERS_OF_STOCK};
use crate::engine_fixture::{Client, EngineFixture, packet, settings};

/// Sequences in an ordinary run.
const SEQUENCES: u32 = 3_000;
/// Explicit CAS values are below, those that a server gives are above.
const EXPLICIT_CAS_MAX: u64 = 1_000;
/// Remaining lives beyond this are negative ones that went through 32 bits.
const PAST_TTL: u64 = 1 << 31;
/// Writes before the first sequence, so that the CAS values of a fresh memcached are above.
const WARM_UP: u32 = 2_000;

/// Differences that would end each sequence which meets them: `md k x` without `E`, `E0`, and `T` or `E` of an `ma` that
/// makes the number longer. The list in [`crate::engine_differential`] says why they are, and conversations show them.
const NOT_DRAWN: [&str; 3] = ["x-gives-a-new-cas", "no-cas-of-zero", "longer-number"];

/// A command as it is sent, with `{0}` to `{2}` for keys and `{c}`, `{l}`, `{h}` for the CAS value seen last, the one
/// below it and the one above it.
#[derive(Clone, Debug)]
enum Step {
    Text(String),
    Binary {
        opcode: u8,
        extras: Vec<u8>,
        key: u8,
        value: &'static str,
        cas: Cas,
    },
    /// Seconds that pass.
    Pass(u32),
}

#[derive(Clone, Copy, Debug)]
enum Cas {
    None,
    Seen,
    Wrong,
}

/// What the memcached on the other side can do.
#[derive(Clone, Copy, Debug)]
struct Peer {
    /// Has the flags and the answers of 1.6.45.
    is_new: bool,
    /// Its clock can be held and moved.
    obeys_debugtime: bool,
}

fn key() -> impl Strategy<Value = String> {
    (0u8..3).prop_map(|key| format!("{{{key}}}"))
}

fn value() -> impl Strategy<Value = &'static str> {
    select(vec![
        "",
        "0",
        "5",
        "10",
        "99",
        "100",
        "abc",
        "-1",
        "word with blanks",
        "18446744073709551615",
        "18446744073709551616",
    ])
}

fn exptime() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("0"), 6 => select(vec!["20", "60", "100", "1000"]), 1 => Just("-1")]
}

fn cas() -> impl Strategy<Value = &'static str> {
    select(vec!["{c}", "{c}", "{c}", "{l}", "{h}", "0", "7", "500"])
}

fn noreply() -> impl Strategy<Value = &'static str> {
    prop_oneof![5 => Just(""), 1 => Just(" noreply")]
}

fn store_line() -> impl Strategy<Value = String> {
    let verb = select(vec![
        "set", "set", "set", "add", "replace", "append", "prepend",
    ]);
    (verb, key(), exptime(), value(), noreply()).prop_map(|(verb, key, exptime, value, noreply)| {
        format!(
            "{verb} {key} 5 {exptime} {}{noreply}\r\n{value}\r\n",
            value.len()
        )
    })
}

fn classic() -> impl Strategy<Value = String> {
    let read = select(vec!["get", "gets"]);
    let touching = select(vec!["gat", "gats"]);
    let arith = select(vec!["incr", "decr"]);
    let delta = select(vec!["1", "7", "0", "18446744073709551615", "x", "-1"]);
    prop_oneof![
        4 => store_line(),
        2 => (key(), exptime(), value(), cas()).prop_map(|(key, exptime, value, cas)| {
            format!("cas {key} 9 {exptime} {} {cas}\r\n{value}\r\n", value.len())
        }),
        3 => (read, prop::collection::vec(key(), 1..4))
            .prop_map(|(verb, keys)| format!("{verb} {}\r\n", keys.join(" "))),
        2 => (touching, exptime(), key()).prop_map(|(verb, exptime, key)| format!("{verb} {exptime} {key}\r\n")),
        3 => (arith, key(), delta).prop_map(|(verb, key, delta)| format!("{verb} {key} {delta}\r\n")),
        2 => (key(), exptime(), noreply()).prop_map(|(key, exptime, noreply)| format!("touch {key} {exptime}{noreply}\r\n")),
        1 => (key(), noreply()).prop_map(|(key, noreply)| format!("delete {key}{noreply}\r\n")),
    ]
}

/// Some of `pool` in any order, each at most once.
fn flags(pool: Vec<&'static str>) -> impl Strategy<Value = Vec<&'static str>> {
    let most = pool.len().min(7);
    subsequence(pool, 0..=most).prop_shuffle()
}

/// One of each group at most, and any of the others, in any order.
fn drawn_flags(
    groups: Vec<Vec<&'static str>>,
    others: Vec<&'static str>,
) -> impl Strategy<Value = String> {
    let choices: Vec<_> = groups
        .into_iter()
        .map(|group| prop::option::of(select(group)))
        .collect();
    let both = (choices, flags(others), any::<u64>());
    both.prop_map(|(chosen, others, shuffle)| {
        let mut all: Vec<&str> = chosen.into_iter().flatten().chain(others).collect();
        // A drawn order that shrinking leaves alone.
        let mut state = shuffle | 1;
        for at in (1..all.len()).rev() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            all.swap(at, (state >> 33) as usize % (at + 1));
        }
        let mut line = String::new();
        for flag in all {
            let _ = write!(line, " {flag}");
        }
        line
    })
}

fn meta(peer: Peer) -> impl Strategy<Value = String> {
    let new = |flags: &[&'static str]| {
        if peer.is_new {
            flags.to_vec()
        } else {
            Vec::new()
        }
    };
    let with = |old: &[&'static str], new: Vec<&'static str>| [old, &new].concat();
    let ttls = vec!["T20", "T60", "T1000", "T0", "T20", "T60", "T-1"];
    let vivifies = vec!["N30", "N100", "N0", "N30", "N-1"];
    let cas_values = vec!["C{c}", "C{c}", "C{l}", "C{h}", "C0", "C7", "C500"];
    let given = new(&["E7", "E400", "E1000"]);
    let told = ["k", "q", "O12", "c", "t"];
    let given_or_none = if given.is_empty() { vec!["Px"] } else { given };
    let mg = drawn_flags(
        vec![
            ttls.clone(),
            vivifies.clone(),
            vec!["R30", "R50", "R500", "R0", "R-1"],
            given_or_none.clone(),
            with(&["Lx"], new(&["C{c}", "C7"])),
        ],
        with(&told, vec!["v", "s", "f", "h", "l", "u"]),
    );
    let ms = drawn_flags(
        vec![
            ttls.clone(),
            vivifies.clone(),
            cas_values.clone(),
            given_or_none.clone(),
            vec!["MS", "ME", "MA", "MP", "MR", "MX", "M"],
            vec!["F5", "F0"],
        ],
        with(&["k", "q", "O12", "c", "I", "b"], new(&["s"])),
    );
    let md = drawn_flags(
        vec![
            ttls.clone(),
            cas_values.clone(),
            given_or_none.clone(),
            vec!["F5"],
        ],
        with(&["k", "q", "O12", "I"], new(&["x E400", "x I"])),
    );
    // Stock gives a new exptime or CAS value to the item that a number with one more digit replaces, and so loses it. So
    // these count down, or up by nothing.
    let deltas = vec!["D1", "D7", "D0", "Dx"];
    let initials = vec!["J5", "J100", "Jx"];
    let keeps_length = |more: Vec<Vec<&'static str>>| {
        let groups = vec![
            ttls.clone(),
            vivifies.clone(),
            cas_values.clone(),
            given_or_none.clone(),
            initials.clone(),
        ];
        drawn_flags([groups, more].concat(), with(&told, vec!["v"]))
    };
    let down = keeps_length(vec![deltas.clone()]);
    let up = keeps_length(Vec::new());
    let up_or_down = drawn_flags(
        vec![
            vivifies,
            cas_values,
            vec!["MI", "MD", "M+", "M-", "MX"],
            deltas,
            initials,
        ],
        with(&told, vec!["v"]),
    );
    let ma = prop_oneof![
        (select(vec!["MD", "M-"]), down).prop_map(|(mode, flags)| format!(" {mode}{flags}")),
        (select(vec!["D0", "MI D0", "M+ D0"]), up)
            .prop_map(|(mode, flags)| format!(" {mode}{flags}")),
        up_or_down,
    ];
    // The others have changed too much since 1.6.18.
    let others = u32::from(peer.is_new);
    prop_oneof![
        5 => (key(), mg).prop_map(|(key, flags)| format!("mg {key}{flags}\r\n")),
        4 * others => (key(), value(), ms).prop_map(|(key, value, flags)| {
            format!("ms {key} {}{flags}\r\n{value}\r\n", value.len())
        }),
        2 * others => (key(), md).prop_map(|(key, flags)| format!("md {key}{flags}\r\n")),
        4 * others => (key(), ma).prop_map(|(key, flags)| format!("ma {key}{flags}\r\n")),
        others => key().prop_map(|key| format!("me {key}\r\n")),
    ]
}

fn binary() -> impl Strategy<Value = Step> {
    let cas = || select(vec![Cas::None, Cas::None, Cas::Seen, Cas::Wrong]);
    let store = (
        select(vec![1u8, 2, 3]),
        0u8..3,
        value(),
        cas(),
        select(vec![0u32, 60]),
    )
        .prop_map(|(opcode, key, value, cas, exptime)| Step::Binary {
            opcode,
            extras: [5u32.to_be_bytes(), exptime.to_be_bytes()].concat(),
            key,
            value,
            cas,
        });
    let join = (select(vec![0x0eu8, 0x0f]), 0u8..3, value(), cas()).prop_map(
        |(opcode, key, value, cas)| Step::Binary {
            opcode,
            extras: Vec::new(),
            key,
            value,
            cas,
        },
    );
    let arith = (
        select(vec![5u8, 6]),
        0u8..3,
        cas(),
        select(vec![0u32, 60, u32::MAX]),
    )
        .prop_map(|(opcode, key, cas, exptime)| Step::Binary {
            opcode,
            extras: [
                &7u64.to_be_bytes()[..],
                &3u64.to_be_bytes(),
                &exptime.to_be_bytes(),
            ]
            .concat(),
            key,
            value: "",
            cas,
        });
    let bare = (select(vec![0u8, 0x0c]), 0u8..3).prop_map(|(opcode, key)| Step::Binary {
        opcode,
        extras: Vec::new(),
        key,
        value: "",
        cas: Cas::None,
    });
    let delete = (0u8..3, cas()).prop_map(|(key, cas)| Step::Binary {
        opcode: 4,
        extras: Vec::new(),
        key,
        value: "",
        cas,
    });
    let touch = (
        select(vec![0x1cu8, 0x1d, 0x23]),
        0u8..3,
        select(vec![0u32, 60]),
    )
        .prop_map(|(opcode, key, exptime)| Step::Binary {
            opcode,
            extras: exptime.to_be_bytes().to_vec(),
            key,
            value: "",
            cas: Cas::None,
        });
    prop_oneof![4 => store, 2 => join, 4 => arith, 2 => bare, 1 => delete, 1 => touch]
}

fn step(peer: Peer) -> BoxedStrategy<Step> {
    let passing = if peer.obeys_debugtime { 3 } else { 0 };
    prop_oneof![
        10 => classic().prop_map(Step::Text),
        24 => meta(peer).prop_map(Step::Text),
        6 => binary(),
        passing => select(vec![1u32, 15, 45, 90]).prop_map(Step::Pass),
    ]
    .boxed()
}

/// One of the two servers, and what it has told so far.
struct Side {
    text: Client,
    binary: Client,
    /// The CAS value seen last.
    seen: u64,
    /// Given CAS values in the order in which they were first seen.
    order: Vec<u64>,
    counters: HashMap<String, u64>,
}

impl Side {
    fn new(mut text: Client, binary: Client) -> Side {
        for _ in 0..WARM_UP {
            text.send(b"set warm 0 0 1 noreply\r\nw\r\n");
        }
        text.talk("mn\r\n", "MN\r\n");
        let mut side = Side {
            text,
            binary,
            seen: 7,
            order: Vec::new(),
            counters: HashMap::new(),
        };
        side.counters = side.read_counters();
        side
    }

    /// Sends a step and returns the reply in the form in which both must be alike.
    fn play(&mut self, step: &Step, number: u64) -> String {
        match step {
            Step::Text(template) => {
                let mut line = template
                    .replace("{c}", &self.seen.to_string())
                    .replace("{l}", &self.lower().to_string())
                    .replace("{h}", &self.higher().to_string());
                for key in 0..3 {
                    // Good base64, for lines that have the flag `b`.
                    line = line.replace(&format!("{{{key}}}"), &format!("{number:07}{key}"));
                }
                self.text.send(line.as_bytes());
                self.text.send(b"mn\r\n");
                let reply = self.text.until("MN\r\n");
                self.normal_reply(&line, &reply)
            }
            Step::Binary {
                opcode,
                extras,
                key,
                value,
                cas,
            } => {
                let key = format!("{number:07}{key}");
                let cas = match cas {
                    Cas::None => 0,
                    Cas::Seen => self.seen,
                    Cas::Wrong => self.higher(),
                };
                self.binary.send(&packet(
                    *opcode,
                    7,
                    extras,
                    key.as_bytes(),
                    value.as_bytes(),
                    cas,
                ));
                let mut reply = self.binary.packet();
                let told = std::mem::take(&mut reply.cas);
                format!("{reply:?} cas {}", self.named(told))
            }
            Step::Pass(secs) => secs.to_string(),
        }
    }

    /// Below the CAS value seen last, and not given by either server.
    fn lower(&self) -> u64 {
        match self.seen {
            ..=EXPLICIT_CAS_MAX => self.seen - 1,
            _ => EXPLICIT_CAS_MAX + 1,
        }
    }

    /// Above it. The next numbers are given by the one or the other.
    fn higher(&self) -> u64 {
        self.seen + (1 << 40)
    }

    /// A given CAS value by the order in which it was seen, an explicit one as it is.
    fn named(&mut self, cas: u64) -> String {
        if cas == 0 {
            return "none".to_owned();
        }
        self.seen = cas;
        if cas <= EXPLICIT_CAS_MAX {
            return cas.to_string();
        }
        let place = self.order.iter().position(|&known| known == cas);
        let place = place.unwrap_or_else(|| {
            self.order.push(cas);
            self.order.len() - 1
        });
        format!("given {place}")
    }

    /// Replaces what may differ.
    fn normal_reply(&mut self, request: &str, reply: &str) -> String {
        let is_meta = request.starts_with('m');
        let tells_cas = request.starts_with("gets") || request.starts_with("gats");
        let mut normal = String::new();
        for line in reply.split_inclusive("\r\n") {
            let is_head = ["HD", "VA ", "EX", "NS", "NF", "EN", "ME "]
                .iter()
                .any(|code| line.starts_with(code));
            if tells_cas && line.starts_with("VALUE ") {
                let (head, cas) = line.trim_end().rsplit_once(' ').unwrap();
                let cas = cas.parse().unwrap();
                normal += &format!("{head} {}\r\n", self.named(cas));
            } else if is_meta && is_head {
                let words: Vec<String> = line
                    .trim_end()
                    .split(' ')
                    .map(|word| self.normal_word(word))
                    .collect();
                normal += &format!("{}\r\n", words.join(" "));
            } else {
                normal += line;
            }
        }
        normal
    }

    fn normal_word(&mut self, word: &str) -> String {
        // Stock writes the time of an access once a minute at most, and it has slabs.
        for loose in ["l", "la=", "cls=", "size="] {
            if word
                .strip_prefix(loose)
                .is_some_and(|digits| digits.parse::<u64>().is_ok())
            {
                return loose.to_owned();
            }
        }
        if let Some(cas) = word.strip_prefix("cas=").or_else(|| word.strip_prefix('c')) {
            return cas
                .parse()
                .map_or_else(|_| word.to_owned(), |cas| format!("c{}", self.named(cas)));
        }
        // A second may begin between the two; all ttls are tens of seconds. Of an exptime that is past stock tells the
        // difference as if it were not negative, and 0 is told here.
        let coarse = |secs: &str| {
            let secs = secs.parse::<u64>()?;
            Ok::<u64, ParseIntError>(if secs > PAST_TTL {
                0
            } else {
                (secs + 5) / 10 * 10
            })
        };
        if let Some(Ok(secs)) = word.strip_prefix('t').map(coarse) {
            return format!("t{secs}");
        }
        if let Some(Ok(secs)) = word.strip_prefix("exp=").map(coarse) {
            return format!("exp={secs}");
        }
        word.to_owned()
    }

    fn read_counters(&mut self) -> HashMap<String, u64> {
        self.text.send(b"stats\r\n");
        let text = self.text.until("END\r\n");
        let pairs = text.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("STAT ")?.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        pairs.collect()
    }

    /// By how much the counters have risen since the last call.
    fn risen(&mut self) -> HashMap<String, u64> {
        let now = self.read_counters();
        let before = std::mem::replace(&mut self.counters, now);
        let risen = self.counters.iter().map(|(name, value)| {
            (
                name.clone(),
                value.wrapping_sub(before.get(name).copied().unwrap_or(0)),
            )
        });
        risen.collect()
    }
}

struct Pair {
    stock: Side,
    ours: Side,
    clock: EngineClock,
    peer: Peer,
    number: u64,
    /// By how much the other clock was moved last.
    moved: i64,
}

impl Pair {
    fn play(&mut self, steps: &[Step]) -> Result<(), TestCaseError> {
        self.number += 1;
        let mut tale = String::new();
        for side in [&mut self.stock, &mut self.ours] {
            (side.seen, side.order) = (7, Vec::new());
            // One that failed half-way has counted too.
            side.counters = side.read_counters();
        }
        for step in steps {
            if let Step::Pass(secs) = step {
                // It adds up what it is told, and moves by the sum.
                let told = i64::from(*secs) - std::mem::replace(&mut self.moved, (*secs).into());
                let command = format!("debugtime {told}\r\n");
                self.stock.text.talk(&command, "OK\r\n");
                self.clock.advance(*secs);
                let _ = writeln!(tale, "  {secs} seconds pass");
                continue;
            }
            let expected = self.stock.play(step, self.number);
            let got = self.ours.play(step, self.number);
            let _ = writeln!(tale, "  {step:?}\n    stock {expected:?}");
            if expected != got && self.meets_strict_number(&got) {
                return Ok(());
            }
            prop_assert_eq!(&expected, &got, "\n{}    here {:?}", tale, got);
        }
        let (expected, got) = (self.stock.risen(), self.ours.risen());
        let left_out = |name: &str| COUNTERS_LEFT_OUT.iter().any(|(out, _)| *out == name);
        for (name, rise) in expected.iter().filter(|(name, _)| !left_out(name)) {
            let Some(here) = got.get(name) else {
                let listed = COUNTERS_OF_STOCK
                    .iter()
                    .any(|(begin, _)| name.starts_with(*begin));
                prop_assert!(listed, "{name} is neither counted here nor listed");
                continue;
            };
            prop_assert_eq!(
                rise,
                here,
                "\n{}  {} rose by {} in stock and by {} here",
                tale,
                name,
                rise,
                here
            );
        }
        Ok(())
    }
}

impl Pair {
    /// Whether an item holds digits, a blank and something else, and was not taken for a number here. Stock looks no
    /// further than the blank; an append to a number that was padded is enough. The rest of the sequence then differs.
    fn meets_strict_number(&mut self, got: &str) -> bool {
        // The text, and the binary status.
        let is_refused = got.contains("non-numeric value") || got.contains("status: 6");
        let number = self.number;
        is_refused
            && (0..3).any(|key| {
                let request = format!("get {number:07}{key}\r\nmn\r\n");
                self.ours.text.send(request.as_bytes());
                let reply = self.ours.text.until("MN\r\n");
                let value = reply.lines().nth(1).unwrap_or_default();
                let digits = value.trim_start_matches(|byte: char| byte.is_ascii_digit());
                digits.len() < value.len() && digits.starts_with(' ')
            })
    }
}

#[test]
fn what_is_not_drawn_is_a_listed_difference() {
    for name in NOT_DRAWN {
        assert!(reason_to_differ(name).is_some(), "{name}");
    }
}

#[test]
fn drawn_sequences_are_answered_and_counted_as_by_memcached() {
    let Some(stock) = Stock::start_or_skip() else {
        return;
    };
    let peer = Peer {
        is_new: stock.version() >= (1, 6, 45),
        obeys_debugtime: stock.obeys_debugtime(),
    };
    let clock = EngineClock::manual(1_800_000_000);
    let engine = EngineFixture::with(EngineSettings {
        engine_clock: Some(clock.clone()),
        ..settings()
    });
    let mut clock_master = stock.client();
    if peer.obeys_debugtime {
        clock_master.talk("debugtime p\r\n", "OK\r\n");
    }
    let pair = RefCell::new(Pair {
        stock: Side::new(stock.client(), stock.client()),
        ours: Side::new(engine.open(), engine.open()),
        clock,
        peer,
        number: 0,
        moved: 0,
    });
    let sequences = std::env::var("LARDER_TEST_SEQUENCES")
        .ok()
        .map(|number| number.parse().unwrap());
    let config = Config {
        cases: sequences.unwrap_or(SEQUENCES),
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..Config::default()
    };
    let played = Cell::new(0u64);
    let steps = prop::collection::vec(step(peer), 1..10);
    // A change must not fail because of a sequence that it has nothing to do with.
    let mut runner = match sequences {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let outcome = runner.run(&steps, |steps| {
        played.set(played.get() + 1);
        pair.borrow_mut().play(&steps)
    });
    outcome.unwrap_or_else(|error| panic!("after {} sequences: {error}", played.get()));
    eprintln!(
        "{} sequences against {:?}, {:?}",
        played.get(),
        stock.version(),
        pair.borrow().peer
    );
}
