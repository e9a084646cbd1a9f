//! The classic text dialect, and the structure of lines that it shares with meta.

mod keys;
mod login;
mod parse;
mod store;
mod tokens;
mod write;

pub use keys::{KeyList, single_key};
pub use login::{LoginLine, credential_in, parse_login};
pub use parse::{parse, parse_received};
pub(super) use store::{Behind, Block};
pub use tokens::{LineScan, Tokens};
pub use write::{write, write_error};

/// How to write the reply to a classic command.
#[derive(Clone, Copy, Debug)]
pub struct TextForm<'a> {
    /// The key. `VALUE` lines repeat it.
    pub key: &'a [u8],
    /// There is no reply.
    pub noreply: bool,
    /// `VALUE` lines have the CAS value.
    pub with_cas: bool,
    /// The key is the last one of its line, so `END` follows.
    pub ends_list: bool,
}

impl<'a> TextForm<'a> {
    /// For a command whose reply is one line.
    pub fn line(noreply: bool) -> TextForm<'a> {
        TextForm {
            key: &[],
            noreply,
            with_cas: false,
            ends_list: false,
        }
    }
}

#[cfg(test)]
mod tests;
