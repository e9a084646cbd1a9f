//! `FuzzFixture`: an engine with two caches, and connections to it without sockets.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use larder::domain::secret::VerifierKey;
use larder::domain::{CacheId, CacheSpec, Capabilities, Clock, CredentialSpec, Timestamp};
use larder::engine::protocol::Output;
use larder::engine::session::{ClientSession, LoginMode, Next};
use larder::engine::state::EngineState;
use larder::engine::tenancy::Tenancy;
use larder::engine::{EngineClock, EngineEvent, EngineSettings, EventSink, Limits};

pub const ALICE: CacheId = CacheId(1);
pub const BOB: CacheId = CacheId(2);
/// As in the conversations, so that their logins succeed here.
pub const OWNER: (&str, &str) = ("A11CE0", "0123456789ABCDEF0123456789ABCDEF");
pub const READER: (&str, &str) = ("A11CE1", "11111111111111111111111111111111");

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_800_000_000)
    }
}

impl EventSink for Still {
    fn record(&self, _: EngineEvent) {}
}

/// Small limits, so that short inputs reach them.
fn limits() -> Limits {
    Limits {
        upload_bytes_min: 1 << 10,
        visit_commands_max: 16,
        output_bytes_max: 8 << 10,
        unread_output_deadline: Duration::from_secs(5),
        request_deadline: Duration::from_secs(10),
        ..Limits::default()
    }
}

pub struct FuzzFixture {
    pub engine: Arc<EngineState>,
    pub clock: EngineClock,
}

impl FuzzFixture {
    /// Alice's cache has `limit_bytes` and one credential. Bob's cache has no credential.
    pub fn new(limit_bytes: u64, who: (&str, &str), capabilities: Capabilities) -> FuzzFixture {
        let clock = EngineClock::manual(1_800_000_000);
        let settings = EngineSettings {
            threads: 1,
            memory_max_bytes: 1 << 30,
            proxy_hostname: "p1".to_owned(),
            limits: limits(),
            engine_clock: Some(clock.clone()),
        };
        let key = VerifierKey::from_bytes(&[1; 32]);
        let verifier = key.verifier(who.0.as_bytes(), who.1.as_bytes());
        let engine = Arc::new(EngineState::new(
            settings,
            key,
            Arc::new(Still),
            Arc::new(Still),
        ));
        let spec = |cache, label: &str, limit_bytes, credentials| CacheSpec {
            cache,
            label: label.to_owned(),
            limit_bytes,
            connections_max: 10,
            credentials,
            flush_orders: Vec::new(),
        };
        let credential = CredentialSpec {
            username: who.0.parse().expect("a user name"),
            verifier,
            capabilities,
            certificates: Vec::new(),
        };
        engine.apply(&spec(ALICE, OWNER.0, limit_bytes, vec![credential]));
        engine.apply(&spec(BOB, "B0B000", 1 << 20, Vec::new()));
        FuzzFixture { engine, clock }
    }

    /// A client of the open listener for `cache`.
    pub fn open(&self, cache: CacheId) -> SessionClient<'_> {
        let account = self
            .engine
            .directory
            .open_account(cache)
            .expect("the cache is known");
        let slot = self.engine.take_slot(account).expect("there is room");
        SessionClient::of(&self.engine, ClientSession::open(slot, None, 0))
    }

    pub fn not_logged_in(&self) -> SessionClient<'_> {
        let nowhere: Option<IpAddr> = None;
        SessionClient::of(
            &self.engine,
            ClientSession::new(LoginMode::Required, nowhere, 0),
        )
    }

    pub fn tenancy(&self, cache: CacheId) -> Arc<Tenancy> {
        self.engine
            .directory
            .tenancy(cache)
            .expect("the cache is known")
    }
}

/// A session without a socket, and the bytes that its connection would keep.
pub struct SessionClient<'n> {
    engine: &'n Arc<EngineState>,
    pub session: ClientSession,
    pending: Vec<u8>,
    pub closed: bool,
}

impl<'n> SessionClient<'n> {
    fn of(engine: &'n Arc<EngineState>, session: ClientSession) -> SessionClient<'n> {
        SessionClient {
            engine,
            session,
            pending: Vec::new(),
            closed: false,
        }
    }

    /// Sends `bytes` and returns the replies. `after_visit` is called after each visit, when no reply is unsent.
    pub fn send(&mut self, bytes: &[u8], mut after_visit: impl FnMut(&ClientSession)) -> Vec<u8> {
        let mut received = Vec::new();
        self.pending.extend_from_slice(bytes);
        let mut visits = 0;
        while !self.closed {
            let mut out = Output::default();
            let fed = self.session.feed(self.engine, &self.pending, &mut out);
            received.extend(out.to_vec());
            drop(out);
            self.pending.drain(..fed.used);
            after_visit(&self.session);
            match fed.next {
                Next::Read => break,
                Next::Close => self.closed = true,
                Next::Again | Next::Wait => visits += 1,
            }
            assert!(visits < 100_000, "it never ends");
        }
        received
    }
}
