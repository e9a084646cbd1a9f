//! Rank 2: nodes, placement and the node link.

/// What the nodes of a cache report about it, summed. Counters are since the nodes' start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub items: u64,
    pub used_bytes: u64,
    pub limit_bytes: u64,
    pub evictions: u64,
    pub get_hits: u64,
    pub get_misses: u64,
    pub sets: u64,
    pub flushes: u64,
    pub connections: u64,
    pub connections_max: u64,
    /// The other counters of `stats`, by their protocol names.
    pub counters: Vec<(&'static str, u64)>,
    /// Live connections per credential.
    pub connections_by_credential: Vec<(crate::domain::Username, u64)>,
}
