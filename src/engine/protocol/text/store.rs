//! Storage commands: `set`, `add`, `replace`, `append`, `prepend`, `cas`.

use std::borrow::Cow;

use super::{TextForm, Tokens};
use crate::engine::protocol::number::{block_length, signed, unsigned, unsigned32};
use crate::engine::protocol::{
    BlockSource, Command, Form, Limits, Parsed, ProtocolError, Request, is_text_key,
};
use crate::engine::storage::{Exptime, NewValue, StoreMode, StoreRequest};

/// The line end behind a data block.
const BLOCK_END: &[u8] = b"\r\n";

/// What follows a command line.
#[derive(Debug)]
pub(in crate::engine::protocol) struct Behind<'a> {
    /// Bytes of the line with its line end.
    pub head: usize,
    pub block: BlockSource<'a>,
}

/// A data block of the announced length, or why there is none.
pub(in crate::engine::protocol) enum Block<'a> {
    Here {
        used: usize,
        value: NewValue<'a>,
    },
    Missing(Parsed<'a>),
    /// No line end follows the block.
    Bad {
        used: usize,
    },
}

impl<'a> Behind<'a> {
    /// The block of `length` bytes.
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
pub(super) enum StorageCommand {
    Store(StoreMode),
    Cas,
}

impl StorageCommand {
    pub fn of_token(token: &[u8]) -> Option<StorageCommand> {
        Some(match token {
            b"set" => StorageCommand::Store(StoreMode::Set),
            b"add" => StorageCommand::Store(StoreMode::Add),
            b"replace" => StorageCommand::Store(StoreMode::Replace),
            b"append" => StorageCommand::Store(StoreMode::Append),
            b"prepend" => StorageCommand::Store(StoreMode::Prepend),
            b"cas" => StorageCommand::Cas,
            _ => return None,
        })
    }

    /// `cas` is a `set` with a condition.
    fn mode(self) -> StoreMode {
        match self {
            StorageCommand::Store(mode) => mode,
            StorageCommand::Cas => StoreMode::Set,
        }
    }

    /// As in [`StoreRequest`].
    fn removes_old(self) -> bool {
        self == StorageCommand::Store(StoreMode::Set)
    }
}

/// The tokens of a storage line behind its command. Only the length is parsed.
struct StoreTokens<'a> {
    key: &'a [u8],
    flags: &'a [u8],
    exptime: &'a [u8],
    length: usize,
    cas: Option<&'a [u8]>,
    noreply: bool,
}

/// `None` when tokens are missing or the length cannot be parsed. The length of the block is unknown then, so parsing goes
/// on behind the line.
fn split(mut tokens: Tokens<'_>) -> Option<StoreTokens<'_>> {
    let key = tokens.next()?;
    let flags = tokens.next()?;
    let exptime = tokens.next()?;
    let length = block_length(tokens.next()?)?;
    let cas = tokens.next();
    // Most lines end here.
    let last = cas.and_then(|_| tokens.last()).or(cas);
    Some(StoreTokens {
        key,
        flags,
        exptime,
        length,
        cas,
        noreply: last == Some(b"noreply"),
    })
}

/// The announced length of the data block, to skip it.
pub(super) fn announced_length(tokens: Tokens<'_>) -> Option<usize> {
    split(tokens).map(|tokens| tokens.length)
}

pub(super) fn parse<'a>(
    command: StorageCommand,
    tokens: Tokens<'a>,
    behind: Behind<'a>,
    limits: &Limits,
) -> Parsed<'a> {
    let head = behind.head;
    let Some(tokens) = split(tokens) else {
        return Parsed::Error {
            used: head,
            swallow: 0,
            error: ProtocolError::BadFormat,
            form: Form::Text(TextForm::line(false)),
        };
    };
    let form = Form::Text(TextForm::line(tokens.noreply));
    let with_end = tokens.length + BLOCK_END.len();
    let Some((flags, exptime, cas)) = numbers(command, &tokens) else {
        return Parsed::Error {
            used: head,
            swallow: with_end,
            error: ProtocolError::BadFormat,
            form,
        };
    };
    let key = Cow::Borrowed(tokens.key);
    if limits.is_too_large(tokens.key.len(), tokens.length) {
        let removes_old = command.removes_old();
        let command = Command::StoreTooLarge { key, removes_old };
        return Parsed::Request {
            used: head,
            swallow: with_end,
            request: Request { command, form },
        };
    }
    match behind.take(tokens.length) {
        Block::Missing(parsed) => parsed,
        Block::Bad { used } => Parsed::Error {
            used,
            swallow: 0,
            error: ProtocolError::BadChunk,
            form,
        },
        Block::Here { used, value } => {
            let request = StoreRequest {
                mode: command.mode(),
                cas,
                removes_old: command.removes_old(),
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

/// Flags, exptime and CAS value. `None` when one of them cannot be parsed or the key is invalid.
fn numbers(
    command: StorageCommand,
    tokens: &StoreTokens<'_>,
) -> Option<(u32, Exptime, Option<u64>)> {
    if !is_text_key(tokens.key) {
        return None;
    }
    let flags = unsigned32(tokens.flags)?;
    // More than the 32 bits of other commands, as in memcached: Unix times after 2038 need them.
    let exptime = Exptime::from_text(signed(tokens.exptime)?);
    let cas = match command {
        StorageCommand::Cas => Some(unsigned(tokens.cas?)?),
        StorageCommand::Store(_) => None,
    };
    Some((flags, exptime, cas))
}
