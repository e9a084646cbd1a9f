//! The meta commands: `mg`, `ms`, `md`, `ma`, `me`, `mn`.

mod flags;
mod parse;
mod write;

pub(super) use parse::parse_store;
pub use parse::{parse_arith, parse_debug, parse_delete, parse_get};
pub use write::write;

/// A meta command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaCommand {
    Get,
    Store,
    Delete,
    Arith,
    Debug,
    Noop,
}

/// How to write the reply to a meta command.
#[derive(Clone, Copy, Debug)]
pub struct MetaForm<'a> {
    pub command: MetaCommand,
    /// The key as it was sent, perhaps in base64.
    pub key: &'a [u8],
    /// The key was sent in base64 and is returned in base64.
    pub base64: bool,
    /// The usual reply is left out (`q`).
    pub quiet: bool,
    /// The reply includes the value (`v`).
    pub value: bool,
    /// `C` of an `mg`: the value is not sent if its CAS value is this one.
    pub known_cas: Option<u64>,
    /// Length of the data block of an `ms`.
    pub sent_bytes: usize,
    /// All flags as they were sent. The reply repeats them in this order.
    pub flags: &'a [u8],
}

impl MetaForm<'_> {
    /// For `mn`, which has neither key nor flags.
    pub fn bare() -> MetaForm<'static> {
        MetaForm {
            command: MetaCommand::Noop,
            key: &[],
            base64: false,
            quiet: false,
            value: false,
            known_cas: None,
            sent_bytes: 0,
            flags: &[],
        }
    }
}

#[cfg(test)]
mod tests;
