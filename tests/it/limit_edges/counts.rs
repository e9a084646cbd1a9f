//! How many connections there may be: of a cache, of the node, and of clients that have not logged in.

use larder::domain::CacheSpec;
use larder::engine::Limits;

use super::text::UNAUTHENTICATED;
use super::{Held, edges, start};
use crate::engine_connections::wait_until;
use crate::engine_fixture::{Client, EngineFixture, OWNER, alice};

const MAX: u32 = 4;
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// How many of so many connections there are in the end.
fn within(count: usize) -> usize {
    count.min(MAX as usize)
}

/// All of them go, and nothing of them is left.
fn all_leave(fixture: &EngineFixture, clients: Vec<Client>, before: &Held<'_>) {
    drop(clients);
    before.and_no_more_than(0);
    assert_eq!(fixture.engine.open_connections(), 0);
}

#[test]
fn a_cache_has_no_more_connections_than_it_may() {
    let fixture = start(|_| ());
    fixture.engine.apply(&CacheSpec {
        connections_max: MAX,
        ..alice()
    });
    let before = Held::now(&fixture);
    let login = format!("set {} 0 0 {}\r\n{}\r\n", OWNER.0, OWNER.1.len(), OWNER.1);
    for count in edges(MAX as usize) {
        println!("{count} connections of a cache");
        let mut clients: Vec<Client> = (0..within(count)).map(|_| fixture.text(OWNER)).collect();
        for _ in within(count)..count {
            let mut refused = fixture.connect();
            refused.send(login.as_bytes());
            assert_eq!(refused.rest(), TOO_MANY);
        }
        for client in &mut clients {
            client.talk("mn\r\n", "MN\r\n");
        }
        all_leave(&fixture, clients, &before);
    }
}

#[test]
fn a_node_has_no_more_connections_than_it_may() {
    let fixture = start(|limits| limits.connections_max = MAX);
    let before = Held::now(&fixture);
    for count in edges(MAX as usize) {
        println!("{count} connections of a node");
        let mut clients: Vec<Client> = (0..within(count)).map(|_| fixture.text(OWNER)).collect();
        for _ in within(count)..count {
            assert_eq!(fixture.connect().rest(), TOO_MANY);
        }
        for client in &mut clients {
            client.talk("mn\r\n", "MN\r\n");
        }
        all_leave(&fixture, clients, &before);
    }
}

/// The oldest makes room, and the others are served.
#[test]
fn no_more_clients_than_may_be_have_not_logged_in() {
    let of_node: fn(&mut Limits) = |limits| limits.anonymous_max = MAX;
    let of_address: fn(&mut Limits) = |limits| limits.anonymous_per_address_max = MAX;
    for (name, change) in [("node", of_node), ("address", of_address)] {
        let fixture = start(change);
        let before = Held::now(&fixture);
        for count in edges(MAX as usize) {
            println!("{count} anonymous connections of a {name}");
            let mut clients: Vec<Client> = (0..count).map(|_| fixture.connect()).collect();
            let (oldest, others) = clients.split_at_mut(count - within(count));
            for client in oldest {
                assert_eq!(client.rest(), b"");
            }
            for client in others {
                client.talk("get k\r\n", UNAUTHENTICATED);
            }
            wait_until(|| fixture.engine.open_connections() as usize == within(count));
            all_leave(&fixture, clients, &before);
        }
    }
}
