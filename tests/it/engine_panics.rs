//! A turn that panics: it ends its own connection, is counted, and leaves nothing for others to see.

use std::sync::Arc;
use std::time::Duration;

use larder::engine::{Engine, EngineEvent, EngineSettings, EventSink, Listeners};

use crate::engine_connections::wait_until;
use crate::engine_stage::{
    ALICE, Client, OWNER, WRITER, WallClock, alice, key, loopback, settings,
};

/// Panics at a refused flush, in the middle of a turn.
struct Trap;

impl EventSink for Trap {
    fn record(&self, event: EngineEvent) {
        let springs = matches!(event, EngineEvent::FlushRefused { .. });
        assert!(!springs, "the trap of this test");
    }
}

#[test]
fn a_turn_that_panics_ends_its_connection_alone() {
    // Not a stage, which would fail. One thread, so that both connections share its buffers.
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
    // The newcomer gets the victim's place in the loop.
    let mut newcomer = log_in(WRITER);
    newcomer.talk("mn\r\n", "MN\r\n");
    for client in [&mut other, &mut newcomer] {
        client.end_sending();
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(engine.panics(), 1);
    engine.stop(Duration::ZERO);
}
