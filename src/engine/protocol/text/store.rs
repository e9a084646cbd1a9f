//! Storage commands: `set`, `add`, `replace`, `append`, `prepend`, `cas`.

use std::borrow::Cow;

use super::{TextForm, Words};
use crate::engine::protocol::number::{block_length, signed, unsigned, unsigned32};
use crate::engine::protocol::{
    BlockSource, Command, Fault, Form, Limits, Parsed, Request, is_text_key,
};
use crate::engine::storage::{Exptime, NewValue, StoreMode, StoreRequest};

/// CR LF behind a data block.
const BLOCK_END: &[u8] = b"\r\n";

/// What stands behind a command line.
#[derive(Debug)]
pub(in crate::engine::protocol) struct Behind<'a> {
    /// Bytes of the line with its end.
    pub head: usize,
    pub block: BlockSource<'a>,
}

/// A block of the announced length, or why there is none.
pub(in crate::engine::protocol) enum Block<'a> {
    Here {
        used: usize,
        value: NewValue<'a>,
    },
    Missing(Parsed<'a>),
    /// Not followed by a line end.
    Bad {
        used: usize,
    },
}

impl<'a> Behind<'a> {
    pub fn take(self, length: usize) -> Block<'a> {
        let with_end = length + BLOCK_END.len();
        match self.block {
            BlockSource::Received(value) => Block::Here {
                used: self.head,
                value,
            },
            BlockSource::Input(input) if input.len() < with_end => {
                Block::Missing(Parsed::NeedsBlock {
                    head: self.head,
                    block: length,
                })
            }
            BlockSource::Input(input) => {
                let used = self.head + with_end;
                if &input[length..with_end] == BLOCK_END {
                    let value = NewValue::Bytes(&input[..length]);
                    Block::Here { used, value }
                } else {
                    Block::Bad { used }
                }
            }
        }
    }
}

/// Which storage command a line begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Store(StoreMode),
    Cas,
}

impl Verb {
    pub fn of_word(word: &[u8]) -> Option<Verb> {
        Some(match word {
            b"set" => Verb::Store(StoreMode::Set),
            b"add" => Verb::Store(StoreMode::Add),
            b"replace" => Verb::Store(StoreMode::Replace),
            b"append" => Verb::Store(StoreMode::Append),
            b"prepend" => Verb::Store(StoreMode::Prepend),
            b"cas" => Verb::Cas,
            _ => return None,
        })
    }

    fn mode(self) -> StoreMode {
        match self {
            Verb::Store(mode) => mode,
            Verb::Cas => StoreMode::Set,
        }
    }
}

/// Words of a storage line behind its verb, not yet understood.
struct StoreWords<'a> {
    key: &'a [u8],
    flags: &'a [u8],
    exptime: &'a [u8],
    length: usize,
    unique: Option<&'a [u8]>,
    noreply: bool,
}

/// `None` when words are missing or the length cannot be read: then nobody knows where the next command begins
/// but at the end of the line.
fn split(mut words: Words<'_>) -> Option<StoreWords<'_>> {
    let key = words.next()?;
    let flags = words.next()?;
    let exptime = words.next()?;
    let length = block_length(words.next()?)?;
    let unique = words.next();
    // Most lines end before it.
    let last = unique.and_then(|_| words.last()).or(unique);
    Some(StoreWords {
        key,
        flags,
        exptime,
        length,
        unique,
        noreply: last == Some(b"noreply"),
    })
}

/// Where the block of a storage line ends, for those who only want to pass over it.
pub(super) fn announced_length(words: Words<'_>) -> Option<usize> {
    split(words).map(|words| words.length)
}

pub(super) fn parse<'a>(
    verb: Verb,
    words: Words<'a>,
    behind: Behind<'a>,
    limits: &Limits,
) -> Parsed<'a> {
    let head = behind.head;
    let Some(words) = split(words) else {
        return Parsed::Fault {
            used: head,
            swallow: 0,
            fault: Fault::BadFormat,
            form: Form::Text(TextForm::line(false)),
        };
    };
    let form = Form::Text(TextForm::line(words.noreply));
    let with_end = words.length + BLOCK_END.len();
    let Some((flags, exptime, cas)) = numbers(verb, &words) else {
        return Parsed::Fault {
            used: head,
            swallow: with_end,
            fault: Fault::BadFormat,
            form,
        };
    };
    let key = Cow::Borrowed(words.key);
    if limits.is_too_large(words.key.len(), words.length) {
        let removes_old = verb == Verb::Store(StoreMode::Set);
        let command = Command::StoreTooLarge { key, removes_old };
        return Parsed::Request {
            used: head,
            swallow: with_end,
            request: Request { command, form },
        };
    }
    match behind.take(words.length) {
        Block::Missing(parsed) => parsed,
        Block::Bad { used } => Parsed::Fault {
            used,
            swallow: 0,
            fault: Fault::BadChunk,
            form,
        },
        Block::Here { used, value } => {
            let request = StoreRequest {
                mode: verb.mode(),
                cas,
                ..StoreRequest::set(flags, exptime, value)
            };
            let command = Command::Store { key, request };
            Parsed::Request {
                used,
                swallow: 0,
                request: Request { command, form },
            }
        }
    }
}

/// Flags, life and unique, if all can be read and the key is one.
fn numbers(verb: Verb, words: &StoreWords<'_>) -> Option<(u32, Exptime, Option<u64>)> {
    if !is_text_key(words.key) {
        return None;
    }
    let flags = unsigned32(words.flags)?;
    // Wider than the 32 bits of other commands: memcached stores these as well, and Unix times past 2038 need it.
    let exptime = Exptime::from_text(signed(words.exptime)?);
    let cas = match verb {
        Verb::Cas => Some(unsigned(words.unique?)?),
        Verb::Store(_) => None,
    };
    Some((flags, exptime, cas))
}
