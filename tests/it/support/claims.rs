//! Terms on which a test claims what is due, in a worker's stead, and what the marketplaces can do.

use larder::domain::{AbilityTable, Timestamp, WorkerId};
use larder::store::outbox::claims::{Served, Terms};

use super::HEROKU;
use crate::scripted_provider::ALL;

/// A worker that serves Heroku.
pub fn heroku() -> Served {
    Served::from_iter([HEROKU])
}

pub fn terms(now: Timestamp, lease_until: Timestamp, take: u32, per_destination: u32) -> Terms {
    Terms {
        now,
        lease_until,
        holder: WorkerId::generate(now),
        take,
        per_destination,
        served: heroku(),
    }
}

pub fn heroku_can_all() -> AbilityTable {
    AbilityTable::from_iter([(HEROKU, ALL)])
}
