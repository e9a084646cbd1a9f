//! `stats`: which names it has, and which of them a command raises.

use std::collections::HashMap;

use crate::engine_stage::{OWNER, Stage};
use crate::engine_telling::stats;

/// All names, in the order of the alphabet. A new one must be one that tells nothing of neighbours or the machine.
const NAMES: [&str; 47] = [
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
    "curr_connections",
    "curr_items",
    "decr_hits",
    "decr_misses",
    "delete_hits",
    "delete_misses",
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

/// What moves by more than what is counted.
const METERS: [&str; 6] = [
    "bytes",
    "bytes_read",
    "bytes_written",
    "curr_items",
    "time",
    "uptime",
];

/// Request, reply, and the counters that rise by one. There are a `text` with the unique 77 and a `number`.
const COUNTED: [(&str, &str, &[&str]); 33] = [
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
    ("flush_all", "OK", &["cmd_flush"]),
    ("version", "VERSION 1.6.45", &[]),
    ("mn", "MN", &[]),
];

#[test]
fn each_command_raises_its_own_counters_by_one() {
    let stage = Stage::start();
    let mut client = stage.text(OWNER);
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

/// The counters that are not what they were, and by how much.
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
    let stage = Stage::start();
    let known = stats(&mut stage.text(OWNER), "");
    let mut names: Vec<&str> = known.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, NAMES);
    // The stage has two threads.
    assert_eq!((&*known["pid"], &*known["threads"]), ("1", "1"));
}
