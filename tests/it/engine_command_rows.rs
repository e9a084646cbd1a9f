//! No command is without a row in the table of capabilities (security.md MC-9): a new one fails here until it has its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::engine_commands::text_commands;

/// Names that the parser of the text dialects knows: what stands before an arrow of its matches.
fn names(file: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/protocol/text");
    let text = fs::read_to_string(folder.join(file)).expect("a source file");
    let mut names = BTreeSet::new();
    for line in text.lines() {
        let Some((pattern, _)) = line.split_once("=>") else {
            continue;
        };
        let quoted = pattern.split("b\"").skip(1);
        names.extend(quoted.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
    }
    names
}

#[test]
fn every_command_of_the_text_dialects_has_a_row() {
    let known: BTreeSet<String> = names("parse.rs")
        .union(&names("store.rs"))
        .cloned()
        .collect();
    assert!(known.len() > 20, "{known:?}");
    let first = |request: Vec<u8>| {
        let line = String::from_utf8_lossy(&request).into_owned();
        line.split([' ', '\r'])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let mut rows: BTreeSet<String> = text_commands()
        .into_iter()
        .map(|(_, request)| first(request))
        .collect();
    // One ends the connection, one is always refused, and one is no command.
    rows.extend(["quit", "shutdown", "noreply"].map(str::to_owned));
    let missing: Vec<&String> = known.difference(&rows).collect();
    assert!(missing.is_empty(), "commands without a row: {missing:?}");
}
