use crate::domain::{Fingerprint, Timestamp, Username};

/// What the nodes of a cache report about it, summed. Counters are since the nodes' start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheFigures {
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
    pub connections_by_credential: Vec<(Username, u64)>,
    /// The same per client certificate; they count for its credential too.
    pub connections_by_certificate: Vec<(Fingerprint, u64)>,
}

/// Where a cache's figures are to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FiguresSource {
    /// In this process.
    Here(Box<CacheFigures>),
    /// The cache lives on the node of another process, which this one cannot ask.
    Elsewhere { node: String },
    /// Its node, as in SERVERS, was last heard of then.
    Away { node: String, seen_at: Timestamp },
    /// It waits for a node, or its node has not taken it up yet.
    Nowhere,
}

impl FiguresSource {
    pub fn as_here(&self) -> Option<&CacheFigures> {
        match self {
            FiguresSource::Here(figures) => Some(figures),
            _ => None,
        }
    }

    /// The figures, where they are here.
    pub fn here(self) -> Option<CacheFigures> {
        match self {
            FiguresSource::Here(figures) => Some(*figures),
            _ => None,
        }
    }
}
