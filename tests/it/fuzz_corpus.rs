//! The inputs kept for the fuzz targets, replayed without libFuzzer; and the seeds that fuzzing starts from.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::conversations::{first_byte, login_bytes};
use crate::engine_fixture::OWNER;
use crate::engine_script::{Bound, Part, Script, Step, all, fill};

#[path = "../../fuzz/src/lib.rs"]
mod checks;

/// Larger inputs would slow the fuzzer down and show it nothing new.
const SEED_BYTES_MAX: usize = 4096;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

/// Replays the corpus: every bug that fuzzing found stays fixed.
#[test]
fn kept_inputs_pass() {
    for (target, check) in checks::CHECKS {
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus(target)).unwrap() {
            let path = entry.unwrap().path();
            // Printed so that a failed check shows its input.
            eprintln!("{}", path.display());
            check(&std::fs::read(&path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{target} has no corpus");
    }
}

/// What a client may send in one step, and the beginnings of it.
const PIECES: [&[u8]; 16] = [
    b"get ",
    b"k ",
    b"gat 0 k k ",
    b"k k k k k k k k k k k k k k k ",
    b"\r\n",
    b"get k\r\n",
    b"mg k v\r\n",
    b"ms k 5 ",
    b"set k 0 0 5\r\n",
    b"set k 0 0 3000\r\n",
    b"set k 0 0 9999999\r\n",
    b"hello",
    b"vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv",
    b"\x80\x01\0\x01\x08\0\0\0\0\0\x0f\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\x80\x21\0\x05\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_connection_is_bounded_by_any_bytes_at_any_pace(
        mode in 0u8..8,
        steps in prop::collection::vec((0..PIECES.len(), 0u8..4, any::<bool>()), 1..40),
    ) {
        let mut input = vec![mode];
        for (piece, times, waits) in steps {
            let piece = PIECES[piece];
            input.push(piece.len() as u8 | times << 5 | u8::from(waits) << 7);
            input.extend(piece);
        }
        checks::connection(&input);
    }
}

/// The conversations as inputs: all bytes that the client sends, in one piece.
#[test]
fn conversations_pass_as_inputs() {
    for (target, check) in checks::CHECKS {
        for seed in seeds(target) {
            check(&seed);
        }
    }
}

/// Writes the seeds to a folder for each target under `LARDER_FUZZ_SEEDS`, for `scripts/fuzz`.
#[test]
#[ignore = "writes files; scripts/fuzz asks for it"]
fn write_seeds() {
    let root = PathBuf::from(std::env::var("LARDER_FUZZ_SEEDS").unwrap());
    for (target, _) in checks::CHECKS {
        let folder = root.join(target);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, seed) in seeds(target).iter().enumerate() {
            std::fs::write(folder.join(format!("conversation-{number:04}")), seed).unwrap();
        }
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let scripts = all();
    let mut seeds: Vec<Vec<u8>> = scripts
        .iter()
        .flat_map(|script| seeds_of(target, script))
        .filter(|seed| !seed.is_empty() && seed.len() <= SEED_BYTES_MAX)
        .collect();
    seeds.sort();
    seeds.dedup();
    assert!(seeds.len() > 10, "{} seeds for {target}", seeds.len());
    seeds
}

fn seeds_of(target: &str, script: &Script) -> Vec<Vec<u8>> {
    let sent = sent(script);
    let is_binary = first_byte(script) == 0x80;
    let number = script.name.len() as u8;
    match target {
        "text" if !is_binary => vec![sent],
        "binary" if is_binary => vec![sent],
        "meta" if !is_binary => meta_lines(&sent),
        "login" if script.role == "anonymous" => vec![sent],
        "login" => vec![[login_bytes(OWNER.0, OWNER.1, first_byte(script)), sent].concat()],
        "session" => {
            let who = match &*script.role {
                "anonymous" => 0,
                "open" => 1,
                "reader" => 3,
                _ => 2,
            };
            // The same as a client that may only read, and with a full cache.
            let modes = [who, who | 8, 3, 2 | 4];
            modes
                .iter()
                .map(|&mode| [&[mode, number], &sent[..]].concat())
                .collect()
        }
        "connection" => {
            let mode = if script.role == "anonymous" { 0 } else { 1 };
            vec![in_steps(mode, &sent), in_steps(mode | 4, &sent)]
        }
        _ => Vec::new(),
    }
}

/// As the target `connection` reads it: pieces of 31 bytes, each sent once, and no time between them.
fn in_steps(mode: u8, sent: &[u8]) -> Vec<u8> {
    let step = |piece: &[u8]| [&[piece.len() as u8], piece].concat();
    let steps = sent.chunks(31).flat_map(step);
    std::iter::once(mode).chain(steps).collect()
}

/// What the client sends in the whole conversation. Numbers that it would have received are 1.
fn sent(script: &Script) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut bound = Bound::new();
    for step in &script.steps {
        match step {
            Step::Send(parts) => bytes.extend(fill(parts, &bound)),
            Step::Expect(parts) => {
                for part in parts {
                    if let Part::Number(name) | Part::Cas(name) = part {
                        bound.insert(name.clone(), 1);
                    }
                }
            }
            Step::Closed | Step::Advance(_) => {}
        }
    }
    bytes
}

/// Each meta line with what follows it, as the target reads it.
fn meta_lines(sent: &[u8]) -> Vec<Vec<u8>> {
    const COMMANDS: [&[u8]; 6] = [b"mg ", b"ms ", b"md ", b"ma ", b"me ", b"mn"];
    let starts = sent
        .iter()
        .enumerate()
        .filter(|&(at, _)| at == 0 || sent[at - 1] == b'\n')
        .map(|(at, _)| &sent[at..]);
    starts
        .filter_map(|rest| {
            let command = COMMANDS.iter().position(|name| rest.starts_with(name))?;
            let behind = &rest[COMMANDS[command].len()..];
            Some([&[command as u8], behind].concat())
        })
        .collect()
}
