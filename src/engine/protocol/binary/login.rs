//! SASL packets.

use super::BinaryForm;
use super::header::{HEADER_BYTES, Header, REQUEST_MAGIC};
use super::opcode::Opcode;
use crate::engine::protocol::{Limits, Parsed};

/// Longest name of a mechanism.
const MECHANISM_BYTES_MAX: usize = 32;

/// A packet of the login.
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
    /// The mechanism's name passes its limit; the rest of the packet is to be swallowed.
    NameTooLong {
        swallow: usize,
    },
    /// The data passes the limit for logins.
    DataTooLong {
        swallow: usize,
    },
}

/// The SASL packet at the start of `input` and the bytes it takes; `None` when it is no such packet.
///
/// # Errors
/// [`Parsed::Partial`] when more bytes are needed.
pub fn parse_sasl<'a>(
    input: &'a [u8],
    limits: &Limits,
) -> Option<Result<(usize, SaslRequest<'a>, BinaryForm<'static>), Parsed<'a>>> {
    let header = Header::read(input)?;
    let (opcode, _) = Opcode::of_byte(header.opcode)?;
    let value_bytes = header.value_bytes()?;
    let is_sasl = matches!(
        opcode,
        Opcode::SaslList | Opcode::SaslAuth | Opcode::SaslStep
    );
    let shape = opcode.shape();
    let fits = shape.fits(header.extras_bytes, header.key_bytes, value_bytes);
    if header.magic != REQUEST_MAGIC || !is_sasl || !fits {
        return None;
    }
    let form = BinaryForm::of(&header);
    if opcode == Opcode::SaslList {
        return Some(Ok((HEADER_BYTES, SaslRequest::List, form)));
    }
    let swallow = header.body_bytes;
    if header.key_bytes > MECHANISM_BYTES_MAX {
        let request = SaslRequest::NameTooLong { swallow };
        return Some(Ok((HEADER_BYTES, request, form)));
    }
    if value_bytes > limits.login_block_bytes_max {
        let request = SaslRequest::DataTooLong { swallow };
        return Some(Ok((HEADER_BYTES, request, form)));
    }
    let used = HEADER_BYTES + header.body_bytes;
    let Some(body) = input.get(HEADER_BYTES..used) else {
        return Some(Err(Parsed::Partial));
    };
    let (mechanism, data) = body.split_at(header.key_bytes);
    let request = if opcode == Opcode::SaslAuth {
        SaslRequest::Auth { mechanism, data }
    } else {
        SaslRequest::Step { mechanism, data }
    };
    Some(Ok((used, request, form)))
}
