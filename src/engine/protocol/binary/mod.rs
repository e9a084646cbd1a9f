//! The binary dialect. Upstream has deprecated it; clients that log in by SASL need it.

mod header;
mod login;
mod opcode;
mod parse;
mod write;

pub use header::{HEADER_BYTES, Header, REQUEST_MAGIC};
pub use login::{SaslParsed, SaslRequest, parse_sasl};
pub use opcode::{Opcode, Shape};
pub use parse::{parse, parse_received};
pub use write::{write, write_challenge, write_error, write_text};

/// How to write the reply to a binary request.
#[derive(Clone, Copy, Debug)]
pub struct BinaryForm<'a> {
    /// The opcode as it was sent, also of a quiet form. The reply repeats it.
    pub opcode: u8,
    /// The reply repeats it.
    pub opaque: [u8; 4],
    /// The key, if the reply returns it.
    pub key: &'a [u8],
}

impl BinaryForm<'_> {
    pub fn of(header: &Header) -> BinaryForm<'static> {
        BinaryForm {
            opcode: header.opcode,
            opaque: header.opaque,
            key: &[],
        }
    }
}

#[cfg(test)]
mod tests;
