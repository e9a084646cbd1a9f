use std::borrow::Cow;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{BadMessage, parse};
use crate::cluster::figures::CacheFigures;
use crate::domain::CacheId;

/// What one node says of one cache: numbers since the node's start, and sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    pub cache: i64,
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
    /// Open connections by user name; a credential that is not named has none.
    pub by_credential: Vec<(String, u64)>,
    /// The same by the fingerprint of a client certificate, in hexadecimal.
    pub by_certificate: Vec<(String, u64)>,
}

/// Those that are not zero, in an order that does not change: equal figures must be equal messages.
fn named<K: ToString>(counts: Vec<(K, u64)>) -> Vec<(String, u64)> {
    let mut named: Vec<(String, u64)> = counts
        .into_iter()
        .filter(|(_, number)| *number > 0)
        .map(|(name, number)| (name.to_string(), number))
        .collect();
    named.sort_unstable();
    named
}

fn read<K: FromStr>(
    what: &'static str,
    counts: Vec<(String, u64)>,
) -> Result<Vec<(K, u64)>, BadMessage> {
    let read = |(name, number): (String, u64)| Ok((parse(what, &name)?, number));
    counts.into_iter().map(read).collect()
}

impl Figures {
    /// What is counted per credential and certificate loses its zeros.
    pub fn new(cache: CacheId, figures: CacheFigures) -> Figures {
        Figures {
            cache: cache.0,
            items: figures.items,
            used_bytes: figures.used_bytes,
            limit_bytes: figures.limit_bytes,
            evictions: figures.evictions,
            get_hits: figures.get_hits,
            get_misses: figures.get_misses,
            sets: figures.sets,
            flushes: figures.flushes,
            connections: figures.connections,
            connections_max: figures.connections_max,
            counters: figures.counters,
            by_credential: named(figures.connections_by_credential),
            by_certificate: named(figures.connections_by_certificate),
        }
    }

    /// How many numbers have a name of their own: what the message's length depends on.
    pub fn entries(&self) -> usize {
        self.counters.len() + self.by_credential.len() + self.by_certificate.len()
    }

    pub fn taken(self) -> Result<CacheFigures, BadMessage> {
        Ok(CacheFigures {
            items: self.items,
            used_bytes: self.used_bytes,
            limit_bytes: self.limit_bytes,
            evictions: self.evictions,
            get_hits: self.get_hits,
            get_misses: self.get_misses,
            sets: self.sets,
            flushes: self.flushes,
            connections: self.connections,
            connections_max: self.connections_max,
            counters: self.counters,
            connections_by_credential: read("user name", self.by_credential)?,
            connections_by_certificate: read("fingerprint", self.by_certificate)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Fingerprint;

    #[test]
    fn figures_cross_the_wire_without_the_credentials_that_nobody_uses() {
        let (used, idle) = ("4F2A90".parse().unwrap(), "91BC07".parse().unwrap());
        let certificate = Fingerprint::of(b"a certificate");
        let figures = CacheFigures {
            items: 1,
            used_bytes: 2,
            limit_bytes: 3,
            evictions: 4,
            get_hits: 5,
            get_misses: 6,
            sets: 7,
            flushes: 8,
            connections: 9,
            connections_max: u64::MAX,
            counters: vec![("cas_hits".into(), 10), ("cas_misses".into(), 0)],
            connections_by_credential: vec![(idle, 0), (used, 9)],
            connections_by_certificate: vec![(certificate, 2)],
        };
        let sent = Figures::new(CacheId(7), figures.clone());
        assert_eq!((sent.cache, sent.entries()), (7, 4));
        let text = serde_json::to_string(&sent).unwrap();
        let arrived: Figures = serde_json::from_str(&text).unwrap();
        assert_eq!(arrived, sent);
        let mut expected = figures;
        expected.connections_by_credential.remove(0);
        assert_eq!(arrived.taken(), Ok(expected));
    }

    #[test]
    fn equal_figures_are_equal_messages() {
        let count = |name: &str| (name.parse().unwrap(), 1);
        let of = |names: [&str; 2]| CacheFigures {
            connections_by_credential: names.map(count).to_vec(),
            ..CacheFigures::default()
        };
        let one = Figures::new(CacheId(7), of(["4F2A90", "91BC07"]));
        assert_eq!(one, Figures::new(CacheId(7), of(["91BC07", "4F2A90"])));
    }

    #[test]
    fn names_that_are_none_are_refused() {
        let figures = |by_credential: &str, by_certificate: &str| Figures {
            by_credential: vec![(by_credential.to_owned(), 1)],
            by_certificate: vec![(by_certificate.to_owned(), 1)],
            ..Figures::default()
        };
        let good = Fingerprint::of(b"a certificate").to_string();
        assert!(figures("4F2A90", &good).taken().is_ok());
        let refused = figures("<b>", &good).taken();
        assert_eq!(refused, Err(BadMessage("user name")));
        let refused = figures("4F2A90", "00").taken();
        assert_eq!(refused, Err(BadMessage("fingerprint")));
    }
}
