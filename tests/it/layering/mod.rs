//! The rooms and who may use whom: reads every path under `src` and holds it to the tables.

mod source;
mod statements;

use std::collections::{BTreeMap, BTreeSet};

use source::{Source, files_used, sources};

/// A room, its rank, and the rooms that it uses. A room uses only rooms of lower rank, or of its own rank those that
/// stand above it here, so that there can be no circle. A permit that nobody uses is taken out.
type Room = (&'static str, u8, &'static [&'static str]);

const ROOMS: &[Room] = &[
    ("domain", 0, &[]),
    ("telemetry", 0, &["domain"]),
    ("format", 0, &["domain"]),
    ("http", 1, &["domain"]),
    ("store", 1, &["domain"]),
    ("engine", 1, &["domain"]),
    ("outbox", 2, &["domain", "http", "store"]),
    (
        "cluster",
        2,
        &["domain", "http", "store", "engine", "outbox"],
    ),
    ("access", 2, &["domain", "store", "outbox", "cluster"]),
    (
        "provisioning",
        2,
        &["domain", "store", "outbox", "cluster", "access"],
    ),
    (
        "web",
        3,
        &[
            "domain",
            "format",
            "store",
            "cluster",
            "access",
            "provisioning",
        ],
    ),
    (
        "config",
        3,
        &["domain", "telemetry", "http", "store", "web"],
    ),
    (
        "marketplace",
        4,
        &[
            "domain",
            "http",
            "store",
            "outbox",
            "provisioning",
            "web",
            "config",
        ],
    ),
    ("sandbox", 5, &["domain", "http"]),
    (
        "app",
        6,
        &[
            "domain",
            "telemetry",
            "http",
            "store",
            "engine",
            "outbox",
            "cluster",
            "access",
            "provisioning",
            "web",
            "config",
            "marketplace",
        ],
    ),
    (
        "cli",
        7,
        &[
            "domain",
            "telemetry",
            "format",
            "store",
            "config",
            "marketplace",
            "sandbox",
            "app",
        ],
    ),
];

/// Crates that belong to certain rooms, and these rooms. A room that does not use its crate is taken out.
const CRATES: &[(&str, &[&str])] = &[
    ("sqlx", &["store"]),
    ("reqwest", &["http"]),
    ("hyper", &["http"]),
    ("hyper_util", &["http"]),
    ("tower", &["http"]),
    ("tower_http", &["web", "marketplace"]),
    (
        "axum",
        &["http", "cluster", "web", "marketplace", "sandbox", "app"],
    ),
    ("axum_extra", &["web"]),
    ("askama", &["web", "sandbox"]),
    ("mio", &["engine"]),
    ("rustls", &["http", "engine", "access"]),
    ("tokio_rustls", &["http"]),
    ("jsonwebtoken", &["cluster"]),
    ("rcgen", &["access", "cli"]),
    ("clap", &["cli"]),
    ("anyhow", &["telemetry", "app", "cli"]),
];

/// What the domain may not touch beside the crates above: it does no I/O and reads no clock.
const FOREIGN_TO_DOMAIN: &[&[&str]] = &[
    &["std", "fs"],
    &["std", "io"],
    &["std", "net", "TcpStream"],
    &["std", "net", "TcpListener"],
    &["std", "net", "UdpSocket"],
    &["tokio"],
    &["serde"],
    &["serde_json"],
    &["SystemTime", "now"],
    &["Instant", "now"],
    &["std", "time", "SystemTime"],
    &["std", "time", "Instant"],
];

/// Rooms whose files must not use each other in circles.
const WITHOUT_CIRCLES: &[&str] = &["outbox", "marketplace", "sandbox"];

#[test]
fn rooms_use_only_what_they_are_permitted_and_need_every_permit() {
    let permitted: BTreeSet<(&str, &str)> = ROOMS
        .iter()
        .flat_map(|(room, _, uses)| uses.iter().map(|used| (*room, *used)))
        .collect();
    let mut needed = BTreeSet::new();
    let mut faults = Vec::new();
    for file in sources() {
        for (line, path) in file.paths(&|begin| begin == "crate") {
            let Some(used) = path.get(1).filter(|used| **used != file.room) else {
                continue;
            };
            match permitted
                .iter()
                .find(|pair| **pair == (file.room.as_str(), used.as_str()))
            {
                Some(pair) => drop(needed.insert(*pair)),
                None => faults.push(format!(
                    "{}:{line}: {} may not use {used}",
                    file.path, file.room
                )),
            }
        }
    }
    let idle = permitted.difference(&needed);
    faults.extend(idle.map(|(room, used)| format!("{room} need not be permitted to use {used}")));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_room_is_in_the_table_and_used_by_another() {
    let there: BTreeSet<String> = sources().into_iter().map(|file| file.room).collect();
    let listed: BTreeSet<String> = ROOMS.iter().map(|(room, ..)| (*room).to_owned()).collect();
    assert_eq!(there, listed, "rooms under src and rooms in the table");
    for (room, ..) in ROOMS {
        // The entry uses the commands.
        let used = *room == "cli" || ROOMS.iter().any(|(_, _, uses)| uses.contains(room));
        assert!(used, "no room uses {room}");
    }
}

#[test]
fn the_table_keeps_its_ranks() {
    for (at, (room, rank, uses)) in ROOMS.iter().enumerate() {
        for used in *uses {
            let above = ROOMS[..at].iter().find(|(name, ..)| name == used);
            let is_lower = above.is_some_and(|(_, other, _)| other <= rank);
            assert!(is_lower, "{room} uses {used}, which is not below it");
        }
    }
}

#[test]
fn crates_stay_in_their_rooms() {
    let rooms_of: BTreeMap<&str, &[&str]> = CRATES.iter().copied().collect();
    let mut needed = BTreeSet::new();
    let mut faults = Vec::new();
    for file in sources() {
        for (line, path) in file.paths(&|begin| rooms_of.contains_key(begin)) {
            let name = path[0].as_str();
            if !rooms_of[name].contains(&file.room.as_str()) {
                faults.push(format!(
                    "{}:{line}: {} may not use the crate {name}",
                    file.path, file.room
                ));
            }
            needed.insert((name.to_owned(), file.room.clone()));
        }
    }
    for (name, rooms) in CRATES {
        for room in *rooms {
            if !needed.contains(&((*name).to_owned(), (*room).to_owned())) {
                faults.push(format!(
                    "{room} need not be permitted to use the crate {name}"
                ));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_domain_does_no_io_and_reads_no_clock() {
    let in_domain = |file: &Source| file.room == "domain";
    let mut faults = Vec::new();
    for file in sources().into_iter().filter(in_domain) {
        for (line, path) in
            file.paths(&|begin| FOREIGN_TO_DOMAIN.iter().any(|foreign| foreign[0] == begin))
        {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            if FOREIGN_TO_DOMAIN
                .iter()
                .any(|foreign| path.starts_with(foreign))
            {
                faults.push(format!("{}:{line}: {}", file.path, path.join("::")));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn no_marketplace_is_known_outside_its_folder() {
    // `config` has the one table of settings, `cli` prints Heroku's manifest and plays it in `larder dev`.
    let allowed = ["marketplace", "sandbox", "config", "cli"];
    let mut faults = Vec::new();
    for file in sources()
        .iter()
        .filter(|file| !allowed.contains(&file.room.as_str()))
    {
        for (line, code) in &file.lines {
            if code.to_lowercase().contains("heroku") {
                faults.push(format!("{}:{line}: {code}", file.path));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn files_do_not_use_each_other_in_circles() {
    let sources = sources();
    for room in WITHOUT_CIRCLES {
        let mut open = files_used(&sources, room);
        // Takes out what uses nothing that is left, and what nothing that is left uses: circles remain.
        loop {
            let used: BTreeSet<String> = open.values().flatten().cloned().collect();
            let ends = |(file, uses): &(&String, &BTreeSet<String>)| {
                !used.contains(*file) || uses.iter().all(|other| !open.contains_key(other))
            };
            let Some(end) = open.iter().find(ends).map(|(file, _)| file.clone()) else {
                break;
            };
            open.remove(&end);
        }
        let left: Vec<String> = open
            .iter()
            .map(|(file, used)| {
                let used: Vec<&str> = used
                    .iter()
                    .filter(|other| open.contains_key(*other))
                    .map(String::as_str)
                    .collect();
                format!("{file} uses {}", used.join(", "))
            })
            .collect();
        assert!(left.is_empty(), "circles in {room}:\n{}", left.join("\n"));
    }
}
