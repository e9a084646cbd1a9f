//! How workers take what is due: one statement for all tables of things owed to somebody outside.
//!
//! Such a table has `cache_id`, `next_attempt_at`, `lease_until`, `lease_by` and `fence`. A claim is the right to act on
//! a row until its lease ends; whoever records an outcome names the fence, so that one who held the row too long records
//! nothing.

use crate::domain::{Marketplace, Timestamp, WorkerId};

/// The terms of one claim.
#[derive(Clone, Debug)]
pub struct Terms {
    pub now: Timestamp,
    pub lease_until: Timestamp,
    /// Who claims.
    pub holder: WorkerId,
    /// Rows to take now.
    pub take: u32,
    /// Open claims per destination, over all processes.
    pub per_destination: u32,
    /// Rows of other marketplaces are left alone.
    pub served: Served,
}

/// A set of marketplaces, in the shape that both databases can match a name against: they have no list type in common,
/// but they have LIKE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served(String);

impl Served {
    pub(in crate::store) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromIterator<Marketplace> for Served {
    fn from_iter<I: IntoIterator<Item = Marketplace>>(marketplaces: I) -> Served {
        let mut text = ",".to_owned();
        for marketplace in marketplaces {
            text.push_str(marketplace.as_str());
            text.push(',');
        }
        Served(text)
    }
}

/// What waits, for the operators' alarms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub due: u64,
    pub oldest_due: Option<Timestamp>,
}

/// Takes due rows under a lease and fetches them, the longest due first; open claims count against their destination's
/// cap. Inside a method of [`Tx`](crate::store::Tx):
///
/// ```text
/// claim!(self, terms => "grants" of "cache_id" per marketplace,
///        open while "state = 'pending'", returning "cache_id, fence, attempt")
/// ```
///
/// *per marketplace* is the one of the row's resource; *per destination* is a column of the table.
macro_rules! claim {
    ($tx:ident, $terms:ident => $table:literal of $key:literal per $whose:ident,
     open while $open:literal, returning $returned:literal) => {{
        use $crate::store::outbox::claims::claim_text;
        let sql = $tx.db_tx().choose(
            claim_text!($table, $key, $whose, $open, $returned, " FOR UPDATE SKIP LOCKED"),
            claim_text!($table, $key, $whose, $open, $returned, ""),
        );
        $crate::store::db::dialect::run!($tx, c => sqlx::query_as(sql)
            .bind($terms.now.micros())
            .bind($terms.lease_until.micros())
            .bind(i64::from($terms.per_destination))
            .bind(i64::from($terms.take))
            .bind($terms.served.as_str())
            .bind($terms.holder.to_string())
            .fetch_all(c))
    }};
}

// The text of a claim, for one table. Its parts, from the inside:
//
// - `ranked` numbers, per destination, the leases in force first and then the due rows by age, so that `place <= $3`
//   leaves exactly the due rows for which the destination still has room. A lease without a holder is that of a process
//   that is gone: its row waits for the lease to end, and takes no room meanwhile.
// - `q` has the rows that are due or leased, each found by an index, and looks up the marketplace of each. As a join,
//   PostgreSQL read all resources for it, for two milliseconds at 2,000 caches, until it had statistics of a new table.
// - The conditions on `next_attempt_at` and `lease_until` stand again in `due`: PostgreSQL checks them anew on the row
//   it has locked, and another worker may have claimed the row since `ranked` was read. SKIP LOCKED passes over rows
//   that another worker is claiming now. Both workers choose from the same `place <= $3`, so the cap holds for the two
//   together.
// - `due` is MATERIALIZED: joined into the UPDATE, PostgreSQL would be free to run it again for each row, and each
//   run would lock other rows.
macro_rules! claim_text {
    ($table:literal, $key:literal, marketplace, $open:literal, $returned:literal, $skip_locked:literal) => {
        claim_text!(
            $table,
            $key,
            "q.marketplace",
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
            $open,
            $returned,
            $skip_locked
        )
    };
    ($table:literal, $key:literal, $whose:literal, $open:literal, $returned:literal, $skip_locked:literal) => {
        concat!(
            "WITH due AS MATERIALIZED (
                SELECT ", $key, " FROM ", $table, "
                WHERE ", $open, " AND next_attempt_at <= $1 AND (lease_until IS NULL OR lease_until <= $1)
                  AND ", $key, " IN (SELECT ", $key, " FROM (
                    SELECT q.", $key, ", row_number() OVER (PARTITION BY ", $whose, "
                        ORDER BY CASE WHEN q.lease_until > $1 THEN 0 ELSE 1 END, q.next_attempt_at, q.", $key, ") AS place
                    FROM (
                      SELECT t.*, (SELECT marketplace FROM resources r WHERE r.cache_id = t.cache_id) AS marketplace
                      FROM ", $table, " t WHERE ", $open, " AND (t.next_attempt_at <= $1 OR t.lease_until > $1)
                    ) q
                    WHERE CASE WHEN q.lease_until > $1 THEN q.lease_by IS NOT NULL ELSE q.next_attempt_at <= $1 END
                      AND $5 LIKE '%,' || q.marketplace || ',%'
                    ) ranked
                  WHERE place <= $3)
                ORDER BY next_attempt_at, ", $key, " LIMIT $4",
            $skip_locked,
            ") UPDATE ", $table, " SET lease_until = $2, lease_by = $6, fence = fence + 1
               WHERE ", $key, " IN (SELECT ", $key, " FROM due)
               RETURNING ", $returned
        )
    };
}

/// How many rows are due to the marketplaces `served`, and since when: `backlog!(self, served, now => "grants", open
/// while "state = 'pending'")` inside a method of [`Store`](crate::store::Store).
macro_rules! backlog {
    ($store:ident, $served:ident, $now:ident => $table:literal, open while $open:literal) => {{
        let (due, oldest): (i64, Option<i64>) = $crate::store::db::dialect::read!($store, c => sqlx::query_as(concat!(
                "SELECT count(*), min(next_attempt_at) FROM ", $table, " t WHERE ", $open, " AND next_attempt_at <= $1
                 AND $2 LIKE '%,' || (SELECT marketplace FROM resources r WHERE r.cache_id = t.cache_id) || ',%'"))
            .bind($now.micros()).bind($served.as_str()).fetch_one(c))?;
        Ok($crate::store::outbox::claims::Backlog {
            due: u64::try_from(due).unwrap_or(0),
            oldest_due: oldest.map($crate::domain::Timestamp::from_micros),
        })
    }};
}

pub(in crate::store) use {backlog, claim, claim_text};
