//! The items of one tenant: memory, index, eviction, expiry.
//!
//! ```text
//!  Tenant ── limit, clock, pending flush                      Ledger: bytes charged, limit ──▶ Pool: ceiling of
//!    └─ shards, each behind its mutex; the top bits of the              ▲                       the process, free
//!       key's hash choose                                               │ charged by            segments
//!         ├─ index       hash ──▶ address (32 bits)                     │
//!         ├─ segments    records: header, key, value ───────────────────┤
//!         ├─ large       values over an eighth of a segment, each in its own allocation, shared with replies
//!         ├─ two tiers   small values, large values; each with a small and a main chain of segments
//!         ├─ ghost       fingerprints of recently evicted items
//!         └─ retired     what a flush took out of use, freed in slices
//! ```
//!
//! **Reading order.** `tenant`, `operations` (what commands do), `shard` (primitives), `item`, `record` and `segment` (the
//! layout of records), `index`; then how room is made: `space`, `eviction`, `adaptive_shares`, `compaction`, `sweep`,
//! `reclaim`.
//!
//! **Memory accounting.** A tenant is charged for its segments, index tables, ghost, large values, values that are still
//! arriving, values that replies still hold, and what its connections hold (`held`). Each is charged to the `Ledger` when it is allocated and released when it
//! is freed, so `used_bytes` is exact, and small items cost no accounting of their own. When a store returns, `used_bytes`
//! is not over the limit. After the limit was lowered, this holds once the bounded steps of stores and `maintain` have
//! reached it. A segment is a mapping of its own (`memory`); large values come from the allocator.
//!
//! **Lock order.** First the tenant's mutex of delayed flushes, then one shard. A thread never holds two shards, with one
//! exception: when a shard has nothing left to evict, the thread *tries* the locks of the others, with a time limit. The
//! pool's mutex is innermost and held for one push or pop. A reply's handle on a large value needs no lock; it keeps the
//! value charged.
//!
//! **What must never happen.** A read returns the value of another key or tenant, or an item from before a flush. A store
//! is refused although eviction could make room. One hold of a lock walks over all items. A `get` allocates.
//!
//! A connection holds an `Arc<Tenant>`. For each command it hashes the key, locks the key's shard, and calls the guard:
//!
//! ```
//! use larder::engine::storage::{EngineClock, Exptime, GetOptions, NewValue, Pool, StoreRequest, Tenant};
//!
//! let (pool, clock) = (Pool::new(1 << 30), EngineClock::system());
//! let tenant = Tenant::new(25 << 20, &pool, &clock);
//! let key = tenant.key(b"greeting");
//! let mut shard = tenant.lock(&key);
//! shard.store(&key, StoreRequest::set(0, Exptime::Never, NewValue::Bytes(b"hello")));
//! let item = shard.get(&key, GetOptions::default()).map(|item| item.value.as_slice().to_vec());
//! assert_eq!(item.as_deref(), Some(&b"hello"[..]));
//! ```

mod adaptive_shares;
mod age;
mod chain;
mod clock;
mod compaction;
mod counters;
mod eviction;
mod exptime;
mod ghost;
mod held;
mod index;
mod item;
mod key;
mod large;
mod ledger;
mod memory;
mod operations;
mod pool;
mod reclaim;
mod record;
mod request;
mod segment;
mod shard;
mod space;
mod sweep;
mod tenant;
mod view;

#[cfg(test)]
mod tests;

pub use clock::{EngineClock, monotonic_now};
pub use counters::Counters;
pub use exptime::{Exptime, RELATIVE_SECS_MAX};
pub use held::{HeldBytes, HoldRefused};
pub use key::HashedKey;
pub use large::{SharedValue, Upload};
pub use operations::ShardGuard;
pub use pool::Pool;
pub use request::{
    ArithDirection, ArithOutcome, ArithRequest, DeleteOutcome, DeleteRequest, FlagOrder,
    GetOptions, ITEM_BYTES_MAX, KEY_BYTES_MAX, NewValue, StoreMode, StoreOutcome, StoreRequest,
    Touched,
};
pub use tenant::{Flushed, Maintained, Tenant, UploadRefused};
pub use view::{ItemView, Marks, Value};
