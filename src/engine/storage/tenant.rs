//! One tenant: its shards, its limit, its flushes.

use std::sync::Arc;
use std::time::Duration;

use super::clock::EngineClock;
use super::counters::Counters;
use super::key::{HashedKey, Hasher};
use super::large::{Upload, charge_of};
use super::ledger::Ledger;
use super::operations::ShardGuard;
use super::pool::Pool;
use super::shard::{Shard, is_large};
use crate::engine::sync::atomic::{AtomicU32, Ordering};
use crate::engine::sync::{Mutex, MutexGuard};

/// Segments of background work under one hold of a shard's lock.
const SLICE: u32 = 1;
/// How long one shard waits for another's lock.
const TRY_FOR: Duration = Duration::from_millis(1);

/// What a flush removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    pub items: u64,
    /// Key, value and header bytes of these items.
    pub bytes: u64,
}

/// What a turn of [`Tenant::maintain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// A delayed flush took effect since the last turn; it is told once.
    pub flushed: Option<Flushed>,
    /// Work is left; call again soon.
    pub unfinished: bool,
}

/// Too many values are on their way in, or the process is at its ceiling. Try again when some have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for a further upload at present")]
pub struct UploadRefused;

/// The storage of one cache. Nothing of one tenant can be reached from another. What each request touches comes first.
#[derive(Debug)]
#[repr(C)]
pub struct Tenant {
    shards: Box<[Mutex<Shard>]>,
    hasher: Hasher,
    clock: EngineClock,
    /// Engine time at which everything dies; 0 when no flush is pending.
    flush_at: AtomicU32,
    ledger: Arc<Ledger>,
    delayed: Mutex<Option<Flushed>>,
    /// The shard that gives way to the next upload.
    next_to_give: AtomicU32,
}

impl Tenant {
    /// An empty tenant. Holds next to nothing until the first store.
    pub fn new(limit_bytes: u64, pool: &Pool, clock: &EngineClock) -> Tenant {
        let ledger = Arc::new(Ledger::new(limit_bytes, pool.clone()));
        let shards = shards_for(limit_bytes);
        let unique_start = first_unique(clock);
        Tenant {
            clock: clock.clone(),
            hasher: Hasher::of_process(),
            shards: (0..shards)
                .map(|number| {
                    let first = unique_start + number as u64;
                    Mutex::new(Shard::new(first, shards, &ledger))
                })
                .collect(),
            flush_at: AtomicU32::new(0),
            delayed: Mutex::new(None),
            next_to_give: AtomicU32::new(0),
            ledger,
        }
    }

    pub fn limit_bytes(&self) -> u64 {
        self.ledger.limit()
    }

    /// Raises or lowers the limit. A lowered one is reached in slices, by stores and by [`Tenant::maintain`].
    pub fn set_limit(&self, bytes: u64) {
        self.ledger.set_limit(bytes);
    }

    /// Everything the tenant holds: segments, index, ghosts, large values, uploads, bytes pinned by replies, and
    /// flushed memory not yet given back.
    pub fn used_bytes(&self) -> u64 {
        self.ledger.used()
    }

    /// Hashes a key once for all that follows.
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> HashedKey<'k> {
        self.hasher.key(bytes)
    }

    /// Locks the shard of `key`. The guard serves every key for which [`ShardGuard::serves`] is true, so a run of
    /// pipelined commands can share it. Do not call other methods of the tenant while holding a guard.
    #[inline]
    pub fn lock(&self, key: &HashedKey<'_>) -> ShardGuard<'_> {
        self.flush_if_due();
        let number = key.shard(self.shards.len());
        ShardGuard::new(self, number, self.shards[number].lock())
    }

    /// Whether a value of this size is kept in its own allocation. Only for such values an [`Upload`] pays.
    pub fn is_large(&self, key_bytes: usize, value_bytes: usize) -> bool {
        is_large(&self.ledger, self.shards.len(), key_bytes, value_bytes)
    }

    /// Begins a large value of `len` bytes, charged from now on; room is made for it.
    ///
    /// # Errors
    /// When uploads already fill half of the limit, or the process is full. Wait and try again.
    pub fn reserve(&self, len: usize) -> Result<Upload, UploadRefused> {
        let charge = charge_of(len);
        if !self.ledger.may_upload(charge) {
            return Err(UploadRefused);
        }
        let start = self.next_to_give.fetch_add(1, Ordering::Relaxed) as usize;
        let mut order = (0..self.shards.len()).map(|step| (start + step) % self.shards.len());
        let now = self.clock.now();
        let charged = self.ledger.try_charge(charge)
            || order.any(|number| self.shards[number].lock().make_room_for(charge, now));
        match charged {
            true => Ok(Upload::charged(len, Arc::clone(&self.ledger))),
            false => Err(UploadRefused),
        }
    }

    /// Removes everything at once. Costs the same however much is stored; the memory comes back in slices.
    /// A pending delayed flush is dropped.
    pub fn flush(&self) -> Flushed {
        let _one_at_a_time = self.delayed.lock();
        self.flush_at.store(0, Ordering::Release);
        self.flush_shards()
    }

    /// Removes everything that is stored when `delay_secs` have passed. Replaces a pending one, but not one whose
    /// time has come: that takes effect now.
    /// [`Tenant::maintain`] tells when it has taken effect.
    pub fn flush_after(&self, delay_secs: u32) {
        let mut delayed = self.delayed.lock();
        self.carry_out_due(&mut delayed);
        let at = self.clock.now().saturating_add(delay_secs);
        self.flush_at.store(at, Ordering::Release);
    }

    /// All counters, summed over the shards.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for shard in &self.shards {
            sum += shard.lock().counters;
        }
        sum
    }

    /// Sets the counters to zero, but for those that describe the present.
    pub fn reset_counters(&self) {
        for shard in &self.shards {
            shard.lock().counters.reset();
        }
    }

    /// Background work in bounded slices: due flushes, memory of flushed items, expired items, a lowered limit,
    /// half-dead segments. `budget` is the number of slices per shard, each of about a segment under one hold of the
    /// lock. Call it about once a second, and again soon while it says `unfinished`.
    pub fn maintain(&self, budget: u32) -> Maintained {
        self.flush_if_due();
        let now = self.clock.now();
        let mut unfinished = false;
        for shard in &self.shards {
            let mut left = budget;
            let mut more = true;
            while more && left > 0 {
                let slice = left.min(SLICE);
                more = shard.lock().maintain(slice, now);
                left -= slice;
            }
            unfinished |= more;
        }
        Maintained {
            flushed: self.delayed.lock().take(),
            unfinished,
        }
    }

    /// Lets the other shards evict about `bytes`, when one shard has nothing left to evict. The caller holds the
    /// lock of shard `except`; so the others are only tried, each for a moment. False when one was busy all the time.
    #[cold]
    pub(super) fn evict_elsewhere(&self, except: usize, bytes: u64) -> bool {
        let now = self.clock.now();
        let mut reached_all = true;
        let others = self.shards.iter().enumerate();
        for (_, shard) in others.filter(|&(number, _)| number != except) {
            match shard.try_lock_for(TRY_FOR) {
                Some(mut shard) => shard.evict_bytes(bytes, now),
                None => reached_all = false,
            }
        }
        reached_all
    }

    /// What a tenant costs by itself, without anything stored.
    pub fn fixed_bytes(&self) -> usize {
        // The account lies behind an `Arc` with its two counts.
        let account = size_of::<Ledger>() + 2 * size_of::<usize>();
        size_of::<Tenant>() + account + size_of_val(&*self.shards)
    }

    pub(super) fn clock(&self) -> &EngineClock {
        &self.clock
    }

    /// Compares every count with a full walk. For a tenant without uploads and without pinned replies.
    #[cfg(test)]
    pub(super) fn audit(&self) {
        let held: u64 = self.shards.iter().map(|shard| shard.lock().audit()).sum();
        assert_eq!(held, self.ledger.used(), "charged against held");
    }

    pub(super) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    #[inline]
    fn flush_if_due(&self) {
        let at = self.flush_at.load(Ordering::Acquire);
        if at != 0 && at <= self.clock.now() {
            self.flush_due();
        }
    }

    /// Whoever comes while another thread carries out the flush waits for its end, so that nobody reads an item
    /// of before.
    #[cold]
    fn flush_due(&self) {
        self.carry_out_due(&mut self.delayed.lock());
    }

    fn carry_out_due(&self, delayed: &mut Option<Flushed>) {
        let at = self.flush_at.load(Ordering::Acquire);
        if at == 0 || at > self.clock.now() {
            return;
        }
        let flushed = self.flush_shards();
        let told = delayed.get_or_insert_default();
        told.items += flushed.items;
        told.bytes += flushed.bytes;
        self.flush_at.store(0, Ordering::Release);
    }

    fn flush_shards(&self) -> Flushed {
        let mut sum = Flushed::default();
        for (number, shard) in self.shards.iter().enumerate() {
            let mut shard: MutexGuard<'_, Shard> = shard.lock();
            if number == 0 {
                shard.counters.cmd_flush += 1;
            }
            let flushed = shard.flush();
            sum.items += flushed.items;
            sum.bytes += flushed.bytes;
        }
        sum
    }
}

/// One shard below 256 MiB, then more as the limit grows, a power of two for cheap choice.
fn shards_for(limit_bytes: u64) -> usize {
    const MIB: u64 = 1 << 20;
    match limit_bytes / MIB {
        0..=256 => 1,
        257..=1024 => 2,
        mib => (mib as usize / 256).next_power_of_two().clamp(4, 64),
    }
}

/// Uniques start from the time of creation, 2^17 for each second since 2026, so that they go on rising when a
/// tenant is made anew, as long as it stored less than 131,072 items a second over its life.
fn first_unique(clock: &EngineClock) -> u64 {
    const START_OF_2026: u64 = 1_767_225_600;
    (clock.unix_secs().saturating_sub(START_OF_2026) << 17) + 1
}
