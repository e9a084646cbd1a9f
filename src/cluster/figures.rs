use std::borrow::Cow;

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
    pub counters: Vec<(Cow<'static, str>, u64)>,
    /// Live connections per credential.
    pub connections_by_credential: Vec<(Username, u64)>,
    /// The same per client certificate; they count for its credential too.
    pub connections_by_certificate: Vec<(Fingerprint, u64)>,
}

impl CacheFigures {
    /// Adds what another node of the cache reports. A node may say any number, so a sum stops at the largest.
    pub(super) fn add(&mut self, other: CacheFigures) {
        for (sum, more) in [
            (&mut self.items, other.items),
            (&mut self.used_bytes, other.used_bytes),
            (&mut self.limit_bytes, other.limit_bytes),
            (&mut self.evictions, other.evictions),
            (&mut self.get_hits, other.get_hits),
            (&mut self.get_misses, other.get_misses),
            (&mut self.sets, other.sets),
            (&mut self.flushes, other.flushes),
            (&mut self.connections, other.connections),
            (&mut self.connections_max, other.connections_max),
        ] {
            *sum = sum.saturating_add(more);
        }
        add_each(&mut self.counters, other.counters);
        let by_credential = &mut self.connections_by_credential;
        add_each(by_credential, other.connections_by_credential);
        let by_certificate = &mut self.connections_by_certificate;
        add_each(by_certificate, other.connections_by_certificate);
    }
}

/// Adds numbers to those of the same name.
fn add_each<K: PartialEq>(sums: &mut Vec<(K, u64)>, others: Vec<(K, u64)>) {
    for (name, more) in others {
        match sums.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum = sum.saturating_add(more),
            None => sums.push((name, more)),
        }
    }
}

/// Where a cache's figures are to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FiguresSource {
    /// In this process.
    Here(Box<CacheFigures>),
    /// The cache lives on nodes of other processes, which have reported the figures.
    Reported {
        figures: Box<CacheFigures>,
        /// As in SERVERS; one of them, where there are several.
        node: String,
        /// When the oldest of the figures came.
        at: Timestamp,
    },
    /// The cache lives on the node of another process, which has reported none of late.
    Elsewhere { node: String },
    /// Its node, as in SERVERS, was last heard of then.
    Away { node: String, seen_at: Timestamp },
    /// It waits for a node, or its node has not taken it up yet.
    Nowhere,
}

impl FiguresSource {
    /// The figures, of now or as they were reported.
    pub fn known(&self) -> Option<&CacheFigures> {
        match self {
            FiguresSource::Here(figures) | FiguresSource::Reported { figures, .. } => Some(figures),
            _ => None,
        }
    }

    /// The figures of now, where they are here.
    pub fn here(self) -> Option<CacheFigures> {
        match self {
            FiguresSource::Here(figures) => Some(*figures),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_two_nodes_are_summed_by_name() {
        let (ours, other) = ("4F2A90".parse().unwrap(), "91BC07".parse().unwrap());
        let of_node = |hits, username: &Username| CacheFigures {
            get_hits: hits,
            counters: vec![("cas_hits".into(), 2)],
            connections_by_credential: vec![(username.clone(), 3)],
            ..CacheFigures::default()
        };
        let mut sum = of_node(5, &ours);
        sum.add(of_node(7, &ours));
        sum.add(of_node(u64::MAX, &other));
        assert_eq!(sum.get_hits, u64::MAX);
        assert_eq!(sum.counters, [(Cow::Borrowed("cas_hits"), 6)]);
        assert_eq!(sum.connections_by_credential, [(ours, 6), (other, 3)]);
    }
}
