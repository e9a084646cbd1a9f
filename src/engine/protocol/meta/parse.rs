//! Parses meta commands.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::flags::{Flags, SILENT, bit_of, reply_flags};
use super::write::{write, write_hit};
use super::{MetaCommand, MetaForm};
use crate::engine::protocol::number::block_length;
use crate::engine::protocol::text::{Behind, Block, Tokens, single_key};
use crate::engine::protocol::{
    Command, FastGet, FastGetForm, Form, Limits, Output, Parsed, ProtocolError, Reply, Request,
    is_key_length, is_text_key,
};
use crate::engine::storage::{
    ArithDirection, ArithRequest, DeleteRequest, Exptime, FlagOrder, GetOptions, ItemView,
    NewValue, StoreMode, StoreRequest,
};

/// Key and flags of a line, and the form of its reply.
struct MetaLine<'a> {
    key: Cow<'a, [u8]>,
    flags: Flags,
    form: MetaForm<'a>,
}

/// An `mg` whose flags change only the reply.
impl<'a> FastGetForm<'a> for MetaForm<'a> {
    #[inline(always)]
    fn fast_get(input: &'a [u8]) -> Option<(usize, FastGet<'a>, Self)> {
        let (key, behind) = single_key(input.strip_prefix(b"mg ")?)?;
        let (letters, flags) = reply_flags(behind);
        if !behind[flags..].starts_with(b"\r\n") {
            return None;
        }
        let form = MetaForm {
            key,
            quiet: letters & bit_of(b'q') != 0,
            value: letters & bit_of(b'v') != 0,
            flags: match letters & !SILENT {
                0 => &[],
                _ => &behind[..flags],
            },
            command: MetaCommand::Get,
            ..MetaForm::bare()
        };
        let get = FastGet {
            key,
            recaches: true,
        };
        Some((key.len() + flags + b"mg \r\n".len(), get, form))
    }

    #[inline(always)]
    fn write_get(&self, item: Option<&ItemView<'_>>, out: &mut Output) {
        match item {
            Some(item) => write_hit(self, item, out),
            None => write(self, &Reply::Miss, out),
        }
    }
}

pub fn parse_get<'a>(tokens: Tokens<'a>, used: usize) -> Parsed<'a> {
    let line = match MetaLine::parse(tokens, MetaCommand::Get, 1) {
        Ok(line) => line,
        Err(error) => return refuse(used, error),
    };
    let options = GetOptions {
        touch: line.flags.exptime,
        vivify: line.flags.vivify,
        new_cas: line.flags.new_cas,
        recache_before: line.flags.recache_before,
        order: match line.flags.exptime.or(line.flags.vivify) {
            Some(_) => line.flags.order,
            None => FlagOrder::default(),
        },
        recaches: true,
        no_bump: line.flags.no_bump,
        uncounted: false,
    };
    let key = line.key;
    request(used, Command::Get { key, options }, line.form)
}

pub fn parse_delete<'a>(tokens: Tokens<'a>, used: usize) -> Parsed<'a> {
    let line = match MetaLine::parse(tokens, MetaCommand::Delete, 1) {
        Ok(line) => line,
        Err(error) => return refuse(used, error),
    };
    let request_of = DeleteRequest {
        cas: line.flags.cas,
        mismatch_is_miss: true,
        mark_stale: line.flags.invalidate,
        empty: line.flags.empty,
        exptime: line.flags.exptime,
        flags: line.flags.client_flags,
        new_cas: line.flags.new_cas,
    };
    let command = Command::Delete {
        key: line.key,
        request: request_of,
    };
    request(used, command, line.form)
}

pub fn parse_arith<'a>(tokens: Tokens<'a>, used: usize) -> Parsed<'a> {
    let line = match MetaLine::parse(tokens, MetaCommand::Arith, 1) {
        Ok(line) => line,
        // memcached has one error text for everything that can be wrong with the flags of `ma`.
        Err(ProtocolError::BadFormat) if tokens.clone().next().is_none() => {
            return refuse(used, ProtocolError::BadFormat);
        }
        Err(_) => return refuse(used, ProtocolError::InvalidOrDuplicateFlag),
    };
    let direction = match line.flags.mode {
        None | Some(b'I' | b'+') => ArithDirection::Increment,
        Some(b'D' | b'-') => ArithDirection::Decrement,
        Some(_) => return refuse(used, ProtocolError::BadArithMode),
    };
    let flags = &line.flags;
    let request_of = ArithRequest {
        direction,
        delta: flags.delta.unwrap_or(1),
        initial: flags.vivify.map(|exptime| (flags.initial, exptime)),
        exptime: flags.exptime,
        order: flags.order,
        cas: flags.cas.filter(|&cas| cas != 0),
        new_cas: flags.new_cas,
    };
    let command = Command::Arith {
        key: line.key,
        request: request_of,
    };
    request(used, command, line.form)
}

pub fn parse_debug<'a>(tokens: Tokens<'a>, used: usize) -> Parsed<'a> {
    let line = match MetaLine::parse(tokens, MetaCommand::Debug, 1) {
        Ok(line) => line,
        Err(error) => return refuse(used, error),
    };
    let options = GetOptions {
        no_bump: true,
        uncounted: true,
        ..GetOptions::default()
    };
    let key = line.key;
    request(used, Command::Get { key, options }, line.form)
}

pub(in crate::engine::protocol) fn parse_store<'a>(
    mut tokens: Tokens<'a>,
    behind: Behind<'a>,
    limits: &Limits,
) -> Parsed<'a> {
    let head = behind.head;
    let (key_and_on, _) = (tokens, tokens.next());
    let Some(length) = tokens.next().and_then(block_length) else {
        return refuse(head, ProtocolError::BadFormat);
    };
    let refuse_block = |error| Parsed::Error {
        used: head,
        swallow: length + 2,
        error,
        form: Form::Meta(MetaForm::bare()),
    };
    let line = match MetaLine::parse(key_and_on, MetaCommand::Store, 2) {
        Ok(line) => line,
        Err(error) => return refuse_block(error),
    };
    let Some(mode) = store_mode(line.flags.mode) else {
        return refuse_block(ProtocolError::BadStoreMode);
    };
    let key = line.key;
    let form = Form::Meta(MetaForm {
        sent_bytes: length,
        ..line.form
    });
    if limits.is_too_large(key.len(), length) {
        let command = Command::StoreTooLarge {
            key,
            removes_old: true,
        };
        return Parsed::Request {
            used: head,
            swallow: length + 2,
            request: Request { command, form },
        };
    }
    match behind.take(length) {
        Block::Missing(parsed) => parsed,
        Block::Bad { used } => refuse(used, ProtocolError::BadChunk),
        Block::Here { used, value } => {
            let request = StoreRequest {
                value,
                ..store_request(mode, &line.flags)
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

fn store_mode(letter: Option<u8>) -> Option<StoreMode> {
    match letter {
        None | Some(b'S') => Some(StoreMode::Set),
        Some(b'E') => Some(StoreMode::Add),
        Some(b'A') => Some(StoreMode::Append),
        Some(b'P') => Some(StoreMode::Prepend),
        Some(b'R') => Some(StoreMode::Replace),
        Some(_) => None,
    }
}

/// The request without its value.
fn store_request(mode: StoreMode, flags: &Flags) -> StoreRequest<'static> {
    // An `add` stores only if there is no item, so no CAS value can match. For append and prepend 0 means "not given".
    let cas = match mode {
        StoreMode::Set | StoreMode::Replace => flags.cas,
        StoreMode::Append | StoreMode::Prepend => flags.cas.filter(|&cas| cas != 0),
        StoreMode::Add => None,
    };
    StoreRequest {
        mode,
        flags: flags.client_flags,
        exptime: flags.exptime.unwrap_or(Exptime::Never),
        cas,
        new_cas: flags.new_cas,
        invalidate: flags.invalidate,
        vivify: flags.vivify,
        removes_old: true,
        value: NewValue::Bytes(&[]),
    }
}

impl<'a> MetaLine<'a> {
    /// Parses `tokens`, which start with the key. `fixed` of them (key, perhaps length) come before the flags.
    #[inline]
    fn parse(
        mut tokens: Tokens<'a>,
        command: MetaCommand,
        fixed: usize,
    ) -> Result<MetaLine<'a>, ProtocolError> {
        let sent_key = tokens.next().ok_or(ProtocolError::BadFormat)?;
        for _ in 1..fixed {
            tokens.next();
        }
        if !is_key_length(sent_key.len()) {
            return Err(ProtocolError::BadFormat);
        }
        let flags = Flags::parse(tokens, fixed + 1)?;
        let key = key_of(sent_key, flags.base64)?;
        let form = MetaForm {
            command,
            key: sent_key,
            base64: flags.base64,
            quiet: flags.quiet,
            value: flags.value,
            known_cas: flags.cas,
            sent_bytes: 0,
            flags: tokens.rest(),
        };
        Ok(MetaLine { key, flags, form })
    }
}

fn key_of(sent: &[u8], base64: bool) -> Result<Cow<'_, [u8]>, ProtocolError> {
    if base64 {
        let decoded = STANDARD
            .decode(sent)
            .map_err(|_| ProtocolError::BadKeyEncoding)?;
        return Ok(Cow::Owned(decoded));
    }
    if is_text_key(sent) {
        Ok(Cow::Borrowed(sent))
    } else {
        Err(ProtocolError::BadFormat)
    }
}

fn request<'a>(used: usize, command: Command<'a>, form: MetaForm<'a>) -> Parsed<'a> {
    let form = Form::Meta(form);
    Parsed::Request {
        used,
        swallow: 0,
        request: Request { command, form },
    }
}

fn refuse<'a>(used: usize, error: ProtocolError) -> Parsed<'a> {
    Parsed::Error {
        used,
        swallow: 0,
        error,
        form: Form::Meta(MetaForm::bare()),
    }
}
