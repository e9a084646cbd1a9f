//! The three dialects, and the commands and replies that they share.
//!
//! ```text
//!  bytes ─▶ text::parse   ─┐                                          ┌─▶ text::write   ─▶ bytes
//!        ─▶ meta::parse   ─┼─▶ Command ─▶ execute.rs ─▶ Reply, Form ──┼─▶ meta::write
//!        ─▶ binary::parse ─┘                                          └─▶ binary::write
//! ```
//!
//! A [`Command`] says what to do; a [`Form`] says how to write the reply. Parsers know no tenant, and `execute.rs` knows no
//! dialect. Keys and values are borrowed from the read buffer.
//!
//! Most requests are gets of one key that change nothing. They take a shorter path with the same replies: `fast_get.rs`.
//!
//! Framing: a parser consumes exactly the bytes of one request, or none. An error either says how many further bytes belong
//! to the request and will be dropped (`swallow`), or closes the connection.

pub mod binary;
mod error;
mod fast_get;
mod limits;
pub mod meta;
pub mod number;
mod output;
pub mod scan;
pub mod text;

use std::borrow::Cow;

use super::storage::{
    ArithRequest, DeleteRequest, Exptime, GetOptions, ItemView, NewValue, StoreRequest,
};

pub use error::ProtocolError;
pub use fast_get::{FastGet, FastGetForm};
pub use limits::{Limits, is_control, is_key_length, is_text_key};
pub use output::Output;

/// The reply to `version`. Client libraries compare it to switch features on. So it names the memcached release whose
/// behaviour this engine has, not our own release.
pub const VERSION: &str = "1.6.45";

/// The dialect of a connection. The first byte decides it for as long as the connection is open. Meta is part of text.
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

/// What a client asks for. Parsers have checked it against all limits.
#[derive(Debug)]
pub enum Command<'a> {
    /// One key of a `get`, `gets`, `gat`, `gats` or `mg`, or a binary get.
    Get {
        key: Cow<'a, [u8]>,
        options: GetOptions,
    },
    Store {
        key: Cow<'a, [u8]>,
        request: StoreRequest<'a>,
    },
    /// A store whose item would be larger than the size limit. Its data block is dropped.
    StoreTooLarge {
        key: Cow<'a, [u8]>,
        /// As in [`StoreRequest`].
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
    /// A new exptime. The reply only says whether the item exists.
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
    /// Accepted without effect.
    Verbosity,
    Quit,
}

/// The group of statistics that `stats` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsGroup {
    General,
    Settings,
    Slabs,
    /// A group that memcached has and that is empty here, because it would tell about other tenants.
    Empty,
    Reset,
    Unknown,
}

impl StatsGroup {
    pub fn of_name(name: &[u8]) -> StatsGroup {
        match name {
            b"" => StatsGroup::General,
            b"settings" => StatsGroup::Settings,
            b"slabs" => StatsGroup::Slabs,
            b"items" | b"sizes" | b"conns" => StatsGroup::Empty,
            b"reset" => StatsGroup::Reset,
            _ => StatsGroup::Unknown,
        }
    }
}

/// The result of a command.
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
    /// Done, without a result.
    Done,
    /// The connection closes after this reply.
    Bye,
    /// The credential lacks the capability.
    Refused(Refusal),
}

/// One line of `stats`.
pub type Stat = (&'static str, String);

/// Kinds of refused commands. Commands of one kind get the same reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Store,
    /// Delete, incr, decr, touch.
    Change,
    /// A read that would have changed the item. It is answered like a miss.
    Read,
    Flush,
}

/// How to write the reply, in the dialect of the request.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    Text(text::TextForm<'a>),
    Meta(meta::MetaForm<'a>),
    Binary(binary::BinaryForm<'a>),
}

impl Form<'_> {
    /// Appends `reply`, or nothing if the request was quiet.
    #[inline]
    pub fn write(&self, reply: &Reply<'_>, out: &mut Output) {
        match self {
            Form::Text(form) => text::write(form, reply, out),
            Form::Meta(form) => meta::write(form, reply, out),
            Form::Binary(form) => binary::write(form, reply, out),
        }
    }

    /// Appends an error.
    pub fn write_error(&self, error: ProtocolError, out: &mut Output) {
        match self {
            Form::Text(form) if form.noreply => {}
            Form::Text(_) | Form::Meta(_) => text::write_error(error, out),
            Form::Binary(form) => binary::write_error(form, error, out),
        }
    }
}

/// A command, and how to write its reply.
#[derive(Debug)]
pub struct Request<'a> {
    pub command: Command<'a>,
    pub form: Form<'a>,
}

/// What a parser found at the start of the input.
#[derive(Debug)]
pub enum Parsed<'a> {
    /// More bytes are needed.
    Partial,
    /// A whole request of `used` bytes. `swallow` further bytes belong to it and are dropped.
    Request {
        used: usize,
        swallow: usize,
        request: Request<'a>,
    },
    /// A valid store whose data block has not arrived. `head` bytes are here; the block has `block` bytes.
    NeedsBlock { head: usize, block: usize },
    /// A line that reads several keys. The whole line is valid. Its keys follow behind `used` bytes.
    KeyList { used: usize, keys: text::KeyList },
    /// A request that is refused. `swallow` further bytes belong to it and are dropped.
    Error {
        used: usize,
        swallow: usize,
        error: ProtocolError,
        form: Form<'a>,
    },
    /// The connection closes, after this error if there is one.
    Close(Option<(ProtocolError, Form<'a>)>),
}

/// The data block of a store: in the read buffer, or received before.
#[derive(Debug)]
pub enum BlockSource<'a> {
    Input(&'a [u8]),
    Received(NewValue<'a>),
}
