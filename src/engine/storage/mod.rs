//! Items of one tenant: memory, index, eviction, expiry.
//!
//! ```text
//!  Tenant ── limit, clock, pending flush                      Ledger: bytes charged, limit ──▶ Pool: ceiling of
//!    └─ shards, each behind its mutex; the top bits of the              ▲                       the process, free
//!       key's hash choose                                               │ charged by            segments
//!         ├─ index       hash ──▶ address (32 bits)                     │
//!         ├─ segments    records: header, key, value ───────────────────┤
//!         ├─ large       values over an eighth of a segment, each in its own allocation, shared with replies
//!         ├─ two tiers   values in the log, large values; each with a small and a main chain of segments
//!         ├─ ghost       fingerprints of what was evicted of late
//!         └─ retired     what a flush took out of use, given back in slices
//! ```
//!
//! **Reading order.** `tenant`, `operations` (what clients can do), `shard` (primitives), `item` and `segment` (how
//! records lie), `index`, then how room is made: `eviction`, `balance`, `compaction`, `sweep`, `reclaim`.
//!
//! **Memory accounting.** What a tenant holds = segments held × their size + index tables + ghost + large values +
//! values still arriving + values that replies still hold. Each is charged to the `Ledger` when it is had and
//! released when it is given back, never in between, so `used_bytes` is exact and costs small items nothing. When a
//! store has returned, `used_bytes` is not over the limit; after the limit was lowered that holds as soon as the
//! bounded steps of stores and `maintain` have got there. A segment is a mapping of its own (`memory`), large values are
//! the allocator's. An item never moves from one tenant's ledger to another's.
//!
//! **Lock order.** The tenant's mutex of delayed flushes, then one shard. Never two shards, but for a shard that has
//! nothing left to evict: it *tries* the others, with a time limit. The pool's mutex is innermost and held for one
//! push or pop. A reply's handle on a large value needs no lock, and keeps the value charged.
//!
//! **Never.** A value of another key or tenant; an item of before a flush; a store refused for want of room that
//! eviction could make; a walk over all items in one hold of a lock; an allocation for a `get`.
//!
//! A connection holds an `Arc<Tenant>`. For a command it hashes the key once, locks the key's shard, and asks the
//! guard:
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

mod balance;
mod chain;
mod clock;
mod compaction;
mod counters;
mod eviction;
mod exptime;
mod ghost;
mod index;
mod item;
mod key;
mod large;
mod ledger;
mod memory;
mod operations;
mod pool;
mod reclaim;
mod request;
mod segment;
mod shard;
mod sweep;
mod tenant;
mod view;

#[cfg(test)]
mod tests;

pub use clock::EngineClock;
pub use counters::Counters;
pub use exptime::{Exptime, RELATIVE_SECS_MAX};
pub use key::HashedKey;
pub use large::{SharedValue, Upload};
pub use operations::ShardGuard;
pub use pool::Pool;
pub use request::{
    ArithDirection, ArithOutcome, ArithRequest, DeleteOutcome, DeleteRequest, GetOptions,
    ITEM_BYTES_MAX, KEY_BYTES_MAX, NewValue, StoreMode, StoreOutcome, StoreRequest, Touched,
};
pub use tenant::{Flushed, Maintained, Tenant, UploadRefused};
pub use view::{ItemView, Marks, Value};
