//! A visit that panics ends its own connection and is counted. Other connections see nothing of it.

use std::sync::Arc;
use std::time::Duration;

use larder::engine::{Engine, EngineEvent, EngineSettings, EventSink, Listeners};

use crate::engine_connections::wait_until;
use crate::engine_fixture::{
    ALICE, Client, OWNER, WRITER, WallClock, alice, key, loopback, settings,
};

/// A sink that panics at a refused flush, in the middle of a visit.
struct Trap;

impl EventSink for Trap {
    fn record(&self, event: EngineEvent) {
        let springs = matches!(event, EngineEvent::FlushRefused { .. });
        assert!(!springs, "the trap of this test");
    }
}

#[test]
fn a_visit_that_panics_ends_its_connection_alone() {
    // Not an `EngineFixture`, which fails after a panic. One thread, so that both connections share its buffers.
    let settings = EngineSettings {
        threads: 1,
        ..settings()
    };
    let engine = Engine::new(settings, key(), Arc::new(WallClock), Arc::new(Trap));
    engine.apply(&alice());
    let listeners = Listeners {
        plain: Some(loopback()),
        ..Listeners::default()
    };
    let addr = engine.start(listeners).unwrap().plain.unwrap();
    let log_in = |who| {
        let mut client = Client::to(addr);
        client.text_login(who);
        client
    };
    let (mut other, mut victim) = (log_in(OWNER), log_in(WRITER));
    other.talk("set k 0 0 6\r\nsecret\r\n", "STORED\r\n");
    assert_eq!(engine.panics(), 0);

    victim.send(b"get k\r\nflush_all\r\n");
    assert_eq!(victim.rest(), b"");
    wait_until(|| engine.open_connections() == 1);
    assert_eq!(engine.figures(ALICE).unwrap().connections, 1);
    assert_eq!(engine.panics(), 1);

    other.talk("mn\r\n", "MN\r\n");
    other.talk("get k\r\n", "VALUE k 0 6\r\nsecret\r\nEND\r\n");
    // The new connection gets the number of the closed one in the event loop.
    let mut newcomer = log_in(WRITER);
    newcomer.talk("mn\r\n", "MN\r\n");
    for client in [&mut other, &mut newcomer] {
        client.end_sending();
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(engine.panics(), 1);
    engine.stop(Duration::ZERO);
}
