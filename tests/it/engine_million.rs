//! A million commands in CI: two tenants on one node, all dialects, cut anywhere, against a model of each tenant alone.

use std::cell::Cell;
use std::ops::{Range, RangeInclusive};
use std::slice::from_ref;
use std::sync::Arc;

use larder::domain::CacheSpec;
use larder::engine::node::Node;
use larder::engine::{EngineClock, EngineSettings};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::conversations::login_bytes;
use crate::engine_model::{Command, Dialect, Mode, Model, Op};
use crate::engine_oracle::Line;
use crate::engine_script::show;
use crate::engine_stage::{
    ALICE, BOB, Diary, OWNER, STRANGER, WallClock, alice, bob, key, settings,
};
use crate::engine_words::without_uniques;

/// What both tenants do at the same time, and how the network cuts it.
#[derive(Clone, Debug)]
struct Round {
    batches: [(Dialect, Vec<Command>); 2],
    cuts: Vec<usize>,
    /// Seconds that pass afterwards.
    secs: u32,
}

fn command(key: Range<u8>, seed: RangeInclusive<u8>) -> impl Strategy<Value = Command> {
    let life = prop_oneof![8 => Just(0i32), 4 => 1i32..20, 1 => Just(-1)];
    let mode = prop_oneof![
        6 => Just(Mode::Set), 1 => Just(Mode::Add), 1 => Just(Mode::Replace),
        1 => Just(Mode::Append), 1 => Just(Mode::Prepend)
    ];
    let op = prop_oneof![
        96 => key.clone().prop_map(|key| Op::Get(vec![key])),
        24 => proptest::collection::vec(key.clone(), 1..6).prop_map(Op::Get),
        16 => (key.clone(), life.clone()).prop_map(|(key, life)| Op::GetAndTouch(key, life)),
        160 => (mode, key.clone(), seed, life.clone())
            .prop_map(|(mode, key, seed, life)| Op::Store(mode, key, seed, life)),
        56 => (any::<bool>(), key.clone(), 0u64..1000)
            .prop_map(|(up, key, delta)| Op::Arith { up, key, delta }),
        32 => key.clone().prop_map(Op::Delete),
        16 => (key, life).prop_map(|(key, life)| Op::Touch(key, life)),
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
    lines: [Line; 3],
}

/// One node with Alice and Bob, each with a connection for each dialect.
struct Bed {
    node: Arc<Node>,
    clock: EngineClock,
    tenants: [Tenant; 2],
    limit_bytes: u64,
    /// Whether items may go for want of room.
    evicts: bool,
}

impl Bed {
    fn new(limit_bytes: u64, evicts: bool) -> Bed {
        let clock = EngineClock::manual(1_800_000_000);
        let settings = EngineSettings {
            engine_clock: Some(clock.clone()),
            ..settings()
        };
        let sink = Arc::new(Diary::default());
        let node = Arc::new(Node::new(settings, key(), Arc::new(WallClock), sink));
        for spec in [alice(), bob()] {
            node.apply(&CacheSpec {
                limit_bytes,
                ..spec
            });
        }
        let tenant = |name, who: (&str, &str)| {
            let lines = [b's', b's', 0x80].map(|first| {
                let mut line = Line::new();
                line.send(&node, &login_bytes(who.0, who.1, first));
                line
            });
            Tenant {
                model: Model::new(name),
                lines,
            }
        };
        Bed {
            tenants: [tenant("alice", OWNER), tenant("bob", STRANGER)],
            node,
            clock,
            limit_bytes,
            evicts,
        }
    }

    /// Plays one round and says how many commands it had.
    fn play(&mut self, round: &Round) -> Result<u64, TestCaseError> {
        let [first, second] = &round.batches;
        let mut played = 0;
        if self.evicts {
            // One at a time: what the model holds next depends on the reply.
            for (one, other) in first.1.iter().zip(&second.1) {
                let batches = [(first.0, from_ref(one)), (second.0, from_ref(other))];
                played += self.exchange(batches, &round.cuts)?;
            }
        } else {
            let batches = [(first.0, &first.1[..]), (second.0, &second.1[..])];
            played += self.exchange(batches, &round.cuts)?;
            for tenant in &mut self.tenants {
                tenant.compare_and_swap(&self.node, round.cuts[0])?;
                played += 2;
            }
        }
        self.clock.advance(round.secs);
        self.node.upkeep();
        for tenant in &mut self.tenants {
            tenant.model.pass(round.secs);
        }
        self.check_memory()?;
        Ok(played)
    }

    /// Both tenants send at the same time, a piece in turn.
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
                received[number].extend(line.send(&self.node, piece));
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
                without_uniques(&mut got);
            }
            played += plan.commands.len() as u64;
            plan.check(&mut tenant.model, &got, self.evicts)?;
        }
        Ok(played)
    }

    /// Where items may go at any time, every reply must tell of one item alone.
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
            let tenancy = self.node.directory.tenancy(cache).unwrap();
            tenancy.items.used_bytes()
        });
        prop_assert!(
            used.iter().all(|&used| used <= self.limit_bytes),
            "{used:?}"
        );
        prop_assert_eq!(used.iter().sum::<u64>(), self.node.pool.used_bytes());
        Ok(())
    }

    fn evictions(&self) -> u64 {
        let tenancies = [ALICE, BOB].map(|cache| self.node.directory.tenancy(cache).unwrap());
        let counts = tenancies.map(|tenancy| tenancy.items.counters().evictions);
        counts.iter().sum()
    }
}

/// What one tenant sends in a round, and what it must be answered.
struct Plan {
    dialect: Dialect,
    sent: Vec<u8>,
    expected: Vec<u8>,
    commands: Vec<Command>,
    /// Whether the model held the item of the last command before it.
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
            // The same with the item gone before.
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
    /// Reads an item's unique and swaps by it, or by one that is wrong.
    fn compare_and_swap(&mut self, node: &Node, chance: usize) -> Result<(), TestCaseError> {
        let (key, right) = ((chance % 12) as u8, !chance.is_multiple_of(3));
        let line = &mut self.lines[Dialect::Text as usize];
        let got = line.send(node, format!("gets k{key}\r\n").as_bytes());
        let head = String::from_utf8_lossy(&got);
        let unique = head.lines().next().and_then(|line| line.split(' ').nth(4));
        let held = self.model.holds(&Op::Get(vec![key]));
        prop_assert_eq!(unique.is_some(), held);
        let unique: u64 = unique.map_or(1, |digits| digits.parse().unwrap());
        let unique = if right { unique } else { unique + 1 };
        let expected: &[u8] = match (held, right) {
            (true, true) => b"STORED\r\n",
            (true, false) => b"EXISTS\r\n",
            (false, _) => b"NOT_FOUND\r\n",
        };
        let got = line.send(
            node,
            format!("cas k{key} 7 0 1 {unique}\r\n7\r\n").as_bytes(),
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
    bed: impl Fn() -> Bed,
) -> (u64, u64) {
    let (played, evictions) = (Cell::new(0), Cell::new(0));
    let config = Config {
        cases: 20,
        failure_persistence: None,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    while played.get() < commands {
        // A runner counts its cases for life.
        let outcome = TestRunner::new(config.clone()).run(strategy, |rounds| {
            let mut bed = bed();
            for round in &rounds {
                played.set(played.get() + bed.play(round)?);
            }
            evictions.set(evictions.get() + bed.evictions());
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{error}"));
    }
    (played.get(), evictions.get())
}

/// With room for everything every answer is the model's.
fn exactly(commands: u64, dialects: &'static [Dialect]) {
    let strategy = rounds(dialects, 0..12, 0..=255);
    let (played, evictions) = play(commands, &strategy, || Bed::new(64 << 20, false));
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

/// Without room an item may be gone, but what is there is the model's: nothing stale, nothing foreign.
#[test]
fn what_is_not_evicted_is_as_the_model_has_it() {
    let strategy = rounds(ALL, 0..240, 225..=255);
    let (played, evictions) = play(100_000, &strategy, || Bed::new(256 << 10, true));
    assert!(evictions > 1_000, "{evictions} evictions");
    eprintln!("{played} commands, {evictions} evictions");
}
