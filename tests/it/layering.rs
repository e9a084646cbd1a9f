//! The rooms and who may use whom: reads every `crate::` path under `src` and holds it to the table.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and what it may use, lowest rank first. A room uses only rooms that stand above it here, so there
/// can be no circle.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("telemetry", &[]),
    ("unread", &[]),
    ("store", &["domain"]),
    ("engine", &["domain"]),
    ("outbox", &["domain", "store"]),
    ("cluster", &["domain", "store", "engine", "outbox"]),
    ("access", &["domain", "store", "outbox", "cluster"]),
    (
        "provisioning",
        &["domain", "store", "outbox", "cluster", "access"],
    ),
    ("status", &["domain", "store", "engine"]),
    (
        "marketplace",
        &[
            "domain",
            "store",
            "outbox",
            "cluster",
            "access",
            "provisioning",
        ],
    ),
    (
        "web",
        &[
            "domain",
            "store",
            "cluster",
            "access",
            "provisioning",
            "status",
            "marketplace",
            "unread",
        ],
    ),
    ("sandbox", &["domain", "unread"]),
    (
        "config",
        &["domain", "store", "marketplace", "web", "telemetry"],
    ),
    ("app", EVERYTHING_BELOW),
    (
        "cli",
        &["app", "config", "domain", "store", "telemetry", "sandbox"],
    ),
];

/// The composition root knows all rooms; that is what it is for.
const EVERYTHING_BELOW: &[&str] = &[
    "domain",
    "telemetry",
    "store",
    "engine",
    "outbox",
    "cluster",
    "access",
    "provisioning",
    "status",
    "marketplace",
    "web",
    "sandbox",
    "config",
];

/// What the domain may not touch: it has no I/O, no SQL, no serde and no clock.
const FOREIGN_TO_DOMAIN: &[&str] = &[
    "std::fs",
    "std::io",
    "std::net::Tcp",
    "tokio",
    "sqlx",
    "serde",
    "reqwest",
    "axum",
    "SystemTime",
    "Instant::now",
];

#[test]
fn rooms_use_only_rooms_below_them() {
    let mut faults = Vec::new();
    for (file, text) in sources() {
        let room = room_of(&file);
        for (line, used) in uses(&text) {
            if used != room && !allowed(&room, &used) {
                faults.push(format!(
                    "{}:{line}: {room} may not use {used}",
                    file.display()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_table_itself_has_no_circle() {
    for (at, (room, uses)) in ROOMS.iter().enumerate() {
        for used in *uses {
            let position = ROOMS.iter().position(|(name, _)| name == used);
            assert!(
                position.is_some_and(|position| position < at),
                "{room} uses {used}"
            );
        }
    }
}

#[test]
fn the_domain_does_no_io_and_reads_no_clock() {
    let mut faults = Vec::new();
    for (file, text) in sources()
        .into_iter()
        .filter(|(file, _)| room_of(file) == "domain")
    {
        for (number, line) in code_lines(&text) {
            for foreign in FOREIGN_TO_DOMAIN {
                if line.contains(&format!("{foreign}::"))
                    || line.contains(&format!("use {foreign}"))
                {
                    faults.push(format!("{}:{number}: {foreign}", file.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn only_the_store_knows_sql() {
    let mut faults = Vec::new();
    for (file, text) in sources()
        .into_iter()
        .filter(|(file, _)| room_of(file) != "store")
    {
        for (number, line) in code_lines(&text) {
            if line.contains("sqlx::") {
                faults.push(format!("{}:{number}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn allowed(room: &str, used: &str) -> bool {
    let rooms: BTreeMap<_, _> = ROOMS.iter().copied().collect();
    match (rooms.get(room), rooms.contains_key(used)) {
        (_, false) => panic!("{used} is not in the table of rooms; add it with what it may use"),
        (None, _) => panic!("{room} is not in the table of rooms; add it with what it may use"),
        (Some(uses), true) => uses.contains(&used),
    }
}

/// The first part of every `crate::` path, with its line number; `crate::{a, b}` lists are taken apart.
fn uses(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in code_lines(text) {
        for (_, rest) in line
            .match_indices("crate::")
            .map(|(at, found)| (at, &line[at + found.len()..]))
        {
            if let Some(list) = rest.strip_prefix('{') {
                let list = list.split('}').next().unwrap_or(list);
                found.extend(
                    list.split(',')
                        .map(first_word)
                        .filter(|name| !name.is_empty())
                        .map(|name| (number, name)),
                );
            } else {
                found.push((number, first_word(rest)));
            }
        }
    }
    found
}

fn first_word(path: &str) -> String {
    path.trim()
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect()
}

/// Lines of code with their numbers: comments are passed over, `$crate` in a macro is its own room.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let code = |line: &str| !line.trim_start().starts_with("//") && !line.contains("$crate");
    text.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line))
        .filter(move |(_, line)| code(line))
}

fn room_of(file: &Path) -> String {
    let relative = file
        .strip_prefix(root().join("src"))
        .expect("a file under src");
    let first = relative
        .components()
        .next()
        .expect("a name")
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Every source file but the crate's own front page and entry, which belong to no room.
fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    gather(&root().join("src"), &mut files);
    files.retain(|file| !["lib", "main"].contains(&room_of(file).as_str()));
    files.retain(|file| !is_test(file));
    assert!(files.len() > 20, "the tree was found");
    files
        .into_iter()
        .map(|file| (file.clone(), fs::read_to_string(file).expect("readable")))
        .collect()
}

/// Modules of tests stage whole services, so they use what they need.
fn is_test(file: &Path) -> bool {
    file.components()
        .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            gather(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
