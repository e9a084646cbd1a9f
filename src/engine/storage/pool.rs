//! Memory of the whole process: the ceiling over all tenants, and free segments for reuse.

use std::sync::Arc;

use super::memory::Memory;
use crate::engine::sync::Mutex;
use crate::engine::sync::atomic::{AtomicU64, Ordering};

pub(super) const SEGMENT_BYTES_MIN: usize = 16 * 1024;
/// Larger segments would make single steps longer: eviction, sweep and compaction work on one segment at a time, under the
/// shard's lock.
pub(super) const SEGMENT_BYTES_MAX: usize = 256 * 1024;
const CLASSES: usize = (SEGMENT_BYTES_MAX.ilog2() - SEGMENT_BYTES_MIN.ilog2() + 1) as usize;

/// At most this many bytes of free segments are kept for reuse. More is returned to the system at once, and so is what was
/// not needed between two housekeeping passes.
const IDLE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// What connections hold may pass the ceiling by this part of it, and by this much in any case.
const RESERVE_PART: u64 = 4;
const RESERVE_BYTES_MIN: u64 = 64 << 20;

/// The process-wide pool. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ceiling: AtomicU64,
    /// Bytes charged by all tenants.
    charged: AtomicU64,
    /// Bytes of `idle`.
    idle_bytes: AtomicU64,
    /// The lowest value of `idle_bytes` since the last housekeeping pass. That much was not needed.
    idle_least: AtomicU64,
    /// Free segments by size class.
    idle: Mutex<[Vec<Memory>; CLASSES]>,
}

impl Pool {
    /// A pool whose tenants together never hold more than `ceiling_bytes`.
    pub fn new(ceiling_bytes: u64) -> Pool {
        Pool {
            shared: Arc::new(Shared {
                ceiling: AtomicU64::new(ceiling_bytes),
                charged: AtomicU64::new(0),
                idle_bytes: AtomicU64::new(0),
                idle_least: AtomicU64::new(0),
                idle: Mutex::new(Default::default()),
            }),
        }
    }

    pub fn ceiling_bytes(&self) -> u64 {
        self.shared.ceiling.load(Ordering::Relaxed)
    }

    /// Bytes that tenants hold now.
    pub fn used_bytes(&self) -> u64 {
        self.shared.charged.load(Ordering::Relaxed)
    }

    /// Bytes of free segments kept for reuse, beyond what tenants hold.
    pub fn idle_bytes(&self) -> u64 {
        self.shared.idle_bytes.load(Ordering::Relaxed)
    }

    /// Returns those free segments to the system that were not needed since the last call. Each housekeeping pass calls it.
    pub fn release_unneeded(&self) {
        let mut idle = self.shared.idle.lock();
        let mut unneeded = self.shared.idle_least.load(Ordering::Relaxed);
        let mut freed = Vec::new();
        for class in idle.iter_mut().rev() {
            while let Some(segment) = class.pop_if(|segment| segment.len() as u64 <= unneeded) {
                unneeded -= segment.len() as u64;
                freed.push(segment);
            }
        }
        let bytes: u64 = freed.iter().map(|segment| segment.len() as u64).sum();
        let before = self.shared.idle_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let left = before - bytes;
        self.shared.idle_least.store(left, Ordering::Relaxed);
        // The lock is released first, because freeing memory makes system calls.
        drop(idle);
        drop(freed);
    }

    /// Whether connections may hold so much more without being refused: beyond the ceiling a quarter of it, and 64 MiB at
    /// least.
    pub(super) fn has_reserve_for(&self, bytes: u64) -> bool {
        let ceiling = self.ceiling_bytes();
        let reserve = (ceiling / RESERVE_PART).max(RESERVE_BYTES_MIN);
        self.used_bytes().saturating_add(bytes) <= ceiling.saturating_add(reserve)
    }

    /// Charges `bytes` if they fit under the ceiling.
    pub(super) fn try_charge(&self, bytes: u64) -> bool {
        let ceiling = self.shared.ceiling.load(Ordering::Relaxed);
        // In one atomic step. Charging first and releasing again would refuse another charge that fits.
        let more = |charged: u64| charged.checked_add(bytes).filter(|&sum| sum <= ceiling);
        self.shared
            .charged
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Charges `bytes` even if they do not fit.
    pub(super) fn charge(&self, bytes: u64) {
        self.shared.charged.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn release(&self, bytes: u64) {
        self.shared.charged.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Memory for one segment, which the caller has charged. Its content is arbitrary.
    pub(super) fn take(&self, bytes: usize) -> Memory {
        match self.reuse(bytes) {
            Some(segment) => segment,
            None => Memory::zeroed(bytes),
        }
    }

    fn reuse(&self, bytes: usize) -> Option<Memory> {
        let mut idle = self.shared.idle.lock();
        let segment = idle[class_of(bytes)].pop()?;
        let bytes = bytes as u64;
        let before = self.shared.idle_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.shared
            .idle_least
            .fetch_min(before - bytes, Ordering::Relaxed);
        Some(segment)
    }

    /// Takes the memory of a segment, whose charge the caller has released. Keeps it for reuse or frees it.
    pub(super) fn give_back(&self, segment: Memory) {
        let bytes = segment.len() as u64;
        let room = self.idle_bytes() + bytes <= IDLE_BYTES_MAX
            && self.used_bytes() + self.idle_bytes() + bytes <= self.ceiling_bytes();
        if room {
            let mut idle = self.shared.idle.lock();
            self.shared.idle_bytes.fetch_add(bytes, Ordering::Relaxed);
            idle[class_of(segment.len())].push(segment);
        }
    }
}

fn class_of(bytes: usize) -> usize {
    debug_assert!(bytes.is_power_of_two());
    let class = bytes.ilog2().saturating_sub(SEGMENT_BYTES_MIN.ilog2());
    (class as usize).min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_holds() {
        let pool = Pool::new(100);
        assert!(pool.try_charge(60));
        assert!(!pool.try_charge(41));
        assert!(pool.try_charge(40));
        pool.release(100);
        assert_eq!(pool.used_bytes(), 0);
    }

    /// Free segments count too: what is kept for reuse never takes the process above its ceiling.
    #[test]
    fn free_segments_are_kept_only_below_the_ceiling() {
        let segment = SEGMENT_BYTES_MAX as u64;
        let pool = Pool::new(3 * segment);
        assert!(pool.try_charge(2 * segment));
        let (first, second) = (pool.take(SEGMENT_BYTES_MAX), pool.take(SEGMENT_BYTES_MAX));
        pool.give_back(first);
        assert_eq!(pool.idle_bytes(), segment);
        pool.give_back(second);
        assert_eq!(pool.idle_bytes(), segment, "the second is freed");
    }

    #[test]
    fn free_segments_are_reused() {
        let pool = Pool::new(1 << 30);
        let mut segment = pool.take(SEGMENT_BYTES_MIN);
        segment[0] = 7;
        pool.give_back(segment);
        assert_eq!(pool.idle_bytes(), SEGMENT_BYTES_MIN as u64);
        assert_eq!(pool.take(SEGMENT_BYTES_MIN)[0], 7);
        assert_eq!(pool.idle_bytes(), 0);
    }

    #[test]
    fn what_is_not_needed_between_two_passes_is_freed() {
        let pool = Pool::new(1 << 30);
        let segments: Vec<_> = (0..4).map(|_| pool.take(SEGMENT_BYTES_MAX)).collect();
        segments
            .into_iter()
            .for_each(|segment| pool.give_back(segment));
        pool.release_unneeded();
        let (one, all) = (SEGMENT_BYTES_MAX as u64, 4 * SEGMENT_BYTES_MAX as u64);
        assert_eq!(
            pool.idle_bytes(),
            all,
            "they were needed until a moment ago"
        );
        let needed = pool.take(SEGMENT_BYTES_MAX);
        pool.give_back(needed);
        pool.release_unneeded();
        assert_eq!(pool.idle_bytes(), one, "one was needed since");
        pool.release_unneeded();
        assert_eq!(pool.idle_bytes(), 0);
    }
}
