//! A million generated commands in CI: two tenants on one engine, all dialects, cut anywhere. Every reply must be that of a
//! model of the tenant alone.

use std::cell::Cell;
use std::ops::{Range, RangeInclusive};
use std::slice::from_ref;
use std::sync::Arc;

use larder::domain::CacheSpec;
use larder::engine::state::EngineState;
use larder::engine::{EngineClock, EngineSettings};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::conversations::login_bytes;
use crate::engine_fixture::{
    ALICE, BOB, EventRecorder, OTHER_TENANT, OWNER, WallClock, alice, bob, key, settings,
};
use crate::engine_model::{Command, Dialect, Mode, Model, Op};
use crate::engine_model_dialects::without_cas;
use crate::engine_oracle::SessionClient;
use crate::engine_script::show;

/// What both tenants send at the same time, and how the network cuts it.
#[derive(Clone, Debug)]
struct Round {
    batches: [(Dialect, Vec<Command>); 2],
    cuts: Vec<usize>,
    /// Seconds that pass afterwards.
    secs: u32,
}

fn command(key: Range<u8>, seed: RangeInclusive<u8>) -> impl Strategy<Value = Command> {
    let exptime = prop_oneof![8 => Just(0i32), 4 => 1i32..20, 1 => Just(-1)];
    let mode = prop_oneof![
        6 => Just(Mode::Set), 1 => Just(Mode::Add), 1 => Just(Mode::Replace),
        1 => Just(Mode::Append), 1 => Just(Mode::Prepend)
    ];
    let op = prop_oneof![
        96 => key.clone().prop_map(|key| Op::Get(vec![key])),
        24 => proptest::collection::vec(key.clone(), 1..6).prop_map(Op::Get),
        16 => (key.clone(), exptime.clone()).prop_map(|(key, exptime)| Op::GetAndTouch(key, exptime)),
        160 => (mode, key.clone(), seed, exptime.clone())
            .prop_map(|(mode, key, seed, exptime)| Op::Store(mode, key, seed, exptime)),
        56 => (any::<bool>(), key.clone(), 0u64..1000)
            .prop_map(|(up, key, delta)| Op::Arith { up, key, delta }),
        32 => key.clone().prop_map(Op::Delete),
        16 => (key, exptime).prop_map(|(key, exptime)| Op::Touch(key, exptime)),
        1 => Just(Op::Flush),
    ];
    (op, proptest::bool::weighted(0.2)).prop_map(|(op, quiet)| Command { op, quiet })
}

fn rounds(
    dialects: &'static [Dialect],
    keys: Range<u8>,
    seeds: RangeInclusive<u8>,
) -> impl Strategy<Value = Vec<Round>> {
    let batch = || {
        let command = command(keys.clone(), seeds.clone());
        let commands = proptest::collection::vec(command, 1..60);
        (proptest::sample::select(dialects), commands)
    };
    let cut = prop_oneof![2 => 1usize..12, 2 => 12usize..300, 1 => 300usize..60_000];
    let round = (
        [batch(), batch()],
        proptest::collection::vec(cut, 1..12),
        prop_oneof![3 => Just(0u32), 1 => 1u32..8],
    );
    let round = round.prop_map(|(batches, cuts, secs)| Round {
        batches,
        cuts,
        secs,
    });
    proptest::collection::vec(round, 1..40)
}

struct Tenant {
    model: Model,
    lines: [SessionClient; 3],
}

/// An engine with Alice and Bob, each with one connection per dialect.
struct MillionFixture {
    engine: Arc<EngineState>,
    clock: EngineClock,
    tenants: [Tenant; 2],
    limit_bytes: u64,
    /// Whether items may be evicted.
    evicts: bool,
}

impl MillionFixture {
    fn new(limit_bytes: u64, evicts: bool) -> MillionFixture {
        let clock = EngineClock::manual(1_800_000_000);
        let settings = EngineSettings {
            engine_clock: Some(clock.clone()),
            ..settings()
        };
        let sink = Arc::new(EventRecorder::default());
        let engine = Arc::new(EngineState::new(settings, key(), Arc::new(WallClock), sink));
        for spec in [alice(), bob()] {
            engine.apply(&CacheSpec {
                limit_bytes,
                ..spec
            });
        }
        let tenant = |name, who: (&str, &str)| {
            let lines = [b's', b's', 0x80].map(|first| {
                let mut line = SessionClient::new();
                line.send(&engine, &login_bytes(who.0, who.1, first));
                line
            });
            Tenant {
                model: Model::new(name),
                lines,
            }
        };
        MillionFixture {
            tenants: [tenant("alice", OWNER), tenant("bob", OTHER_TENANT)],
            engine,
            clock,
            limit_bytes,
            evicts,
        }
    }

    /// Plays one round. Returns how many commands it had.
    fn play(&mut self, round: &Round) -> Result<u64, TestCaseError> {
        let [first, second] = &round.batches;
        let mut played = 0;
        if self.evicts {
            // One command at a time, because the next state of the model depends on the reply.
            for (one, other) in first.1.iter().zip(&second.1) {
                let batches = [(first.0, from_ref(one)), (second.0, from_ref(other))];
                played += self.exchange(batches, &round.cuts)?;
            }
        } else {
            let batches = [(first.0, &first.1[..]), (second.0, &second.1[..])];
            played += self.exchange(batches, &round.cuts)?;
            for tenant in &mut self.tenants {
                tenant.compare_and_swap(&self.engine, round.cuts[0])?;
                played += 2;
            }
        }
        self.clock.advance(round.secs);
        self.engine.housekeeping();
        for tenant in &mut self.tenants {
            tenant.model.pass(round.secs);
        }
        self.check_memory()?;
        Ok(played)
    }

    /// Both tenants send at the same time, alternating pieces.
    fn exchange(
        &mut self,
        batches: [(Dialect, &[Command]); 2],
        cuts: &[usize],
    ) -> Result<u64, TestCaseError> {
        let mut plans = batches.map(|(dialect, _)| Plan::new(dialect));
        for (number, (_, commands)) in batches.into_iter().enumerate() {
            for command in commands {
                let command = self.suited(command);
                plans[number].add(&mut self.tenants[number].model, command);
            }
        }
        let mut received: [Vec<u8>; 2] = Default::default();
        let mut at = [0, 0];
        for &length in cuts.iter().cycle() {
            for number in [0, 1] {
                let rest = &plans[number].sent[at[number]..];
                let piece = &rest[..length.min(rest.len())];
                let line = &mut self.tenants[number].lines[plans[number].dialect as usize];
                received[number].extend(line.send(&self.engine, piece));
                at[number] += piece.len();
            }
            if [0, 1]
                .iter()
                .all(|&number| at[number] == plans[number].sent.len())
            {
                break;
            }
        }
        let mut played = 0;
        for ((tenant, plan), mut got) in self.tenants.iter_mut().zip(plans).zip(received) {
            if plan.dialect == Dialect::Binary {
                without_cas(&mut got);
            }
            played += plan.commands.len() as u64;
            plan.check(&mut tenant.model, &got, self.evicts)?;
        }
        Ok(played)
    }

    /// If items may be evicted at any time, each command may concern only one item, so that its reply can be checked.
    fn suited(&self, command: &Command) -> Command {
        match (&command.op, self.evicts) {
            (_, false) => command.clone(),
            (Op::Get(keys), true) => Command {
                op: Op::Get(vec![keys[0]]),
                quiet: false,
            },
            (op, true) => Command {
                op: op.clone(),
                quiet: false,
            },
        }
    }

    fn check_memory(&self) -> Result<(), TestCaseError> {
        let used = [ALICE, BOB].map(|cache| {
            let tenancy = self.engine.directory.tenancy(cache).unwrap();
            tenancy.items.used_bytes()
        });
        prop_assert!(
            used.iter().all(|&used| used <= self.limit_bytes),
            "{used:?}"
        );
        prop_assert_eq!(used.iter().sum::<u64>(), self.engine.pool.used_bytes());
        Ok(())
    }

    fn evictions(&self) -> u64 {
        let tenancies = [ALICE, BOB].map(|cache| self.engine.directory.tenancy(cache).unwrap());
        let counts = tenancies.map(|tenancy| tenancy.items.counters().evictions);
        counts.iter().sum()
    }
}

/// What one tenant sends in a round, and the replies it must get.
struct Plan {
    dialect: Dialect,
    sent: Vec<u8>,
    expected: Vec<u8>,
    commands: Vec<Command>,
    /// Whether the model had the item before the last command.
    held: bool,
}

impl Plan {
    fn new(dialect: Dialect) -> Plan {
        Plan {
            dialect,
            sent: Vec::new(),
            expected: Vec::new(),
            commands: Vec::new(),
            held: false,
        }
    }

    fn add(&mut self, model: &mut Model, command: Command) {
        let op = model.fit(command.op, self.dialect);
        let command = Command { op, ..command };
        let value = match command.op {
            Op::Store(_, _, seed, _) => model.value(seed),
            _ => Vec::new(),
        };
        self.sent.extend(command.request(self.dialect, &value));
        self.held = model.holds(&command.op);
        let answer = model.apply(&command.op);
        self.expected.extend(command.reply(self.dialect, &answer));
        self.commands.push(command);
    }

    fn check(&self, model: &mut Model, got: &[u8], evicts: bool) -> Result<(), TestCaseError> {
        if got == self.expected {
            return Ok(());
        }
        if let ([command], true, true) = (&self.commands[..], evicts, self.held) {
            // The reply if the item was evicted before.
            model.evict(&command.op);
            let answer = model.apply(&command.op);
            if got == command.reply(self.dialect, &answer) {
                return Ok(());
            }
        }
        let reason = format!(
            "{:?} {:?}\nexpected {}\n     got {}",
            self.dialect,
            self.commands,
            show(&self.expected),
            show(got)
        );
        Err(TestCaseError::fail(reason))
    }
}

impl Tenant {
    /// Reads an item's CAS value and sends a `cas` with it, or with a wrong one.
    fn compare_and_swap(
        &mut self,
        engine: &EngineState,
        chance: usize,
    ) -> Result<(), TestCaseError> {
        let (key, right) = ((chance % 12) as u8, !chance.is_multiple_of(3));
        let line = &mut self.lines[Dialect::Text as usize];
        let got = line.send(engine, format!("gets k{key}\r\n").as_bytes());
        let head = String::from_utf8_lossy(&got);
        let cas = head.lines().next().and_then(|line| line.split(' ').nth(4));
        let held = self.model.holds(&Op::Get(vec![key]));
        prop_assert_eq!(cas.is_some(), held);
        let cas: u64 = cas.map_or(1, |digits| digits.parse().unwrap());
        let cas = if right { cas } else { cas + 1 };
        let expected: &[u8] = match (held, right) {
            (true, true) => b"STORED\r\n",
            (true, false) => b"EXISTS\r\n",
            (false, _) => b"NOT_FOUND\r\n",
        };
        let got = line.send(
            engine,
            format!("cas k{key} 7 0 1 {cas}\r\n7\r\n").as_bytes(),
        );
        prop_assert_eq!(got, expected);
        if held && right {
            self.model.apply(&Op::Store(Mode::Set, key, 7, 0));
        }
        Ok(())
    }
}

/// Plays generated rounds until there were `commands` commands.
fn play(
    commands: u64,
    strategy: &impl Strategy<Value = Vec<Round>>,
    fixture: impl Fn() -> MillionFixture,
) -> (u64, u64) {
    let (played, evictions) = (Cell::new(0), Cell::new(0));
    let config = Config {
        cases: 20,
        failure_persistence: None,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    while played.get() < commands {
        // A runner counts its cases over all its runs, so each call needs a new one.
        let outcome = TestRunner::new(config.clone()).run(strategy, |rounds| {
            let mut fixture = fixture();
            for round in &rounds {
                played.set(played.get() + fixture.play(round)?);
            }
            evictions.set(evictions.get() + fixture.evictions());
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{error}"));
    }
    (played.get(), evictions.get())
}

/// With room for everything, every reply is the model's.
fn exactly(commands: u64, dialects: &'static [Dialect]) {
    let strategy = rounds(dialects, 0..12, 0..=255);
    let (played, evictions) = play(commands, &strategy, || MillionFixture::new(64 << 20, false));
    assert_eq!(evictions, 0);
    eprintln!("{played} commands as the model has it");
}

#[test]
fn text_answers_as_the_model() {
    exactly(250_000, &[Dialect::Text]);
}

#[test]
fn meta_answers_as_the_model() {
    exactly(250_000, &[Dialect::Meta]);
}

#[test]
fn binary_answers_as_the_model() {
    exactly(250_000, &[Dialect::Binary]);
}

const ALL: &[Dialect] = &[Dialect::Text, Dialect::Meta, Dialect::Binary];

#[test]
fn the_dialects_share_one_cache() {
    exactly(150_000, ALL);
}

/// Without room an item may be evicted. What is read must be the model's: nothing stale, nothing of the other tenant.
#[test]
fn what_is_not_evicted_is_as_the_model_has_it() {
    let strategy = rounds(ALL, 0..240, 225..=255);
    let (played, evictions) = play(100_000, &strategy, || MillionFixture::new(256 << 10, true));
    assert!(evictions > 1_000, "{evictions} evictions");
    eprintln!("{played} commands, {evictions} evictions");
}
