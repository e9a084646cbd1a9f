//! Emptying a cache: who asked, by which way, and what was lost.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::credential::Username;
use super::ids::{CacheId, FlushId};
use super::time::Timestamp;

/// By which way a flush came. The texts are a contract with customers' log readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    MemcacheClient,
    WebInterface,
    AdminOperation,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no flush origin is called {0}")]
pub struct UnknownOrigin(String);

impl Origin {
    pub const fn as_str(self) -> &'static str {
        match self {
            Origin::MemcacheClient => "memcache client",
            Origin::WebInterface => "web interface",
            Origin::AdminOperation => "admin operation",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Origin {
    type Err = UnknownOrigin;

    fn from_str(text: &str) -> Result<Origin, UnknownOrigin> {
        [
            Origin::MemcacheClient,
            Origin::WebInterface,
            Origin::AdminOperation,
        ]
        .into_iter()
        .find(|origin| origin.as_str() == text)
        .ok_or_else(|| UnknownOrigin(text.to_owned()))
    }
}

/// One flush that took effect on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlushEvent {
    /// The same event may be handed over more than once; it is stored once per id.
    pub id: FlushId,
    pub cache: CacheId,
    pub origin: Origin,
    /// Host name of the proxy that carried it out.
    pub proxy: String,
    /// The client's credential, for a client flush.
    pub credential: Option<Username>,
    pub remote: Option<IpAddr>,
    /// Why an operator flushed.
    pub reason: Option<String>,
    pub items: u64,
    pub bytes: u64,
    pub at: Timestamp,
}
