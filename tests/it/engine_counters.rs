//! `stats`: its names, which counters each command raises, and whose they are.

use std::collections::HashMap;

use crate::engine_fixture::{ALICE, Client, EngineFixture, OTHER_TENANT, OWNER, packet};

/// All names, in alphabetical order. A new one must tell nothing about other tenants or the machine.
const NAMES: [&str; 52] = [
    "accepting_conns",
    "auth_cmds",
    "auth_errors",
    "bytes",
    "bytes_read",
    "bytes_written",
    "cas_badval",
    "cas_hits",
    "cas_misses",
    "cmd_delete",
    "cmd_flush",
    "cmd_get",
    "cmd_set",
    "cmd_touch",
    "conn_yields",
    "connection_structures",
    "curr_connections",
    "curr_items",
    "decr_hits",
    "decr_misses",
    "delete_hits",
    "delete_misses",
    "direct_reclaims",
    "evicted_unfetched",
    "evictions",
    "expired",
    "expired_unfetched",
    "get_expired",
    "get_hits",
    "get_misses",
    "incr_hits",
    "incr_misses",
    "limit_maxbytes",
    "listen_disabled_num",
    "malloc_fails",
    "max_connections",
    "pid",
    "pointer_size",
    "reclaimed",
    "rejected_connections",
    "rusage_system",
    "rusage_user",
    "store_no_memory",
    "store_too_large",
    "threads",
    "time",
    "total_connections",
    "total_items",
    "touch_hits",
    "touch_misses",
    "uptime",
    "version",
];

/// Names whose values also change for other reasons than the counted commands.
const METERS: [&str; 6] = [
    "bytes",
    "bytes_read",
    "bytes_written",
    "curr_items",
    "time",
    "uptime",
];

/// Request, reply, and the counters that rise by one. The cache has an item `text` with CAS value 77 and an item `number`.
const COUNTED: [(&str, &str, &[&str]); 45] = [
    (
        "get text",
        "VALUE text 0 4\r\nword\r\nEND",
        &["cmd_get", "get_hits"],
    ),
    ("get absent", "END", &["cmd_get", "get_misses"]),
    ("mg text", "HD", &["cmd_get", "get_hits"]),
    ("mg absent", "EN", &["cmd_get", "get_misses"]),
    (
        "gat 0 text",
        "VALUE text 0 4\r\nword\r\nEND",
        &["cmd_touch", "touch_hits"],
    ),
    ("gat 0 absent", "END", &["cmd_touch", "touch_misses"]),
    ("touch text 0", "TOUCHED", &["cmd_touch", "touch_hits"]),
    (
        "touch absent 0",
        "NOT_FOUND",
        &["cmd_touch", "touch_misses"],
    ),
    ("mg text T0", "HD", &["cmd_touch", "touch_hits"]),
    ("set text 0 0 1\r\nv", "STORED", &["cmd_set", "total_items"]),
    ("add text 0 0 1\r\nv", "NOT_STORED", &["cmd_set"]),
    ("add new 0 0 1\r\nv", "STORED", &["cmd_set", "total_items"]),
    ("replace absent 0 0 1\r\nv", "NOT_STORED", &["cmd_set"]),
    (
        "append text 0 0 1\r\nv",
        "STORED",
        &["cmd_set", "total_items"],
    ),
    ("append absent 0 0 1\r\nv", "NOT_STORED", &["cmd_set"]),
    ("ms text 1\r\nv", "HD", &["cmd_set", "total_items"]),
    (
        "cas text 0 0 1 77\r\nv",
        "STORED",
        &["cas_hits", "cmd_set", "total_items"],
    ),
    (
        "cas text 0 0 1 78\r\nv",
        "EXISTS",
        &["cas_badval", "cmd_set"],
    ),
    (
        "cas absent 0 0 1 77\r\nv",
        "NOT_FOUND",
        &["cas_misses", "cmd_set"],
    ),
    (
        "ms text 1 C77\r\nv",
        "HD",
        &["cas_hits", "cmd_set", "total_items"],
    ),
    ("incr number 1", "13", &["incr_hits"]),
    ("incr absent 1", "NOT_FOUND", &["incr_misses"]),
    ("decr number 1", "11", &["decr_hits"]),
    ("decr absent 1", "NOT_FOUND", &["decr_misses"]),
    ("ma number", "HD", &["incr_hits"]),
    ("ma absent MD", "NF", &["decr_misses"]),
    ("delete text", "DELETED", &["cmd_delete", "delete_hits"]),
    (
        "delete absent",
        "NOT_FOUND",
        &["cmd_delete", "delete_misses"],
    ),
    ("md text", "HD", &["cmd_delete", "delete_hits"]),
    ("md absent", "NF", &["cmd_delete", "delete_misses"]),
    ("mg absent T0", "EN", &["cmd_get", "get_misses"]),
    (
        "mg fresh N30",
        "HD W",
        &["cmd_get", "get_hits", "total_items"],
    ),
    (
        "mg fresher N30 T60",
        "HD W",
        &["cmd_touch", "total_items", "touch_hits"],
    ),
    (
        "incr text 1",
        "CLIENT_ERROR cannot increment or decrement non-numeric value",
        &[],
    ),
    ("ma number C1", "EX", &[]),
    ("ma made N0", "HD", &["total_items"]),
    ("incr number 99", "111", &["incr_hits", "total_items"]),
    ("md text C1", "EX", &["cmd_delete", "delete_misses"]),
    ("md text I", "HD", &["cmd_delete"]),
    (
        "md text x",
        "HD",
        &["cmd_delete", "delete_hits", "total_items"],
    ),
    ("ms text 1 MA C1\r\nv", "EX", &["cmd_set"]),
    ("flush_all 100", "OK", &["cmd_flush"]),
    ("flush_all", "OK", &["cmd_flush"]),
    ("version", "VERSION 1.6.45", &[]),
    ("mn", "MN", &[]),
];

#[test]
fn each_command_raises_its_own_counters_by_one() {
    let fixture = EngineFixture::start();
    let mut client = fixture.text(OWNER);
    for (request, reply, counters) in COUNTED {
        let items = "ms text 4 E77\r\nword\r\nms number 2\r\n12\r\n";
        client.talk(items, "HD\r\nHD\r\n");
        let before = stats(&mut client, "");
        client.talk(&format!("{request}\r\n"), &format!("{reply}\r\n"));
        let after = stats(&mut client, "");
        let expected: Vec<(&str, u64)> = counters.iter().map(|&name| (name, 1)).collect();
        assert_eq!(risen(&before, &after), expected, "{request}");
    }
}

/// In memcached a wrong CAS value makes `md` a miss, and a binary DELETE neither hit nor miss.
#[test]
fn a_binary_delete_with_a_wrong_cas_value_is_no_miss() {
    let fixture = EngineFixture::start();
    let mut binary = fixture.binary(OWNER);
    let mut text = fixture.text(OWNER);
    text.talk("ms text 4 E77\r\nword\r\n", "HD\r\n");
    for opcode in [0x04, 0x14] {
        let before = stats(&mut text, "");
        binary.send(&packet(opcode, 0, &[], b"text", b"", 78));
        assert_eq!(binary.packet().status, 0x02);
        let after = stats(&mut text, "");
        assert_eq!(risen(&before, &after), [("cmd_delete", 1)], "{opcode:#x}");
    }
    let before = stats(&mut text, "");
    binary.send(&packet(0x04, 0, &[], b"absent", b"", 78));
    assert_eq!(binary.packet().status, 0x01);
    let after = stats(&mut text, "");
    let missed = [("cmd_delete", 1), ("delete_misses", 1)];
    assert_eq!(risen(&before, &after), missed);
}

#[test]
fn a_number_that_grows_longer_is_a_new_item_that_nobody_has_fetched() {
    let fixture = EngineFixture::start();
    let mut client = fixture.text(OWNER);
    client.talk(
        "set grows 0 0 1\r\n9\r\nset fits 0 0 1\r\n8\r\n",
        "STORED\r\nSTORED\r\n",
    );
    client.talk("mg grows\r\nmg fits\r\n", "HD\r\nHD\r\n");
    client.talk("md grows I T30\r\nmg grows\r\n", "HD\r\nHD X W\r\n");
    client.talk("incr grows 1\r\nincr fits 1\r\n", "10\r\n9\r\n");
    // Stale and fetched were marks of the item before.
    client.talk("mg grows h l v\r\n", "VA 2 h0 l0\r\n10\r\n");
    client.talk("mg fits h v\r\n", "VA 1 h1\r\n9\r\n");
}

/// The counters that have changed, and by how much.
fn risen<'a>(
    before: &HashMap<String, String>,
    after: &'a HashMap<String, String>,
) -> Vec<(&'a str, u64)> {
    let number = |value: &str| value.parse::<u64>().unwrap_or(0);
    let mut risen: Vec<(&str, u64)> = after
        .iter()
        .filter(|(name, _)| !METERS.contains(&name.as_str()))
        .map(|(name, now)| {
            (
                name.as_str(),
                number(now).wrapping_sub(number(&before[name])),
            )
        })
        .filter(|&(_, by)| by != 0)
        .collect();
    risen.sort_unstable();
    risen
}

#[test]
fn the_statistics_have_these_names_and_tell_nothing_of_the_process() {
    let fixture = EngineFixture::start();
    let known = stats(&mut fixture.text(OWNER), "");
    let mut names: Vec<&str> = known.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, NAMES);
    // The fixture has two threads.
    assert_eq!((&*known["pid"], &*known["threads"]), ("1", "1"));
}

pub fn stats(client: &mut Client, group: &str) -> HashMap<String, String> {
    client.send(format!("stats {group}\r\n").as_bytes());
    let mut text = String::new();
    while !text.ends_with("END\r\n") {
        let more = client.more().expect("the rest of the statistics");
        text.push_str(std::str::from_utf8(&more).unwrap());
    }
    let pairs = text.lines().filter_map(|line| {
        let (name, value) = line.strip_prefix("STAT ")?.split_once(' ')?;
        Some((name.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

#[test]
fn stats_count_the_caller_s_cache_only() {
    let fixture = EngineFixture::start();
    let (mut alice, mut bob) = (fixture.text(OWNER), fixture.text(OTHER_TENANT));
    alice.talk("set k 0 0 1\r\n1\r\n", "STORED\r\n");
    alice.talk(
        "get k k absent\r\n",
        "VALUE k 0 1\r\n1\r\nVALUE k 0 1\r\n1\r\nEND\r\n",
    );
    alice.talk("incr k 1\r\n", "2\r\n");
    alice.talk("delete absent\r\n", "NOT_FOUND\r\n");
    alice.talk("touch k 0\r\n", "TOUCHED\r\n");
    let known = stats(&mut alice, "");
    for (name, value) in [
        ("cmd_get", "3"),
        ("get_hits", "2"),
        ("get_misses", "1"),
        ("cmd_set", "1"),
        ("incr_hits", "1"),
        ("delete_misses", "1"),
        ("cmd_touch", "1"),
        ("touch_hits", "1"),
        ("curr_items", "1"),
        ("curr_connections", "1"),
        ("total_connections", "1"),
        ("auth_cmds", "1"),
        ("auth_errors", "0"),
        ("limit_maxbytes", "67108864"),
        ("version", "1.6.45"),
    ] {
        assert_eq!(known[name], value, "{name}");
    }
    for name in ["bytes_read", "bytes_written", "bytes"] {
        assert_ne!(known[name], "0", "{name}");
    }
    let other = stats(&mut bob, "");
    for name in ["cmd_get", "cmd_set", "curr_items", "bytes"] {
        assert_eq!(other[name], "0", "{name}");
    }
    assert_eq!(stats(&mut alice, "settings")["maxconns"], "1000");
    assert!(stats(&mut alice, "items").is_empty());
}

#[test]
fn a_reset_of_the_statistics_leaves_the_meters() {
    let fixture = EngineFixture::start();
    let mut alice = fixture.text(OWNER);
    alice.talk("set k 0 0 1\r\n1\r\n", "STORED\r\n");
    alice.talk("get k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n");
    alice.talk("stats reset\r\n", "RESET\r\n");
    let known = stats(&mut alice, "");
    assert_eq!((&*known["cmd_get"], &*known["cmd_set"]), ("0", "0"));
    assert_eq!(known["curr_items"], "1");
    assert_eq!(fixture.engine.figures(ALICE).unwrap().counters.get_hits, 1);
}

#[test]
fn failed_logins_are_counted_where_they_belong() {
    let fixture = EngineFixture::start();
    let mut guesser = fixture.connect();
    let login = format!("set {} 0 0 5\r\nwrong\r\n", OWNER.0);
    guesser.talk(&login, "CLIENT_ERROR authentication failure\r\n");
    let mut sasl = fixture.connect();
    let data = format!("\0{}\0wrong", OWNER.0);
    sasl.send(&packet(0x21, 0, &[], b"PLAIN", data.as_bytes(), 0));
    assert_eq!(sasl.packet().status, 0x20);
    let traffic = fixture.engine.figures(ALICE).unwrap().traffic;
    assert_eq!((traffic.auth_cmds, traffic.auth_errors), (2, 2));
}
