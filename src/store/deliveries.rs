//! Lines on their way to an app's log. Each attachment has a lane; a lane's lease covers all its lines, so they
//! go out in order whoever sends them. Finished lines move to `deliveries_done`.
//!
//! Lock order: the lane's row first, then its deliveries. Numbers (`seq`) are drawn under that lock, so within a
//! lane their order is the order of commits.

use serde_json::{Value, json};

use super::config_sync::{Backlog, Caps};
use super::dialect::{exec, read, run};
use super::{Store, StoreError, Tx};
use crate::domain::{CacheId, DeliveryId, ExternalId, Marketplace, Timestamp};

/// How many lines a lane takes and keeps.
#[derive(Clone, Copy, Debug)]
pub struct LineRules {
    /// Waiting lines per lane; beyond it the oldest are dropped and counted.
    pub queue_max: u32,
    /// Lines per lane in one second of the kinds a client can cause at will; more are told of by one line.
    pub per_second: u32,
    /// Until when a line is worth sending.
    pub expires_at: Timestamp,
}

/// A line to promise.
#[derive(Clone, Copy, Debug)]
pub struct NewLine<'a> {
    pub kind: &'a str,
    /// When it happened, not when it is sent.
    pub at: Timestamp,
    pub line: &'a str,
    /// Whether more than [`LineRules::per_second`] of them become one.
    pub bounded: bool,
}

/// The right to send a lane's lines, until the lease ends.
#[derive(Clone, Debug)]
pub struct LaneClaim {
    /// The attachment.
    pub order_key: String,
    pub cache: CacheId,
    pub label: String,
    pub marketplace: Marketplace,
    pub external_id: ExternalId,
    pub fence: i64,
    /// Tries that failed in a row before this one.
    pub attempt: u32,
    /// Lines lost and not yet told of.
    pub dropped: u64,
    /// The oldest waiting lines; never empty.
    pub lines: Vec<WaitingLine>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingLine {
    pub at: Timestamp,
    pub line: String,
    seq: i64,
}

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineOutcome {
    Delivered,
    /// The far end will never take it.
    Refused,
    /// Too old, or pushed out of a full queue.
    Expired,
    /// The resource went away first.
    Cancelled,
}

impl LineOutcome {
    const fn as_str(self) -> &'static str {
        match self {
            LineOutcome::Delivered => "delivered",
            LineOutcome::Refused => "refused",
            LineOutcome::Expired => "expired",
            LineOutcome::Cancelled => "cancelled",
        }
    }
}

const MICROS: i64 = 1_000_000;

/// Takes due lanes, the longest due first; open claims count against their destination's cap.
macro_rules! claim {
    ($skip_locked:literal) => {
        concat!(
            "WITH due AS MATERIALIZED (
                SELECT l.order_key FROM lanes l
                WHERE l.next_attempt_at <= $1 AND (l.lease_until IS NULL OR l.lease_until <= $1)
                  AND l.order_key IN (SELECT order_key FROM (
                    SELECT q.order_key, row_number() OVER (PARTITION BY q.destination
                        ORDER BY CASE WHEN q.lease_until > $1 THEN 0 ELSE 1 END, q.next_attempt_at, q.order_key) AS place
                    FROM lanes q WHERE q.next_attempt_at IS NOT NULL AND (q.next_attempt_at <= $1 OR q.lease_until > $1)
                    ) ranked WHERE place <= $3)
                ORDER BY l.next_attempt_at, l.order_key LIMIT $4",
            $skip_locked,
            ") UPDATE lanes SET lease_until = $2, fence = fence + 1 WHERE order_key IN (SELECT order_key FROM due)
               RETURNING order_key, cache_id, fence, attempt, dropped"
        )
    };
}

impl Tx {
    /// Promises a line to each app of the cache that takes lines.
    pub async fn insert_line(
        &mut self,
        cache: CacheId,
        new: NewLine<'_>,
        rules: LineRules,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for lane in self.open_log_inputs(cache).await? {
            let window = now.secs() * MICROS;
            // Takes the lane's lock as well.
            let taken: Option<i64> = run!(self, c => sqlx::query_scalar(
                    "UPDATE lanes SET window_lines = CASE WHEN window_at = $2 THEN window_lines + $3 ELSE $3 END,
                        window_at = $2
                     WHERE order_key = $1 RETURNING window_lines")
                .bind(&lane).bind(window).bind(i64::from(new.bounded)).fetch_optional(c))?;
            let Some(taken) = taken else { continue };
            if new.bounded && taken > i64::from(rules.per_second) {
                self.fold_line(cache, &lane, new, rules, window + MICROS, now)
                    .await?;
            } else {
                let payload = json!({ "at": new.at.micros(), "line": new.line });
                self.queue_line(cache, &lane, new.kind, &payload, now, rules, now)
                    .await?;
            }
        }
        Ok(())
    }

    /// Counts a line into the one that stands for the rest of this second. That one waits until the second is
    /// over, so a count that was sent never changes.
    async fn fold_line(
        &mut self,
        cache: CacheId,
        lane: &str,
        new: NewLine<'_>,
        rules: LineRules,
        window_end: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let open: Option<(i64, String)> = run!(self, c => sqlx::query_as(
                "SELECT seq, payload FROM deliveries WHERE order_key = $1 AND kind = $2 AND not_before = $3
                 AND not_before > $4 ORDER BY seq DESC LIMIT 1")
            .bind(lane).bind(new.kind).bind(window_end).bind(now.micros()).fetch_optional(c))?;
        // A node that sums up by itself hands over a line that has a count already.
        let (line, times) = split_repeated(new.line);
        let Some((seq, payload)) = open else {
            let payload = json!({ "at": new.at.micros(), "line": line, "repeated": times });
            let not_before = Timestamp::from_micros(window_end);
            return self
                .queue_line(cache, lane, new.kind, &payload, not_before, rules, now)
                .await;
        };
        let mut payload: Value = serde_json::from_str(&payload)
            .map_err(|_| StoreError::BadRow(format!("payload of delivery {seq}")))?;
        let repeated = payload["repeated"].as_u64().unwrap_or(0) + times;
        payload["repeated"] = repeated.into();
        exec!(
            self,
            sqlx::query("UPDATE deliveries SET payload = $2 WHERE seq = $1")
                .bind(seq)
                .bind(payload.to_string())
        )?;
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one row's columns")]
    async fn queue_line(
        &mut self,
        cache: CacheId,
        lane: &str,
        kind: &str,
        payload: &Value,
        not_before: Timestamp,
        rules: LineRules,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        exec!(self, sqlx::query(
                "INSERT INTO deliveries (id, cache_id, kind, order_key, payload, not_before, expires_at, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(DeliveryId::generate(now).to_string()).bind(cache.0).bind(kind).bind(lane)
            .bind(payload.to_string()).bind(not_before.micros()).bind(rules.expires_at.micros())
            .bind(now.micros()))?;
        exec!(self, sqlx::query(
                "UPDATE lanes SET next_attempt_at = COALESCE(next_attempt_at, $2) WHERE order_key = $1")
            .bind(lane).bind(not_before.micros()))?;
        self.promises = true;
        let last_too_many: Option<i64> = run!(self, c => sqlx::query_scalar(
                "SELECT seq FROM deliveries WHERE order_key = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2")
            .bind(lane).bind(i64::from(rules.queue_max)).fetch_optional(c))?;
        if let Some(last) = last_too_many {
            let lost = self
                .finish_lines(
                    lane,
                    last,
                    LineOutcome::Expired,
                    Some("the queue is full"),
                    now,
                )
                .await?;
            self.count_dropped(lane, lost).await?;
        }
        Ok(())
    }

    /// Moves a lane's lines up to and with `last` to the done ones; tells how many there were.
    async fn finish_lines(
        &mut self,
        lane: &str,
        last: i64,
        outcome: LineOutcome,
        error: Option<&str>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        exec!(self, sqlx::query(
                "INSERT INTO deliveries_done (id, cache_id, kind, order_key, payload, attempt, outcome, last_error,
                    created_at, done_at)
                 SELECT d.id, d.cache_id, d.kind, d.order_key, d.payload, l.attempt, $3, COALESCE($4, l.last_error),
                    d.created_at, $5
                 FROM deliveries d JOIN lanes l ON l.order_key = d.order_key
                 WHERE d.order_key = $1 AND d.seq <= $2")
            .bind(lane).bind(last).bind(outcome.as_str()).bind(error).bind(now.micros()))?;
        Ok(exec!(
            self,
            sqlx::query("DELETE FROM deliveries WHERE order_key = $1 AND seq <= $2")
                .bind(lane)
                .bind(last)
        )?)
    }

    async fn count_dropped(&mut self, lane: &str, lost: u64) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("UPDATE lanes SET dropped = dropped + $2 WHERE order_key = $1")
                .bind(lane)
                .bind(i64::try_from(lost).unwrap_or(i64::MAX))
        )?;
        Ok(())
    }

    /// Takes due lanes under a lease, each with its oldest lines, at most `batch`.
    pub async fn claim_lanes(
        &mut self,
        now: Timestamp,
        lease_until: Timestamp,
        caps: Caps,
        batch: u32,
    ) -> Result<Vec<LaneClaim>, StoreError> {
        let sql = self
            .db_tx()
            .choose(claim!(" FOR UPDATE SKIP LOCKED"), claim!(""));
        let rows: Vec<(String, i64, i64, i64, i64)> = run!(self, c => sqlx::query_as(sql)
            .bind(now.micros()).bind(lease_until.micros())
            .bind(i64::from(caps.per_destination)).bind(i64::from(caps.take)).fetch_all(c))?;
        let mut claims = Vec::with_capacity(rows.len());
        for (order_key, cache, fence, attempt, dropped) in rows {
            let expired = self.expire_lines(&order_key, now).await?;
            let lines = self.due_lines(&order_key, now, batch).await?;
            if lines.is_empty() {
                self.release_lane(&order_key, now).await?;
                continue;
            }
            let (label, marketplace, external_id): (String, String, String) = run!(self, c => sqlx::query_as(
                    "SELECT label, marketplace, external_id FROM resources WHERE cache_id = $1")
                .bind(cache).fetch_one(c))?;
            let bad = |what: &str| StoreError::BadRow(format!("{what} of cache {cache}"));
            claims.push(LaneClaim {
                order_key,
                cache: CacheId(cache),
                label,
                marketplace: marketplace.parse().map_err(|_| bad("marketplace"))?,
                external_id: external_id.parse().map_err(|_| bad("external id"))?,
                fence,
                attempt: u32::try_from(attempt).unwrap_or(0),
                dropped: u64::try_from(dropped).unwrap_or(0) + expired,
                lines,
            });
        }
        Ok(claims)
    }

    async fn expire_lines(&mut self, lane: &str, now: Timestamp) -> Result<u64, StoreError> {
        let last: Option<i64> = run!(self, c => sqlx::query_scalar(
                "SELECT max(seq) FROM deliveries WHERE order_key = $1 AND expires_at <= $2")
            .bind(lane).bind(now.micros()).fetch_one(c))?;
        let Some(last) = last else { return Ok(0) };
        let lost = self
            .finish_lines(lane, last, LineOutcome::Expired, None, now)
            .await?;
        self.count_dropped(lane, lost).await?;
        Ok(lost)
    }

    async fn due_lines(
        &mut self,
        lane: &str,
        now: Timestamp,
        batch: u32,
    ) -> Result<Vec<WaitingLine>, StoreError> {
        let rows: Vec<(i64, String, i64)> = run!(self, c => sqlx::query_as(
                "SELECT seq, payload, not_before FROM deliveries WHERE order_key = $1 ORDER BY seq LIMIT $2")
            .bind(lane).bind(i64::from(batch)).fetch_all(c))?;
        rows.into_iter()
            .take_while(|(_, _, not_before)| *not_before <= now.micros())
            .map(|(seq, payload, _)| waiting_line(seq, &payload))
            .collect()
    }

    /// Gives the lane back, due when its oldest line is.
    async fn release_lane(&mut self, lane: &str, now: Timestamp) -> Result<(), StoreError> {
        let head: Option<i64> = run!(self, c => sqlx::query_scalar(
                "SELECT not_before FROM deliveries WHERE order_key = $1 ORDER BY seq LIMIT 1")
            .bind(lane).fetch_optional(c))?;
        exec!(self, sqlx::query(
                "UPDATE lanes SET lease_until = NULL, attempt = 0, next_attempt_at = $2 WHERE order_key = $1")
            .bind(lane).bind(head.map(|not_before| not_before.max(now.micros()))))?;
        Ok(())
    }

    /// Locks the claimed lane; false when the lease was lost or the resource is gone.
    async fn still_ours(&mut self, claim: &LaneClaim) -> Result<bool, StoreError> {
        let rows = exec!(
            self,
            sqlx::query(
                "UPDATE lanes SET attempt = attempt + 1 WHERE order_key = $1 AND fence = $2"
            )
            .bind(&claim.order_key)
            .bind(claim.fence)
        )?;
        Ok(rows == 1)
    }

    /// Records that the claimed lines arrived, with the notice about `claim.dropped` lost ones before them.
    pub async fn record_lines_delivered(
        &mut self,
        claim: &LaneClaim,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (Some(last), true) = (claim.lines.last(), self.still_ours(claim).await?) else {
            return Ok(false);
        };
        let moved = self
            .finish_lines(
                &claim.order_key,
                last.seq,
                LineOutcome::Delivered,
                None,
                now,
            )
            .await?;
        // A full queue may have dropped lines that were on the wire; they have arrived after all.
        let arrived_after_all = (claim.lines.len() as u64).saturating_sub(moved);
        let told = i64::try_from(claim.dropped + arrived_after_all).unwrap_or(i64::MAX);
        exec!(self, sqlx::query(
                "UPDATE lanes SET last_error = NULL, dropped = CASE WHEN dropped > $2 THEN dropped - $2 ELSE 0 END
                 WHERE order_key = $1")
            .bind(&claim.order_key).bind(told))?;
        self.release_lane(&claim.order_key, now).await?;
        Ok(true)
    }

    /// Records a failed try; the lines stay.
    pub async fn record_lines_failed(
        &mut self,
        claim: &LaneClaim,
        error: &str,
        next_attempt_at: Timestamp,
    ) -> Result<bool, StoreError> {
        if !self.still_ours(claim).await? {
            return Ok(false);
        }
        exec!(self, sqlx::query(
                "UPDATE lanes SET lease_until = NULL, last_error = $2, next_attempt_at = $3 WHERE order_key = $1")
            .bind(&claim.order_key).bind(error).bind(next_attempt_at.micros()))?;
        Ok(true)
    }

    /// Drops the claimed lines: the far end will never take them.
    pub async fn record_lines_refused(
        &mut self,
        claim: &LaneClaim,
        error: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (Some(last), true) = (claim.lines.last(), self.still_ours(claim).await?) else {
            return Ok(false);
        };
        let lost = self
            .finish_lines(
                &claim.order_key,
                last.seq,
                LineOutcome::Refused,
                Some(error),
                now,
            )
            .await?;
        self.count_dropped(&claim.order_key, lost).await?;
        self.release_lane(&claim.order_key, now).await?;
        Ok(true)
    }

    /// Drops whatever waits in a lane whose input is dead.
    pub async fn abandon_lane(
        &mut self,
        claim: &LaneClaim,
        error: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if !self.still_ours(claim).await? {
            return Ok(false);
        }
        let lost = self
            .finish_lines(
                &claim.order_key,
                i64::MAX,
                LineOutcome::Refused,
                Some(error),
                now,
            )
            .await?;
        self.count_dropped(&claim.order_key, lost).await?;
        self.release_lane(&claim.order_key, now).await?;
        Ok(true)
    }

    /// Cancels what a resource still promised. Locks its lanes first, like everybody.
    pub(super) async fn cancel_deliveries(&mut self, cache: CacheId) -> Result<(), StoreError> {
        exec!(
            self,
            sqlx::query("DELETE FROM lanes WHERE cache_id = $1").bind(cache.0)
        )?;
        exec!(self, sqlx::query(
                "INSERT INTO deliveries_done (id, cache_id, kind, order_key, payload, attempt, outcome, created_at,
                    done_at)
                 SELECT id, cache_id, kind, order_key, payload, 0, $2, created_at, created_at
                 FROM deliveries WHERE cache_id = $1")
            .bind(cache.0).bind(LineOutcome::Cancelled.as_str()))?;
        exec!(
            self,
            sqlx::query("DELETE FROM deliveries WHERE cache_id = $1").bind(cache.0)
        )?;
        Ok(())
    }

    /// Forgets lines done before this moment.
    pub async fn prune_deliveries(&mut self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(exec!(
            self,
            sqlx::query("DELETE FROM deliveries_done WHERE done_at < $1").bind(before.micros())
        )?)
    }
}

fn split_repeated(line: &str) -> (&str, u64) {
    line.rsplit_once(" repeated=")
        .and_then(|(line, times)| Some((line, times.parse().ok()?)))
        .unwrap_or((line, 1))
}

fn waiting_line(seq: i64, payload: &str) -> Result<WaitingLine, StoreError> {
    let bad = || StoreError::BadRow(format!("payload of delivery {seq}"));
    let payload: Value = serde_json::from_str(payload).map_err(|_| bad())?;
    let at = payload["at"].as_i64().ok_or_else(bad)?;
    let line = payload["line"].as_str().ok_or_else(bad)?;
    let line = match payload["repeated"].as_u64() {
        None => line.to_owned(),
        Some(times) => format!("{line} repeated={times}"),
    };
    Ok(WaitingLine {
        at: Timestamp::from_micros(at),
        line,
        seq,
    })
}

impl Store {
    /// Lanes with lines that are due.
    pub async fn lines_backlog(&self, now: Timestamp) -> Result<Backlog, StoreError> {
        let (due, oldest): (i64, Option<i64>) = read!(self, c => sqlx::query_as(
                "SELECT count(*), min(next_attempt_at) FROM lanes WHERE next_attempt_at <= $1")
            .bind(now.micros()).fetch_one(c))?;
        Ok(Backlog {
            due: u64::try_from(due).unwrap_or(0),
            oldest_due: oldest.map(Timestamp::from_micros),
        })
    }

    /// Lines promised and not yet sent, over all caches.
    pub async fn lines_waiting(&self) -> Result<u64, StoreError> {
        let waiting: i64 =
            read!(self, c => sqlx::query_scalar("SELECT count(*) FROM deliveries").fetch_one(c))?;
        Ok(u64::try_from(waiting).unwrap_or(0))
    }
}
