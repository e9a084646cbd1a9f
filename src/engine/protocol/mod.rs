//! One vocabulary under three dialects.
//!
//! ```text
//!  bytes ─▶ text::parse   ─┐                                          ┌─▶ text::write   ─▶ bytes
//!        ─▶ meta::parse   ─┼─▶ Command ─▶ execute.rs ─▶ Reply, Form ──┼─▶ meta::write
//!        ─▶ binary::parse ─┘                                          └─▶ binary::write
//! ```
//!
//! Most requests are gets of one key that ask for no change. They take a shorter way, in the same words at both ends:
//! `plain.rs`.
//!
//! A [`Command`] says what is wanted, in the words of the storage; a [`Form`] says how the client wants to be told.
//! Parsers know no tenant, executing knows no dialect. Keys and values are borrowed from the read buffer.
//!
//! Framing: every parser consumes exactly the bytes of a request or none. An error either names how many bytes
//! are to be swallowed, or closes the connection.

pub mod binary;
mod fault;
mod limits;
pub mod meta;
pub mod number;
mod output;
mod plain;
mod scan;
pub mod text;

use std::borrow::Cow;

use super::storage::{
    ArithRequest, DeleteRequest, Exptime, GetOptions, ItemView, NewValue, StoreRequest,
};

pub use fault::Fault;
pub use limits::{Limits, is_control, is_key_length, is_text_key};
pub use output::Output;
pub use plain::{PlainForm, PlainGet};

/// What `version` answers. Clients compare it and switch features on, so it names the memcached whose behaviour
/// this engine has, not our own release.
pub const VERSION: &str = "1.6.45";

/// What a connection speaks. The first byte decides, for the life of the connection; meta is part of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Text,
    Binary,
}

impl Dialect {
    pub fn of_first_byte(byte: u8) -> Dialect {
        if byte == binary::REQUEST_MAGIC {
            Dialect::Binary
        } else {
            Dialect::Text
        }
    }
}

/// What a client wants done. Respects all limits.
#[derive(Debug)]
pub enum Command<'a> {
    /// One key of a `get` and its relatives, with all that meta adds.
    Get {
        key: Cow<'a, [u8]>,
        options: GetOptions,
    },
    Store {
        key: Cow<'a, [u8]>,
        request: StoreRequest<'a>,
    },
    /// A store whose item would pass the size limit; its block is swallowed.
    StoreTooLarge {
        key: Cow<'a, [u8]>,
        /// The old value must not survive.
        removes_old: bool,
    },
    Delete {
        key: Cow<'a, [u8]>,
        request: DeleteRequest,
    },
    Arith {
        key: Cow<'a, [u8]>,
        request: ArithRequest,
    },
    /// New life, nothing returned but whether it was there.
    Touch {
        key: Cow<'a, [u8]>,
        exptime: Exptime,
    },
    Flush {
        delay_secs: u32,
    },
    Stats(StatsGroup),
    Version,
    Noop,
    /// Accepted, without effect.
    Verbosity,
    Quit,
}

/// What `stats` is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsGroup {
    General,
    Settings,
    /// A group that memcached knows and a service leaves empty: it would tell about others.
    Empty,
    Reset,
    Unknown,
}

impl StatsGroup {
    pub fn of_name(name: &[u8]) -> StatsGroup {
        match name {
            b"" => StatsGroup::General,
            b"settings" => StatsGroup::Settings,
            b"items" | b"slabs" | b"sizes" | b"conns" => StatsGroup::Empty,
            b"reset" => StatsGroup::Reset,
            _ => StatsGroup::Unknown,
        }
    }
}

/// What came of a command.
#[derive(Debug)]
pub enum Reply<'r> {
    Hit(ItemView<'r>),
    Miss,
    Stored {
        cas: u64,
        value_bytes: u32,
    },
    NotStored,
    Exists,
    NotFound,
    Deleted,
    Touched {
        flags: u32,
        cas: u64,
    },
    Number {
        value: u64,
        cas: u64,
        ttl_secs: Option<u32>,
    },
    NonNumeric,
    TooLarge,
    OutOfMemory,
    Flushed,
    /// Names and values.
    Stats(Vec<Stat>),
    Reset,
    UnknownStats,
    Version,
    Noop,
    /// Accepted, and nothing to say.
    Done,
    /// The connection ends behind this reply.
    Bye,
    /// The credential lacks the capability.
    Refused(Refusal),
}

/// One line of `stats`.
pub type Stat = (&'static str, String);

/// Kinds of refused commands that are answered alike (`product.md` §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Store,
    /// Delete, incr, decr, touch.
    Change,
    /// A read that would have changed the item: looks like a miss.
    Read,
    Flush,
}

/// How a client wants to be told.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    Text(text::TextForm<'a>),
    Meta(meta::MetaForm<'a>),
    Binary(binary::BinaryForm<'a>),
}

impl Form<'_> {
    /// Appends `reply`, or nothing when the form is quiet about it.
    #[inline]
    pub fn write(&self, reply: &Reply<'_>, out: &mut Output) {
        match self {
            Form::Text(form) => text::write(form, reply, out),
            Form::Meta(form) => meta::write(form, reply, out),
            Form::Binary(form) => binary::write(form, reply, out),
        }
    }

    /// Appends an error.
    pub fn write_fault(&self, fault: Fault, out: &mut Output) {
        match self {
            Form::Text(form) if form.noreply => {}
            Form::Text(_) | Form::Meta(_) => text::write_fault(fault, out),
            Form::Binary(form) => binary::write_fault(form, fault, out),
        }
    }
}

/// A command and how to answer it.
#[derive(Debug)]
pub struct Request<'a> {
    pub command: Command<'a>,
    pub form: Form<'a>,
}

/// What a parser makes of the bytes at hand.
#[derive(Debug)]
pub enum Parsed<'a> {
    /// Nothing can be said yet: more bytes are needed.
    Partial,
    /// A whole request of `used` bytes; `swallow` more are to be dropped when they come.
    Request {
        used: usize,
        swallow: usize,
        request: Request<'a>,
    },
    /// A store that is in order so far. Its head of `head` bytes is here, its block of `block` bytes is not.
    NeedsBlock { head: usize, block: usize },
    /// A line that reads many keys, checked as a whole. Its keys follow behind `used` bytes.
    KeyList { used: usize, keys: text::KeyList },
    /// A request that cannot be understood.
    Fault {
        used: usize,
        swallow: usize,
        fault: Fault,
        form: Form<'a>,
    },
    /// Answer, if there is something to say, and close.
    Close(Option<(Fault, Form<'a>)>),
}

/// A value to be stored that stands in the read buffer, or was received before.
#[derive(Debug)]
pub enum BlockSource<'a> {
    Input(&'a [u8]),
    Received(NewValue<'a>),
}
