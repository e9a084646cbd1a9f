//! Promising a line: the rate bound, the queue's end, and the lane's wake.

use serde_json::{Value, json};

use super::LineOutcome;
use crate::domain::{CacheId, DeliveryId, Timestamp};
use crate::store::db::dialect::{exec, run};
use crate::store::outbox::promised::PromiseKind;
use crate::store::{StoreError, Tx};

const MICROS: i64 = 1_000_000;

/// How many lines a lane takes and keeps.
#[derive(Clone, Copy, Debug)]
pub struct LineRules {
    /// Waiting lines per lane; beyond it the oldest are dropped and counted.
    pub queue_max: u32,
    /// Lines per lane in one second of the kinds a client can cause at will; more are summed up in one line.
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
    /// How many events it stands for: a node sums up a flood by itself.
    pub times: u64,
    /// Whether more than [`LineRules::per_second`] of them become one.
    pub bounded: bool,
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
                let mut payload = json!({ "at": new.at.micros(), "line": new.line });
                if new.times > 1 {
                    payload["repeated"] = new.times.into();
                }
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
        let Some((seq, payload)) = open else {
            let payload = json!({ "at": new.at.micros(), "line": new.line, "repeated": new.times });
            let not_before = Timestamp::from_micros(window_end);
            return self
                .queue_line(cache, lane, new.kind, &payload, not_before, rules, now)
                .await;
        };
        let mut payload: Value = serde_json::from_str(&payload)
            .map_err(|_| StoreError::BadRow(format!("payload of delivery {seq}")))?;
        let repeated = payload["repeated"].as_u64().unwrap_or(0) + new.times;
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
                "UPDATE lanes SET scheduled_at = CASE WHEN next_attempt_at IS NULL THEN $3 ELSE scheduled_at END,
                    next_attempt_at = COALESCE(next_attempt_at, $2) WHERE order_key = $1")
            .bind(lane).bind(not_before.micros()).bind(now.micros()))?;
        self.promises.add(PromiseKind::LogLines);
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
}
