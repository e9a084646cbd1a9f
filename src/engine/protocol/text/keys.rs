//! `get`, `gets`, `gat`, `gats`: lines of one or many keys.
//!
//! A line of many keys is checked as a whole, since one bad key voids them all; then it is executed key by key, so
//! that a line of ten thousand keys is bounded in work and output like ten thousand commands.

use std::borrow::Cow;

use super::{TextForm, Words};
use crate::engine::protocol::number::signed32;
use crate::engine::protocol::scan::position;
use crate::engine::protocol::{
    Command, Fault, Form, Parsed, PlainGet, Request, is_control, is_text_key,
};
use crate::engine::storage::{Exptime, GetOptions, KEY_BYTES_MAX};

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

/// A `get` of one key, as most lines are: read in one pass that finds the end of the key and with it that of the line.
/// `None` for everything else, which [`super::parse`] reads.
#[inline(always)]
pub fn plain_get(input: &[u8]) -> Option<PlainGet<'_, TextForm<'_>>> {
    const VERB: &[u8] = b"get ";
    let rest = input.strip_prefix(VERB)?;
    let window = &rest[..rest.len().min(KEY_BYTES_MAX + 1)];
    let key_bytes =
        position(window, |byte| byte <= b' ' || is_control(byte)).filter(|&bytes| bytes > 0)?;
    let (key, behind) = rest.split_at(key_bytes);
    let form = TextForm {
        key,
        noreply: false,
        with_cas: false,
        ends_list: true,
    };
    let used = VERB.len() + key_bytes + 2;
    behind
        .starts_with(b"\r\n")
        .then_some(PlainGet { used, key, form })
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
