//! `get`, `gets`, `gat`, `gats`: lines of one or many keys.
//!
//! A line of many keys is checked as a whole, since one bad key voids them all; then it is executed key by key, so
//! that a line of ten thousand keys is bounded in work and output like ten thousand commands.

use std::borrow::Cow;

use super::write::{write_miss, write_value};
use super::{TextForm, Words};
use crate::engine::protocol::number::signed32;
use crate::engine::protocol::scan::position;
use crate::engine::protocol::{
    Command, Fault, Form, Output, Parsed, PlainForm, PlainGet, Request, is_control, is_text_key,
};
use crate::engine::storage::{Exptime, GetOptions, ItemView, KEY_BYTES_MAX};

/// What is done with each key of the line.
#[derive(Clone, Copy, Debug)]
pub struct KeyList {
    touch: Option<Exptime>,
    with_cas: bool,
}

impl KeyList {
    /// The request for the next key of a checked line, and the bytes it takes. `input` goes to the end of the line
    /// at least.
    pub fn next<'a>(&self, input: &'a [u8]) -> (usize, bool, Request<'a>) {
        let line_end = memchr::memchr(b'\n', input).unwrap_or(input.len());
        let line = &input[..line_end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut words = Words::new(line);
        let key = words.next().unwrap_or_default();
        let after_key = line.len() - words.rest().len();
        let ends_list = words.next().is_none();
        let used = if ends_list {
            (line_end + 1).min(input.len())
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

/// The key of a plain get, read in one pass that finds its end, and what stands behind it.
#[inline(always)]
pub fn plain_key(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let window = &rest[..rest.len().min(KEY_BYTES_MAX + 1)];
    let key_bytes = position(window, |byte| byte <= b' ' || is_control(byte))?;
    (key_bytes > 0).then(|| rest.split_at(key_bytes))
}

/// A `get` of one key, as most lines are.
impl<'a> PlainForm<'a> for TextForm<'a> {
    #[inline(always)]
    fn plain_get(input: &'a [u8]) -> Option<(usize, PlainGet<'a>, Self)> {
        let (key, behind) = plain_key(input.strip_prefix(b"get ")?)?;
        if !behind.starts_with(b"\r\n") {
            return None;
        }
        let form = TextForm {
            key,
            noreply: false,
            with_cas: false,
            ends_list: true,
        };
        let get = PlainGet {
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

/// Where the words of a line stood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Bytes of the line without its end.
    pub line: usize,
    /// And with it.
    pub used: usize,
}

/// The rest of a `get` or `gets` line.
pub(super) fn parse_get<'a>(words: Words<'a>, with_cas: bool, extent: Extent) -> Parsed<'a> {
    let keys = KeyList {
        touch: None,
        with_cas,
    };
    parse_list(words, keys, extent)
}

/// The rest of a `gat` or `gats` line.
pub(super) fn parse_gat<'a>(mut words: Words<'a>, with_cas: bool, extent: Extent) -> Parsed<'a> {
    let fault = |fault| Parsed::Fault {
        used: extent.used,
        swallow: 0,
        fault,
        form: Form::Text(TextForm::line(false)),
    };
    let Some(exptime) = words.next() else {
        return fault(Fault::BadFormat);
    };
    if words.clone().next().is_none() {
        return fault(Fault::BadFormat);
    }
    let Some(exptime) = signed32(exptime) else {
        return fault(Fault::BadExptime);
    };
    let keys = KeyList {
        touch: Some(Exptime::from_text(i64::from(exptime))),
        with_cas,
    };
    parse_list(words, keys, extent)
}

fn parse_list<'a>(words: Words<'a>, keys: KeyList, extent: Extent) -> Parsed<'a> {
    let mut rest = words;
    let first = rest.next().filter(|key| is_text_key(key));
    let more = rest.clone().next().is_some();
    let used = extent.used;
    match first {
        Some(key) if !more => Parsed::Request {
            used,
            swallow: 0,
            request: keys.request(key, true),
        },
        Some(_) if rest.all(is_text_key) => Parsed::KeyList {
            used: extent.line - words.rest().len(),
            keys,
        },
        _ => Parsed::Fault {
            used,
            swallow: 0,
            fault: Fault::BadFormat,
            form: Form::Text(TextForm::line(false)),
        },
    }
}
