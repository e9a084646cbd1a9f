//! Reads the source tree: which file uses which paths. Good for this tree only, and strict about what it does not
//! understand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// One file of `src`, as far as these tests care.
pub struct Source {
    /// `outbox`, or `telemetry` for a room of one file.
    pub room: String,
    /// Under `src`, such as `outbox/worker.rs`.
    pub path: String,
    /// Code without comments, texts and modules of tests, by line.
    pub lines: Vec<(usize, String)>,
}

/// Every source file but the crate's own front page and entry, which belong to no room. Modules of tests stage whole
/// services, so they may use what they need.
pub fn sources() -> Vec<Source> {
    let src = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    gather(&src, &mut files);
    files.sort();
    assert!(files.len() > 20, "the tree was found");
    let relative = |file: &PathBuf| {
        let path = file.strip_prefix(&src).expect("a file under src");
        path.to_str().expect("a plain name").to_owned()
    };
    files
        .iter()
        .map(|file| (relative(file), fs::read_to_string(file).expect("readable")))
        .filter(|(path, _)| !["lib.rs", "main.rs"].contains(&path.as_str()))
        .map(|(path, text)| Source {
            room: first_part(&path),
            lines: code_lines(&text),
            path,
        })
        .collect()
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && name != "tests" {
            gather(&path, files);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            files.push(path);
        }
    }
}

fn first_part(path: &str) -> String {
    let first = path.split('/').next().unwrap_or(path);
    first.trim_end_matches(".rs").to_owned()
}

/// Lines of code with their numbers, up to a module of tests at the end of the file.
fn code_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut after_cfg_test = false;
    for (at, line) in text.lines().enumerate() {
        let bare = line.trim_start();
        if after_cfg_test && bare.starts_with("mod ") {
            if bare.ends_with('{') {
                break;
            }
            after_cfg_test = false;
            continue;
        }
        after_cfg_test =
            bare.starts_with("#[cfg(test)]") || (after_cfg_test && bare.starts_with("#["));
        if !bare.starts_with("//") {
            lines.push((at + 1, without_texts(line)));
        }
    }
    lines
}

/// The line without what stands between quotes.
fn without_texts(line: &str) -> String {
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

impl Source {
    /// All paths of the code that begin with one of these words, with their lines: `use a::{b, c::d};` gives `a::b` and
    /// `a::c::d`.
    pub fn paths(&self, begin: &dyn Fn(&str) -> bool) -> Vec<(usize, Vec<String>)> {
        let mut starts = Vec::new();
        let mut code = String::new();
        for (number, line) in &self.lines {
            starts.push((code.len(), *number));
            code.push_str(line);
            code.push('\n');
        }
        let line_of = |at: usize| {
            let after = starts.partition_point(|(start, _)| *start <= at);
            starts[after - 1].1
        };
        let mut found = Vec::new();
        let bytes = code.as_bytes();
        for (at, _) in code.match_indices("::") {
            let start = code[..at]
                .rfind(|c: char| !is_name(c))
                .map_or(0, |before| before + 1);
            let is_inner = code[..start].ends_with("::") || code[..start].ends_with('$');
            let in_list = bytes[..start]
                .iter()
                .rev()
                .find(|byte| !byte.is_ascii_whitespace());
            let in_list = matches!(in_list, Some(b'{' | b',')) && opens_path_list(&code[..start]);
            if !is_inner && !in_list && begin(&code[start..at]) {
                let mut paths = Vec::new();
                read_path(&code[start..], &mut Vec::new(), &mut paths);
                found.extend(paths.into_iter().map(|path| (line_of(start), path)));
            }
        }
        found
    }
}

impl Source {
    /// Whether a `pub use` begins on this line.
    fn is_reexport(&self, number: usize) -> bool {
        let line = self.lines.iter().find(|(at, _)| *at == number);
        line.is_some_and(|(_, line)| line.trim_start().starts_with("pub") && line.contains(" use "))
    }
}

/// Whether the text ends within the braces of a path, so that what follows is a part of it.
fn opens_path_list(before: &str) -> bool {
    let mut depth = 0;
    for (at, c) in before.char_indices().rev() {
        match c {
            '}' => depth += 1,
            '{' if depth == 0 => return before[..at].ends_with("::"),
            '{' => depth -= 1,
            ';' | '(' | ')' => return false,
            _ => {}
        }
    }
    false
}

/// Reads `a::b::{c, d::e}` and gives what comes after it.
fn read_path<'a>(text: &'a str, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let end = text.find(|c: char| !is_name(c)).unwrap_or(text.len());
    let depth = before.len();
    before.push(text[..end].to_owned());
    let mut rest = &text[end..];
    if let Some(list) = rest.strip_prefix("::{") {
        rest = list.trim_start();
        while !rest.starts_with('}') && !rest.is_empty() {
            let after = read_path(rest, before, found).trim_start();
            let after = after.strip_prefix("as ").map_or(after, |name| {
                name.trim_start_matches(|c: char| is_name(c)).trim_start()
            });
            rest = after.strip_prefix(',').unwrap_or(after).trim_start();
            if after == rest && !rest.starts_with('}') {
                break;
            }
        }
        rest = rest.strip_prefix('}').unwrap_or(rest);
    } else if let Some(next) = rest.strip_prefix("::")
        && next.starts_with(|c: char| is_name(c) || c == '*')
    {
        rest = read_path(next, before, found);
    } else {
        found.push(before.clone());
        rest = rest.strip_prefix('*').unwrap_or(rest);
    }
    before.truncate(depth);
    rest
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The files of one room and, for each, the others that it uses.
pub fn files_used(sources: &[Source], room: &str) -> BTreeMap<String, BTreeSet<String>> {
    let files: Vec<&Source> = sources.iter().filter(|file| file.room == room).collect();
    // `outbox/ports.rs` is the module outbox::ports, `outbox/mod.rs` is outbox.
    let module = |path: &str| {
        let name = path.trim_end_matches(".rs").trim_end_matches("/mod");
        name.split('/').map(str::to_owned).collect::<Vec<_>>()
    };
    let modules: BTreeMap<Vec<String>, &str> = files
        .iter()
        .map(|file| (module(&file.path), file.path.as_str()))
        .collect();
    let reexported = reexports(&files, &modules, &module);
    let mut used = BTreeMap::new();
    for file in &files {
        let here = module(&file.path);
        let is_child = |name: &str| {
            let mut child = here.clone();
            child.push(name.to_owned());
            file.path.ends_with("mod.rs") && modules.contains_key(&child)
        };
        let begins = |name: &str| matches!(name, "crate" | "super" | "self") || is_child(name);
        let mut others = BTreeSet::new();
        for (number, path) in file.paths(&begins) {
            // A front that hands out a part of its child does not need it.
            if file.is_reexport(number) {
                continue;
            }
            let Some(full) = absolute(&here, &path) else {
                continue;
            };
            if let Some(other) = resolve(&full, &modules, &reexported)
                && other != file.path
            {
                others.insert(other.to_owned());
            }
        }
        used.insert(file.path.clone(), others);
    }
    used
}

/// From the room's name on; `None` for a path into another room.
fn absolute(here: &[String], path: &[String]) -> Option<Vec<String>> {
    let mut full = here.to_vec();
    for (at, part) in path.iter().enumerate() {
        match part.as_str() {
            "crate" => full.clear(),
            "super" => drop(full.pop()),
            "self" => {}
            _ => {
                full.extend_from_slice(&path[at..]);
                break;
            }
        }
    }
    (full.first() == here.first()).then_some(full)
}

/// The file in which a path ends: the deepest module on its way, or the one that a front re-exports it from.
fn resolve<'a>(
    full: &[String],
    modules: &BTreeMap<Vec<String>, &'a str>,
    reexported: &BTreeMap<Vec<String>, &'a str>,
) -> Option<&'a str> {
    let deepest = (1..=full.len())
        .rev()
        .find(|length| modules.contains_key(&full[..*length]))?;
    let named = full.get(..=deepest).and_then(|path| reexported.get(path));
    named.or_else(|| modules.get(&full[..deepest])).copied()
}

/// What fronts hand out of their children: `pub use worker::Outbox` makes `outbox::Outbox` a part of the worker.
fn reexports<'a>(
    files: &[&'a Source],
    modules: &BTreeMap<Vec<String>, &'a str>,
    module: &dyn Fn(&str) -> Vec<String>,
) -> BTreeMap<Vec<String>, &'a str> {
    let mut names = BTreeMap::new();
    for file in files.iter().filter(|file| file.path.ends_with("mod.rs")) {
        let here = module(&file.path);
        let is_child = |name: &str| {
            let mut child = here.clone();
            child.push(name.to_owned());
            modules.contains_key(&child)
        };
        for (number, path) in file.paths(&is_child) {
            if let (true, Some(last)) = (file.is_reexport(number), path.last()) {
                let mut name = here.clone();
                name.push(last.clone());
                let full = absolute(&here, &path).expect("a child of the room");
                if let Some(target) = resolve(&full, modules, &BTreeMap::new()) {
                    names.insert(name, target);
                }
            }
        }
    }
    names
}
