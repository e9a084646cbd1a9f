//! Parses a text line, with the data block behind it if there is one.

use std::borrow::Cow;

use super::store::{self, Behind, StorageCommand};
use super::tokens::{CheckedKeys, LineStart};
use super::{LineScan, TextForm, Tokens, keys};
use crate::engine::protocol::number::{signed32, unsigned};
use crate::engine::protocol::{
    BlockSource, Command, Form, Limits, Parsed, ProtocolError, Request, StatsGroup, is_text_key,
    meta,
};
use crate::engine::storage::{
    ArithDirection, ArithRequest, DeleteRequest, Exptime, FlagOrder, NewValue,
};

/// The request at the start of `input`, classic or meta.
#[inline] // A call would copy the large result once more.
pub fn parse<'a>(input: &'a [u8], scan: &mut LineScan, limits: &Limits) -> Parsed<'a> {
    match scan.line(input, limits) {
        LineStart::Unfinished => Parsed::Partial,
        LineStart::TooLong => {
            let form = Form::Text(TextForm::line(false));
            Parsed::Close(Some((ProtocolError::LineTooLong, form)))
        }
        LineStart::Whole { line, used, keys } => {
            let behind = Behind {
                head: used,
                block: BlockSource::Input(&input[used..]),
            };
            parse_line(line, behind, keys, limits)
        }
    }
}

/// The request of a store whose data block was received before. `head` is the line with its line end.
pub fn parse_received<'a>(head: &'a [u8], value: NewValue<'a>, limits: &Limits) -> Parsed<'a> {
    let line = head.strip_suffix(b"\n").unwrap_or(head);
    let behind = Behind {
        head: head.len(),
        block: BlockSource::Received(value),
    };
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    parse_line(line, behind, CheckedKeys::default(), limits)
}

fn parse_line<'a>(
    line: &'a [u8],
    behind: Behind<'a>,
    keys: CheckedKeys,
    limits: &Limits,
) -> Parsed<'a> {
    // Command names are short, so a plain loop is faster than a vectorised search.
    let blank = line.iter().position(|&byte| byte == b' ');
    let token_end = blank.unwrap_or(line.len());
    let (token, rest) = line.split_at(token_end);
    let (tokens, used) = (Tokens::new(rest), behind.head);
    let extent = keys::Extent {
        line: line.len(),
        used,
        keys,
    };
    match token {
        b"get" => keys::parse_get(tokens, false, extent),
        b"mg" => meta::parse_get(tokens, used),
        b"ms" => meta::parse_store(tokens, behind, limits),
        b"md" => meta::parse_delete(tokens, used),
        b"ma" => meta::parse_arith(tokens, used),
        b"me" => meta::parse_debug(tokens, used),
        b"mn" => request(used, Command::Noop, Form::Meta(meta::MetaForm::bare())),
        b"gets" => keys::parse_get(tokens, true, extent),
        b"gat" => keys::parse_gat(tokens, false, extent),
        b"gats" => keys::parse_gat(tokens, true, extent),
        b"delete" => delete(tokens, used),
        b"incr" => arith(ArithDirection::Increment, tokens, used),
        b"decr" => arith(ArithDirection::Decrement, tokens, used),
        b"touch" => touch(tokens, used),
        _ => match StorageCommand::of_token(token) {
            Some(command) => store::parse(command, tokens, behind, limits),
            None => other(token, tokens, line, used),
        },
    }
}

/// Commands that clients rarely send.
fn other<'a>(token: &[u8], tokens: Tokens<'a>, line: &[u8], used: usize) -> Parsed<'a> {
    let line_form = Form::Text(TextForm::line(false));
    match token {
        b"version" => request(used, Command::Version, line_form),
        b"quit" => request(used, Command::Quit, line_form),
        b"verbosity" => verbosity(tokens, used),
        b"flush_all" => flush_all(tokens, used),
        b"stats" => stats(tokens, used),
        b"shutdown" => refuse(used, ProtocolError::ShutdownDisabled, false),
        _ if is_http(line) => Parsed::Close(None),
        _ if line.len() < 2 => refuse(used, ProtocolError::BadFormat, false),
        _ => refuse(used, ProtocolError::UnknownCommand, false),
    }
}

/// Whether the line is an HTTP request. A hostile web page can make a browser send one here; commands in its body must not
/// be executed.
pub(super) fn is_http(line: &[u8]) -> bool {
    const METHODS: [&[u8]; 9] = [
        b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE",
    ];
    let mut tokens = Tokens::new(line);
    let (first, second) = (tokens.next(), tokens.next());
    let last = tokens.last().or(second);
    let named = last.is_some_and(|token| token.starts_with(b"HTTP/"));
    let shaped = first.is_some_and(|token| METHODS.contains(&token))
        && second.is_some_and(|target| target.starts_with(b"/") || target.starts_with(b"http"));
    named || shaped
}

fn request<'a>(used: usize, command: Command<'a>, form: Form<'a>) -> Parsed<'a> {
    Parsed::Request {
        used,
        swallow: 0,
        request: Request { command, form },
    }
}

fn refuse<'a>(used: usize, error: ProtocolError, noreply: bool) -> Parsed<'a> {
    Parsed::Error {
        used,
        swallow: 0,
        error,
        form: Form::Text(TextForm::line(noreply)),
    }
}

/// Whether the last token is `noreply`. Other surplus tokens are ignored, as in memcached.
fn ends_in_noreply(tokens: Tokens<'_>) -> bool {
    tokens.last() == Some(b"noreply")
}

fn delete<'a>(mut tokens: Tokens<'a>, used: usize) -> Parsed<'a> {
    let Some(key) = tokens.next() else {
        return refuse(used, ProtocolError::BadFormat, false);
    };
    let noreply = ends_in_noreply(tokens);
    if !is_text_key(key) {
        return refuse(used, ProtocolError::BadFormat, noreply);
    }
    let command = Command::Delete {
        key: Cow::Borrowed(key),
        request: DeleteRequest::default(),
    };
    request(used, command, Form::Text(TextForm::line(noreply)))
}

fn arith<'a>(direction: ArithDirection, mut tokens: Tokens<'a>, used: usize) -> Parsed<'a> {
    let (Some(key), Some(delta)) = (tokens.next(), tokens.next()) else {
        return refuse(used, ProtocolError::BadFormat, false);
    };
    let noreply = ends_in_noreply(tokens);
    if !is_text_key(key) {
        return refuse(used, ProtocolError::BadFormat, noreply);
    }
    let Some(delta) = unsigned(delta) else {
        return refuse(used, ProtocolError::BadDelta, noreply);
    };
    let command = Command::Arith {
        key: Cow::Borrowed(key),
        request: ArithRequest {
            direction,
            delta,
            initial: None,
            exptime: None,
            order: FlagOrder::default(),
            cas: None,
            new_cas: None,
        },
    };
    request(used, command, Form::Text(TextForm::line(noreply)))
}

fn touch<'a>(mut tokens: Tokens<'a>, used: usize) -> Parsed<'a> {
    let (Some(key), Some(exptime)) = (tokens.next(), tokens.next()) else {
        return refuse(used, ProtocolError::BadFormat, false);
    };
    let noreply = ends_in_noreply(tokens);
    if !is_text_key(key) {
        return refuse(used, ProtocolError::BadFormat, noreply);
    }
    let Some(exptime) = signed32(exptime) else {
        return refuse(used, ProtocolError::BadExptime, noreply);
    };
    let command = Command::Touch {
        key: Cow::Borrowed(key),
        exptime: Exptime::from_text(i64::from(exptime)),
    };
    request(used, command, Form::Text(TextForm::line(noreply)))
}

/// `verbosity` must have a number, but has no effect.
fn verbosity<'a>(mut tokens: Tokens<'a>, used: usize) -> Parsed<'a> {
    let noreply = ends_in_noreply(tokens);
    match tokens.next().and_then(unsigned) {
        Some(_) => request(
            used,
            Command::Verbosity,
            Form::Text(TextForm::line(noreply)),
        ),
        None => refuse(used, ProtocolError::BadFormat, noreply),
    }
}

fn flush_all<'a>(mut tokens: Tokens<'a>, used: usize) -> Parsed<'a> {
    let noreply = ends_in_noreply(tokens);
    let delay = match tokens.next() {
        None | Some(b"noreply") => Some(0),
        Some(token) => signed32(token),
    };
    let Some(delay) = delay else {
        return refuse(used, ProtocolError::BadExptime, noreply);
    };
    // A negative delay acts as none.
    let delay_secs = u32::try_from(delay).unwrap_or(0);
    let command = Command::Flush { delay_secs };
    request(used, command, Form::Text(TextForm::line(noreply)))
}

fn stats<'a>(mut tokens: Tokens<'a>, used: usize) -> Parsed<'a> {
    let group = StatsGroup::of_name(tokens.next().unwrap_or_default());
    request(
        used,
        Command::Stats(group),
        Form::Text(TextForm::line(false)),
    )
}
