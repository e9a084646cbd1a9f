//! The limits of a text or meta client.

use larder::engine::Limits;

use super::{Held, KEY, Then, Who, edges, start, text_case};
use crate::engine_fixture::OWNER;

pub const UNAUTHENTICATED: &str = "CLIENT_ERROR unauthenticated\r\n";
pub const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format\r\n";
pub const TOO_LARGE: &str = "SERVER_ERROR object too large for cache\r\n";
const LINE_TOO_LONG: &str = "CLIENT_ERROR line too long\r\n";
const LOGIN_FAILED: &str = "CLIENT_ERROR authentication failure\r\n";
pub const LOGIN_TOO_LONG: &str = "CLIENT_ERROR auth token too long\r\n";

/// One limit.
struct Row {
    name: &'static str,
    limit: usize,
    who: Who,
    /// A request of this size, number or length.
    request: fn(usize) -> Vec<u8>,
    /// One for each of [`edges`].
    answers: [(String, Then); 4],
}

fn goes_on(answer: &str) -> (String, Then) {
    (answer.to_owned(), Then::GoesOn)
}

fn closes(answer: &str) -> (String, Then) {
    (answer.to_owned(), Then::Closes)
}

/// A command whose key has a length at the limit: what it is told, and what it is told for a longer one. Ten times as
/// long, the line is too long.
fn key(name: &'static str, request: fn(usize) -> Vec<u8>, fits: &str, too_long: &str) -> Row {
    Row {
        name,
        limit: KEY,
        who: Who::Owner,
        request,
        answers: [
            goes_on(fits),
            goes_on(fits),
            goes_on(too_long),
            closes(LINE_TOO_LONG),
        ],
    }
}

/// The same for a command that reads keys, whose line may be longer.
fn read_key(name: &'static str, request: fn(usize) -> Vec<u8>) -> Row {
    let [below, at, beyond, _] = key(name, request, "END\r\n", BAD_FORMAT).answers;
    Row {
        name,
        limit: KEY,
        who: Who::Owner,
        request,
        answers: [below, at, beyond, goes_on(BAD_FORMAT)],
    }
}

fn keys() -> Vec<Row> {
    vec![
        read_key("key of get", |n| line(&["get", &k(n)])),
        read_key("key of gets", |n| line(&["gets", "other", &k(n)])),
        read_key("key of gat", |n| line(&["gat", "0", &k(n)])),
        key(
            "key of set",
            |n| line(&["set", &"s".repeat(n), "0 0 1\r\nv"]),
            "STORED\r\n",
            BAD_FORMAT,
        ),
        key(
            "key of delete",
            |n| line(&["delete", &k(n)]),
            "NOT_FOUND\r\n",
            BAD_FORMAT,
        ),
        key(
            "key of incr",
            |n| line(&["incr", &k(n), "1"]),
            "NOT_FOUND\r\n",
            BAD_FORMAT,
        ),
        key(
            "key of touch",
            |n| line(&["touch", &k(n), "0"]),
            "NOT_FOUND\r\n",
            BAD_FORMAT,
        ),
        key(
            "key of mg",
            |n| line(&["mg", &k(n), "v"]),
            "EN\r\n",
            BAD_FORMAT,
        ),
        key(
            "key of ms",
            |n| line(&["ms", &"m".repeat(n), "1\r\nv"]),
            "HD\r\n",
            BAD_FORMAT,
        ),
        key("key of md", |n| line(&["md", &k(n)]), "NF\r\n", BAD_FORMAT),
        key(
            "key of ma",
            |n| line(&["ma", &k(n)]),
            "NF\r\n",
            "CLIENT_ERROR invalid or duplicate flag\r\n",
        ),
    ]
}

fn lines() -> Vec<Row> {
    let limits = Limits::default();
    let answers = |fits: &str| {
        let (fits, too_long) = (goes_on(fits), closes(LINE_TOO_LONG));
        [fits.clone(), fits, too_long.clone(), too_long]
    };
    let row = |name, limit, who, request, fits| Row {
        name,
        limit,
        who,
        request,
        answers: answers(fits),
    };
    let (line, list) = (limits.line_bytes_max, limits.key_list_bytes_max);
    vec![
        row("line", line, Who::Owner, no_command, "ERROR\r\n"),
        row("list of keys", list, Who::Owner, key_list, "END\r\n"),
        row(
            "line before login",
            line,
            Who::Nobody,
            no_command,
            UNAUTHENTICATED,
        ),
        row(
            "list of keys before login",
            line,
            Who::Nobody,
            key_list,
            UNAUTHENTICATED,
        ),
    ]
}

fn items() -> Vec<Row> {
    let limit = Limits::default().item_bytes_max;
    let row = |name, request, answers: [&str; 4]| Row {
        name,
        limit,
        who: Who::Owner,
        request,
        answers: answers.map(goes_on),
    };
    let appended = "STORED\r\nSTORED\r\n";
    let not_appended = "STORED\r\nNOT_STORED\r\n";
    let too_large = format!("STORED\r\n{TOO_LARGE}");
    vec![
        row(
            "item of set",
            |n| block(&format!("set i 0 0 {}", n - 1), n - 1),
            ["STORED\r\n", "STORED\r\n", TOO_LARGE, TOO_LARGE],
        ),
        row(
            "item of ms",
            |n| block(&format!("ms j {}", n - 1), n - 1),
            ["HD\r\n", "HD\r\n", TOO_LARGE, TOO_LARGE],
        ),
        // A value that is too large together with the old one is not stored, and the old one stays.
        row(
            "item of append",
            |n| {
                block(
                    &format!("set l 0 0 1\r\nv\r\nappend l 0 0 {}", n - 2),
                    n - 2,
                )
            },
            [appended, appended, not_appended, &too_large],
        ),
    ]
}

fn flags() -> Vec<Row> {
    let row = |name, limit, request, answers: [&str; 4]| Row {
        name,
        limit,
        who: Who::Owner,
        request,
        answers: answers.map(goes_on),
    };
    let opaque = |n| format!("EN O{}\r\n", "x".repeat(n));
    let opaque_too_long = "CLIENT_ERROR opaque token too long\r\n";
    let too_many = "CLIENT_ERROR options flags are too long\r\n";
    vec![
        row(
            "opaque of mg",
            31,
            |n| line(&["mg", "absent", &format!("O{}", "x".repeat(n))]),
            [&opaque(30), &opaque(31), opaque_too_long, opaque_too_long],
        ),
        row(
            "tokens of mg",
            20,
            |n| line(&["mg", "absent", &some_flags(n - 2)]),
            ["EN\r\n", "EN\r\n", too_many, too_many],
        ),
    ]
}

/// Before a login, all of it counts.
fn logins() -> Vec<Row> {
    let limits = Limits::default();
    let failures = usize::from(limits.login_failures_max);
    let requests = usize::from(limits.login_requests_max);
    let row = |name, limit, request, answers| Row {
        name,
        limit,
        who: Who::Nobody,
        request,
        answers,
    };
    let up_to = |limit: usize, answer: &str| {
        let last = closes(&answer.repeat(limit));
        [
            goes_on(&answer.repeat(limit - 1)),
            last.clone(),
            last.clone(),
            last,
        ]
    };
    let block_answers = [LOGIN_FAILED, LOGIN_FAILED, LOGIN_TOO_LONG, LOGIN_TOO_LONG];
    vec![
        row(
            "block of a login",
            limits.login_block_bytes_max,
            |n| block(&format!("set {} 0 0 {n}", OWNER.0), n),
            block_answers.map(goes_on),
        ),
        row(
            "failed logins",
            failures,
            |n| block(&format!("set {} 0 0 5", OWNER.0), 5).repeat(n),
            up_to(failures, LOGIN_FAILED),
        ),
        row(
            "requests before a login",
            requests,
            |n| b"get k\r\n".repeat(n),
            up_to(requests, UNAUTHENTICATED),
        ),
    ]
}

/// A key that nobody has stored.
fn k(bytes: usize) -> String {
    "k".repeat(bytes)
}

fn line(tokens: &[&str]) -> Vec<u8> {
    (tokens.join(" ") + "\r\n").into_bytes()
}

/// A line and its data block.
fn block(head: &str, bytes: usize) -> Vec<u8> {
    [head.as_bytes(), b"\r\n", &vec![b'v'; bytes], b"\r\n"].concat()
}

/// A line of so many bytes before its LF.
fn no_command(bytes: usize) -> Vec<u8> {
    line(&["x".repeat(bytes - 1).as_str()])
}

/// The same that reads keys, each as long as a key may be.
fn key_list(bytes: usize) -> Vec<u8> {
    let keys = std::iter::once(k(KEY) + " ").cycle().take(bytes / KEY + 1);
    let mut line = format!("get {}", keys.collect::<String>());
    line.truncate(bytes - 1);
    (line + "\r\n").into_bytes()
}

/// Flags that change no answer to a miss. The first twenty are all different.
fn some_flags(count: usize) -> String {
    const FLAGS: &str = "v u I x F1 T1 R1 C1 E1 J1 D1 M P L s c f t h l";
    let flags: Vec<&str> = FLAGS.split(' ').cycle().take(count).collect();
    flags.join(" ")
}

#[test]
fn what_a_text_client_sends_is_bounded() {
    let fixture = start(|_| ());
    let before = Held::now(&fixture);
    let rows = [keys(), lines(), items(), flags(), logins()];
    for row in rows.into_iter().flatten() {
        for (size, (answer, then)) in edges(row.limit).into_iter().zip(&row.answers) {
            println!("{} {size}, where {} is the limit", row.name, row.limit);
            text_case(
                &fixture,
                row.who,
                &(row.request)(size),
                (answer.as_str(), *then),
            );
        }
    }
    before.and_nothing_without_the_cache();
}
