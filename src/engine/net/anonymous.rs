//! The connections of one serving thread that have not logged in.
//!
//! They are bounded, as a whole and for each address, so that those who only hold connections open leave room for those who
//! log in. At the bound the oldest one goes: a client that means to log in does so within a round trip, so the oldest is
//! almost never one. Connections that have logged in are bounded by their cache's plan alone, since many apps may share one
//! address.
//!
//! So is the memory that they hold together. Each is bounded by itself, but thousands that each hold what one may hold, an
//! unfinished TLS handshake and an unfinished login, would take more than the ceiling of a small node.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::domain::network_of;
use crate::engine::protocol::Limits;

/// A connection's place among those that are anonymous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AnonymousPlace {
    /// Counts up, so the smallest is the oldest.
    serial: u64,
}

/// Which connections have not logged in, and since when.
#[derive(Debug)]
pub struct AnonymousConnections {
    max: usize,
    per_address_max: usize,
    next_serial: u64,
    /// The connection's number in the event loop, and where it came from.
    by_age: BTreeMap<AnonymousPlace, (usize, IpAddr)>,
    by_address: HashMap<IpAddr, BTreeSet<AnonymousPlace>>,
    bytes_max: usize,
    /// Of those that hold memory.
    held_bytes: BTreeMap<AnonymousPlace, usize>,
    bytes: usize,
}

impl AnonymousConnections {
    /// For one of `threads` threads, over which the kernel spreads connections evenly.
    pub fn new(limits: &Limits, threads: usize) -> AnonymousConnections {
        let share = |max: u32| (max as usize).div_ceil(threads.max(1)).max(1);
        AnonymousConnections {
            max: share(limits.anonymous_max),
            per_address_max: share(limits.anonymous_per_address_max),
            next_serial: 0,
            by_age: BTreeMap::new(),
            by_address: HashMap::new(),
            bytes_max: limits.anonymous_total_bytes_max / threads.max(1),
            held_bytes: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// The connection that has to go before a further one from `address` may come.
    pub fn one_too_many(&self, address: IpAddr) -> Option<usize> {
        let same = self.by_address.get(&network_of(address));
        let oldest = match same {
            Some(same) if same.len() >= self.per_address_max => same.first(),
            _ if self.by_age.len() >= self.max => self.by_age.keys().next(),
            _ => None,
        };
        oldest.map(|place| self.by_age[place].0)
    }

    /// The connection that has been anonymous for the longest time.
    pub fn oldest(&self) -> Option<usize> {
        self.by_age.values().next().map(|&(number, _)| number)
    }

    /// Notes what one holds now.
    pub fn note_bytes(&mut self, place: AnonymousPlace, bytes: usize) {
        let before = match bytes {
            0 => self.held_bytes.remove(&place),
            _ => self.held_bytes.insert(place, bytes),
        };
        self.bytes = self.bytes - before.unwrap_or(0) + bytes;
    }

    /// The connection that has to go because all together hold too much: the oldest of those that hold anything.
    pub fn one_that_holds_too_much(&self) -> Option<usize> {
        let oldest = self.held_bytes.keys().next()?;
        (self.bytes > self.bytes_max).then(|| self.by_age[oldest].0)
    }

    pub fn add(&mut self, number: usize, address: IpAddr) -> AnonymousPlace {
        let place = AnonymousPlace {
            serial: self.next_serial,
        };
        self.next_serial += 1;
        let source = network_of(address);
        self.by_age.insert(place, (number, source));
        self.by_address.entry(source).or_default().insert(place);
        place
    }

    pub fn remove(&mut self, place: AnonymousPlace) {
        let Some((_, source)) = self.by_age.remove(&place) else {
            return;
        };
        self.note_bytes(place, 0);
        if let Some(same) = self.by_address.get_mut(&source) {
            same.remove(&place);
            if same.is_empty() {
                self.by_address.remove(&source);
            }
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.by_age.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anonymous(max: u32, per_address_max: u32) -> AnonymousConnections {
        let limits = Limits {
            anonymous_max: max,
            anonymous_per_address_max: per_address_max,
            ..Limits::default()
        };
        AnonymousConnections::new(&limits, 1)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_oldest_of_a_full_address_goes_and_others_come() {
        let mut anonymous = anonymous(10, 2);
        let (crowded, other) = (address("10.0.0.1"), address("10.0.0.2"));
        let first = anonymous.add(1, crowded);
        anonymous.add(2, other);
        anonymous.add(3, crowded);
        assert_eq!(anonymous.one_too_many(crowded), Some(1));
        assert_eq!(anonymous.one_too_many(other), None);
        anonymous.remove(first);
        assert_eq!(anonymous.one_too_many(crowded), None, "one has logged in");
        anonymous.add(4, crowded);
        assert_eq!(anonymous.one_too_many(crowded), Some(3));
    }

    #[test]
    fn the_oldest_of_all_goes_when_the_whole_is_full() {
        let mut anonymous = anonymous(3, 3);
        for number in 0..3 {
            let from = format!("10.0.0.{number}");
            assert_eq!(anonymous.one_too_many(address(&from)), None);
            anonymous.add(number, address(&from));
        }
        assert_eq!(anonymous.one_too_many(address("10.0.0.9")), Some(0));
        assert_eq!(anonymous.oldest(), Some(0));
    }

    #[test]
    fn the_oldest_that_holds_memory_goes_when_all_together_hold_too_much() {
        let mut anonymous = AnonymousConnections::new(
            &Limits {
                anonymous_total_bytes_max: 200,
                ..Limits::default()
            },
            2,
        );
        let places: Vec<_> = (0..4)
            .map(|number| anonymous.add(number, address("10.0.0.1")))
            .collect();
        for (place, bytes) in [(2, 40), (1, 20), (3, 40), (1, 10), (1, 20)] {
            anonymous.note_bytes(places[place], bytes);
            assert_eq!(anonymous.one_that_holds_too_much(), None);
        }
        anonymous.note_bytes(places[3], 41);
        assert_eq!(anonymous.one_that_holds_too_much(), Some(1));
        anonymous.remove(places[1]);
        assert_eq!(anonymous.one_that_holds_too_much(), None);
        anonymous.remove(places[2]);
        anonymous.remove(places[3]);
        assert_eq!((anonymous.bytes, anonymous.held_bytes.len()), (0, 0));
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let mut anonymous = anonymous(10, 1);
        anonymous.add(7, address("2001:db8::1"));
        assert_eq!(anonymous.one_too_many(address("2001:db8::ffff:2")), Some(7));
        assert_eq!(anonymous.one_too_many(address("2001:db8:0:1::1")), None);
    }

    #[test]
    fn nothing_is_left_of_those_who_went() {
        let mut anonymous = anonymous(10, 10);
        let all: Vec<_> = (0..5)
            .map(|number| anonymous.add(number, address("10.0.0.1")))
            .collect();
        all.into_iter().for_each(|one| anonymous.remove(one));
        assert_eq!(anonymous.len(), 0);
        assert!(anonymous.by_address.is_empty());
    }
}
