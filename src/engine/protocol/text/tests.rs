use super::*;
use crate::engine::protocol::{Command, Form, Limits, Parsed, ProtocolError, StatsGroup};
use crate::engine::storage::{Exptime, StoreMode};

fn parse_whole(input: &[u8]) -> Parsed<'_> {
    parse(input, &mut LineScan::default(), &Limits::default())
}

fn command(input: &[u8]) -> (usize, Command<'_>) {
    match parse_whole(input) {
        Parsed::Request { used, request, .. } => (used, request.command),
        other => panic!("{:?} gave {other:?}", input.escape_ascii().to_string()),
    }
}

fn error_of(input: &[u8]) -> (usize, usize, ProtocolError) {
    match parse_whole(input) {
        Parsed::Error {
            used,
            swallow,
            error,
            ..
        } => (used, swallow, error),
        other => panic!("{:?} gave {other:?}", input.escape_ascii().to_string()),
    }
}

#[test]
fn a_store_takes_exactly_its_block() {
    let (used, command) = command(b"set key 5 60 3\r\nabc\r\nget key\r\n");
    assert_eq!(used, 21);
    let Command::Store { key, request } = command else {
        panic!("{command:?}");
    };
    assert_eq!(&*key, b"key");
    assert_eq!((request.mode, request.flags), (StoreMode::Set, 5));
    assert_eq!(request.exptime, Exptime::Relative(60));
    assert_eq!(request.value.as_slice(), b"abc");
}

#[test]
fn a_store_waits_for_its_block() {
    let input = b"set k 0 0 3\r\nabc\r\n";
    for end in 0..13 {
        assert!(
            matches!(parse_whole(&input[..end]), Parsed::Partial),
            "{end}"
        );
    }
    for end in 13..input.len() {
        let parsed = parse_whole(&input[..end]);
        assert!(
            matches!(parsed, Parsed::NeedsBlock { head: 13, block: 3 }),
            "{end}"
        );
    }
}

#[test]
fn errors_swallow_what_was_announced_and_nothing_else() {
    assert_eq!(
        error_of(b"set k x 0 3\r\n"),
        (13, 5, ProtocolError::BadFormat)
    );
    assert_eq!(
        error_of(b"set k 0 0 x\r\n"),
        (13, 0, ProtocolError::BadFormat)
    );
    assert_eq!(
        error_of(b"set k 0 0 3\r\nabcde"),
        (18, 0, ProtocolError::BadChunk)
    );
    assert_eq!(error_of(b"incr k\r\n"), (8, 0, ProtocolError::BadFormat));
}

#[test]
fn a_value_beyond_the_limit_is_known_before_it_comes() {
    let parsed = parse_whole(b"set k 0 0 1048576\r\n");
    let Parsed::Request {
        used,
        swallow,
        request,
    } = parsed
    else {
        panic!("{parsed:?}");
    };
    assert_eq!((used, swallow), (19, 1_048_578));
    let removes_old = true;
    assert!(
        matches!(request.command, Command::StoreTooLarge { removes_old: r, .. } if r == removes_old)
    );
}

#[test]
fn one_key_is_a_request_and_many_are_a_list() {
    assert!(matches!(command(b"get k\r\n"), (7, Command::Get { .. })));
    let input = b"gets  a bc  d \r\nmn\r\n";
    let Parsed::KeyList { used, mut keys } = parse_whole(input) else {
        panic!("no list");
    };
    let mut at = used;
    let mut seen = Vec::new();
    loop {
        let (used, ends, request) = keys.next(&input[at..]);
        at += used;
        let Form::Text(form) = request.form else {
            panic!("no text");
        };
        assert!(form.with_cas);
        assert_eq!(form.ends_list, ends);
        seen.push(form.key.to_vec());
        if ends {
            break;
        }
    }
    assert_eq!(seen, [b"a".to_vec(), b"bc".to_vec(), b"d".to_vec()]);
    assert_eq!(&input[at..], b"mn\r\n");
}

#[test]
fn one_bad_key_voids_a_list() {
    let line = format!("get a {} b\r\n", "x".repeat(251));
    assert_eq!(
        error_of(line.as_bytes()),
        (line.len(), 0, ProtocolError::BadFormat)
    );
}

#[test]
fn noreply_counts_as_the_last_word_only() {
    for (line, quiet) in [
        ("delete k noreply\r\n", true),
        ("delete k 0 noreply\r\n", true),
        ("delete k noreply 0\r\n", false),
        ("delete noreply\r\n", false),
    ] {
        let Parsed::Request { request, .. } = parse_whole(line.as_bytes()) else {
            panic!("{line}");
        };
        assert!(
            matches!(request.form, Form::Text(form) if form.noreply == quiet),
            "{line}"
        );
    }
}

#[test]
fn browsers_are_recognised() {
    for line in ["GET / HTTP/1.1\r\n", "foo HTTP/1.0\r\n", "POST /x\r\n"] {
        assert!(
            matches!(parse_whole(line.as_bytes()), Parsed::Close(None)),
            "{line}"
        );
    }
    assert_eq!(error_of(b"GET key\r\n").2, ProtocolError::UnknownCommand);
}

#[test]
fn statistics_have_groups() {
    for (line, expected) in [
        ("stats\r\n", StatsGroup::General),
        ("stats items\r\n", StatsGroup::Empty),
        ("stats reset\r\n", StatsGroup::Reset),
        ("stats detail on\r\n", StatsGroup::Unknown),
    ] {
        assert!(matches!(command(line.as_bytes()).1, Command::Stats(group) if group == expected));
    }
}

fn login(input: &[u8]) -> LoginLine<'_> {
    parse_login(input, &mut LineScan::default(), &Limits::default())
}

#[test]
fn both_login_forms_are_understood() {
    let attempt = |username, meta, used| LoginLine::Attempt {
        used,
        username,
        password: b"secret",
        meta,
    };
    assert_eq!(
        login(b"set user 0 0 6\r\nsecret\r\n"),
        attempt(b"user", false, 24)
    );
    assert_eq!(
        login(b"set x 0 0 11\r\nuser secret\r\n"),
        attempt(b"user", false, 27)
    );
    assert_eq!(
        login(b"ms user 6\r\nsecret\r\n"),
        attempt(b"user", true, 19)
    );
}

#[test]
fn clients_before_login_are_kept_in_step() {
    let no_login = |used, swallow| LoginLine::NoLogin { used, swallow };
    assert_eq!(login(b"get k\r\n"), no_login(7, 0));
    assert_eq!(login(b"add k 0 0 9\r\n"), no_login(13, 11));
    assert_eq!(login(b"set k 0 0 x\r\n"), no_login(13, 0));
    assert_eq!(login(b"quit\r\n"), LoginLine::Close);
    let long = [b"get ", &[b'k'; 2100][..]].concat();
    assert_eq!(login(&long), LoginLine::TooLong);
    for head in [&b"get "[..], b"x"] {
        let line = |bytes| {
            let mut line = head.to_vec();
            line.resize(bytes, b'k');
            line.push(b'\n');
            line
        };
        assert_eq!(login(&line(2048)), no_login(2049, 0), "as behind a login");
        assert_eq!(login(&line(2049)), LoginLine::TooLong);
    }
}

#[test]
fn a_login_of_any_length_is_bounded() {
    for (length, refused) in [(1024, false), (1025, true), (2_147_483_645, true)] {
        let line = format!("set user 0 0 {length}\r\n");
        match login(line.as_bytes()) {
            LoginLine::Partial => assert!(!refused, "{length}"),
            LoginLine::BadAttempt { swallow, error, .. } => {
                assert!(refused, "{length}");
                assert_eq!((swallow, error), (length + 2, ProtocolError::LoginTooLong));
            }
            other => panic!("{other:?}"),
        }
    }
}
