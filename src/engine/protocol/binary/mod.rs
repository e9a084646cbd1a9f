//! The binary dialect: deprecated upstream, needed for clients that log in by SASL.

mod header;
mod login;
mod opcode;
mod parse;
mod write;

pub use header::{HEADER_BYTES, Header, REQUEST_MAGIC};
pub use login::{SaslParsed, SaslRequest, parse_sasl};
pub use opcode::{Opcode, Shape};
pub use parse::{parse, parse_received};
pub use write::{write, write_challenge, write_fault, write_text};

/// How a binary request wants to be answered.
#[derive(Clone, Copy, Debug)]
pub struct BinaryForm<'a> {
    /// As sent, quiet forms too: the reply repeats it.
    pub opcode: u8,
    /// Copied back.
    pub opaque: [u8; 4],
    /// The key, for the forms that return it.
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
