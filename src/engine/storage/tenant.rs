//! One tenant: its shards, its limit and its flushes.

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
use crate::domain::secret::random_bytes;
use crate::engine::sync::atomic::{AtomicU32, Ordering};
use crate::engine::sync::{Mutex, MutexGuard};

/// Segments of background work done under one hold of a shard's lock.
const SLICE: u32 = 1;
/// How long a thread that holds one shard's lock tries to get another's.
const TRY_FOR: Duration = Duration::from_millis(1);

/// What a flush removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    pub items: u64,
    /// Key, value and header bytes of these items.
    pub bytes: u64,
}

/// What a call of [`Tenant::maintain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// There is more work: call again soon.
    pub unfinished: bool,
}

/// Uploads and long requests already use half of the limit, or the process is at its memory ceiling. Try again when some are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for a further upload at present")]
pub struct UploadRefused;

/// The storage of one cache. No item of one tenant can be reached from another. The fields that each request reads come
/// first, to touch few cache lines.
#[derive(Debug)]
#[repr(C)]
pub struct Tenant {
    shards: Box<[Mutex<Shard>]>,
    hasher: Hasher,
    clock: EngineClock,
    /// Engine time at which a delayed flush takes effect; 0 when none is pending.
    flush_at: AtomicU32,
    ledger: Arc<Ledger>,
    /// What a delayed flush has removed, until [`Tenant::take_flushed`] returns it. Whoever flushes holds the lock.
    delayed: Mutex<Option<Flushed>>,
    /// The shard that evicts first for the next upload, so that uploads do not always take from the same shard.
    next_to_evict: AtomicU32,
}

impl Tenant {
    /// An empty tenant. It allocates no segment before the first store.
    pub fn new(limit_bytes: u64, pool: &Pool, clock: &EngineClock) -> Tenant {
        let ledger = Arc::new(Ledger::new(limit_bytes, pool.clone()));
        let shards = shards_for(limit_bytes);
        let cas_start = first_cas(clock);
        Tenant {
            clock: clock.clone(),
            hasher: Hasher::of_process(),
            shards: (0..shards)
                .map(|number| {
                    let first = cas_start + number as u64;
                    Mutex::new(Shard::new(first, shards, &ledger))
                })
                .collect(),
            flush_at: AtomicU32::new(0),
            delayed: Mutex::new(None),
            next_to_evict: AtomicU32::new(0),
            ledger,
        }
    }

    pub fn limit_bytes(&self) -> u64 {
        self.ledger.limit()
    }

    /// Changes the limit. Stores and [`Tenant::maintain`] reach a lower one in bounded steps.
    pub fn set_limit(&self, bytes: u64) {
        self.ledger.set_limit(bytes);
    }

    /// All bytes that the tenant holds: segments, index, ghosts, large values, uploads, values that replies still use, what
    /// its connections hold, and flushed memory that is not freed yet.
    pub fn used_bytes(&self) -> u64 {
        self.ledger.used()
    }

    /// Hashes a key, once per command.
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> HashedKey<'k> {
        self.hasher.key(bytes)
    }

    /// Locks the shard of `key`. The guard serves every key for which [`ShardGuard::serves`] is true, so that pipelined
    /// commands can share it. Do not call other methods of the tenant while holding a guard.
    #[inline]
    pub fn lock(&self, key: &HashedKey<'_>) -> ShardGuard<'_> {
        self.flush_if_due();
        let number = key.shard(self.shards.len());
        ShardGuard::new(self, number, self.shards[number].lock())
    }

    /// Whether a value of this size gets its own allocation. Only for such values an [`Upload`] is worth while.
    pub fn is_large(&self, key_bytes: usize, value_bytes: usize) -> bool {
        is_large(&self.ledger, self.shards.len(), key_bytes, value_bytes)
    }

    /// Begins the upload of a value of `len` bytes. It is charged from now on, and items are evicted for it.
    ///
    /// # Errors
    /// When uploads already use half of the limit, or no memory could be freed. Wait and try again.
    pub fn reserve(&self, len: usize) -> Result<Upload, UploadRefused> {
        let charge = charge_of(len);
        if !self.ledger.may_upload(charge) {
            return Err(UploadRefused);
        }
        match self.find_room(charge) {
            true => Ok(Upload::charged(len, Arc::clone(&self.ledger))),
            false => Err(UploadRefused),
        }
    }

    /// Charges `bytes`, and evicts items if they do not fit otherwise. False when nothing is left to evict.
    pub(super) fn find_room(&self, bytes: u64) -> bool {
        if self.ledger.try_charge(bytes) {
            return true;
        }
        let start = self.next_to_evict.fetch_add(1, Ordering::Relaxed) as usize;
        let mut order = (0..self.shards.len()).map(|step| (start + step) % self.shards.len());
        let now = self.clock.now();
        order.any(|number| self.shards[number].lock().make_room_for(bytes, now))
    }

    /// Removes all items. It costs the same however much is stored; [`Tenant::maintain`] frees the memory later. A pending
    /// delayed flush is dropped.
    pub fn flush(&self) -> Flushed {
        let _one_at_a_time = self.delayed.lock();
        self.flush_at.store(0, Ordering::Release);
        self.count_flush();
        self.flush_shards()
    }

    /// Removes all items that exist when `delay_secs` have passed. Replaces a pending delayed flush; but if that one is
    /// already due, it takes effect now. Returns what [`Tenant::take_flushed`] would have returned about earlier ones.
    pub fn flush_after(&self, delay_secs: u32) -> Option<Flushed> {
        let mut delayed = self.delayed.lock();
        self.carry_out_due(&mut delayed);
        self.count_flush();
        let at = self.clock.now().saturating_add(delay_secs);
        self.flush_at.store(at, Ordering::Release);
        delayed.take()
    }

    /// Drops a delayed flush that is not due yet. False when there is none; one that is due takes effect.
    pub fn drop_delayed(&self) -> bool {
        let mut delayed = self.delayed.lock();
        self.carry_out_due(&mut delayed);
        self.flush_at.swap(0, Ordering::AcqRel) != 0
    }

    /// What a delayed flush has removed that took effect since the last call. Each is returned once.
    pub fn take_flushed(&self) -> Option<Flushed> {
        self.flush_if_due();
        self.delayed.lock().take()
    }

    /// All counters, summed over the shards.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for shard in &self.shards {
            sum += shard.lock().counters;
        }
        sum
    }

    /// Sets the counters to zero, except those that describe the present.
    pub fn reset_counters(&self) {
        for shard in &self.shards {
            shard.lock().counters.reset();
        }
    }

    /// Does background work in bounded slices: due flushes, memory of flushed items, expired items, a lowered limit,
    /// compaction. `budget` is the number of slices per shard; a slice is about one segment under one hold of the lock.
    /// Call it about once a second, and again soon while it returns `unfinished`.
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
        Maintained { unfinished }
    }

    /// Makes the other shards evict about `bytes`, when shard `except` has nothing left to evict. The caller holds the lock
    /// of `except`, and two threads may do this at once. So the other locks are only tried, each for [`TRY_FOR`]; waiting
    /// for them could deadlock. False when one of them stayed busy.
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

    /// Bytes that an empty tenant takes.
    pub fn fixed_bytes(&self) -> usize {
        // The ledger is behind an `Arc`, which adds two counts.
        let ledger = size_of::<Ledger>() + 2 * size_of::<usize>();
        size_of::<Tenant>() + ledger + size_of_val(&*self.shards)
    }

    pub(super) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    pub(super) fn has_ledger(&self, ledger: &Arc<Ledger>) -> bool {
        Arc::ptr_eq(&self.ledger, ledger)
    }

    pub(super) fn clock(&self) -> &EngineClock {
        &self.clock
    }

    /// Compares every count with a full walk. Only for a tenant without uploads and without values in unsent replies.
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

    /// A thread that comes while another one carries out the flush waits here for its end. Otherwise it could read an
    /// item that the flush is about to remove.
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
        let unreported = delayed.get_or_insert_default();
        unreported.items += flushed.items;
        unreported.bytes += flushed.bytes;
        // Last, with Release: a thread that reads 0 (Acquire) then sees all shards flushed.
        self.flush_at.store(0, Ordering::Release);
    }

    /// Counts the command, which a delayed flush is when it is asked for.
    fn count_flush(&self) {
        if let Some(first) = self.shards.first() {
            first.lock().counters.cmd_flush += 1;
        }
    }

    fn flush_shards(&self) -> Flushed {
        let mut sum = Flushed::default();
        for shard in &self.shards {
            let mut shard: MutexGuard<'_, Shard> = shard.lock();
            let flushed = shard.flush();
            sum.items += flushed.items;
            sum.bytes += flushed.bytes;
        }
        sum
    }
}

/// Number of shards: one up to 256 MiB, more as the limit grows. Always a power of two, so that bits of the hash can
/// choose the shard.
fn shards_for(limit_bytes: u64) -> usize {
    const MIB: u64 = 1 << 20;
    match limit_bytes / MIB {
        0..=256 => 1,
        257..=1024 => 2,
        mib => (mib as usize / 256).next_power_of_two().clamp(4, 64),
    }
}

/// The first CAS value: drawn between 2^20 and 2^28 at each start of a cache on a node. So low that clients that keep 32
/// bits have room for four billion stores. Drawn, so that a CAS value that a client kept over a restart is almost never that
/// of the item it finds then. From here on CAS values only rise, also after flushes and changes of the limit.
///
/// Not drawn under a manual clock: tests compare the replies of two engines byte by byte.
fn first_cas(clock: &EngineClock) -> u64 {
    const FIRST: u64 = 1 << 20;
    const END: u64 = 1 << 28;
    if clock.is_manual() {
        return FIRST;
    }
    FIRST + u64::from_le_bytes(random_bytes()) % (END - FIRST)
}
