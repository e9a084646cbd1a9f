//! The engine of this process as a node's data plane, and its events on their way to the handover.

use std::sync::Arc;

use super::Figures;
use super::handover::Handover;
use super::node::{DataPlane, Emptied};
use crate::domain::credential::LastUse;
use crate::domain::{BoxFuture, CacheId, CacheSpec, Event};
use crate::engine::{self, Engine, EngineEvent, EventSink};

impl DataPlane for Engine {
    fn apply(&self, spec: CacheSpec) -> BoxFuture<'_, ()> {
        Engine::apply(self, &spec);
        Box::pin(std::future::ready(()))
    }

    fn forget(&self, cache: CacheId) -> BoxFuture<'_, ()> {
        Engine::forget(self, cache);
        Box::pin(std::future::ready(()))
    }

    fn flush(&self, cache: CacheId) -> BoxFuture<'_, Emptied> {
        // a cache unknown here holds nothing
        let emptied = Engine::flush(self, cache).map_or_else(Emptied::default, |flushed| Emptied {
            items: flushed.items,
            bytes: flushed.bytes,
        });
        Box::pin(std::future::ready(emptied))
    }

    fn figures(&self, cache: CacheId) -> BoxFuture<'_, Option<Figures>> {
        Box::pin(std::future::ready(
            Engine::figures(self, cache).map(Figures::from),
        ))
    }
}

impl From<engine::Figures> for Figures {
    fn from(figures: engine::Figures) -> Figures {
        let (counters, traffic) = (&figures.counters, &figures.traffic);
        let traffic_counters = [
            ("auth_cmds", traffic.auth_cmds),
            ("auth_errors", traffic.auth_errors),
            ("bytes_read", traffic.bytes_read),
            ("bytes_written", traffic.bytes_written),
            ("total_connections", traffic.connections),
        ];
        Figures {
            items: counters.curr_items,
            used_bytes: figures.used_bytes,
            limit_bytes: figures.limit_bytes,
            evictions: counters.evictions,
            get_hits: counters.get_hits,
            get_misses: counters.get_misses,
            sets: counters.cmd_set,
            flushes: counters.cmd_flush,
            connections: figures.connections.into(),
            connections_max: figures.connections_max.into(),
            counters: counters.named().chain(traffic_counters).collect(),
            connections_by_credential: figures
                .credentials
                .into_iter()
                .map(|credential| (credential.username, credential.connections.into()))
                .collect(),
        }
    }
}

/// What the engine tells goes into the handover: a short lock, no waiting.
pub struct EngineEvents(pub Arc<Handover>);

impl EventSink for EngineEvents {
    fn record(&self, event: EngineEvent) {
        match event {
            EngineEvent::Flushed(flush) => self.0.flushed(flush),
            EngineEvent::FlushRefused {
                cache,
                proxy,
                credential,
                remote,
                at,
            } => {
                self.0.flush_refused(cache, proxy, credential, remote, at);
            }
            EngineEvent::LoggedIn {
                cache,
                username,
                from,
                at,
            } => {
                let from = from.map(|address| address.to_string()).unwrap_or_default();
                self.0.logged_in(cache, username, LastUse { at, from });
            }
            EngineEvent::ConnectionsOverLimit {
                cache,
                limit,
                refused,
                window_secs,
                at,
            } => {
                self.0.noticed(
                    cache,
                    Event::ConnectionsOverLimit {
                        limit,
                        refused,
                        window_secs,
                    },
                    at,
                );
            }
            EngineEvent::MemoryFull {
                cache,
                used,
                limit,
                evictions,
                window_secs,
                at,
            } => {
                self.0.noticed(
                    cache,
                    Event::MemoryFull {
                        used,
                        limit,
                        evictions,
                        window_secs,
                    },
                    at,
                );
            }
        }
    }
}
