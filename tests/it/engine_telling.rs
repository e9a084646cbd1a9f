//! What the engine tells: events, figures and `stats`.

use std::collections::HashMap;

use larder::domain::{CacheSpec, FlushId, FlushOrder, Origin, Timestamp};
use larder::engine::EngineEvent;

use crate::engine_connections::wait_until;
use crate::engine_stage::{
    ALICE, Client, FLUSHER, OWNER, READER, STRANGER, Stage, WRITER, alice, packet,
};

#[test]
fn a_client_flush_is_told_with_who_and_how_much() {
    let stage = Stage::start();
    let mut flusher = stage.text(FLUSHER);
    let mut owner = stage.text(OWNER);
    owner.talk("set a 0 0 1\r\n1\r\n", "STORED\r\n");
    owner.talk("set b 0 0 1\r\n1\r\n", "STORED\r\n");
    flusher.talk("flush_all\r\n", "OK\r\n");
    let flushes = stage.diary.flushes();
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
    let stage = Stage::start();
    let mut owner = stage.text(OWNER);
    owner.talk("set a 0 0 1\r\n1\r\n", "STORED\r\n");
    owner.talk("flush_all 1\r\n", "OK\r\n");
    assert_eq!(stage.diary.flushes(), []);
    owner.talk("get a\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n");
    wait_until(|| !stage.diary.flushes().is_empty());
    let flush = stage.diary.flushes().remove(0);
    assert_eq!((flush.items, flush.origin), (1, Origin::MemcacheClient));
    assert_eq!(flush.credential.unwrap().as_str(), OWNER.0);
    owner.talk("get a\r\n", "END\r\n");
}

#[test]
fn a_refused_flush_is_told() {
    let stage = Stage::start();
    let mut writer = stage.text(WRITER);
    writer.talk("flush_all\r\n", "CLIENT_ERROR flush not permitted\r\n");
    let refused = stage.diary.events().into_iter().any(|event| {
        matches!(event, EngineEvent::FlushRefused { cache: ALICE, ref credential, .. }
            if credential.as_str() == WRITER.0)
    });
    assert!(refused);
    assert_eq!(stage.diary.flushes(), []);
}

#[test]
fn an_ordered_flush_is_carried_out_once() {
    let stage = Stage::start();
    let mut owner = stage.text(OWNER);
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
    stage.engine.apply(&ordered);
    owner.talk("get a\r\n", "END\r\n");
    owner.talk("set a 0 0 1\r\n2\r\n", "STORED\r\n");
    stage.engine.apply(&ordered);
    owner.talk("get a\r\n", "VALUE a 0 1\r\n2\r\nEND\r\n");
    let flushes = stage.diary.flushes();
    assert_eq!(flushes.len(), 1);
    assert_eq!((flushes[0].id, flushes[0].items), (order.id, 1));
    assert_eq!(flushes[0].reason.as_deref(), Some("asked"));
    assert_eq!(flushes[0].credential, None);
}

#[test]
fn logins_are_told_once_a_minute_and_kept_as_last_use() {
    let stage = Stage::start();
    let clients: Vec<Client> = (0..5).map(|_| stage.text(OWNER)).collect();
    let logins = |username: &str| {
        let of_user = |event: &EngineEvent| matches!(event, EngineEvent::LoggedIn { username: known, .. } if known.as_str() == username);
        stage
            .diary
            .events()
            .iter()
            .filter(|event| of_user(event))
            .count()
    };
    assert_eq!(logins(OWNER.0), 1);
    let _reader = stage.binary(READER);
    assert_eq!(logins(READER.0), 1);
    let figures = stage.engine.figures(ALICE).unwrap();
    assert_eq!(figures.connections, 6);
    let owner = &figures.credentials[0];
    assert_eq!((owner.username.as_str(), owner.connections), (OWNER.0, 5));
    assert_eq!(owner.last_login.as_ref().unwrap().from, "127.0.0.1");
    assert_eq!(figures.credentials[2].last_login, None);
    assert_eq!(figures.traffic.connections, 6);
    drop(clients);
    wait_until(|| stage.engine.figures(ALICE).unwrap().connections == 1);
}

#[test]
fn refused_connections_are_told_once_with_their_limit() {
    let stage = Stage::start();
    stage.engine.apply(&CacheSpec {
        connections_max: 0,
        ..alice()
    });
    for _ in 0..3 {
        stage.open().rest();
    }
    let told: Vec<_> = stage
        .diary
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
    let stage = Stage::start();
    let mut owner = stage.text(OWNER);
    stage.engine.apply(&CacheSpec {
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
    wait_until(|| stage.diary.events().iter().any(full));
}

pub fn stats(client: &mut Client, group: &str) -> HashMap<String, String> {
    client.send(format!("stats {group}\r\n").as_bytes());
    let mut text = String::new();
    while !text.ends_with("END\r\n") {
        let more = client.more().expect("the rest of the statistics");
        text.push_str(std::str::from_utf8(&more).unwrap());
    }
    let pairs = text.lines().filter_map(|line| {
        let (name, value) = line.strip_prefix("STAT ")?.split_once(' ')?;
        Some((name.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

#[test]
fn stats_count_the_caller_s_cache_only() {
    let stage = Stage::start();
    let (mut alice, mut bob) = (stage.text(OWNER), stage.text(STRANGER));
    alice.talk("set k 0 0 1\r\n1\r\n", "STORED\r\n");
    alice.talk(
        "get k k absent\r\n",
        "VALUE k 0 1\r\n1\r\nVALUE k 0 1\r\n1\r\nEND\r\n",
    );
    alice.talk("incr k 1\r\n", "2\r\n");
    alice.talk("delete absent\r\n", "NOT_FOUND\r\n");
    alice.talk("touch k 0\r\n", "TOUCHED\r\n");
    let known = stats(&mut alice, "");
    for (name, value) in [
        ("cmd_get", "3"),
        ("get_hits", "2"),
        ("get_misses", "1"),
        ("cmd_set", "1"),
        ("incr_hits", "1"),
        ("delete_misses", "1"),
        ("cmd_touch", "1"),
        ("touch_hits", "1"),
        ("curr_items", "1"),
        ("curr_connections", "1"),
        ("total_connections", "1"),
        ("auth_cmds", "1"),
        ("auth_errors", "0"),
        ("limit_maxbytes", "67108864"),
        ("version", "1.6.45"),
    ] {
        assert_eq!(known[name], value, "{name}");
    }
    for name in ["bytes_read", "bytes_written", "bytes"] {
        assert_ne!(known[name], "0", "{name}");
    }
    let other = stats(&mut bob, "");
    for name in ["cmd_get", "cmd_set", "curr_items", "bytes"] {
        assert_eq!(other[name], "0", "{name}");
    }
    assert_eq!(stats(&mut alice, "settings")["maxconns"], "1000");
    assert!(stats(&mut alice, "items").is_empty());
}

#[test]
fn a_reset_of_the_statistics_leaves_the_meters() {
    let stage = Stage::start();
    let mut alice = stage.text(OWNER);
    alice.talk("set k 0 0 1\r\n1\r\n", "STORED\r\n");
    alice.talk("get k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n");
    alice.talk("stats reset\r\n", "RESET\r\n");
    let known = stats(&mut alice, "");
    assert_eq!((&*known["cmd_get"], &*known["cmd_set"]), ("0", "0"));
    assert_eq!(known["curr_items"], "1");
    assert_eq!(stage.engine.figures(ALICE).unwrap().counters.get_hits, 1);
}

#[test]
fn failed_logins_are_counted_where_they_belong() {
    let stage = Stage::start();
    let mut guesser = stage.stranger();
    let login = format!("set {} 0 0 5\r\nwrong\r\n", OWNER.0);
    guesser.talk(&login, "CLIENT_ERROR authentication failure\r\n");
    let mut sasl = stage.stranger();
    let data = format!("\0{}\0wrong", OWNER.0);
    sasl.send(&packet(0x21, 0, &[], b"PLAIN", data.as_bytes(), 0));
    assert_eq!(sasl.packet().status, 0x20);
    let traffic = stage.engine.figures(ALICE).unwrap().traffic;
    assert_eq!((traffic.auth_cmds, traffic.auth_errors), (2, 2));
}
