//! `docs/security-requirements.md` names tests that exist.

use std::fs;
use std::path::{Path, PathBuf};

/// Rows of the security document.
const REQUIREMENTS: usize = 109;

fn page() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join("docs/security-requirements.md")).expect("the page")
}

/// The texts of all Rust files at and below `path`.
fn sources(path: &Path) -> String {
    if path.is_file() {
        return fs::read_to_string(path).expect("a source file");
    }
    let entries = fs::read_dir(path).map(|entries| {
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.expect("an entry").path())
            .collect();
        paths.retain(|path| path.is_dir() || path.extension().is_some_and(|end| end == "rs"));
        paths
    });
    let paths = entries.unwrap_or_default();
    paths.iter().map(|path| sources(path)).collect()
}

/// Whether the module of `test` (`module::…::name`) holds a function, or a scenario of a macro, of that name.
fn exists(folder: &str, test: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let (module, name) = test.rsplit_once("::").unwrap_or(("", test));
    let module = module.split("::").next().unwrap_or(module);
    let text = [root.join(module), root.join(format!("{module}.rs"))]
        .iter()
        .map(|path| sources(path))
        .collect::<String>();
    let is_part = |byte: Option<char>| byte.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(name).any(|(at, _)| {
        let (before, behind) = (&text[..at], &text[at + name.len()..]);
        !is_part(before.chars().next_back()) && !is_part(behind.chars().next())
    })
}

#[test]
fn every_test_that_the_page_names_exists() {
    let page = page();
    let mut named = 0;
    let mut missing = Vec::new();
    for quoted in page.split('`').skip(1).step_by(2) {
        let folder = match quoted.split_once(": ") {
            Some(("it", _)) => "tests/it",
            Some(("lib", _)) => "src",
            _ => continue,
        };
        let test = &quoted[quoted.find(": ").map_or(0, |at| at + 2)..];
        named += 1;
        if !exists(folder, test) {
            missing.push(quoted);
        }
    }
    assert!(named > 200, "only {named} tests are named");
    assert_eq!(missing, Vec::<&str>::new(), "no such tests");
}

#[test]
fn every_requirement_has_one_row() {
    let page = page();
    let id = |line: &str| Some(line.strip_prefix("| ")?.split(' ').next()?.to_owned());
    let is_id = |text: &String| {
        let number = text.split_once('-').map(|(_, number)| number);
        number.is_some_and(|number| number.starts_with(|digit: char| digit.is_ascii_digit()))
    };
    let mut ids: Vec<String> = page.lines().filter_map(id).filter(is_id).collect();
    ids.sort();
    let rows = ids.len();
    ids.dedup();
    assert_eq!((ids.len(), rows), (REQUIREMENTS, REQUIREMENTS));
}

#[test]
fn the_systemd_unit_takes_away_what_the_service_does_not_need() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let unit = fs::read_to_string(root.join("deploy/larder.service")).expect("the unit");
    for line in [
        "CapabilityBoundingSet=",
        "LimitCORE=0",
        "LockPersonality=yes",
        "MemoryDenyWriteExecute=yes",
        "MemorySwapMax=0",
        "NoNewPrivileges=yes",
        "PrivateDevices=yes",
        "PrivateTmp=yes",
        "ProtectControlGroups=yes",
        "ProtectHome=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
        "ProtectSystem=strict",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "RestrictNamespaces=yes",
        "RestrictSUIDSGID=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "UMask=0077",
        "User=larder",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
}

/// What the unit does about swap, an operator without systemd does by hand (security.md ST-11).
#[test]
fn the_readme_says_how_to_keep_cached_values_off_the_swap_device() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("the page");
    for part in ["without systemd", "swapoff -a", "encrypt"] {
        assert!(readme.contains(part), "{part}");
    }
}

#[test]
fn the_security_page_says_whom_to_tell_and_how_soon_it_is_mended() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("SECURITY.md")).expect("the page");
    for part in [
        "private security advisory",
        "48 hours",
        "7 days",
        "last reviewed on 20",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

/// The numbers over the tables are those of the tables.
#[test]
fn the_page_counts_its_rows() {
    let page = page();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'))
        .map(|row| row.split(" | ").map(str::trim).collect::<Vec<&str>>())
        .filter(|row| row.len() == 6 && row[0].contains('-') && row[0] != "---")
        .collect();
    assert_eq!(rows.len(), REQUIREMENTS);
    let of_gap = |begin: &str| rows.iter().filter(|row| row[5].starts_with(begin)).count();
    let told = |what: &str| {
        let begin = format!("| {what} | ");
        let number = page.lines().find_map(|line| line.strip_prefix(&begin));
        number
            .and_then(|rest| rest.trim_end_matches(" |").parse().ok())
            .unwrap_or(usize::MAX)
    };
    assert_eq!(
        told("held, with a test that fails without it"),
        rows.iter().filter(|row| row[5].is_empty()).count()
    );
    for (what, begin) in [
        ("held differently, with a test", "held differently"),
        ("partly held", "partly held"),
        ("held, but no test fails", "no test fails"),
        ("not held", "not held"),
        ("do not apply", "does not apply"),
    ] {
        assert_eq!(told(what), of_gap(begin), "{what}");
    }
    let broken = rows.iter().filter(|row| ["yes", "part"].contains(&row[4]));
    assert_eq!(told("broken once, and seen to fail"), broken.count());
    assert!(rows.iter().all(|row| ["yes", "part", ""].contains(&row[4])));
}
