//! A node with two caches, and connections to it without sockets.

use std::net::IpAddr;
use std::sync::Arc;

use larder::domain::secret::VerifierKey;
use larder::domain::{CacheId, CacheSpec, Capabilities, Clock, CredentialSpec, Timestamp};
use larder::engine::node::Node;
use larder::engine::protocol::Output;
use larder::engine::session::{Door, Next, Session};
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

/// Small bounds, so that short inputs meet them.
fn limits() -> Limits {
    Limits {
        upload_bytes_min: 1 << 10,
        turn_commands_max: 16,
        output_bytes_max: 8 << 10,
        ..Limits::default()
    }
}

pub struct World {
    pub node: Arc<Node>,
    pub clock: EngineClock,
}

impl World {
    /// Alice's cache has `limit_bytes` and one credential. Nobody knows Bob's.
    pub fn new(limit_bytes: u64, who: (&str, &str), capabilities: Capabilities) -> World {
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
        let node = Arc::new(Node::new(settings, key, Arc::new(Still), Arc::new(Still)));
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
        node.apply(&spec(ALICE, OWNER.0, limit_bytes, vec![credential]));
        node.apply(&spec(BOB, "B0B000", 1 << 20, Vec::new()));
        World { node, clock }
    }

    /// Somebody who needs no login for `cache`.
    pub fn open(&self, cache: CacheId) -> Line<'_> {
        let account = self
            .node
            .directory
            .open_account(cache)
            .expect("the cache is known");
        let seat = self.node.seat(account).expect("there is room");
        Line::of(&self.node, Session::open(seat, None, 0))
    }

    pub fn stranger(&self) -> Line<'_> {
        let nowhere: Option<IpAddr> = None;
        Line::of(&self.node, Session::new(Door::Locked, nowhere, 0))
    }

    pub fn tenancy(&self, cache: CacheId) -> Arc<Tenancy> {
        self.node
            .directory
            .tenancy(cache)
            .expect("the cache is known")
    }
}

/// A session, and the bytes that a socket loop would keep for it.
pub struct Line<'n> {
    node: &'n Arc<Node>,
    pub session: Session,
    pending: Vec<u8>,
    pub closed: bool,
}

impl<'n> Line<'n> {
    fn of(node: &'n Arc<Node>, session: Session) -> Line<'n> {
        Line {
            node,
            session,
            pending: Vec::new(),
            closed: false,
        }
    }

    /// The replies to `bytes`. `after_turn` sees the state after each turn, when no reply is held.
    pub fn send(&mut self, bytes: &[u8], mut after_turn: impl FnMut(&Session)) -> Vec<u8> {
        let mut received = Vec::new();
        self.pending.extend_from_slice(bytes);
        let mut turns = 0;
        while !self.closed {
            let mut out = Output::default();
            let fed = self.session.feed(self.node, &self.pending, &mut out);
            received.extend(out.to_vec());
            drop(out);
            self.pending.drain(..fed.used);
            after_turn(&self.session);
            match fed.next {
                Next::Read => break,
                Next::Close => self.closed = true,
                Next::Again | Next::Wait => turns += 1,
            }
            assert!(turns < 100_000, "it never ends");
        }
        received
    }
}
