//! `get`, `gets`, `gat`, `gats`: lines with one or more keys.
//!
//! A line with several keys is checked as a whole first, because one bad key makes the whole line an error. Then it is
//! executed key by key, so that a line of ten thousand keys has the same limits as ten thousand commands.

use std::borrow::Cow;

use super::tokens::CheckedKeys;
use super::write::{write_miss, write_value};
use super::{TextForm, Tokens};
use crate::engine::protocol::number::signed32;
use crate::engine::protocol::scan::position;
use crate::engine::protocol::{
    Command, FastGet, FastGetForm, Form, Output, Parsed, ProtocolError, Request, is_control,
    is_text_key,
};
use crate::engine::storage::{Exptime, GetOptions, ItemView, KEY_BYTES_MAX};

/// What is done with each key of the line.
#[derive(Clone, Copy, Debug)]
pub struct KeyList {
    touch: Option<Exptime>,
    with_cas: bool,
    /// Bytes of the line that are left, without its end. Kept, since a search for the end at each key takes time with the
    /// square of the line.
    left: usize,
    /// Bytes of the end of the line.
    ending: usize,
}

impl KeyList {
    /// The request for the next key of a checked line: the bytes it takes, and whether it is the last one. `input` contains
    /// at least the rest of the line.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> (usize, bool, Request<'a>) {
        let line = &input[..self.left.min(input.len())];
        let mut tokens = Tokens::new(line);
        let key = tokens.next().unwrap_or_default();
        let rest = tokens.rest();
        let after_key = line.len() - rest.len();
        let ends_list = rest.iter().all(|&byte| byte == b' ');
        self.left = rest.len();
        let used = if ends_list {
            (line.len() + self.ending).min(input.len())
        } else {
            after_key
        };
        (used, ends_list, self.request(key, ends_list))
    }

    fn request<'a>(&self, key: &'a [u8], ends_list: bool) -> Request<'a> {
        let options = GetOptions {
            touch: self.touch,
            ..GetOptions::default()
        };
        Request {
            command: Command::Get {
                key: Cow::Borrowed(key),
                options,
            },
            form: Form::Text(TextForm {
                key,
                noreply: false,
                with_cas: self.with_cas,
                ends_list,
            }),
        }
    }
}

/// The key of a fast get, and what follows it. One pass finds the end of the key and checks its bytes.
#[inline(always)]
pub fn single_key(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let window = &rest[..rest.len().min(KEY_BYTES_MAX + 1)];
    let key_bytes = position(window, |byte| byte <= b' ' || is_control(byte))?;
    (key_bytes > 0).then(|| rest.split_at(key_bytes))
}

/// A `get` of one key.
impl<'a> FastGetForm<'a> for TextForm<'a> {
    #[inline(always)]
    fn fast_get(input: &'a [u8]) -> Option<(usize, FastGet<'a>, Self)> {
        let (key, behind) = single_key(input.strip_prefix(b"get ")?)?;
        if !behind.starts_with(b"\r\n") {
            return None;
        }
        let form = TextForm {
            key,
            noreply: false,
            with_cas: false,
            ends_list: true,
        };
        let get = FastGet {
            key,
            recaches: false,
        };
        Some((key.len() + b"get \r\n".len(), get, form))
    }

    #[inline(always)]
    fn write_get(&self, item: Option<&ItemView<'_>>, out: &mut Output) {
        match item {
            Some(item) => write_value(self, item, out),
            None => write_miss(self, out),
        }
    }
}

/// The length of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Bytes of the line without its line end.
    pub line: usize,
    /// Bytes of the line with its line end.
    pub used: usize,
    /// What was checked while the line arrived.
    pub keys: CheckedKeys,
}

/// The rest of a `get` or `gets` line.
pub(super) fn parse_get<'a>(tokens: Tokens<'a>, with_cas: bool, extent: Extent) -> Parsed<'a> {
    parse_list(tokens, None, with_cas, extent)
}

/// The rest of a `gat` or `gats` line.
pub(super) fn parse_gat<'a>(mut tokens: Tokens<'a>, with_cas: bool, extent: Extent) -> Parsed<'a> {
    let refuse = |error| Parsed::Error {
        used: extent.used,
        swallow: 0,
        error,
        form: Form::Text(TextForm::line(false)),
    };
    let Some(exptime) = tokens.next() else {
        return refuse(ProtocolError::BadFormat);
    };
    if tokens.clone().next().is_none() {
        return refuse(ProtocolError::BadFormat);
    }
    let Some(exptime) = signed32(exptime) else {
        return refuse(ProtocolError::BadExptime);
    };
    let touch = Exptime::from_text(i64::from(exptime));
    parse_list(tokens, Some(touch), with_cas, extent)
}

fn parse_list<'a>(
    tokens: Tokens<'a>,
    touch: Option<Exptime>,
    with_cas: bool,
    extent: Extent,
) -> Parsed<'a> {
    let keys = KeyList {
        touch,
        with_cas,
        left: tokens.rest().len(),
        ending: extent.used - extent.line,
    };
    let mut rest = tokens;
    let first = rest.next().filter(|key| is_text_key(key));
    let more = rest.clone().next().is_some();
    let used = extent.used;
    match first {
        Some(key) if !more => Parsed::Request {
            used,
            swallow: 0,
            request: keys.request(key, true),
        },
        Some(_) if !extent.keys.has_bad && unchecked(rest, extent).all(is_text_key) => {
            Parsed::KeyList {
                used: extent.line - keys.left,
                keys,
            }
        }
        _ => Parsed::Error {
            used,
            swallow: 0,
            error: ProtocolError::BadFormat,
            form: Form::Text(TextForm::line(false)),
        },
    }
}

/// The tokens of `rest` that were not checked while the line arrived.
fn unchecked(rest: Tokens<'_>, extent: Extent) -> Tokens<'_> {
    let behind = rest.rest();
    let at = extent.line - behind.len();
    let skipped = extent.keys.until.saturating_sub(at).min(behind.len());
    Tokens::new(&behind[skipped..])
}
