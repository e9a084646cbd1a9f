//! Replies to binary requests.

use super::header::RESPONSE_MAGIC;
use super::opcode::Opcode;
use super::{BinaryForm, HEADER_BYTES};
use crate::engine::protocol::{Output, ProtocolError, Refusal, Reply, Stat, VERSION};
use crate::engine::storage::ItemView;

/// The status of a reply that is no plain success, and its text.
#[derive(Clone, Copy, Debug)]
struct Status(u16, &'static [u8]);

impl Status {
    const NOT_FOUND: Status = Status(0x0001, b"Not found");
    const EXISTS: Status = Status(0x0002, b"Data exists for key.");
    const TOO_LARGE: Status = Status(0x0003, b"Too large.");
    const INVALID: Status = Status(0x0004, b"Invalid arguments");
    const NOT_STORED: Status = Status(0x0005, b"Not stored.");
    const NON_NUMERIC: Status = Status(0x0006, b"Non-numeric server-side value for incr or decr");
    const LOGIN_FAILED: Status = Status(0x0020, b"Auth failure.");
    const LOGIN_GOES_ON: Status = Status(0x0021, b"");
    const UNKNOWN_COMMAND: Status = Status(0x0081, b"Unknown command");
    const OUT_OF_MEMORY: Status = Status(0x0082, b"Out of memory");
    const BUSY: Status = Status(0x0085, b"Busy");
}

/// Appends the reply, or nothing if the quiet form hides it: quiet reads hide misses, other quiet forms hide success.
#[inline]
pub fn write(form: &BinaryForm<'_>, reply: &Reply<'_>, out: &mut Output) {
    let Some((opcode, quiet)) = Opcode::of_byte(form.opcode) else {
        return write_error(form, ProtocolError::UnknownCommand, out);
    };
    match reply {
        Reply::Hit(item) => write_hit(form, item, out),
        Reply::Miss | Reply::Refused(Refusal::Read) if quiet => {}
        Reply::Miss | Reply::Refused(Refusal::Read) => write_miss(form, opcode, out),
        Reply::Stored { cas, .. } if !quiet => success(form, *cas, out),
        Reply::Deleted | Reply::Flushed | Reply::Bye if !quiet => success(form, 0, out),
        Reply::Number { value, cas, .. } if !quiet => {
            packet(form, 0, *cas, [&[], &[], &value.to_be_bytes()], out);
        }
        Reply::Stored { .. }
        | Reply::Deleted
        | Reply::Flushed
        | Reply::Bye
        | Reply::Number { .. } => {}
        Reply::Touched { flags, cas } => {
            packet(form, 0, *cas, [&flags.to_be_bytes(), &[], &[]], out);
        }
        Reply::Noop | Reply::Done => success(form, 0, out),
        Reply::Version => packet(form, 0, 0, [&[], &[], VERSION.as_bytes()], out),
        Reply::Stats(stats) => write_stats(form, stats, out),
        Reply::Reset => success(form, 0, out),
        Reply::NotStored => write_status(form, not_stored(opcode), out),
        Reply::Exists => write_status(form, Status::EXISTS, out),
        Reply::NotFound | Reply::UnknownStats => write_status(form, Status::NOT_FOUND, out),
        Reply::NonNumeric => write_status(form, Status::NON_NUMERIC, out),
        Reply::TooLarge => write_status(form, Status::TOO_LARGE, out),
        Reply::OutOfMemory => write_status(form, Status::OUT_OF_MEMORY, out),
        Reply::Refused(Refusal::Store | Refusal::Change | Refusal::Flush) => {
            write_status(form, Status::NOT_STORED, out);
        }
    }
}

/// The status when the condition of a store did not hold. Each mode has its own.
fn not_stored(opcode: Opcode) -> Status {
    match opcode {
        Opcode::Add => Status::EXISTS,
        Opcode::Replace => Status::NOT_FOUND,
        _ => Status::NOT_STORED,
    }
}

pub fn write_error(form: &BinaryForm<'_>, error: ProtocolError, out: &mut Output) {
    let status = match error {
        ProtocolError::UnknownCommand => Status::UNKNOWN_COMMAND,
        ProtocolError::Unauthenticated
        | ProtocolError::LoginFailed
        | ProtocolError::LoginTooLong => Status::LOGIN_FAILED,
        ProtocolError::LoginGoesOn => Status::LOGIN_GOES_ON,
        ProtocolError::TooManyConnections => Status::BUSY,
        ProtocolError::OutOfMemory | ProtocolError::NoRoomForRequest => Status::OUT_OF_MEMORY,
        _ => Status::INVALID,
    };
    write_status(form, status, out);
}

/// A success with a text.
pub fn write_text(form: &BinaryForm<'_>, text: &[u8], out: &mut Output) {
    packet(form, 0, 0, [&[], &[], text], out);
}

/// The SASL challenge: the mechanism needs its data. PLAIN's challenge is empty.
pub fn write_challenge(form: &BinaryForm<'_>, out: &mut Output) {
    write_status(form, Status::LOGIN_GOES_ON, out);
}

fn success(form: &BinaryForm<'_>, cas: u64, out: &mut Output) {
    packet(form, 0, cas, [&[], &[], &[]], out);
}

fn write_status(form: &BinaryForm<'_>, status: Status, out: &mut Output) {
    packet(form, status.0, 0, [&[], &[], status.1], out);
}

/// Header, then extras, key and value.
#[inline]
fn packet(form: &BinaryForm<'_>, status: u16, cas: u64, parts: [&[u8]; 3], out: &mut Output) {
    header(form, status, cas, parts.map(<[u8]>::len), out);
    for part in parts {
        out.push(part);
    }
}

#[inline]
fn header(form: &BinaryForm<'_>, status: u16, cas: u64, lengths: [usize; 3], out: &mut Output) {
    let [extras, key, value] = lengths;
    let mut bytes = [0u8; HEADER_BYTES];
    bytes[0] = RESPONSE_MAGIC;
    bytes[1] = form.opcode;
    bytes[2..4].copy_from_slice(&(key as u16).to_be_bytes());
    bytes[4] = extras as u8;
    bytes[6..8].copy_from_slice(&status.to_be_bytes());
    bytes[8..12].copy_from_slice(&((extras + key + value) as u32).to_be_bytes());
    bytes[12..16].copy_from_slice(&form.opaque);
    bytes[16..24].copy_from_slice(&cas.to_be_bytes());
    out.push(&bytes);
}

#[inline(always)]
pub(super) fn write_hit(form: &BinaryForm<'_>, item: &ItemView<'_>, out: &mut Output) {
    let lengths = [4, form.key.len(), item.value.len()];
    header(form, 0, item.cas(), lengths, out);
    out.push(&item.flags().to_be_bytes());
    out.push(form.key);
    out.push_value(&item.value);
}

/// A miss. Forms that return the key have the key in place of the text.
fn write_miss(form: &BinaryForm<'_>, opcode: Opcode, out: &mut Output) {
    if opcode.returns_key() {
        packet(form, Status::NOT_FOUND.0, 0, [&[], form.key, &[]], out);
    } else {
        write_status(form, Status::NOT_FOUND, out);
    }
}

fn write_stats(form: &BinaryForm<'_>, stats: &[Stat], out: &mut Output) {
    for (name, value) in stats {
        packet(form, 0, 0, [&[], name.as_bytes(), value.as_bytes()], out);
    }
    success(form, 0, out);
}
