//! Input before login: its use of memory is bounded, parsing stays in step, and only the right password logs in.

use larder::domain::Capabilities;
use larder::engine::auth::sasl_plain_parts;
use larder::engine::protocol::Limits;
use larder::engine::protocol::binary::{SaslParsed, SaslRequest, parse_sasl};
use larder::engine::protocol::text::{LineScan, LoginLine, parse_login};

use super::fixture::{ALICE, FuzzFixture, OWNER};

pub fn login(data: &[u8]) {
    let limits = Limits::default();
    one_sasl_packet(data, &limits);
    text_logins(data, &limits);
    nobody_without_the_password(data);
}

fn one_sasl_packet(data: &[u8], limits: &Limits) {
    let SaslParsed::Packet { used, request, .. } = parse_sasl(data, limits) else {
        return;
    };
    assert!(used > 0 && used <= data.len());
    if let SaslRequest::Auth { data, .. } | SaslRequest::Step { data, .. } = request {
        assert!(data.len() <= limits.login_block_bytes_max);
        sasl_plain_parts(data);
    }
}

fn text_logins(data: &[u8], limits: &Limits) {
    let mut scan = LineScan::default();
    let mut rest = data;
    while !rest.is_empty() {
        let (used, swallow) = match parse_login(rest, &mut scan, limits) {
            LoginLine::Partial | LoginLine::Close | LoginLine::TooLong => return,
            LoginLine::Attempt {
                used,
                username,
                password,
                ..
            } => {
                assert!(!username.is_empty() && !password.is_empty());
                assert!(password.len() <= limits.login_block_bytes_max);
                (used, 0)
            }
            LoginLine::BadAttempt { used, swallow, .. } => (used, swallow),
            LoginLine::NoLogin { used, swallow } => (used, swallow),
        };
        assert!(used > 0 && used <= rest.len());
        rest = rest.get(used + swallow..).unwrap_or_default();
    }
}

fn nobody_without_the_password(data: &[u8]) {
    let fixture = FuzzFixture::new(1 << 20, OWNER, Capabilities::ALL);
    let mut client = fixture.not_logged_in();
    client.send(data, |_| ());
    let tenancy = fixture.tenancy(ALICE);
    let connections = u32::from(client.session.account().is_some());
    assert_eq!(
        tenancy.connections(),
        connections,
        "connections are counted right"
    );
    let password = OWNER.1.as_bytes();
    let may_come_in = data.windows(password.len()).any(|part| part == password);
    if tenancy.traffic_sum().connections > 0 {
        assert!(may_come_in, "somebody came in without the password");
        return;
    }
    let counters = tenancy.items.counters();
    let done = counters.named().find(|&(_, count)| count > 0);
    assert_eq!(done, None, "a command was executed before login");
}
