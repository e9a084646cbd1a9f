//! Where CAS values begin, and that they never go back while the cache runs.

use larder::domain::{CacheSpec, Origin};

use crate::engine_fixture::{ALICE, Client, EngineFixture, OWNER, alice};

fn stored_cas(client: &mut Client) -> u64 {
    client.send(b"ms k 1 c\r\nv\r\nmn\r\n");
    let reply = client.until("MN\r\n");
    reply.trim().strip_prefix("HD c").unwrap().parse().unwrap()
}

/// Several client libraries keep 32 bits of them, and would take any value for a match of what they lost.
#[test]
fn clients_that_keep_32_bits_keep_all_of_a_cas_value() {
    let engine = EngineFixture::start();
    let first = stored_cas(&mut engine.text(OWNER));
    assert!(first < 1 << 28, "{first}");
}

/// A token from before a restart must not fit an item from after it.
#[test]
fn each_start_of_a_cache_draws_where_they_begin() {
    let firsts: Vec<u64> = (0..4)
        .map(|_| stored_cas(&mut EngineFixture::start().text(OWNER)))
        .collect();
    // Four of 2^28 lie this close to each other once in a million runs.
    let mut sorted = firsts.clone();
    sorted.sort_unstable();
    let apart = sorted.windows(2).all(|pair| pair[1] - pair[0] > 10);
    assert!(apart, "{firsts:?}");
}

#[test]
fn they_rise_over_flushes_and_new_limits() {
    let engine = EngineFixture::start();
    let mut client = engine.text(OWNER);
    let mut last = stored_cas(&mut client);
    let mut rises = |client: &mut Client, after: &str| {
        let next = stored_cas(client);
        assert!(next > last, "{next} after {last}, after {after}");
        last = next;
    };
    client.talk("flush_all\r\n", "OK\r\n");
    rises(&mut client, "a flush by a client");
    engine.engine.flush(ALICE, Origin::WebInterface, None);
    rises(&mut client, "a flush by the owner");
    for limit_bytes in [1 << 30, 1 << 20, 64 << 20] {
        engine.engine.apply(&CacheSpec {
            limit_bytes,
            ..alice()
        });
        rises(&mut client, "a new limit");
    }
    client.talk("ms k 1 E5\r\nv\r\n", "HD\r\n");
    rises(&mut client, "a CAS value of the client's own");
}
