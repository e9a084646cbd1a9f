//! The binary parser: whatever the bytes, an answer, and inside the limits.
#![no_main]

use larder::engine::protocol::binary::parse;
use larder::engine::protocol::{Command, Limits, Parsed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = Limits::default();
    let mut rest = data;
    while !rest.is_empty() {
        let (used, swallow) = match parse(rest, &limits) {
            Parsed::Request { used, swallow, request } => {
                if let Command::Store { key, request } = &request.command {
                    assert!((1..=250).contains(&key.len()));
                    let value = request.value.as_slice().len();
                    assert!(key.len() + value <= limits.item_bytes_max);
                }
                (used, swallow)
            }
            Parsed::Fault { used, swallow, .. } => (used, swallow),
            Parsed::KeyList { .. } => unreachable!("binary has no lists"),
            Parsed::NeedsBlock { head, block } => {
                assert!(head <= rest.len() && head + block > rest.len());
                return;
            }
            Parsed::Partial | Parsed::Close(_) => return,
        };
        assert!(used > 0 && used <= rest.len());
        rest = rest[used..].get(swallow..).unwrap_or_default();
    }
});
