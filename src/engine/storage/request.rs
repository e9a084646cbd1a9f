//! Requests to a shard and their outcomes. They are the same for every dialect.

use super::exptime::Exptime;
use super::large::Upload;

/// The largest sum of key and value bytes of one item.
pub const ITEM_BYTES_MAX: usize = 1_048_576;

/// The longest key.
pub const KEY_BYTES_MAX: usize = 250;

/// The positions of meta flags in their line, counted from 1; 0 for a flag that is absent. memcached executes flags from
/// left to right: `t` and `R` use the exptime as it is before a later `T`; of `N` and `T` the last one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlagOrder {
    /// `T`
    pub touch: u8,
    /// `N`
    pub vivify: u8,
    /// `R`
    pub recache: u8,
    /// `t`
    pub ttl: u8,
}

impl FlagOrder {
    /// The exptime of an item that is made, as of the flag at `place`: the last of `N` and `T` before it.
    pub fn made_exptime(self, vivify: Exptime, touch: Option<Exptime>, place: u8) -> Exptime {
        let mut latest = (0, Exptime::Never);
        let vivified = (self.vivify, vivify);
        let touched = touch.map(|exptime| (self.touch, exptime));
        for (at, exptime) in std::iter::once(vivified).chain(touched) {
            if at < place && at >= latest.0 {
                latest = (at, exptime);
            }
        }
        latest.1
    }

    /// The position for which the reply reports the exptime: that of `t`, or the end of the line.
    pub fn told_place(self) -> u8 {
        match self.ttl {
            0 => u8::MAX,
            place => place,
        }
    }

    /// Whether `t` reports the exptime as it was before `T`.
    #[inline]
    pub fn tells_before_touch(self) -> bool {
        self.told_place() < self.touch
    }
}

/// How to read. The default is a `get` that changes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct GetOptions {
    /// New exptime (`gat` and meta `T`). The command then counts as a touch instead of a get.
    pub touch: Option<Exptime>,
    /// On a miss make an empty item with this exptime; the reader has won it (meta `N`).
    pub vivify: Option<Exptime>,
    /// CAS value of the item made on a miss, instead of the next one (meta `E`). Zero counts as not given.
    pub new_cas: Option<u64>,
    /// Win the item when it expires before this (meta `R`). Only together with `recaches`.
    pub recache_before: Option<Exptime>,
    /// The order of the flags above.
    pub order: FlagOrder,
    /// Return the recaching marks, and win a stale item (meta `mg`). A classic or binary reply cannot carry the marks, so
    /// such a read must not win: its client would not know.
    pub recaches: bool,
    /// Record neither a hit nor an access time (meta `u`).
    pub no_bump: bool,
    /// Do not count the read in the statistics (meta `me`).
    pub uncounted: bool,
}

/// The condition of a store, and what it does with the old value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreMode {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
}

/// A value to be stored.
#[derive(Debug)]
pub enum NewValue<'a> {
    /// Bytes in a read buffer. They are copied.
    Bytes(&'a [u8]),
    /// A value that was received into its final allocation ([`super::Tenant::reserve`]).
    Upload(Upload),
}

impl NewValue<'_> {
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            NewValue::Bytes(bytes) => bytes,
            NewValue::Upload(upload) => upload.as_slice(),
        }
    }
}

/// A store. [`StoreRequest::set`] makes a `set`; change its fields for other commands.
#[derive(Debug)]
pub struct StoreRequest<'a> {
    pub mode: StoreMode,
    /// Client flags. `Append` and `Prepend` keep those of the old item.
    pub flags: u32,
    pub exptime: Exptime,
    /// Store only if the item's CAS value is this one. With `Set` and `Replace` an absent item is `NotFound`.
    pub cas: Option<u64>,
    /// CAS value to give the item instead of the next one (meta `E`). Zero counts as not given.
    pub new_cas: Option<u64>,
    /// A `cas` below the item's also stores, and leaves the item stale (meta `I`).
    pub invalidate: bool,
    /// `Append` and `Prepend` make the item on a miss, with this exptime (meta `N`).
    pub vivify: Option<Exptime>,
    /// The old item is removed when the new one is too large or finds no memory, so that no stale value stays. As in
    /// memcached: text `set`, `ms` in every mode, binary SET with or without a CAS value. The others keep the old item.
    pub removes_old: bool,
    pub value: NewValue<'a>,
}

impl<'a> StoreRequest<'a> {
    pub fn set(flags: u32, exptime: Exptime, value: NewValue<'a>) -> StoreRequest<'a> {
        StoreRequest {
            mode: StoreMode::Set,
            flags,
            exptime,
            cas: None,
            new_cas: None,
            invalidate: false,
            vivify: None,
            removes_old: true,
            value,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOutcome {
    Stored {
        /// The item's new CAS value.
        cas: u64,
        /// Length of the value that is now stored (meta `s`).
        value_bytes: u32,
    },
    /// The mode's condition did not hold.
    NotStored,
    /// The CAS value differs.
    Exists,
    /// A CAS value was given and the item is absent.
    NotFound,
    /// Key and value are larger than [`ITEM_BYTES_MAX`].
    TooLarge,
    /// There was no memory, because the process is at its ceiling.
    NoMemory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArithDirection {
    /// Wraps at 2^64.
    Increment,
    /// Stops at 0.
    Decrement,
}

#[derive(Clone, Copy, Debug)]
pub struct ArithRequest {
    pub direction: ArithDirection,
    pub delta: u64,
    /// Value and exptime of the item made on a miss. The delta is not applied to it.
    pub initial: Option<(u64, Exptime)>,
    /// New exptime of the item (meta `T`).
    pub exptime: Option<Exptime>,
    /// The order of `T`, `N` and `t`.
    pub order: FlagOrder,
    /// Change only if the item's CAS value is this one.
    pub cas: Option<u64>,
    /// CAS value to give the item instead of the next one (meta `E`).
    pub new_cas: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArithOutcome {
    Done {
        /// The number that is now stored, as the client is told.
        value: u64,
        cas: u64,
        /// The TTL in seconds; `None` when the item never expires.
        ttl_secs: Option<u32>,
    },
    NotFound,
    Exists,
    NonNumeric,
    NoMemory,
}

/// A delete. With `mark_stale` or `empty` the item stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeleteRequest {
    /// Delete only if the item's CAS value is this one.
    pub cas: Option<u64>,
    /// Another CAS value counts as a miss. In memcached it does for `md`; a binary DELETE is neither hit nor miss then.
    pub mismatch_is_miss: bool,
    /// Keep the item, stale, for the next reader to win (meta `I`).
    pub mark_stale: bool,
    /// Keep the item with an empty value and new flags (meta `x`). Without `exptime` it then never expires.
    pub empty: bool,
    /// New exptime of the item that is kept.
    pub exptime: Option<Exptime>,
    /// Client flags of an emptied item (meta `F`).
    pub flags: u32,
    /// CAS value to give the kept item instead of the next one (meta `E`).
    pub new_cas: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    Deleted,
    NotFound,
    Exists,
}

/// The item that a touch found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    pub flags: u32,
    pub cas: u64,
}
