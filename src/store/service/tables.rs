//! The registry of tables. Each aggregate declares, beside its queries, what becomes of its rows when a resource ends
//! and when the clock is set back; here stand the declarations, in the order in which ends are carried out.
//!
//! `tests/it/store_tables.rs` reads the schema of both databases and fails for a table that did not join.

use crate::store::caches::{
    attachments, certificates, credentials, events, flushes, resources, rotations,
};
use crate::store::db::setup;
use crate::store::fleet::{changes, figures, nodes, placements};
use crate::store::outbox::{
    async_provisions, config_sync, deliveries, early_deprovisions, grants, inventories, reconciles,
    workers,
};
use crate::store::service::{audit, sessions, tidy};

/// What an aggregate declares about a table.
#[derive(Clone, Copy, Debug)]
pub struct TableRules {
    pub table: &'static str,
    pub at_end: AtEnd,
    pub clock_set_back: ClockSetBack,
    pub leases: Option<Leases>,
}

/// What becomes of a table's leases when their holder cannot end them.
#[derive(Clone, Copy, Debug)]
pub struct Leases {
    /// Ends those that last longer than any can: the clock was set back since. `$1` is the last credible end.
    pub too_long: &'static str,
    /// Ends those of the worker `$1` at `$2` at the latest, and takes its name off.
    pub orphaned: &'static str,
}

/// What becomes of a table's rows when their resource ends.
#[derive(Clone, Copy, Debug)]
pub enum AtEnd {
    /// Its rows belong to no one resource.
    NotOfAResource,
    /// They stay; the text says why.
    Stay(&'static str),
    /// Statements with the cache as `$1`.
    Run(&'static [&'static str]),
    /// Statements with the cache as `$1` and the moment as `$2`.
    RunAt(&'static [&'static str]),
}

/// What becomes of a table's rows when the clock is set back, so that nothing waits for the old time to come again.
#[derive(Clone, Copy, Debug)]
pub enum ClockSetBack {
    /// It holds no time at which something is to happen.
    NothingScheduled,
    /// Who reads the time sees by itself that it is out of reach; the text says how.
    ReaderNotices(&'static str),
    /// A statement with now as `$1` and, as `$2`, a moment somewhat ahead: what was written after it was written by
    /// the clock before it was set back.
    Run(&'static str),
}

impl TableRules {
    /// A table whose rows outlive any resource and wait for nothing.
    pub(in crate::store) const fn apart(table: &'static str) -> TableRules {
        TableRules {
            table,
            at_end: AtEnd::NotOfAResource,
            clock_set_back: ClockSetBack::NothingScheduled,
            leases: None,
        }
    }

    /// A table of things that happened or are, without a schedule.
    pub(in crate::store) const fn of_resource(table: &'static str, at_end: AtEnd) -> TableRules {
        TableRules {
            table,
            at_end,
            clock_set_back: ClockSetBack::NothingScheduled,
            leases: None,
        }
    }
}

/// The statements of a table of promises: `cache_id`, `next_attempt_at`, `scheduled_at` and `lease_until`.
macro_rules! promises {
    ($table:literal) => {
        $crate::store::service::tables::TableRules {
            table: $table,
            at_end: $crate::store::service::tables::AtEnd::Run(&[concat!(
                "DELETE FROM ",
                $table,
                " WHERE cache_id = $1"
            )]),
            clock_set_back: $crate::store::service::tables::ClockSetBack::Run(concat!(
                "UPDATE ",
                $table,
                " SET next_attempt_at = $1, scheduled_at = $1 WHERE scheduled_at > $2"
            )),
            leases: $crate::store::service::tables::leased!($table),
        }
    };
}

macro_rules! leased {
    ($table:literal) => {
        Some($crate::store::service::tables::Leases {
            too_long: concat!(
                "UPDATE ",
                $table,
                " SET lease_until = NULL WHERE lease_until > $1"
            ),
            orphaned: concat!(
                "UPDATE ",
                $table,
                " SET lease_by = NULL, lease_until = CASE WHEN lease_until > $2 THEN $2 ELSE lease_until END
                 WHERE lease_by = $1 AND lease_until IS NOT NULL"
            ),
        })
    };
}

pub(in crate::store) use {leased, promises};

/// Every table. A resource's own row comes first, so that nothing new can begin; a lane before its deliveries, which is
/// the order in which everybody locks them.
pub const TABLES: &[&[TableRules]] = &[
    resources::TABLES,
    credentials::TABLES,
    certificates::TABLES,
    sessions::TABLES,
    flushes::TABLES,
    deliveries::TABLES,
    grants::TABLES,
    config_sync::TABLES,
    reconciles::TABLES,
    async_provisions::TABLES,
    rotations::TABLES,
    attachments::TABLES,
    inventories::TABLES,
    early_deprovisions::TABLES,
    workers::TABLES,
    events::TABLES,
    changes::TABLES,
    nodes::TABLES,
    placements::TABLES,
    figures::TABLES,
    tidy::TABLES,
    audit::TABLES,
    setup::TABLES,
];

pub(in crate::store) fn tables() -> impl Iterator<Item = &'static TableRules> {
    TABLES.iter().copied().flatten()
}
