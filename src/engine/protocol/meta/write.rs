//! Replies to meta commands.

use super::{MetaCommand, MetaForm};
use crate::engine::decimal::Decimal;
use crate::engine::protocol::text::{Tokens, write_error};
use crate::engine::protocol::{Output, ProtocolError, Refusal, Reply, number};
use crate::engine::storage::{ItemView, Marks};

const LINE_END: &[u8] = b"\r\n";

/// Appends the reply, or nothing if `q` hides it.
#[inline]
pub fn write(form: &MetaForm<'_>, reply: &Reply<'_>, out: &mut Output) {
    match reply {
        Reply::Hit(item) if form.command == MetaCommand::Debug => write_debug(form, item, out),
        Reply::Hit(item) => write_hit(form, item, out),
        Reply::Miss | Reply::Refused(Refusal::Read) => write_miss(form, out),
        Reply::Number {
            value,
            cas,
            ttl_secs,
        } => write_number(form, *value, *cas, *ttl_secs, out),
        Reply::Stored { cas, value_bytes } if !form.quiet => {
            write_store(b"HD", form, *cas, u64::from(*value_bytes), out);
        }
        Reply::Deleted if !form.quiet => short(b"HD", form, out),
        Reply::Stored { .. } | Reply::Deleted => {}
        Reply::NotStored => write_failure(b"NS", form, out),
        Reply::Exists => write_failure(b"EX", form, out),
        Reply::NotFound => write_failure(b"NF", form, out),
        Reply::Refused(Refusal::Change) if form.command == MetaCommand::Delete => {
            short(b"EX", form, out);
        }
        Reply::Refused(Refusal::Store | Refusal::Change) => short(b"NS", form, out),
        Reply::Noop => out.push(b"MN\r\n"),
        Reply::NonNumeric => {
            out.push(b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
        }
        Reply::TooLarge => out.push(b"SERVER_ERROR object too large for cache\r\n"),
        Reply::OutOfMemory => write_error(ProtocolError::OutOfMemory, out),
        // No meta command has these results.
        Reply::Touched { .. }
        | Reply::Flushed
        | Reply::Stats(_)
        | Reply::Reset
        | Reply::UnknownStats
        | Reply::Version
        | Reply::Done
        | Reply::Bye
        | Reply::Refused(Refusal::Flush) => {}
    }
}

/// A reply of two letters, with key and opaque if they were asked for.
fn short(code: &[u8], form: &MetaForm<'_>, out: &mut Output) {
    out.push(code);
    write_names(form, out);
    out.push(LINE_END);
}

/// Key and opaque.
fn write_names(form: &MetaForm<'_>, out: &mut Output) {
    for token in Tokens::new(form.flags) {
        match token[0] {
            b'O' => write_token(token, out),
            b'k' => write_key(form, out),
            _ => {}
        }
    }
}

fn write_token(token: &[u8], out: &mut Output) {
    out.push(b" ");
    out.push(token);
}

fn write_key(form: &MetaForm<'_>, out: &mut Output) {
    out.push(b" k");
    out.push(form.key);
    if form.base64 {
        out.push(b" b");
    }
}

#[inline]
fn write_letter(letter: u8, number: u64, out: &mut Output) {
    number::push_between(&[b' ', letter], number, b"", out.bytes());
}

fn write_ttl(ttl_secs: Option<u32>, out: &mut Output) {
    match ttl_secs {
        Some(secs) => write_letter(b't', u64::from(secs), out),
        None => out.push(b" t-1"),
    }
}

fn write_miss(form: &MetaForm<'_>, out: &mut Output) {
    if !form.quiet {
        short(b"EN", form, out);
    }
}

#[inline(always)]
pub(super) fn write_hit(form: &MetaForm<'_>, item: &ItemView<'_>, out: &mut Output) {
    let with_value = form.value && form.known_cas != Some(item.cas());
    if with_value {
        number::push_between(b"VA ", item.value.len() as u64, b"", out.bytes());
    } else {
        out.push(b"HD");
    }
    for token in Tokens::new(form.flags) {
        match token[0] {
            b's' => write_letter(b's', item.value.len() as u64, out),
            b't' => write_ttl(item.ttl_secs(), out),
            b'c' => write_letter(b'c', item.cas(), out),
            b'f' => write_letter(b'f', u64::from(item.flags()), out),
            b'l' => write_letter(b'l', u64::from(item.last_access_secs()), out),
            b'h' => write_letter(b'h', u64::from(item.fetched()), out),
            b'O' => write_token(token, out),
            b'k' => write_key(form, out),
            _ => {}
        }
    }
    write_marks(item.marks, out);
    out.push(LINE_END);
    if with_value {
        out.push_value(&item.value);
        out.push(LINE_END);
    }
}

/// The marks in memcached's order (measured): Z before X, W last.
fn write_marks(marks: Marks, out: &mut Output) {
    for (set, mark) in [
        (marks.token_sent, b" Z"),
        (marks.stale, b" X"),
        (marks.won, b" W"),
    ] {
        if set {
            out.push(mark);
        }
    }
}

fn write_store(code: &[u8], form: &MetaForm<'_>, cas: u64, value_bytes: u64, out: &mut Output) {
    out.push(code);
    for token in Tokens::new(form.flags) {
        match token[0] {
            b'c' => write_letter(b'c', cas, out),
            b's' => write_letter(b's', value_bytes, out),
            b'O' => write_token(token, out),
            b'k' => write_key(form, out),
            _ => {}
        }
    }
    out.push(LINE_END);
}

/// The reply to a command that changed nothing. For a store it has CAS value 0 and the size that was sent.
fn write_failure(code: &[u8], form: &MetaForm<'_>, out: &mut Output) {
    if form.command == MetaCommand::Store {
        write_store(code, form, 0, form.sent_bytes as u64, out);
    } else {
        short(code, form, out);
    }
}

fn write_number(form: &MetaForm<'_>, value: u64, cas: u64, ttl: Option<u32>, out: &mut Output) {
    if form.quiet {
        return;
    }
    let digits = Decimal::of(value);
    if form.value {
        number::push_between(b"VA ", digits.as_bytes().len() as u64, b"", out.bytes());
    } else {
        out.push(b"HD");
    }
    for token in Tokens::new(form.flags) {
        match token[0] {
            b'c' => write_letter(b'c', cas, out),
            b't' => write_ttl(ttl, out),
            b'O' => write_token(token, out),
            b'k' => write_key(form, out),
            _ => {}
        }
    }
    out.push(LINE_END);
    if form.value {
        out.push(digits.as_bytes());
        out.push(LINE_END);
    }
}

/// The reply to `me`, for debugging. The class is always 1, because there are no slabs.
fn write_debug(form: &MetaForm<'_>, item: &ItemView<'_>, out: &mut Output) {
    let ttl = item.ttl_secs().map_or(-1, i64::from);
    let fetched = if item.fetched() { "yes" } else { "no" };
    out.push(b"ME ");
    out.push(form.key);
    let facts = format!(
        " exp={ttl} la={} cas={} fetch={fetched} cls=1 size={}\r\n",
        item.last_access_secs(),
        item.cas(),
        form.key.len() + item.value.len() + ITEM_OVERHEAD_BYTES,
    );
    out.push(facts.as_bytes());
}

/// About what an item costs beside key and value: header and index.
const ITEM_OVERHEAD_BYTES: usize = 24;
