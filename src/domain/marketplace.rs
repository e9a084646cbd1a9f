//! Who sold a cache.

use std::fmt;
use std::str::FromStr;

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 31;

/// The name of a marketplace, as the database and routes spell it: lower-case letters, digits and dashes.
///
/// A name and not a list of cases, so that a marketplace is added in its own folder and nowhere else. The text lies
/// inline: rows and claims carry it by value, like a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Marketplace {
    bytes: [u8; NAME_BYTES_MAX],
    length: u8,
}

/// Why a text is no name of a marketplace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a marketplace")]
pub struct BadMarketplace(String);

impl Marketplace {
    /// A name that is written in the program.
    ///
    /// # Panics
    ///
    /// For a text that is no name. In a constant, that is an error of the compiler.
    #[expect(
        clippy::panic,
        reason = "for constants: a wrong name is an error of the compiler"
    )]
    pub const fn named(text: &str) -> Marketplace {
        match Marketplace::parse(text.as_bytes()) {
            Some(name) => name,
            None => panic!("not the name of a marketplace"),
        }
    }

    pub fn as_str(&self) -> &str {
        // Only ASCII gets in, so this is never the empty text.
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }

    const fn parse(text: &[u8]) -> Option<Marketplace> {
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return None;
        }
        let mut bytes = [0; NAME_BYTES_MAX];
        let mut at = 0;
        while at < text.len() {
            if !matches!(text[at], b'a'..=b'z' | b'0'..=b'9' | b'-') {
                return None;
            }
            bytes[at] = text[at];
            at += 1;
        }
        Some(Marketplace {
            bytes,
            length: text.len() as u8,
        })
    }
}

impl fmt::Display for Marketplace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Marketplace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Marketplace({self})")
    }
}

impl FromStr for Marketplace {
    type Err = BadMarketplace;

    fn from_str(text: &str) -> Result<Marketplace, BadMarketplace> {
        Marketplace::parse(text.as_bytes()).ok_or_else(|| BadMarketplace(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_odd_ones_are_refused() {
        for good in ["heroku", "classic-2", "a", &"x".repeat(NAME_BYTES_MAX)] {
            let name: Marketplace = good.parse().unwrap();
            assert_eq!(name.as_str(), good);
        }
        for bad in [
            "",
            "Heroku",
            "a b",
            "é",
            "a\0",
            &"x".repeat(NAME_BYTES_MAX + 1),
        ] {
            assert!(bad.parse::<Marketplace>().is_err(), "{bad:?}");
        }
        assert_ne!(Marketplace::named("a"), Marketplace::named("ab"));
    }
}
