//! What a credential may do beyond reading.

use std::fmt;

/// The rights of one credential. Reading needs none of them; they are independent of each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capabilities(u8);

impl Capabilities {
    pub const NONE: Capabilities = Capabilities(0);
    /// Change items: every storage, arithmetic, delete and touch command.
    pub const WRITE: Capabilities = Capabilities(1);
    /// `flush_all` and its binary forms.
    pub const FLUSH: Capabilities = Capabilities(2);
    /// Calls of the HTTP API.
    pub const API: Capabilities = Capabilities(4);
    /// What a new credential gets.
    pub const ALL: Capabilities = Capabilities(7);

    /// From the stored or shared bits; unknown bits are dropped, so they can grant nothing.
    pub const fn from_bits(bits: u8) -> Capabilities {
        Capabilities(bits & Capabilities::ALL.0)
    }

    pub const fn bits(self) -> u8 {
        self.0
    }

    pub const fn allows(self, needed: Capabilities) -> bool {
        self.0 & needed.0 == needed.0
    }

    #[must_use]
    pub const fn with(self, other: Capabilities, granted: bool) -> Capabilities {
        if granted {
            Capabilities(self.0 | other.0)
        } else {
            Capabilities(self.0 & !other.0)
        }
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Capabilities::WRITE, "write"),
            (Capabilities::FLUSH, "flush"),
            (Capabilities::API, "api"),
        ];
        let granted = names
            .iter()
            .filter(|(right, _)| self.allows(*right))
            .map(|(_, name)| name);
        f.debug_set().entries(granted).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_independent() {
        let read_and_flush = Capabilities::ALL.with(Capabilities::WRITE, false);
        assert!(read_and_flush.allows(Capabilities::FLUSH));
        assert!(!read_and_flush.allows(Capabilities::WRITE));
        assert!(Capabilities::NONE.allows(Capabilities::NONE));
    }

    #[test]
    fn unknown_bits_grant_nothing() {
        assert_eq!(Capabilities::from_bits(0xf8), Capabilities::NONE);
    }
}
