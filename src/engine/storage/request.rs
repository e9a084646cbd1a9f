//! What can be asked of a shard, and the answers. Plain values, the same for every dialect.

use super::exptime::Exptime;
use super::large::Upload;

/// Key and value of one item together may have this many bytes (`product.md` §2).
pub const ITEM_BYTES_MAX: usize = 1_048_576;

/// Longest key.
pub const KEY_BYTES_MAX: usize = 250;

/// How to read. The default is a plain `get`.
#[derive(Clone, Copy, Debug, Default)]
pub struct GetOptions {
    /// New life, as `gat` and meta `T` give it. The command then counts as a touch instead of a get.
    pub touch: Option<Exptime>,
    /// Make an empty item on a miss (meta `N`); the reader has won it.
    pub vivify: Option<Exptime>,
    /// Win the item when it has less than this many seconds left (meta `R`). Only together with `recaches`.
    pub recache_below_secs: Option<u32>,
    /// Tell the recaching marks, and win an item that is stale (meta `mg`). A classic or binary read has no words
    /// for either, so it must not take the win from those who do.
    pub recaches: bool,
    /// Leave no trace of the read (meta `u`): no hit mark, no access time.
    pub no_bump: bool,
    /// Count nothing in the statistics (meta `me`).
    pub uncounted: bool,
}

/// What kind of store.
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
    /// Bytes lying in a read buffer; they are copied.
    Bytes(&'a [u8]),
    /// A value built in its final place with [`super::Tenant::reserve`].
    Upload(Upload),
}

impl NewValue<'_> {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            NewValue::Bytes(bytes) => bytes,
            NewValue::Upload(upload) => upload.as_slice(),
        }
    }
}

/// A store. [`StoreRequest::set`] gives the plain one; change fields for the others.
#[derive(Debug)]
pub struct StoreRequest<'a> {
    pub mode: StoreMode,
    /// Client flags; kept from the old item by `Append` and `Prepend`.
    pub flags: u32,
    pub exptime: Exptime,
    /// Store only if the item's unique is this one. With `Set` and `Replace` an absent item is `NotFound`.
    pub cas: Option<u64>,
    /// Unique to give the item instead of the next one (meta `E`). Zero counts as not given.
    pub new_cas: Option<u64>,
    /// Meta `I`: a `cas` lower than the item's stores too, and leaves the item stale.
    pub invalidate: bool,
    /// `Append` and `Prepend` make the item on a miss, with this life (meta `N`).
    pub vivify: Option<Exptime>,
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
            value,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOutcome {
    Stored {
        /// The item's new unique.
        cas: u64,
        /// Bytes of the whole value now stored (meta `s`).
        value_bytes: u32,
    },
    /// The mode's condition did not hold.
    NotStored,
    /// The unique differs.
    Exists,
    /// A unique was given and the item is absent.
    NotFound,
    /// Key and value pass [`ITEM_BYTES_MAX`]. A `Set` has removed the old value.
    TooLarge,
    /// The memory ceiling of the process left no room. A `Set` has removed the old value.
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
    /// Value and life of the item made on a miss; the delta is not applied to it.
    pub initial: Option<(u64, Exptime)>,
    /// New life of an item that was there (meta `T`).
    pub exptime: Option<Exptime>,
    /// Change only if the item's unique is this one.
    pub cas: Option<u64>,
    /// Unique to give the item instead of the next one (meta `E`).
    pub new_cas: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArithOutcome {
    Done {
        /// The number now stored, which is what the client is told.
        value: u64,
        cas: u64,
        /// Seconds left, or `None` for ever.
        ttl_secs: Option<u32>,
    },
    NotFound,
    Exists,
    NonNumeric,
    NoMemory,
}

/// A removal, or with one of the marks a change that leaves the item in place.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeleteRequest {
    /// Only if the item's unique is this one.
    pub cas: Option<u64>,
    /// Meta `I`: keep the item, stale, for the next reader to win.
    pub mark_stale: bool,
    /// Meta `x`: keep the item with an empty value and flags 0. Its life becomes endless without `exptime`.
    pub empty: bool,
    /// New life of the item that is kept.
    pub exptime: Option<Exptime>,
    /// Unique to give the kept item instead of the next one (meta `E`).
    pub new_cas: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    Deleted,
    NotFound,
    Exists,
}

/// What a touch found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    pub flags: u32,
    pub cas: u64,
}
