//! How workers take what is due: one statement for all tables of things owed to somebody outside.
//!
//! Such a table has `next_attempt_at`, `lease_until` and `fence`. A claim is the right to act on a row until its lease
//! ends; whoever records an outcome names the fence, so that one who held the row too long records nothing.

use crate::domain::Timestamp;

/// How many claims may be open.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Rows to take now.
    pub take: u32,
    /// Open claims per destination, over all processes.
    pub per_destination: u32,
}

/// What waits, for the operators' alarms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub due: u64,
    pub oldest_due: Option<Timestamp>,
}

/// Takes due rows under a lease and fetches them, the longest due first; open claims count against their destination's
/// cap. Inside a method of [`Tx`](super::Tx):
///
/// ```text
/// claim!(self, now, lease_until, caps => "grants" of "cache_id" per marketplace,
///        open while "state = 'pending'", returning "cache_id, fence, attempt")
/// ```
///
/// *per marketplace* is the one of the row's resource; *per destination* is a column of the table.
macro_rules! claim {
    ($tx:ident, $now:ident, $lease_until:ident, $caps:ident => $table:literal of $key:literal per $whose:ident,
     open while $open:literal, returning $returned:literal) => {{
        use $crate::store::claims::claim_text;
        let sql = $tx.db_tx().choose(
            claim_text!($table, $key, $whose, $open, $returned, " FOR UPDATE SKIP LOCKED"),
            claim_text!($table, $key, $whose, $open, $returned, ""),
        );
        $crate::store::dialect::run!($tx, c => sqlx::query_as(sql)
            .bind($now.micros())
            .bind($lease_until.micros())
            .bind(i64::from($caps.per_destination))
            .bind(i64::from($caps.take))
            .fetch_all(c))
    }};
}

macro_rules! claim_text {
    ($table:literal, $key:literal, marketplace, $open:literal, $returned:literal, $skip_locked:literal) => {
        claim_text!(
            $table,
            $key,
            "r.marketplace",
            " JOIN resources r ON r.cache_id = q.cache_id",
            $open,
            $returned,
            $skip_locked
        )
    };
    ($table:literal, $key:literal, destination, $open:literal, $returned:literal, $skip_locked:literal) => {
        claim_text!(
            $table,
            $key,
            "q.destination",
            "",
            $open,
            $returned,
            $skip_locked
        )
    };
    ($table:literal, $key:literal, $whose:literal, $joined:literal, $open:literal, $returned:literal,
     $skip_locked:literal) => {
        concat!(
            "WITH due AS MATERIALIZED (
                SELECT ", $key, " FROM ", $table, "
                WHERE ", $open, " AND next_attempt_at <= $1 AND (lease_until IS NULL OR lease_until <= $1)
                  AND ", $key, " IN (SELECT ", $key, " FROM (
                    SELECT q.", $key, ", row_number() OVER (PARTITION BY ", $whose, "
                        ORDER BY CASE WHEN q.lease_until > $1 THEN 0 ELSE 1 END, q.next_attempt_at, q.", $key, ") AS place
                    FROM (SELECT * FROM ", $table, " WHERE ", $open, ") q", $joined, "
                    WHERE q.next_attempt_at <= $1 OR q.lease_until > $1) ranked
                  WHERE place <= $3)
                ORDER BY next_attempt_at, ", $key, " LIMIT $4",
            $skip_locked,
            ") UPDATE ", $table, " SET lease_until = $2, fence = fence + 1
               WHERE ", $key, " IN (SELECT ", $key, " FROM due)
               RETURNING ", $returned
        )
    };
}

pub(super) use {claim, claim_text};
