//! The inputs kept for the fuzz targets, replayed without libFuzzer; and the seeds that fuzzing starts from.

use std::path::{Path, PathBuf};

use crate::conversations::{first_byte, login_bytes};
use crate::engine_script::{Bound, Part, Script, Step, all, fill};
use crate::engine_stage::OWNER;

#[path = "../../fuzz/src/lib.rs"]
mod checks;

/// Larger ones would slow the fuzzer down without showing it anything else.
const SEED_BYTES_MAX: usize = 4096;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

/// Every fault that fuzzing found stays found.
#[test]
fn kept_inputs_pass() {
    for (target, check) in checks::CHECKS {
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus(target)).unwrap() {
            let path = entry.unwrap().path();
            // For whoever sees a check fail: which input it was.
            eprintln!("{}", path.display());
            check(&std::fs::read(&path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{target} has no corpus");
    }
}

/// The conversations as inputs: what the clients of each send, in one piece.
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
        "login" if script.role == "stranger" => vec![sent],
        "login" => vec![[login_bytes(OWNER.0, OWNER.1, first_byte(script)), sent].concat()],
        "session" => {
            let who = match &*script.role {
                "stranger" => 0,
                "open" => 1,
                "reader" => 3,
                _ => 2,
            };
            // The same as one who may only read, and with the cache full.
            let modes = [who, who | 8, 3, 2 | 4];
            modes
                .iter()
                .map(|&mode| [&[mode, number], &sent[..]].concat())
                .collect()
        }
        _ => Vec::new(),
    }
}

/// What a client sends in the whole conversation; numbers it would have learnt are 1.
fn sent(script: &Script) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut bound = Bound::new();
    for step in &script.steps {
        match step {
            Step::Send(parts) => bytes.extend(fill(parts, &bound)),
            Step::Expect(parts) => {
                for part in parts {
                    if let Part::Number(name) | Part::Unique(name) = part {
                        bound.insert(name.clone(), 1);
                    }
                }
            }
            Step::Closed | Step::Advance(_) => {}
        }
    }
    bytes
}

/// Each meta line, with what stands behind it, as the target reads it.
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
