//! A whole connection, logged in or not: cut at a place that the input chooses, it answers as uncut.
#![no_main]

use std::sync::{Arc, OnceLock};

use larder::domain::secret::VerifierKey;
use larder::domain::{CacheId, CacheSpec, Clock, Origin, Timestamp};
use larder::engine::node::Node;
use larder::engine::protocol::Output;
use larder::engine::session::{Door, Next, Session};
use larder::engine::{EngineClock, EngineEvent, EngineSettings, EventSink, Limits};
use libfuzzer_sys::fuzz_target;

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_800_000_000)
    }
}

impl EventSink for Still {
    fn record(&self, _: EngineEvent) {}
}

fn node() -> &'static Arc<Node> {
    static NODE: OnceLock<Arc<Node>> = OnceLock::new();
    NODE.get_or_init(|| {
        let settings = EngineSettings {
            threads: 1,
            memory_max_bytes: 1 << 30,
            proxy_hostname: "p1".to_owned(),
            limits: Limits::default(),
            engine_clock: Some(EngineClock::manual(1_800_000_000)),
        };
        let key = VerifierKey::from_bytes(&[1; 32]);
        Arc::new(Node::new(settings, key, Arc::new(Still), Arc::new(Still)))
    })
}

fn play(cache: CacheId, logged_in: bool, pieces: [&[u8]; 2]) -> (Vec<u8>, bool) {
    let node = node();
    node.forget_and_apply(cache);
    let mut session = if logged_in {
        let account = node.directory.open_account(cache).expect("the cache is known");
        Session::open(node.seat(account).expect("there is room"), None, 0)
    } else {
        Session::new(Door::Locked, None, 0)
    };
    let (mut pending, mut received) = (Vec::new(), Vec::new());
    for piece in pieces {
        pending.extend_from_slice(piece);
        let mut turns = 0;
        loop {
            let mut out = Output::default();
            let fed = session.feed(node, &pending, &mut out);
            received.extend(out.to_vec());
            pending.drain(..fed.used);
            match fed.next {
                Next::Read => break,
                Next::Close => return (received, true),
                Next::Again | Next::Wait => turns += 1,
            }
            assert!(turns < 100_000, "it never ends");
        }
    }
    (received, false)
}

trait Fresh {
    fn forget_and_apply(&self, cache: CacheId);
}

impl Fresh for Node {
    /// An empty cache, whose uniques begin anew.
    fn forget_and_apply(&self, cache: CacheId) {
        self.directory.forget(cache);
        self.apply(&CacheSpec {
            cache,
            label: "A00001".to_owned(),
            limit_bytes: 8 << 20,
            connections_max: 10,
            credentials: Vec::new(),
            flush_orders: Vec::new(),
        });
        self.flush(cache, Origin::AdminOperation, None);
    }
}

fuzz_target!(|data: &[u8]| {
    let [mode, at, stream @ ..] = data else {
        return;
    };
    let (cache, logged_in) = (CacheId(1), mode % 4 != 0);
    let at = usize::from(*at).min(stream.len());
    let whole = play(cache, logged_in, [stream, b""]);
    let cut = play(cache, logged_in, [&stream[..at], &stream[at..]]);
    // `stats` tell the present time and traffic, which the socket loop counts.
    assert_eq!(whole, cut);
});
