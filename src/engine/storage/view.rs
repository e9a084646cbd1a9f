//! An item as a reader sees it.

use super::item::Header;
use super::large::SharedValue;

/// One item found by a read. Borrows the locked shard. What most replies do not tell is worked out when it is asked
/// for.
#[derive(Debug)]
pub struct ItemView<'a> {
    pub value: Value<'a>,
    pub marks: Marks,
    pub(super) record: &'a [u8],
    pub(super) before: Header,
    pub(super) after: Header,
    /// The time that the segment counts accesses from.
    pub(super) base: u32,
    pub(super) now: u32,
}

impl ItemView<'_> {
    /// Client flags.
    #[inline]
    pub fn flags(&self) -> u32 {
        self.before.flags(self.record)
    }

    #[inline]
    pub fn cas(&self) -> u64 {
        self.before.cas(self.record)
    }

    /// Seconds left, or `None` for ever; after this command's own touch.
    pub fn ttl_secs(&self) -> Option<u32> {
        self.after.expiry().remaining(self.now)
    }

    /// Whether the item had been read before this command (meta `h`).
    pub fn fetched(&self) -> bool {
        self.before.is_fetched()
    }

    /// Seconds since the access before this command (meta `l`). Coarse: may be some percent of the item's age off.
    pub fn last_access_secs(&self) -> u32 {
        self.now.saturating_sub(self.before.accessed(self.base))
    }
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
