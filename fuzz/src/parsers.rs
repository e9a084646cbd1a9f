//! The parsers. For any bytes, the result makes progress, refers to nothing beyond the input, and respects the limits.

use larder::engine::protocol::text::{KeyList, LineScan};
use larder::engine::protocol::{
    Command, Limits, Parsed, binary as binary_dialect, text as text_dialect,
};

/// Text, classic and meta mixed.
pub fn text(data: &[u8]) {
    let limits = Limits::default();
    let mut scan = LineScan::default();
    let mut rest = data;
    while !rest.is_empty() {
        match parse_once(rest, &mut scan, &limits, 2) {
            Some(used) => rest = rest.get(used..).unwrap_or_default(),
            None => return,
        }
    }
}

/// Meta lines only. The first byte chooses the command, so that the fuzzer need not find its name.
pub fn meta(data: &[u8]) {
    const COMMANDS: [&[u8]; 6] = [b"mg ", b"ms ", b"md ", b"ma ", b"me ", b"mn"];
    let [first, line @ ..] = data else {
        return;
    };
    let command = COMMANDS[usize::from(*first) % COMMANDS.len()];
    let whole = [command, line].concat();
    text(&whole);
    // A line without its line end is no request yet. With it, it is one: nothing is decided earlier.
    let first_line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let (unended, limits) = ([command, first_line].concat(), Limits::default());
    if unended.len() < limits.line_bytes_max {
        let parsed = text_dialect::parse(&unended, &mut LineScan::default(), &limits);
        assert!(matches!(parsed, Parsed::Partial));
    }
}

pub fn binary(data: &[u8]) {
    let limits = Limits::default();
    let mut rest = data;
    while !rest.is_empty() {
        let parsed = binary_dialect::parse(rest, &limits);
        assert!(
            !matches!(parsed, Parsed::KeyList { .. }),
            "binary has no lists"
        );
        match advance(parsed, rest.len(), &limits, 0) {
            Some((used, _)) => rest = rest.get(used..).unwrap_or_default(),
            None => return,
        }
    }
}

/// Parses one line with all its keys. Returns where the next request begins.
fn parse_once(input: &[u8], scan: &mut LineScan, limits: &Limits, ending: usize) -> Option<usize> {
    let parsed = text_dialect::parse(input, scan, limits);
    let (mut used, mut keys) = advance(parsed, input.len(), limits, ending)?;
    while let Some(mut list) = keys.take() {
        let (key_bytes, ends, request) = list.next(&input[used..]);
        assert!(key_bytes > 0 && used + key_bytes <= input.len());
        check(&request.command, limits);
        used += key_bytes;
        keys = (!ends).then_some(list);
    }
    Some(used)
}

/// How far the parser came, and the list of keys it found. `None` when it needs more bytes or closes.
fn advance(
    parsed: Parsed<'_>,
    input: usize,
    limits: &Limits,
    ending: usize,
) -> Option<(usize, Option<KeyList>)> {
    let (used, swallow, keys) = match parsed {
        Parsed::Request {
            used,
            swallow,
            request,
        } => {
            check(&request.command, limits);
            (used, swallow, None)
        }
        Parsed::KeyList { used, keys } => (used, 0, Some(keys)),
        Parsed::Error { used, swallow, .. } => (used, swallow, None),
        Parsed::NeedsBlock { head, block } => {
            assert!(head <= input && head + block + ending > input);
            assert!(block <= limits.item_bytes_max);
            return None;
        }
        Parsed::Partial | Parsed::Close(_) => return None,
    };
    assert!(used > 0 && used <= input);
    Some((used + swallow, keys))
}

fn check(command: &Command<'_>, limits: &Limits) {
    match command {
        Command::Store { key, request } => {
            assert!((1..=250).contains(&key.len()));
            assert!(key.len() + request.value.as_slice().len() <= limits.item_bytes_max);
        }
        Command::Get { key, .. }
        | Command::StoreTooLarge { key, .. }
        | Command::Delete { key, .. }
        | Command::Arith { key, .. }
        | Command::Touch { key, .. } => assert!((1..=250).contains(&key.len())),
        Command::Flush { .. }
        | Command::Stats(_)
        | Command::Version
        | Command::Noop
        | Command::Verbosity
        | Command::Quit => {}
    }
}
