//! The meta commands: `mg`, `ms`, `md`, `ma`, `me`, `mn`.

mod flags;
mod parse;
mod write;

pub(super) use parse::parse_store;
pub use parse::{parse_arith, parse_debug, parse_delete, parse_get};
pub use write::write;

/// Which meta command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaCommand {
    Get,
    Store,
    Delete,
    Arith,
    Debug,
    Noop,
}

/// How a meta command wants to be answered.
#[derive(Clone, Copy, Debug)]
pub struct MetaForm<'a> {
    pub command: MetaCommand,
    /// The key as sent, base64 where the client used it.
    pub key: &'a [u8],
    /// The key was sent as base64 and is returned so.
    pub base64: bool,
    /// Nominal replies are left out (`q`).
    pub quiet: bool,
    /// The value is asked for (`v`).
    pub value: bool,
    /// `C` of an `mg`: a value with this unique is not sent again.
    pub known_cas: Option<u64>,
    /// Length of the block of an `ms`.
    pub sent_bytes: usize,
    /// All flags as sent: the reply names them in this order.
    pub flags: &'a [u8],
}

impl MetaForm<'_> {
    /// Of `mn`, which has neither key nor flags.
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
