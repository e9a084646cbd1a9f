//! The engine as this room's [`DataPlane`].

use std::borrow::Cow;

use super::DataPlane;
use crate::cluster::CacheFigures;
use crate::domain::{Authority, CacheId, CacheSpec, Username};
use crate::engine::{self, Engine};

impl DataPlane for Engine {
    fn apply(&self, spec: &CacheSpec) {
        Engine::apply(self, spec);
    }

    fn know_usernames(&self, names: &[Username]) {
        Engine::know_usernames(self, names);
    }

    fn trust(&self, authorities: &[Authority]) {
        if let Err(error) = Engine::trust(self, authorities) {
            tracing::error!(%error, "client certificates of a new CA are refused");
        }
    }

    fn forget(&self, cache: CacheId) {
        Engine::forget(self, cache);
    }

    fn figures(&self, cache: CacheId) -> Option<CacheFigures> {
        Engine::figures(self, cache).map(from_engine)
    }
}

fn from_engine(figures: engine::EngineFigures) -> CacheFigures {
    let (counters, traffic) = (figures.counters, figures.traffic);
    let of_traffic = [
        ("bytes_read", traffic.bytes_read),
        ("bytes_written", traffic.bytes_written),
        ("total_connections", traffic.connections),
        ("auth_cmds", traffic.auth_cmds),
        ("auth_errors", traffic.auth_errors),
        ("rejected_connections", traffic.connections_refused),
    ];
    let credentials = figures.credentials.into_iter();
    CacheFigures {
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
        counters: counters
            .named()
            .chain(of_traffic)
            .map(|(name, number)| (Cow::Borrowed(name), number))
            .collect(),
        connections_by_credential: credentials
            .map(|credential| (credential.username, credential.connections.into()))
            .collect(),
        connections_by_certificate: figures
            .certificates
            .into_iter()
            .map(|(fingerprint, connections)| (fingerprint, connections.into()))
            .collect(),
    }
}
