//! The classic text dialect, and the line structure it shares with meta.

mod keys;
mod login;
mod parse;
mod store;
mod words;
mod write;

pub use keys::{KeyList, plain_key};
pub use login::{LoginLine, parse_login};
pub use parse::{parse, parse_received};
pub(super) use store::{Behind, Block};
pub use words::{LineScan, Words};
pub use write::{write, write_fault};

/// How a classic command wants to be answered.
#[derive(Clone, Copy, Debug)]
pub struct TextForm<'a> {
    /// The key as sent; `VALUE` lines repeat it.
    pub key: &'a [u8],
    /// Nothing at all is answered.
    pub noreply: bool,
    /// `VALUE` lines carry the unique.
    pub with_cas: bool,
    /// The last key of its line, behind which `END` stands.
    pub ends_list: bool,
}

impl<'a> TextForm<'a> {
    /// Of a command that is answered with one plain line.
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
