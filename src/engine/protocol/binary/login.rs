//! SASL packets.

use super::BinaryForm;
use super::header::{HEADER_BYTES, Header, REQUEST_MAGIC};
use super::opcode::Opcode;
use crate::engine::protocol::Limits;

/// The longest name of a SASL mechanism.
const MECHANISM_BYTES_MAX: usize = 32;

/// A SASL request.
#[derive(Debug)]
pub enum SaslRequest<'a> {
    List,
    Auth {
        mechanism: &'a [u8],
        data: &'a [u8],
    },
    Step {
        mechanism: &'a [u8],
        data: &'a [u8],
    },
    /// The name of the mechanism is too long. The rest of the packet is dropped.
    NameTooLong {
        swallow: usize,
    },
    /// The data is longer than the limit for logins.
    DataTooLong {
        swallow: usize,
    },
}

/// What the input begins with.
#[derive(Debug)]
pub enum SaslParsed<'a> {
    /// More bytes are needed.
    Partial,
    /// Not a SASL packet, or one whose lengths do not fit together.
    Malformed,
    Packet {
        used: usize,
        request: SaslRequest<'a>,
        form: BinaryForm<'static>,
    },
}

/// The SASL packet at the start of `input`.
pub fn parse_sasl<'a>(input: &'a [u8], limits: &Limits) -> SaslParsed<'a> {
    let Some(header) = Header::read(input) else {
        return SaslParsed::Partial;
    };
    let opcode = Opcode::of_byte(header.opcode).map(|(opcode, _)| opcode);
    let (Some(opcode), Some(value_bytes)) = (opcode, header.value_bytes()) else {
        return SaslParsed::Malformed;
    };
    let fits = opcode
        .shape()
        .fits(header.extras_bytes, header.key_bytes, value_bytes);
    if header.magic != REQUEST_MAGIC || !opcode.is_sasl() || !fits {
        return SaslParsed::Malformed;
    }
    let packet = |used, request| SaslParsed::Packet {
        used,
        request,
        form: BinaryForm::of(&header),
    };
    let swallow = header.body_bytes;
    if opcode == Opcode::SaslList {
        return packet(HEADER_BYTES, SaslRequest::List);
    }
    if header.key_bytes > MECHANISM_BYTES_MAX {
        return packet(HEADER_BYTES, SaslRequest::NameTooLong { swallow });
    }
    if value_bytes > limits.login_block_bytes_max {
        return packet(HEADER_BYTES, SaslRequest::DataTooLong { swallow });
    }
    let used = HEADER_BYTES + header.body_bytes;
    let Some(body) = input.get(HEADER_BYTES..used) else {
        return SaslParsed::Partial;
    };
    let (mechanism, data) = body.split_at(header.key_bytes);
    let request = if opcode == Opcode::SaslAuth {
        SaslRequest::Auth { mechanism, data }
    } else {
        SaslRequest::Step { mechanism, data }
    };
    packet(used, request)
}
