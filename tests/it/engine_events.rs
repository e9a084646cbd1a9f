//! The events that the engine reports to its sink.

use larder::domain::{CacheSpec, FlushId, FlushOrder, Origin, Timestamp};
use larder::engine::EngineEvent;

use crate::engine_connections::wait_until;
use crate::engine_fixture::{ALICE, Client, EngineFixture, FLUSHER, OWNER, READER, WRITER, alice};

#[test]
fn a_client_flush_is_told_with_who_and_how_much() {
    let fixture = EngineFixture::start();
    let mut flusher = fixture.text(FLUSHER);
    let mut owner = fixture.text(OWNER);
    owner.talk("set a 0 0 1\r\n1\r\n", "STORED\r\n");
    owner.talk("set b 0 0 1\r\n1\r\n", "STORED\r\n");
    flusher.talk("flush_all\r\n", "OK\r\n");
    let flushes = fixture.recorder.flushes();
    let [flush] = &flushes[..] else {
        panic!("{flushes:?}");
    };
    assert_eq!(flush.cache, ALICE);
    assert_eq!(flush.origin, Origin::MemcacheClient);
    assert_eq!(flush.proxy, "p1.test");
    assert_eq!(flush.credential.as_ref().unwrap().as_str(), FLUSHER.0);
    assert_eq!(flush.remote.unwrap().to_string(), "127.0.0.1");
    assert_eq!(flush.items, 2);
    assert!(flush.bytes >= 4);
    assert_eq!(flush.reason, None);
}

#[test]
fn a_delayed_flush_is_told_when_it_takes_effect() {
    let fixture = EngineFixture::start();
    let mut owner = fixture.text(OWNER);
    owner.talk("set a 0 0 1\r\n1\r\n", "STORED\r\n");
    owner.talk("flush_all 1\r\n", "OK\r\n");
    assert_eq!(fixture.recorder.flushes(), []);
    owner.talk("get a\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n");
    wait_until(|| !fixture.recorder.flushes().is_empty());
    let flush = fixture.recorder.flushes().remove(0);
    assert_eq!((flush.items, flush.origin), (1, Origin::MemcacheClient));
    assert_eq!(flush.credential.unwrap().as_str(), OWNER.0);
    owner.talk("get a\r\n", "END\r\n");
}

#[test]
fn a_refused_flush_is_told() {
    let fixture = EngineFixture::start();
    let mut writer = fixture.text(WRITER);
    writer.talk("flush_all\r\n", "CLIENT_ERROR flush not permitted\r\n");
    let refused = fixture.recorder.events().into_iter().any(|event| {
        matches!(event, EngineEvent::FlushRefused { cache: ALICE, ref credential, .. }
            if credential.as_str() == WRITER.0)
    });
    assert!(refused);
    assert_eq!(fixture.recorder.flushes(), []);
}

#[test]
fn an_ordered_flush_is_carried_out_once() {
    let fixture = EngineFixture::start();
    let mut owner = fixture.text(OWNER);
    let order = FlushOrder {
        id: FlushId::generate(Timestamp::from_secs(1_800_000_000)),
        origin: Origin::WebInterface,
        reason: Some("asked".to_owned()),
    };
    let ordered = CacheSpec {
        flush_orders: vec![order.clone()],
        ..alice()
    };
    owner.talk("set a 0 0 1\r\n1\r\n", "STORED\r\n");
    fixture.engine.apply(&ordered);
    owner.talk("get a\r\n", "END\r\n");
    owner.talk("set a 0 0 1\r\n2\r\n", "STORED\r\n");
    fixture.engine.apply(&ordered);
    owner.talk("get a\r\n", "VALUE a 0 1\r\n2\r\nEND\r\n");
    let flushes = fixture.recorder.flushes();
    assert_eq!(flushes.len(), 1);
    assert_eq!((flushes[0].id, flushes[0].items), (order.id, 1));
    assert_eq!(flushes[0].reason.as_deref(), Some("asked"));
    assert_eq!(flushes[0].credential, None);
}

#[test]
fn logins_are_told_once_a_minute_and_kept_as_last_use() {
    let fixture = EngineFixture::start();
    let clients: Vec<Client> = (0..5).map(|_| fixture.text(OWNER)).collect();
    let logins = |username: &str| {
        let of_user = |event: &EngineEvent| matches!(event, EngineEvent::LoggedIn { username: known, .. } if known.as_str() == username);
        fixture
            .recorder
            .events()
            .iter()
            .filter(|event| of_user(event))
            .count()
    };
    assert_eq!(logins(OWNER.0), 1);
    let _reader = fixture.binary(READER);
    assert_eq!(logins(READER.0), 1);
    let figures = fixture.engine.figures(ALICE).unwrap();
    assert_eq!(figures.connections, 6);
    let owner = &figures.credentials[0];
    assert_eq!((owner.username.as_str(), owner.connections), (OWNER.0, 5));
    assert_eq!(owner.last_login.as_ref().unwrap().from, "127.0.0.1");
    assert_eq!(figures.credentials[2].last_login, None);
    assert_eq!(figures.traffic.connections, 6);
    drop(clients);
    wait_until(|| fixture.engine.figures(ALICE).unwrap().connections == 1);
}

#[test]
fn refused_connections_are_told_once_with_their_limit() {
    let fixture = EngineFixture::start();
    fixture.engine.apply(&CacheSpec {
        connections_max: 0,
        ..alice()
    });
    for _ in 0..3 {
        fixture.open().rest();
    }
    let told: Vec<_> = fixture
        .recorder
        .events()
        .into_iter()
        .filter_map(|event| match event {
            EngineEvent::ConnectionsOverLimit { limit, refused, .. } => Some((limit, refused)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(0, 1)]);
}

#[test]
fn a_full_cache_is_told() {
    let fixture = EngineFixture::start();
    let mut owner = fixture.text(OWNER);
    fixture.engine.apply(&CacheSpec {
        limit_bytes: 2 << 20,
        ..alice()
    });
    let value = "v".repeat(10_000);
    for number in 0..400 {
        owner.talk(
            &format!("set k{number} 0 0 10000\r\n{value}\r\n"),
            "STORED\r\n",
        );
    }
    let full =
        |event: &EngineEvent| matches!(event, EngineEvent::MemoryFull { evictions: 1.., .. });
    wait_until(|| fixture.recorder.events().iter().any(full));
}
