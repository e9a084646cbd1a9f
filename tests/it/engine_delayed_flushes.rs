//! Delayed flushes: one takes effect only while the credential that asked for it may flush.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use larder::domain::{
    CacheSpec, Capabilities, CertificateSpec, Fingerprint, FlushEvent, Timestamp,
};
use larder::engine::protocol::Output;
use larder::engine::session::{ClientSession, LoginMode, Next};
use larder::engine::state::EngineState;
use larder::engine::{EngineClock, EngineSettings};

use crate::engine_connections::wait_until;
use crate::engine_fixture::{
    ALICE, Client, EngineFixture, EventRecorder, FLUSHER, OWNER, READER, WRITER, alice, credential,
    key, packet, settings,
};
use crate::engine_refused_logins::SetClock;

const UNIX_NOW: u64 = 1_800_000_000;

/// An engine whose clock the test moves. Alice's cache holds one item, `k`.
struct FlushFixture {
    fixture: EngineFixture,
    clock: EngineClock,
    reader: Client,
}

impl FlushFixture {
    fn new() -> FlushFixture {
        let clock = EngineClock::manual(UNIX_NOW);
        let fixture = EngineFixture::with(EngineSettings {
            engine_clock: Some(clock.clone()),
            ..settings()
        });
        let mut writer = fixture.text(WRITER);
        writer.talk("set k 0 0 1\r\nv\r\n", "STORED\r\n");
        let reader = fixture.text(READER);
        FlushFixture {
            fixture,
            clock,
            reader,
        }
    }

    /// After `secs` the item is still there, and no flush is told.
    #[track_caller]
    fn keeps_the_item_for(&mut self, secs: u32) {
        self.clock.advance(secs);
        self.reader.talk("get k\r\n", "VALUE k 0 1\r\nv\r\nEND\r\n");
        assert_eq!(self.fixture.recorder.flushes(), []);
    }

    /// After `secs` the item is gone, and one flush is told.
    #[track_caller]
    fn loses_the_item_in(&mut self, secs: u32) -> FlushEvent {
        self.clock.advance(secs);
        self.reader.talk("get k\r\n", "END\r\n");
        wait_until(|| !self.fixture.recorder.flushes().is_empty());
        let mut flushes = self.fixture.recorder.flushes();
        assert_eq!(flushes.len(), 1, "{flushes:?}");
        flushes.remove(0)
    }

    fn apply(&self, change: impl FnOnce(&mut CacheSpec)) {
        let mut spec = alice();
        change(&mut spec);
        self.fixture.engine.apply(&spec);
    }

    fn remove(&self, who: (&str, &str)) {
        self.apply(|spec| without(spec, who));
    }

    fn grant(&self, who: (&str, &str), capabilities: Capabilities) {
        self.apply(|spec| {
            let named =
                |known: &&mut larder::domain::CredentialSpec| known.username.as_str() == who.0;
            let known = spec.credentials.iter_mut().find(named);
            known.unwrap().capabilities = capabilities;
        });
    }
}

fn without(spec: &mut CacheSpec, who: (&str, &str)) {
    spec.credentials
        .retain(|credential| credential.username.as_str() != who.0);
}

/// A binary FLUSH, quiet or not, with an exptime.
fn binary_flush(opcode: u8, secs: u32) -> Vec<u8> {
    packet(opcode, 0, &secs.to_be_bytes(), b"", b"", 0)
}

#[test]
fn a_delayed_flush_ends_with_its_credential() {
    let mut cache = FlushFixture::new();
    let mut flusher = cache.fixture.text(FLUSHER);
    flusher.talk("flush_all 6\r\n", "OK\r\n");
    cache.remove(FLUSHER);
    cache.keeps_the_item_for(7);
}

#[test]
fn a_delayed_flush_ends_with_the_right_to_flush_and_does_not_come_back_with_it() {
    for opcode in [0x08, 0x18] {
        let mut cache = FlushFixture::new();
        let mut owner = cache.fixture.binary(OWNER);
        owner.send(&binary_flush(opcode, 6));
        owner.send(&packet(0x0a, 0, &[], b"", b"", 0));
        while owner.packet().opcode != 0x0a {}
        cache.grant(OWNER, Capabilities::WRITE);
        cache.grant(OWNER, Capabilities::ALL);
        cache.keeps_the_item_for(7);
    }
}

#[test]
fn a_flush_at_a_unix_time_ends_likewise() {
    let mut cache = FlushFixture::new();
    let mut flusher = cache.fixture.text(FLUSHER);
    let line = format!("flush_all {} noreply\r\nmn\r\n", UNIX_NOW + 6);
    flusher.talk(&line, "MN\r\n");
    cache.remove(FLUSHER);
    cache.keeps_the_item_for(7);
}

#[test]
fn another_right_taken_away_or_another_credential_removed_changes_no_delayed_flush() {
    let mut cache = FlushFixture::new();
    let mut owner = cache.fixture.text(OWNER);
    owner.talk("flush_all 6\r\n", "OK\r\n");
    cache.grant(OWNER, Capabilities::FLUSH);
    cache.apply(|spec| {
        without(spec, FLUSHER);
        without(spec, WRITER);
    });
    cache.keeps_the_item_for(5);
    // Nor does the end of the connection.
    drop(owner);
    let told = cache.loses_the_item_in(1);
    assert_eq!(told.credential.unwrap().as_str(), OWNER.0);
}

#[test]
fn a_new_password_ends_the_delayed_flush_of_the_old_one() {
    let mut cache = FlushFixture::new();
    let mut flusher = cache.fixture.text(FLUSHER);
    flusher.talk("flush_all 6\r\n", "OK\r\n");
    let renewed = (FLUSHER.0, "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF");
    cache.apply(|spec| {
        without(spec, FLUSHER);
        spec.credentials
            .push(credential(renewed, Capabilities::ALL));
    });
    cache.keeps_the_item_for(7);
}

/// A rotation adds a credential; the old one stays until its apps are done with it.
#[test]
fn a_delayed_flush_outlives_a_rotation_and_ends_with_the_old_credential() {
    let mut cache = FlushFixture::new();
    let mut flusher = cache.fixture.text(FLUSHER);
    flusher.talk("flush_all 6\r\n", "OK\r\n");
    let next = credential(("A11CE9", "FF"), Capabilities::ALL);
    cache.apply(|spec| spec.credentials.push(next.clone()));
    flusher.talk("mn\r\n", "MN\r\n");
    cache.apply(|spec| {
        spec.credentials.push(next);
        without(spec, FLUSHER);
    });
    cache.keeps_the_item_for(7);
}

#[test]
fn a_cache_that_left_and_came_back_is_not_flushed_for_its_former_self() {
    let mut cache = FlushFixture::new();
    let mut flusher = cache.fixture.text(FLUSHER);
    flusher.talk("flush_all 6\r\n", "OK\r\n");
    cache.fixture.engine.forget(ALICE);
    cache.clock.advance(1);
    cache.fixture.engine.apply(&alice());
    let mut writer = cache.fixture.text(WRITER);
    writer.talk("set k 0 0 1\r\nv\r\n", "STORED\r\n");
    cache.reader = cache.fixture.text(READER);
    cache.keeps_the_item_for(7);
}

#[test]
fn the_later_of_two_credentials_owns_the_delayed_flush() {
    let mut cache = FlushFixture::new();
    let mut flusher = cache.fixture.text(FLUSHER);
    let mut owner = cache.fixture.text(OWNER);
    flusher.talk("flush_all 6\r\n", "OK\r\n");
    owner.talk("flush_all 10\r\n", "OK\r\n");
    cache.remove(FLUSHER);
    cache.keeps_the_item_for(9);
    let told = cache.loses_the_item_in(1);
    assert_eq!(told.credential.unwrap().as_str(), OWNER.0);

    let mut cache = FlushFixture::new();
    let mut flusher = cache.fixture.text(FLUSHER);
    let mut owner = cache.fixture.text(OWNER);
    owner.talk("flush_all 6\r\n", "OK\r\n");
    flusher.talk("flush_all 10\r\n", "OK\r\n");
    cache.remove(FLUSHER);
    cache.keeps_the_item_for(20);
}

/// Whatever comes next, a flush that was due is told with the name of whoever asked for it.
#[test]
fn a_flush_that_is_due_is_told_with_its_own_author() {
    for next in ["flush_all 10\r\n", "flush_all\r\n"] {
        let mut cache = FlushFixture::new();
        let mut flusher = cache.fixture.text(FLUSHER);
        let mut owner = cache.fixture.text(OWNER);
        flusher.talk("flush_all 6\r\n", "OK\r\n");
        cache.clock.advance(6);
        cache.reader.talk("get k\r\n", "END\r\n");
        owner.talk(next, "OK\r\n");
        wait_until(|| !cache.fixture.recorder.flushes().is_empty());
        let told = cache.fixture.recorder.flushes();
        assert_eq!(told[0].credential.as_ref().unwrap().as_str(), FLUSHER.0);
        assert_eq!(told[0].items, 1);
        let later = told
            .get(1)
            .map(|flush| flush.credential.as_ref().unwrap().as_str());
        let immediate = next == "flush_all\r\n";
        assert_eq!(later, immediate.then_some(OWNER.0), "{next:?}");
    }
}

/// An engine whose clocks the test moves. Its cache holds one item, and awaits a flush in six seconds that a client with a
/// certificate has asked for. The certificate is good for five.
fn flushing_by_certificate() -> (Arc<EngineState>, EngineClock, Arc<SetClock>) {
    let (clock, wall) = (EngineClock::manual(UNIX_NOW), SetClock::at(0));
    let settings = EngineSettings {
        engine_clock: Some(clock.clone()),
        ..settings()
    };
    let (sink, now) = (Arc::new(EventRecorder::default()), Arc::clone(&wall));
    let engine = Arc::new(EngineState::new(settings, key(), now, sink));
    let fingerprint = Fingerprint::of(b"a certificate");
    let mut spec = alice();
    spec.credentials[0].certificates.push(CertificateSpec {
        fingerprint,
        expires_at: Timestamp::from_secs(5),
    });
    engine.apply(&spec);
    let mut session = ClientSession::new(LoginMode::Required, None, 0);
    let certified = engine.certified(&fingerprint).unwrap();
    session.admit(&engine, certified).unwrap();
    let mut out = Output::default();
    let fed = session.feed(&engine, b"set k 0 0 1\r\nv\r\nflush_all 6\r\n", &mut out);
    assert_eq!(fed.next, Next::Read);
    assert_eq!(out.to_vec(), b"STORED\r\nOK\r\n");
    (engine, clock, wall)
}

/// How many items there are after seven seconds.
fn items_left(engine: &EngineState, clock: &EngineClock) -> u64 {
    clock.advance(7);
    engine.housekeeping();
    let tenancy = engine.directory.tenancy(ALICE).unwrap();
    tenancy.items.counters().curr_items
}

#[test]
fn a_delayed_flush_ends_with_the_certificate_that_asked_for_it() {
    let (engine, clock, wall) = flushing_by_certificate();
    wall.0.store(5, Ordering::Relaxed);
    engine.housekeeping();
    assert_eq!(items_left(&engine, &clock), 1);
}

/// Its credential stays, with the right to flush.
#[test]
fn a_delayed_flush_ends_when_the_certificate_that_asked_for_it_is_revoked() {
    let (engine, clock, _) = flushing_by_certificate();
    engine.apply(&alice());
    assert_eq!(items_left(&engine, &clock), 1);

    let (engine, clock, _) = flushing_by_certificate();
    assert_eq!(items_left(&engine, &clock), 0, "or this test shows nothing");
}
