//! Items of one tenant: memory, index, eviction, expiry.
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
