//! Parses packets.

use std::borrow::Cow;

use super::BinaryForm;
use super::header::{HEADER_BYTES, Header, REQUEST_MAGIC};
use super::opcode::Opcode;
use super::write::{write, write_hit};
use crate::engine::protocol::{
    Command, FastGet, FastGetForm, Form, Limits, Output, Parsed, ProtocolError, Reply, Request,
    StatsGroup, is_key_length,
};
use crate::engine::storage::{
    ArithDirection, ArithRequest, DeleteRequest, Exptime, FlagOrder, GetOptions, ItemView,
    KEY_BYTES_MAX, NewValue, StoreMode, StoreRequest,
};

/// A larger body closes the connection, as in memcached.
const BODY_BYTES_MAX: usize = 1 << 30;
/// With this exptime, INCR and DECR do not create the counter on a miss.
const NO_INITIAL: u32 = u32::MAX;

/// A packet whose lengths are valid.
struct Packet<'a> {
    header: Header,
    opcode: Opcode,
    extras: &'a [u8],
    key: &'a [u8],
}

/// A get: quiet or not, with or without the key in its reply.
impl<'a> FastGetForm<'a> for BinaryForm<'a> {
    #[inline(always)]
    fn fast_get(input: &'a [u8]) -> Option<(usize, FastGet<'a>, Self)> {
        let header = Header::read(input)?;
        let returned = match Opcode::of_byte(header.opcode)? {
            (Opcode::Get, _) => false,
            (Opcode::GetK, _) => true,
            _ => return None,
        };
        let used = HEADER_BYTES + header.key_bytes;
        let is_bare = header.extras_bytes == 0 && header.body_bytes == header.key_bytes;
        if header.magic != REQUEST_MAGIC || !is_bare || !is_key_length(header.key_bytes) {
            return None;
        }
        let key = input.get(HEADER_BYTES..used)?;
        let form = BinaryForm {
            key: if returned { key } else { &[] },
            ..BinaryForm::of(&header)
        };
        let get = FastGet {
            key,
            recaches: false,
        };
        Some((used, get, form))
    }

    #[inline(always)]
    fn write_get(&self, item: Option<&ItemView<'_>>, out: &mut Output) {
        match item {
            Some(item) => write_hit(self, item, out),
            None => write(self, &Reply::Miss, out),
        }
    }
}

/// The request at the start of `input`. [`super::parse_sasl`] reads SASL packets, before this is called.
#[inline]
pub fn parse<'a>(input: &'a [u8], limits: &Limits) -> Parsed<'a> {
    let Some(header) = Header::read(input) else {
        return Parsed::Partial;
    };
    let form = BinaryForm::of(&header);
    if header.magic != REQUEST_MAGIC {
        return Parsed::Close(None);
    }
    let Some(value_bytes) = header.value_bytes() else {
        return Parsed::Close(Some((ProtocolError::UnknownCommand, Form::Binary(form))));
    };
    let invalid = Parsed::Close(Some((ProtocolError::Invalid, Form::Binary(form))));
    if header.body_bytes > BODY_BYTES_MAX || header.key_bytes > KEY_BYTES_MAX {
        return invalid;
    }
    let Some((opcode, _)) = Opcode::of_byte(header.opcode) else {
        return unknown(&header, form);
    };
    if opcode.is_sasl() {
        return unknown(&header, form);
    }
    let shape = opcode.shape();
    if !shape.fits(header.extras_bytes, header.key_bytes, value_bytes) {
        return invalid;
    }
    let head = header.head_bytes();
    if input.len() < head {
        return Parsed::Partial;
    }
    if shape.value {
        return store(input, head, value_bytes, limits);
    }
    let Some(packet) = Packet::split(input) else {
        return invalid;
    };
    Parsed::Request {
        used: head,
        swallow: 0,
        request: packet.request(),
    }
}

/// The request of a store whose value was received before.
pub fn parse_received<'a>(head: &'a [u8], value: NewValue<'a>) -> Parsed<'a> {
    let Some(packet) = Packet::split(head) else {
        return Parsed::Close(None);
    };
    Parsed::Request {
        used: head.len(),
        swallow: 0,
        request: packet.store_request(value),
    }
}

fn unknown<'a>(header: &Header, form: BinaryForm<'a>) -> Parsed<'a> {
    Parsed::Error {
        used: HEADER_BYTES,
        swallow: header.body_bytes,
        error: ProtocolError::UnknownCommand,
        form: Form::Binary(form),
    }
}

fn store<'a>(input: &'a [u8], head: usize, value_bytes: usize, limits: &Limits) -> Parsed<'a> {
    let Some(packet) = Packet::split(input) else {
        return Parsed::Close(None);
    };
    if limits.is_too_large(packet.key.len(), value_bytes) {
        return Parsed::Request {
            used: head,
            swallow: value_bytes,
            request: packet.too_large(),
        };
    }
    let behind = &input[head..];
    if behind.len() < value_bytes {
        return Parsed::NeedsBlock {
            head,
            block: value_bytes,
        };
    }
    let value = NewValue::Bytes(&behind[..value_bytes]);
    Parsed::Request {
        used: head + value_bytes,
        swallow: 0,
        request: packet.store_request(value),
    }
}

impl<'a> Packet<'a> {
    fn split(input: &'a [u8]) -> Option<Packet<'a>> {
        let header = Header::read(input)?;
        let (opcode, _) = Opcode::of_byte(header.opcode)?;
        let rest = input.get(HEADER_BYTES..header.head_bytes())?;
        let (extras, key) = rest.split_at(header.extras_bytes);
        Some(Packet {
            header,
            opcode,
            extras,
            key,
        })
    }

    fn form(&self) -> Form<'a> {
        let key = if self.opcode.returns_key() {
            self.key
        } else {
            &[]
        };
        Form::Binary(BinaryForm {
            key,
            ..BinaryForm::of(&self.header)
        })
    }

    fn key(&self) -> Cow<'a, [u8]> {
        Cow::Borrowed(self.key)
    }

    /// The CAS value of the header, if one was given.
    fn cas(&self) -> Option<u64> {
        Some(self.header.cas).filter(|&cas| cas != 0)
    }

    /// The big-endian 32-bit number at `at` of the extras. 0 if they end before it.
    fn u32_at(&self, at: usize) -> u32 {
        let bytes = self.extras.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    fn u64_at(&self, at: usize) -> u64 {
        let bytes = self.extras.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    fn request(&self) -> Request<'a> {
        let key = self.key();
        let command = match self.opcode {
            Opcode::Get | Opcode::GetK => Command::Get {
                key,
                options: GetOptions::default(),
            },
            Opcode::Gat | Opcode::GatK => Command::Get {
                key,
                options: GetOptions {
                    touch: Some(Exptime::from_binary(self.u32_at(0))),
                    ..GetOptions::default()
                },
            },
            Opcode::Touch => Command::Touch {
                key,
                exptime: Exptime::from_binary(self.u32_at(0)),
            },
            Opcode::Delete => Command::Delete {
                key,
                request: DeleteRequest {
                    cas: self.cas(),
                    ..DeleteRequest::default()
                },
            },
            Opcode::Increment => self.arith(ArithDirection::Increment),
            Opcode::Decrement => self.arith(ArithDirection::Decrement),
            Opcode::Quit => Command::Quit,
            Opcode::Flush => Command::Flush {
                delay_secs: self.u32_at(0),
            },
            Opcode::Version => Command::Version,
            Opcode::Stat => Command::Stats(StatsGroup::of_name(self.key)),
            // NOOP. Stores and SASL requests do not come here.
            _ => Command::Noop,
        };
        Request {
            command,
            form: self.form(),
        }
    }

    fn arith(&self, direction: ArithDirection) -> Command<'a> {
        let exptime = self.u32_at(16);
        let initial =
            (exptime != NO_INITIAL).then(|| (self.u64_at(8), Exptime::from_binary(exptime)));
        Command::Arith {
            key: self.key(),
            request: ArithRequest {
                direction,
                delta: self.u64_at(0),
                initial,
                exptime: None,
                order: FlagOrder::default(),
                cas: self.cas(),
                new_cas: None,
            },
        }
    }

    fn store_request(&self, value: NewValue<'a>) -> Request<'a> {
        let cas = self.cas();
        let mode = match (self.opcode, cas) {
            (Opcode::Append, _) => StoreMode::Append,
            (Opcode::Prepend, _) => StoreMode::Prepend,
            // With a CAS value all three are the same compare-and-swap.
            (Opcode::Add, None) => StoreMode::Add,
            (Opcode::Replace, None) => StoreMode::Replace,
            _ => StoreMode::Set,
        };
        let flags = self.u32_at(0);
        let exptime = Exptime::from_binary(self.u32_at(4));
        let request = StoreRequest {
            mode,
            cas,
            removes_old: self.removes_old(),
            ..StoreRequest::set(flags, exptime, value)
        };
        Request {
            command: Command::Store {
                key: self.key(),
                request,
            },
            form: self.form(),
        }
    }

    /// As in [`StoreRequest`]: SET and SETQ, with or without a CAS value.
    fn removes_old(&self) -> bool {
        self.opcode == Opcode::Set
    }

    fn too_large(&self) -> Request<'a> {
        Request {
            command: Command::StoreTooLarge {
                key: self.key(),
                removes_old: self.removes_old(),
            },
            form: self.form(),
        }
    }
}
