//! The limits of a binary client, and the numbers in its packets: lengths that do not fit together close the
//! connection.

use larder::engine::Limits;

use super::{Held, KEY, SEGMENT, Then, Who, edges, says_nothing_more, start};
use crate::engine_fixture::{EngineFixture, OWNER, packet};
use crate::engine_memcached_bugs_until_2021::header;

const GET: u8 = 0x00;
const SET: u8 = 0x01;
const INCREMENT: u8 = 0x05;
const NOOP: u8 = 0x0a;
const VERSION: u8 = 0x0b;
const APPEND: u8 = 0x0e;
const TOUCH: u8 = 0x1c;
const SASL_AUTH: u8 = 0x21;

const OK: u16 = 0x00;
const NOT_FOUND: u16 = 0x01;
const TOO_LARGE: u16 = 0x03;
const INVALID: u16 = 0x04;
const LOGIN_FAILED: u16 = 0x20;
const UNKNOWN: u16 = 0x81;

/// The largest body that is no fault.
const BODY: u32 = 1 << 30;
/// The longest name of a SASL mechanism.
const MECHANISM: usize = 32;

/// Sends packets, and checks the status of each answer and what becomes of the connection.
fn binary_case(fixture: &EngineFixture, who: Who, packets: &[u8], statuses: &[u16], then: Then) {
    let held = Held::now(fixture);
    let mut client = match who {
        Who::Owner => fixture.binary(OWNER),
        Who::Nobody => fixture.connect(),
    };
    client.send_if_open(packets);
    let told: Vec<u16> = statuses.iter().map(|_| client.packet().status).collect();
    assert_eq!(told, statuses);
    let next = match who {
        Who::Owner => NOOP,
        Who::Nobody => VERSION,
    };
    let next = packet(next, 7, &[], b"", b"", 0);
    if then == Then::GoesOn {
        client.send(&next);
        let reply = client.packet();
        assert_eq!((reply.status, reply.opaque), (OK, 7));
    } else {
        says_nothing_more(&mut client, then, &next);
    }
    drop(client);
    let item_bytes = packets.len() as u64 + SEGMENT;
    held.and_no_more_than(if statuses.contains(&OK) {
        item_bytes
    } else {
        0
    });
}

/// One limit.
struct Row {
    name: &'static str,
    limit: usize,
    who: Who,
    /// Packets of this size or number.
    packets: fn(usize) -> Vec<u8>,
    /// One for each of [`edges`].
    answers: [(Vec<u16>, Then); 4],
}

fn goes_on(status: u16) -> (Vec<u16>, Then) {
    (vec![status], Then::GoesOn)
}

fn closes(status: u16) -> (Vec<u16>, Then) {
    (vec![status], Then::Closes)
}

fn rows() -> Vec<Row> {
    let limits = Limits::default();
    let failures = usize::from(limits.login_failures_max);
    let last_failure = (vec![LOGIN_FAILED; failures], Then::Closes);
    let row = |name, limit, who, packets, answers| Row {
        name,
        limit,
        who,
        packets,
        answers,
    };
    vec![
        row(
            "key of get",
            KEY,
            Who::Owner,
            |n| packet(GET, 0, &[], &vec![b'k'; n], b"", 0),
            [
                goes_on(NOT_FOUND),
                goes_on(NOT_FOUND),
                closes(INVALID),
                closes(INVALID),
            ],
        ),
        row(
            "key of set",
            KEY,
            Who::Owner,
            |n| packet(SET, 0, &[0; 8], &vec![b's'; n], b"v", 0),
            [goes_on(OK), goes_on(OK), closes(INVALID), closes(INVALID)],
        ),
        row(
            "item of set",
            limits.item_bytes_max,
            Who::Owner,
            |n| packet(SET, 0, &[0; 8], b"i", &vec![b'v'; n - 1], 0),
            [
                goes_on(OK),
                goes_on(OK),
                goes_on(TOO_LARGE),
                goes_on(TOO_LARGE),
            ],
        ),
        row(
            "data of a login",
            limits.login_block_bytes_max,
            Who::Nobody,
            |n| packet(SASL_AUTH, 0, &[], b"PLAIN", &vec![b'x'; n], 0),
            [LOGIN_FAILED; 4].map(goes_on),
        ),
        row(
            "mechanism of a login",
            MECHANISM,
            Who::Nobody,
            |n| packet(SASL_AUTH, 0, &[], &vec![b'm'; n], b"x", 0),
            [LOGIN_FAILED, LOGIN_FAILED, INVALID, INVALID].map(goes_on),
        ),
        row(
            "failed logins",
            failures,
            Who::Nobody,
            |n| packet(SASL_AUTH, 0, &[], b"PLAIN", b"\0nobody\0x", 0).repeat(n),
            [
                (vec![LOGIN_FAILED; failures - 1], Then::GoesOn),
                last_failure.clone(),
                last_failure.clone(),
                last_failure,
            ],
        ),
    ]
}

#[test]
fn what_a_binary_client_sends_is_bounded() {
    let fixture = start(|_| ());
    let before = Held::now(&fixture);
    for row in rows() {
        for (size, (statuses, then)) in edges(row.limit).into_iter().zip(&row.answers) {
            println!("{} {size}, where {} is the limit", row.name, row.limit);
            binary_case(&fixture, row.who, &(row.packets)(size), statuses, *then);
        }
    }
    before.and_nothing_without_the_cache();
}

/// Of a `set`: length of key, extras and body in its header, and the answer. Behind it follow extras, key and value as
/// they should be: 8 bytes, `k` and `v`.
const LENGTHS: &[(u16, u8, u32, u16, Then)] = &[
    (1, 8, 10, OK, Then::GoesOn),
    (0, 8, 10, INVALID, Then::Closes),
    (0x7fff, 8, 0x7fff + 9, INVALID, Then::Closes),
    (0x8000, 8, 0x8000 + 9, INVALID, Then::Closes),
    (u16::MAX, 8, 0xffff + 9, INVALID, Then::Closes),
    (u16::MAX, 8, 10, UNKNOWN, Then::Closes),
    (1, 0, 10, INVALID, Then::Closes),
    (1, 7, 10, INVALID, Then::Closes),
    (1, 9, 10, INVALID, Then::Closes),
    (1, 80, 90, INVALID, Then::Closes),
    (1, u8::MAX, 300, INVALID, Then::Closes),
    (1, u8::MAX, 10, UNKNOWN, Then::Closes),
    (1, 8, 0, UNKNOWN, Then::Closes),
    (1, 8, 8, UNKNOWN, Then::Closes),
    // Dropped as far as it comes.
    (1, 8, BODY - 1, TOO_LARGE, Then::Drops),
    (1, 8, BODY, TOO_LARGE, Then::Drops),
    (1, 8, BODY + 1, INVALID, Then::Closes),
    (1, 8, i32::MAX as u32, INVALID, Then::Closes),
    (1, 8, 1 << 31, INVALID, Then::Closes),
    (1, 8, u32::MAX, INVALID, Then::Closes),
];

#[test]
fn lengths_of_a_binary_header_fit_together_or_close() {
    let fixture = start(|_| ());
    let before = Held::now(&fixture);
    for (key, extras, body, status, then) in LENGTHS {
        println!("key {key}, extras {extras}, body {body}");
        let request = header(SET, *key, *extras, *body, b"\0\0\0\0\0\0\0\0kv");
        binary_case(&fixture, Who::Owner, &request, &[*status], *then);
    }
    for length in [1, BODY, u32::MAX] {
        let get_with_value = header(GET, 1, 0, length.saturating_add(1), b"kv");
        binary_case(
            &fixture,
            Who::Owner,
            &get_with_value,
            &[INVALID],
            Then::Closes,
        );
        let append_with_extras = header(APPEND, 1, 8, length.max(10), b"\0\0\0\0\0\0\0\0kv");
        binary_case(
            &fixture,
            Who::Owner,
            &append_with_extras,
            &[INVALID],
            Then::Closes,
        );
    }
    before.and_nothing_without_the_cache();
}

/// Extras of numbers in a row.
fn extras(numbers: &[&[u8]]) -> Vec<u8> {
    numbers.concat()
}

#[test]
fn numbers_of_binary_extras_are_taken_to_their_ends() {
    let fixture = start(|_| ());
    let before = Held::now(&fixture);
    let (u64_max, u32_max) = ([0xff; 8], [0xff; 4]);
    // An exptime of all ones says that no counter is to be made.
    let no_counter = extras(&[&u64_max, &u64_max, &u32_max]);
    let counter = extras(&[&u64_max, &u64_max, &[0; 4]]);
    let item = extras(&[&u32_max, &u32_max]);
    for (packet, status) in [
        (
            packet(INCREMENT, 0, &no_counter, b"absent", b"", 0),
            NOT_FOUND,
        ),
        (packet(INCREMENT, 0, &counter, b"new", b"", 0), OK),
        (packet(INCREMENT, 0, &counter, b"new", b"", 0), OK),
        (packet(SET, 0, &item, b"item", b"v", 0), OK),
        (packet(SET, 0, &item, b"absent", b"v", u64::MAX), NOT_FOUND),
        (packet(TOUCH, 0, &u32_max, b"absent", b"", 0), NOT_FOUND),
    ] {
        binary_case(&fixture, Who::Owner, &packet, &[status], Then::GoesOn);
    }
    // What was the largest number, and the largest added to it.
    let mut client = fixture.text(OWNER);
    client.talk(
        "get new\r\n",
        "VALUE new 0 20\r\n18446744073709551614\r\nEND\r\n",
    );
    drop(client);
    before.and_nothing_without_the_cache();
}
