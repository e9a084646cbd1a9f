//! An item as the reply to a read describes it.

use super::item::Header;
use super::large::SharedValue;

/// An item that a read has found. It borrows the locked shard. Fields that most replies leave out are computed only when
/// they are asked for.
#[derive(Debug)]
pub struct ItemView<'a> {
    pub value: Value<'a>,
    pub marks: Marks,
    pub(super) record: &'a [u8],
    pub(super) before: Header,
    pub(super) after: Header,
    /// Meta `t` comes before `T`.
    pub(super) tells_before_touch: bool,
    /// The engine time from which the segment counts access times.
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

    /// The TTL in seconds, after this command's own touch unless `t` comes before `T`; `None` when the item never expires.
    pub fn ttl_secs(&self) -> Option<u32> {
        let told = if self.tells_before_touch {
            self.before
        } else {
            self.after
        };
        told.expiry().remaining(self.now)
    }

    /// Whether the item was read before this command (meta `h`).
    pub fn fetched(&self) -> bool {
        self.before.is_fetched()
    }

    /// Seconds since the access before this command (meta `l`). It may be off by some percent of the item's age.
    pub fn last_access_secs(&self) -> u32 {
        self.now.saturating_sub(self.before.accessed(self.base))
    }
}

/// A value, in the log or in its own allocation.
#[derive(Debug)]
pub enum Value<'a> {
    /// Must be copied before the shard is unlocked.
    Inline(&'a [u8]),
    /// Clone the handle to send the value after the shard is unlocked.
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

/// The recaching marks of a meta reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// `W`: this reader has won, and is to make a new value.
    pub won: bool,
    /// `X`: the value is stale.
    pub stale: bool,
    /// `Z`: another reader has won already.
    pub token_sent: bool,
}
