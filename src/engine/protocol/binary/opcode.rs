//! The operations, their quiet forms, and the parts that their packets must have.

/// An operation, quiet or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Get,
    GetK,
    Set,
    Add,
    Replace,
    Delete,
    Increment,
    Decrement,
    Quit,
    Flush,
    Noop,
    Version,
    Append,
    Prepend,
    Stat,
    Touch,
    Gat,
    GatK,
    SaslList,
    SaslAuth,
    SaslStep,
}

/// The lengths that a packet must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub extras: usize,
    /// A second valid length of the extras.
    pub extras_or: usize,
    pub key: KeyRule,
    pub value: bool,
}

/// Whether a packet has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRule {
    Needed,
    Optional,
    None,
}

impl Opcode {
    /// The operation of a byte, and whether it is the quiet form.
    #[inline]
    pub fn of_byte(byte: u8) -> Option<(Opcode, bool)> {
        Some(match byte {
            0x00 => (Opcode::Get, false),
            0x01 => (Opcode::Set, false),
            0x02 => (Opcode::Add, false),
            0x03 => (Opcode::Replace, false),
            0x04 => (Opcode::Delete, false),
            0x05 => (Opcode::Increment, false),
            0x06 => (Opcode::Decrement, false),
            0x07 => (Opcode::Quit, false),
            0x08 => (Opcode::Flush, false),
            0x09 => (Opcode::Get, true),
            0x0a => (Opcode::Noop, false),
            0x0b => (Opcode::Version, false),
            0x0c => (Opcode::GetK, false),
            0x0d => (Opcode::GetK, true),
            0x0e => (Opcode::Append, false),
            0x0f => (Opcode::Prepend, false),
            0x10 => (Opcode::Stat, false),
            0x11 => (Opcode::Set, true),
            0x12 => (Opcode::Add, true),
            0x13 => (Opcode::Replace, true),
            0x14 => (Opcode::Delete, true),
            0x15 => (Opcode::Increment, true),
            0x16 => (Opcode::Decrement, true),
            0x17 => (Opcode::Quit, true),
            0x18 => (Opcode::Flush, true),
            0x19 => (Opcode::Append, true),
            0x1a => (Opcode::Prepend, true),
            0x1c => (Opcode::Touch, false),
            0x1d => (Opcode::Gat, false),
            0x1e => (Opcode::Gat, true),
            0x20 => (Opcode::SaslList, false),
            0x21 => (Opcode::SaslAuth, false),
            0x22 => (Opcode::SaslStep, false),
            0x23 => (Opcode::GatK, false),
            0x24 => (Opcode::GatK, true),
            _ => return None,
        })
    }

    pub fn shape(self) -> Shape {
        use KeyRule::{Needed, None, Optional};
        let shape = |extras, extras_or, key, value| Shape {
            extras,
            extras_or,
            key,
            value,
        };
        match self {
            Opcode::Get | Opcode::GetK | Opcode::Delete => shape(0, 0, Needed, false),
            Opcode::Set | Opcode::Add | Opcode::Replace => shape(8, 8, Needed, true),
            Opcode::Append | Opcode::Prepend => shape(0, 0, Needed, true),
            Opcode::Increment | Opcode::Decrement => shape(20, 20, Needed, false),
            Opcode::Touch | Opcode::Gat | Opcode::GatK => shape(4, 4, Needed, false),
            Opcode::Flush => shape(0, 4, None, false),
            Opcode::Quit | Opcode::Noop | Opcode::Version | Opcode::SaslList => {
                shape(0, 0, None, false)
            }
            Opcode::Stat => shape(0, 0, Optional, false),
            Opcode::SaslAuth | Opcode::SaslStep => shape(0, 0, Optional, true),
        }
    }

    /// Whether the reply has the key.
    pub fn returns_key(self) -> bool {
        matches!(self, Opcode::GetK | Opcode::GatK)
    }

    pub fn is_sasl(self) -> bool {
        matches!(self, Opcode::SaslList | Opcode::SaslAuth | Opcode::SaslStep)
    }

    /// Whether a client may send it before login.
    pub fn is_allowed_before_login(self) -> bool {
        matches!(
            self,
            Opcode::SaslList | Opcode::SaslAuth | Opcode::SaslStep | Opcode::Version | Opcode::Quit
        )
    }
}

impl Shape {
    pub fn fits(&self, extras: usize, key: usize, value: usize) -> bool {
        let key_fits = match self.key {
            KeyRule::Needed => key > 0,
            KeyRule::Optional => true,
            KeyRule::None => key == 0,
        };
        let extras_fit = extras == self.extras || extras == self.extras_or;
        extras_fit && key_fits && (self.value || value == 0)
    }
}
