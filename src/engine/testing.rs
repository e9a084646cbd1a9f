//! A node without threads or sockets, for unit tests that play those themselves.

use std::sync::Arc;

use super::node::Node;
use super::storage::EngineClock;
use super::{EngineEvent, EngineSettings, EventSink, Limits};
use crate::domain::secret::VerifierKey;
use crate::domain::{CacheId, CacheSpec, Clock, Timestamp};

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_800_000_000)
    }
}

impl EventSink for Still {
    fn record(&self, _: EngineEvent) {}
}

/// For one thread, and with time standing still.
pub fn node(limits: Limits) -> Arc<Node> {
    let settings = EngineSettings {
        threads: 1,
        memory_max_bytes: 1 << 30,
        proxy_hostname: "p1".to_owned(),
        limits,
        engine_clock: Some(EngineClock::manual(1_800_000_000)),
    };
    let key = VerifierKey::from_bytes(&[1; 32]);
    Arc::new(Node::new(settings, key, Arc::new(Still), Arc::new(Still)))
}

/// A cache that needs no login.
pub fn add_cache(node: &Node, cache: CacheId, limit_bytes: u64) {
    node.apply(&CacheSpec {
        cache,
        label: format!("A{:05}", cache.0),
        limit_bytes,
        connections_max: 100,
        credentials: Vec::new(),
        flush_orders: Vec::new(),
    });
}
