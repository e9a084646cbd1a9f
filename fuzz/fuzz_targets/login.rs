//! What strangers send: bounded, in step, and never more than one attempt at a time.
#![no_main]

use larder::engine::auth::plain_parts;
use larder::engine::protocol::Limits;
use larder::engine::protocol::binary::{SaslParsed, SaslRequest, parse_sasl};
use larder::engine::protocol::text::{LineScan, LoginLine, parse_login};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = Limits::default();
    if let SaslParsed::Packet { used, request, .. } = parse_sasl(data, &limits) {
        assert!(used > 0 && used <= data.len());
        if let SaslRequest::Auth { data, .. } | SaslRequest::Step { data, .. } = request {
            assert!(data.len() <= limits.login_block_bytes_max);
            plain_parts(data);
        }
    }
    let mut scan = LineScan::default();
    let mut rest = data;
    while !rest.is_empty() {
        let (used, swallow) = match parse_login(rest, &mut scan, &limits) {
            LoginLine::Partial | LoginLine::Close => return,
            LoginLine::Attempt { used, username, password, .. } => {
                assert!(!username.is_empty() && !password.is_empty());
                assert!(username.len() + password.len() <= 2 * limits.line_bytes_max);
                (used, 0)
            }
            LoginLine::BadAttempt { used, swallow, .. } => (used, swallow),
            LoginLine::Stranger { used, swallow } => (used, swallow),
        };
        assert!(used > 0 && used <= rest.len());
        rest = rest[used..].get(swallow..).unwrap_or_default();
    }
});
