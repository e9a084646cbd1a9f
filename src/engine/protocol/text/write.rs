//! Replies to classic commands.

use super::TextForm;
use crate::engine::protocol::{Output, ProtocolError, Refusal, Reply, Stat, VERSION, number};
use crate::engine::storage::ItemView;

const END: &[u8] = b"END\r\n";

/// Appends the reply to one command, or to one key of a line.
pub fn write(form: &TextForm<'_>, reply: &Reply<'_>, out: &mut Output) {
    match reply {
        Reply::Hit(item) => write_value(form, item, out),
        Reply::Miss | Reply::Refused(Refusal::Read) => write_miss(form, out),
        _ if form.noreply => {}
        Reply::Number { value, .. } => {
            number::push(out.bytes(), *value);
            out.push(b"\r\n");
        }
        Reply::Version => {
            out.push(b"VERSION ");
            out.push(VERSION.as_bytes());
            out.push(b"\r\n");
        }
        Reply::Stats(stats) => write_stats(stats, out),
        other => out.push(line_of(other)),
    }
}

pub fn write_error(error: ProtocolError, out: &mut Output) {
    out.push(error.text());
}

fn line_of(reply: &Reply<'_>) -> &'static [u8] {
    match reply {
        Reply::Stored { .. } => b"STORED\r\n",
        Reply::NotStored => b"NOT_STORED\r\n",
        Reply::Exists => b"EXISTS\r\n",
        Reply::NotFound => b"NOT_FOUND\r\n",
        Reply::Deleted => b"DELETED\r\n",
        Reply::Touched { .. } => b"TOUCHED\r\n",
        Reply::NonNumeric => b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        Reply::TooLarge => b"SERVER_ERROR object too large for cache\r\n",
        Reply::OutOfMemory => b"SERVER_ERROR out of memory storing object\r\n",
        Reply::Flushed | Reply::Done => b"OK\r\n",
        Reply::Reset => b"RESET\r\n",
        Reply::UnknownStats => b"ERROR\r\n",
        Reply::Noop => b"MN\r\n",
        Reply::Refused(Refusal::Store | Refusal::Change) => b"NOT_STORED\r\n",
        Reply::Refused(Refusal::Flush) => b"CLIENT_ERROR flush not permitted\r\n",
        Reply::Refused(Refusal::Read) => END,
        Reply::Bye
        | Reply::Hit(_)
        | Reply::Miss
        | Reply::Number { .. }
        | Reply::Version
        | Reply::Stats(_) => b"",
    }
}

#[inline(always)]
pub(super) fn write_value(form: &TextForm<'_>, item: &ItemView<'_>, out: &mut Output) {
    let bytes = out.bytes();
    bytes.extend_from_slice(b"VALUE ");
    bytes.extend_from_slice(form.key);
    number::push_between(b" ", u64::from(item.flags()), b" ", bytes);
    if form.with_cas {
        number::push_between(b"", item.value.len() as u64, b" ", bytes);
        number::push_between(b"", item.cas(), b"\r\n", bytes);
    } else {
        number::push_between(b"", item.value.len() as u64, b"\r\n", bytes);
    }
    out.push_value(&item.value);
    out.push(if form.ends_list {
        b"\r\nEND\r\n"
    } else {
        b"\r\n"
    });
}

#[inline]
pub(super) fn write_miss(form: &TextForm<'_>, out: &mut Output) {
    if form.ends_list {
        out.push(END);
    }
}

fn write_stats(stats: &[Stat], out: &mut Output) {
    for (name, value) in stats {
        out.push(b"STAT ");
        out.push(name.as_bytes());
        out.push(b" ");
        out.push(value.as_bytes());
        out.push(b"\r\n");
    }
    out.push(END);
}
