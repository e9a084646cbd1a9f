//! What a memcached client presents.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::capability::Capabilities;
use super::ids::{CacheId, CredentialId};
use super::secret::{hex_upper, random_bytes};
use super::time::Timestamp;

/// A memcached user name: 6 to 32 upper-case hexadecimal characters, unique over the installation, never reused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Username(Arc<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a user name: 6 to 32 characters 0-9 and A-F are expected")]
pub struct BadUsername;

impl Username {
    /// Six random characters. The store refuses one that was ever used; the caller then draws again.
    pub fn generate() -> Username {
        Username(hex_upper(&random_bytes::<3>()).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Username {
    type Err = BadUsername;

    fn from_str(text: &str) -> Result<Username, BadUsername> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
        if (6..=32).contains(&text.len()) && text.bytes().all(hex) {
            Ok(Username(text.into()))
        } else {
            Err(BadUsername)
        }
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One credential of a live cache, without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub id: CredentialId,
    pub cache: CacheId,
    pub username: Username,
    pub capabilities: Capabilities,
    /// The one whose values stand in the provider's config vars. A live cache has exactly one (P1).
    pub primary: bool,
    pub created_at: Timestamp,
    pub last_used: Option<LastUse>,
    /// Of a former primary: since when the provider's config vars hold its successor's values, or are to. Apps
    /// may still run with the old ones for a while.
    pub retired_at: Option<Timestamp>,
}

/// The latest login that a node has reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastUse {
    pub at: Timestamp,
    /// The peer's address as text.
    pub from: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_parse() {
        let name = Username::generate();
        assert_eq!(name.as_str().len(), 6);
        assert_eq!(name.as_str().parse(), Ok(name.clone()));
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "",
            "4F2A9",
            "4f2a90",
            "4F2A9 ",
            "4F2A9G",
            "0123456789ABCDEF0123456789ABCDEF0",
        ] {
            assert!(bad.parse::<Username>().is_err(), "{bad:?}");
        }
    }
}
