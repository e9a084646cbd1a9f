//! What one tenant is charged, against its limit and the ceiling of the process.

use super::pool::Pool;
use crate::engine::sync::atomic::{AtomicU64, Ordering};

/// Stores exceed the limit by less than this part of it. A tenant that is over by more has had its limit lowered.
const LOWERED_PART: u64 = 64;

/// The charges of one tenant. They change when a segment, an index table or a large value is allocated or freed, never for
/// a small item; so shards on different cores rarely write to the same cache line.
///
/// All orders are relaxed: the sums only have to be right in the end, and nothing else is read by their order.
#[derive(Debug)]
pub(super) struct Ledger {
    limit: AtomicU64,
    used: AtomicU64,
    /// The part of `used` that uploads take.
    uploading: AtomicU64,
    pool: Pool,
}

impl Ledger {
    pub(super) fn new(limit: u64, pool: Pool) -> Ledger {
        Ledger {
            limit: AtomicU64::new(limit),
            used: AtomicU64::new(0),
            uploading: AtomicU64::new(0),
            pool,
        }
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn is_over(&self) -> bool {
        self.used() > self.limit()
    }

    /// Whether the tenant is so far over its limit that the limit must have been lowered. It is then reached in bounded
    /// steps.
    pub(super) fn is_lowered(&self) -> bool {
        let limit = self.limit();
        self.used().saturating_sub(limit) > limit / LOWERED_PART
    }

    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        self.used().saturating_add(bytes) <= self.limit()
    }

    /// Charges `bytes` if they fit under the limit and the ceiling.
    pub(super) fn try_charge(&self, bytes: u64) -> bool {
        let limit = self.limit();
        let more = |used: u64| used.checked_add(bytes).filter(|&sum| sum <= limit);
        let counted = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok();
        let fits = counted && self.pool.try_charge(bytes);
        if counted && !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Charges what cannot be refused (index tables). The caller then evicts until the tenant is under its limit again.
    pub(super) fn charge(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.pool.charge(bytes);
    }

    pub(super) fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.pool.release(bytes);
    }

    /// Whether one more upload may begin, or a long request go on. They may use half of the limit; one is always allowed.
    pub(super) fn may_upload(&self, bytes: u64) -> bool {
        let pending = self.uploading.load(Ordering::Relaxed);
        pending == 0 || pending.saturating_add(bytes) <= self.limit() / 2
    }

    pub(super) fn upload_began(&self, bytes: u64) {
        self.uploading.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn upload_ended(&self, bytes: u64) {
        self.uploading.fetch_sub(bytes, Ordering::Relaxed);
    }
}
