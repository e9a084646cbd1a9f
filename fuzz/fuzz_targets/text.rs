//! The text and meta parser: whatever the bytes, an answer, and inside the limits.
#![no_main]

use larder::engine::protocol::text::{LineScan, parse};
use larder::engine::protocol::{Command, Limits, Parsed};
use libfuzzer_sys::fuzz_target;

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
        _ => {}
    }
}

fuzz_target!(|data: &[u8]| {
    let limits = Limits::default();
    let mut scan = LineScan::default();
    let mut rest = data;
    let mut keys = None;
    while !rest.is_empty() {
        let parsed = match keys.take() {
            Some(list) => {
                let list: larder::engine::protocol::text::KeyList = list;
                let (used, ends, request) = list.next(rest);
                check(&request.command, &limits);
                keys = (!ends).then_some(list);
                assert!(used > 0 && used <= rest.len());
                rest = &rest[used..];
                continue;
            }
            None => parse(rest, &mut scan, &limits),
        };
        let (used, swallow) = match parsed {
            Parsed::Request { used, swallow, request } => {
                check(&request.command, &limits);
                (used, swallow)
            }
            Parsed::KeyList { used, keys: list } => {
                keys = Some(list);
                (used, 0)
            }
            Parsed::Fault { used, swallow, .. } => (used, swallow),
            Parsed::NeedsBlock { head, block } => {
                assert!(head <= rest.len() && head + block + 2 > rest.len());
                return;
            }
            Parsed::Partial | Parsed::Close(_) => return,
        };
        assert!(used > 0 && used <= rest.len());
        rest = rest[used..].get(swallow..).unwrap_or_default();
    }
});
