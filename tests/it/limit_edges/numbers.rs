//! Numbers in the lines of text and meta clients: lengths of blocks up to 2^31 - 3, flags of 32 bits, exptimes of 32 or
//! 64 bits with a sign, and CAS values and deltas of 64 bits.

use super::text::{BAD_FORMAT, LOGIN_TOO_LONG, TOO_LARGE, UNAUTHENTICATED};
use super::{Held, Then, Who, start, text_case};

const BAD_TOKEN: &str = "CLIENT_ERROR bad token in command line format\r\n";
const BAD_EXPTIME: &str = "CLIENT_ERROR invalid exptime argument\r\n";
const BAD_DELTA: &str = "CLIENT_ERROR invalid numeric delta argument\r\n";
const BAD_FLAG: &str = "CLIENT_ERROR invalid or duplicate flag\r\n";

const I32_MAX: &str = "2147483647";
const I32_BEYOND: &str = "2147483648";
const I32_MIN: &str = "-2147483648";
const I32_BELOW: &str = "-2147483649";
const U32_MAX: &str = "4294967295";
const U32_BEYOND: &str = "4294967296";
const I64_MAX: &str = "9223372036854775807";
const I64_BEYOND: &str = "9223372036854775808";
const I64_BELOW: &str = "-9223372036854775808";
const U64_MAX: &str = "18446744073709551615";
const U64_BEYOND: &str = "18446744073709551616";

/// The longest block that may be announced, and lengths that are none.
const LONGEST_BLOCK: &str = "2147483645";
const NO_LENGTHS: [&str; 7] = [
    "2147483646",
    I32_MAX,
    I32_BEYOND,
    U32_MAX,
    U32_BEYOND,
    U64_MAX,
    U64_BEYOND,
];

/// A number, where `#` stands in a line or its block, and the answer.
const NUMBERS: &[(&str, &[(&str, &str)])] = &[
    (
        "set n # 0 1\r\nv",
        &[
            (U32_MAX, "STORED\r\n"),
            (U32_BEYOND, BAD_FORMAT),
            (U64_MAX, BAD_FORMAT),
        ],
    ),
    (
        "set n 0 # 1\r\nv",
        &[
            (U32_MAX, "STORED\r\n"),
            (U32_BEYOND, "STORED\r\n"),
            (I64_MAX, "STORED\r\n"),
            (I64_BEYOND, BAD_FORMAT),
            (U64_BEYOND, BAD_FORMAT),
            (I32_BELOW, "STORED\r\n"),
            (I64_BELOW, BAD_FORMAT),
        ],
    ),
    (
        "cas absent 0 0 1 #\r\nv",
        &[
            (U64_MAX, "NOT_FOUND\r\n"),
            (U64_BEYOND, BAD_FORMAT),
            ("-1", BAD_FORMAT),
        ],
    ),
    (
        "incr absent #",
        &[
            (U64_MAX, "NOT_FOUND\r\n"),
            (U64_BEYOND, BAD_DELTA),
            ("-1", BAD_DELTA),
        ],
    ),
    (
        "decr absent #",
        &[(U64_MAX, "NOT_FOUND\r\n"), (U64_BEYOND, BAD_DELTA)],
    ),
    (
        "touch absent #",
        &[
            (I32_MAX, "NOT_FOUND\r\n"),
            (I32_BEYOND, BAD_EXPTIME),
            (U64_BEYOND, BAD_EXPTIME),
            (I32_MIN, "NOT_FOUND\r\n"),
            (I32_BELOW, BAD_EXPTIME),
        ],
    ),
    (
        "gat # absent",
        &[
            (I32_MAX, "END\r\n"),
            (I32_BEYOND, BAD_EXPTIME),
            (U32_BEYOND, BAD_EXPTIME),
        ],
    ),
    (
        "flush_all #",
        &[(I32_BEYOND, BAD_EXPTIME), (U64_BEYOND, BAD_EXPTIME)],
    ),
    (
        "verbosity #",
        &[(U64_MAX, "OK\r\n"), (U64_BEYOND, BAD_FORMAT)],
    ),
    (
        "ms n 1 F#\r\nv",
        &[(U32_MAX, "HD\r\n"), (U32_BEYOND, BAD_FORMAT)],
    ),
    (
        "ms n 1 T#\r\nv",
        &[(I32_MAX, "HD\r\n"), (I32_BEYOND, BAD_TOKEN)],
    ),
    (
        "ms n 1 E#\r\nv",
        &[(U64_MAX, "HD\r\n"), (U64_BEYOND, BAD_TOKEN)],
    ),
    (
        "ms absent 1 C#\r\nv",
        &[(U64_MAX, "NF\r\n"), (U64_BEYOND, BAD_TOKEN)],
    ),
    (
        "mg absent T#",
        &[(I32_MAX, "EN\r\n"), (I32_BEYOND, BAD_TOKEN)],
    ),
    (
        "mg absent R#",
        &[(I32_MAX, "EN\r\n"), (I32_BEYOND, BAD_TOKEN)],
    ),
    (
        "mg absent N#",
        &[(I32_BEYOND, BAD_TOKEN), (U64_BEYOND, BAD_TOKEN)],
    ),
    (
        "ma absent D#",
        &[(U64_MAX, "NF\r\n"), (U64_BEYOND, BAD_FLAG)],
    ),
    (
        "ma absent J#",
        &[(U64_MAX, "NF\r\n"), (U64_BEYOND, BAD_FLAG)],
    ),
    (
        "md absent C#",
        &[(U64_MAX, "NF\r\n"), (U64_BEYOND, BAD_TOKEN)],
    ),
];

/// Lengths of blocks. A block of two gigabytes is refused at its line, and dropped as far as it comes.
const BLOCKS: &[(&str, Who, &str, &str)] = &[
    ("set n 0 0 #", Who::Owner, TOO_LARGE, BAD_FORMAT),
    ("append n 0 0 #", Who::Owner, TOO_LARGE, BAD_FORMAT),
    ("cas n 0 0 # 1", Who::Owner, TOO_LARGE, BAD_FORMAT),
    ("ms n #", Who::Owner, TOO_LARGE, BAD_FORMAT),
    ("set n 0 0 #", Who::Nobody, LOGIN_TOO_LONG, UNAUTHENTICATED),
    ("ms n #", Who::Nobody, LOGIN_TOO_LONG, UNAUTHENTICATED),
];

#[test]
fn numbers_of_text_lines_are_taken_to_their_ends_and_no_further() {
    let fixture = start(|_| ());
    let before = Held::now(&fixture);
    let request = |line: &str, number: &str| {
        println!("{number} in {line:?}");
        (line.replace('#', number) + "\r\n").into_bytes()
    };
    for (line, numbers) in NUMBERS {
        for (number, answer) in *numbers {
            let request = request(line, number);
            text_case(&fixture, Who::Owner, &request, (*answer, Then::GoesOn));
        }
    }
    for (line, who, longest, none) in BLOCKS {
        let announced = request(line, LONGEST_BLOCK);
        text_case(&fixture, *who, &announced, (*longest, Then::Drops));
        for number in NO_LENGTHS {
            let request = request(line, number);
            text_case(&fixture, *who, &request, (*none, Then::GoesOn));
        }
    }
    before.and_nothing_without_the_cache();
}
