//! An item as a reader sees it.

use super::large::SharedValue;

/// One item found by a read. Borrows the locked shard.
#[derive(Debug)]
pub struct ItemView<'a> {
    pub value: Value<'a>,
    /// Client flags.
    pub flags: u32,
    pub cas: u64,
    /// Seconds left, or `None` for ever; after this command's own touch.
    pub ttl_secs: Option<u32>,
    /// Whether the item had been read before this command (meta `h`).
    pub fetched: bool,
    /// Seconds since the access before this command (meta `l`). Coarse: may be some percent of the item's age off.
    pub last_access_secs: u32,
    pub marks: Marks,
}

/// A value, in the log or in its own allocation.
#[derive(Debug)]
pub enum Value<'a> {
    /// Copy it out before the shard is unlocked.
    Inline(&'a [u8]),
    /// Clone the handle to send it after the shard is unlocked.
    Shared(&'a SharedValue),
}

impl Value<'_> {
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Value::Inline(bytes) => bytes,
            Value::Shared(shared) => shared.as_slice(),
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The recaching marks of a meta reply (`memcached-protocol.md` §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// `W`: this reader is to make the value anew.
    pub won: bool,
    /// `X`: the value is out of date.
    pub stale: bool,
    /// `Z`: another reader has won it already.
    pub token_sent: bool,
}
