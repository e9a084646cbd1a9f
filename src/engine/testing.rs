//! An engine without threads and sockets, for unit tests that drive it themselves.

use std::sync::Arc;

use super::state::EngineState;
use super::storage::EngineClock;
use super::{EngineEvent, EngineSettings, EventSink, Limits};
use crate::domain::secret::VerifierKey;
use crate::domain::{CacheId, CacheSpec, Clock, Timestamp};

/// A clock that stands still, and a sink that drops events.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_800_000_000)
    }
}

impl EventSink for Still {
    fn record(&self, _: EngineEvent) {}
}

/// The state of an engine with one thread and clocks that stand still.
pub fn engine(limits: Limits) -> Arc<EngineState> {
    let settings = EngineSettings {
        threads: 1,
        memory_max_bytes: 1 << 30,
        proxy_hostname: "p1".to_owned(),
        limits,
        engine_clock: Some(EngineClock::manual(1_800_000_000)),
    };
    Arc::new(EngineState::new(
        settings,
        key(),
        Arc::new(Still),
        Arc::new(Still),
    ))
}

/// The key of its verifiers.
pub fn key() -> VerifierKey {
    VerifierKey::from_bytes(&[1; 32])
}

/// Adds a cache without credentials, for the open listener.
pub fn add_cache(engine: &EngineState, cache: CacheId, limit_bytes: u64) {
    engine.apply(&CacheSpec {
        cache,
        label: format!("A{:05}", cache.0),
        limit_bytes,
        connections_max: 100,
        credentials: Vec::new(),
        flush_orders: Vec::new(),
    });
}
