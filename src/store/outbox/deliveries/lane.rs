//! Claiming a lane with its oldest lines, and recording what came of them.

use serde_json::Value;

use super::LineOutcome;
use crate::domain::{CacheId, ExternalId, Marketplace, Timestamp};
use crate::store::db::dialect::{exec, run};
use crate::store::outbox::claims::{Terms, claim};
use crate::store::{StoreError, Tx};

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
    /// Lines lost and not yet reported in the log.
    pub dropped: u64,
    /// The oldest waiting lines; never empty.
    pub lines: Vec<WaitingLine>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingLine {
    /// The promise's own name, the same however often it is sent.
    pub id: String,
    pub at: Timestamp,
    pub line: String,
    seq: i64,
}

impl Tx {
    /// Takes due lanes under a lease, each with its oldest lines, at most `batch`.
    pub async fn claim_lanes(
        &mut self,
        terms: &Terms,
        batch: u32,
    ) -> Result<Vec<LaneClaim>, StoreError> {
        let rows: Vec<(String, i64, i64, i64, i64)> = claim!(self, terms => "lanes" of "order_key" per destination,
            open while "next_attempt_at IS NOT NULL", returning "order_key, cache_id, fence, attempt, dropped")?;
        let now = terms.now;
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

    /// Expires lines that nobody claims, as those of a marketplace that no worker serves. A lane under a lease is left
    /// to its holder.
    pub async fn expire_waiting_lines(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let lanes: Vec<String> = run!(self, c => sqlx::query_scalar(
                "SELECT order_key FROM lanes WHERE (lease_until IS NULL OR lease_until <= $1)
                 AND order_key IN (SELECT order_key FROM deliveries WHERE expires_at <= $1) ORDER BY order_key")
            .bind(now.micros()).fetch_all(c))?;
        for lane in lanes {
            // The fence takes the lane's lock, and the right to record from whoever claimed it meanwhile.
            exec!(
                self,
                sqlx::query("UPDATE lanes SET fence = fence + 1 WHERE order_key = $1").bind(&lane)
            )?;
            self.expire_lines(&lane, now).await?;
            // With lines left, the lane keeps its schedule: the far end may have asked for patience.
            exec!(self, sqlx::query(
                    "UPDATE lanes SET lease_until = NULL, attempt = 0, next_attempt_at = NULL, scheduled_at = $2
                     WHERE order_key = $1 AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.order_key = $1)")
                .bind(&lane).bind(now.micros()))?;
        }
        Ok(())
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
        let rows: Vec<(i64, String, String, i64)> = run!(self, c => sqlx::query_as(
                "SELECT seq, id, payload, not_before FROM deliveries WHERE order_key = $1 ORDER BY seq LIMIT $2")
            .bind(lane).bind(i64::from(batch)).fetch_all(c))?;
        let due = rows
            .into_iter()
            .take_while(|(_, _, _, not_before)| *not_before <= now.micros());
        Ok(due
            .map(|(seq, id, payload, _)| waiting_line(seq, id, &payload, now))
            .collect())
    }

    /// Gives the lane back, due when its oldest line is.
    async fn release_lane(&mut self, lane: &str, now: Timestamp) -> Result<(), StoreError> {
        let head: Option<i64> = run!(self, c => sqlx::query_scalar(
                "SELECT not_before FROM deliveries WHERE order_key = $1 ORDER BY seq LIMIT 1")
            .bind(lane).fetch_optional(c))?;
        exec!(self, sqlx::query(
                "UPDATE lanes SET lease_until = NULL, attempt = 0, next_attempt_at = $2, scheduled_at = $3
                 WHERE order_key = $1")
            .bind(lane).bind(head.map(|not_before| not_before.max(now.micros()))).bind(now.micros()))?;
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
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if !self.still_ours(claim).await? {
            return Ok(false);
        }
        exec!(self, sqlx::query(
                "UPDATE lanes SET lease_until = NULL, last_error = $2, next_attempt_at = $3, scheduled_at = $4
                 WHERE order_key = $1")
            .bind(&claim.order_key).bind(error).bind(next_attempt_at.micros()).bind(now.micros()))?;
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
}

/// A payload that cannot be read is sent as such: it must not hold up the lines behind it.
fn waiting_line(seq: i64, id: String, payload: &str, now: Timestamp) -> WaitingLine {
    let payload: Value = serde_json::from_str(payload).unwrap_or_default();
    let line = payload["line"].as_str().unwrap_or("event=unreadable");
    WaitingLine {
        id,
        at: payload["at"].as_i64().map_or(now, Timestamp::from_micros),
        line: match payload["repeated"].as_u64() {
            None => line.to_owned(),
            Some(times) => format!("{line} repeated={times}"),
        },
        seq,
    }
}
