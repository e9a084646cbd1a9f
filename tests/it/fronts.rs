//! The front of each room (its `mod.rs`) is read by people of other rooms, so everything public there says what it is.

use std::fs;
use std::path::{Path, PathBuf};

const KINDS: [&str; 8] = [
    "struct", "enum", "trait", "fn", "async fn", "const fn", "type", "const",
];

#[test]
fn what_a_front_offers_is_documented() {
    let mut faults = Vec::new();
    for room in rooms() {
        let front = fs::read_to_string(room.join("mod.rs")).expect("readable");
        let name = room
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if !front.starts_with("//!") {
            faults.push(format!(
                "{name}: mod.rs does not begin with what the room is"
            ));
        }
        let texts = texts_of(&room);
        for item in offered(&front) {
            let bare = |text: &String| is_bare(text, &item);
            if texts.iter().any(bare) {
                faults.push(format!("{name}: {item} has no documentation"));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_bare_item_is_told_from_a_documented_one() {
    assert_eq!(
        offered("pub use a::{B, C};\npub struct D;\n"),
        ["B", "C", "D"]
    );
    assert!(is_bare("#[derive(Debug)]\npub struct B;\n", "B"));
    assert!(!is_bare(
        "/// What it is.\n#[derive(Debug)]\npub struct B;\n",
        "B"
    ));
    assert!(!is_bare(
        "/// What it is.\n#[expect(\n    lint,\n)]\npub fn b() {}\n",
        "b"
    ));
}

fn rooms() -> Vec<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let entries = fs::read_dir(source).expect("a folder");
    let folders = entries.map(|entry| entry.expect("an entry").path());
    folders
        .filter(|path| path.join("mod.rs").is_file())
        .collect()
}

/// The names that a front defines or re-exports.
fn offered(front: &str) -> Vec<String> {
    let mut names = Vec::new();
    for statement in front.split(';') {
        let Some(list) = statement.trim_start().strip_prefix("pub use ") else {
            continue;
        };
        let list = list.rsplit_once("::{").map_or_else(
            || list.rsplit("::").next().unwrap_or(list),
            |(_, items)| items.trim_end_matches('}'),
        );
        let items = list
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        names.extend(items.map(|item| item.split(" as ").next().unwrap_or(item).to_owned()));
    }
    for line in front.lines() {
        names.extend(defined(line).map(str::to_owned));
    }
    names
}

/// The name of the public item that this line begins to define.
fn defined(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub ")?;
    let rest = KINDS
        .iter()
        .find_map(|kind| rest.strip_prefix(kind)?.strip_prefix(' '))?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// Whether the text defines the item without a line of documentation over it or its attributes.
fn is_bare(text: &str, item: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let Some(at) = lines.iter().position(|line| defined(line) == Some(item)) else {
        return false;
    };
    let above = lines[..at].iter().rev();
    let mut above = above.take_while(|line| !line.is_empty() && **line != "}");
    !above.any(|line| line.starts_with("///"))
}

/// All files of a room but its tests.
fn texts_of(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.ends_with("tests") || path.ends_with("tests.rs") {
            continue;
        }
        if path.is_dir() {
            texts.extend(texts_of(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(fs::read_to_string(path).expect("readable"));
        }
    }
    texts
}
