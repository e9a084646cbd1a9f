//! Refused logins: counted, and told to the operator and to the cache's owner.
//!
//! A guessing client makes thousands of them in a second. So an address is told of once a minute and a cache once in ten
//! minutes, with a count of what came between, and only so many addresses are told apart.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::auth::Account;
use super::events::EngineEvent;
use super::sync::Mutex;
use super::sync::atomic::{AtomicU64, Ordering};
use crate::domain::throttle::{Burst, Throttle};
use crate::domain::{CacheId, Timestamp, Username};

/// The least time between two lines about one address.
const ADDRESS_WINDOW: Duration = Duration::from_secs(60);
/// Addresses told apart within a window.
const ADDRESSES_MAX: usize = 256;
/// The least time between two events for the owner of one cache. An app with a wrong password tries all day long.
const CACHE_WINDOW: Duration = Duration::from_secs(600);
/// Unknown user names told apart within [`CACHE_WINDOW`].
const NAMES_MAX: usize = 256;
/// Longer user names are not shown: ours have 6 characters, and a password in the wrong place has 32.
const NAME_BYTES_MAX: usize = 16;

/// The refused logins of a node.
#[derive(Debug)]
pub struct RefusedLogins {
    /// Those that named no cache of this node. Caches count their own.
    unnamed: AtomicU64,
    by_address: Mutex<Throttle<Option<IpAddr>, Attempt>>,
    by_cache: Mutex<Throttle<Option<CacheId>, Attempt>>,
    /// User names that this node does not know. The control plane may: of a credential that was removed, or of a cache on
    /// another node. `None` stands for what cannot be one, and for more than are told apart.
    by_name: Mutex<Throttle<Option<Username>, Attempt>>,
}

/// Why a client certificate was refused. Nothing in a certificate that was refused is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateRefusal {
    /// One of ours that this node does not know: revoked, of a removed credential, or of a cache on another node.
    Unknown,
    /// Its time is over.
    Expired,
    /// No CA of ours has signed it.
    Foreign,
    /// Not yet valid, not for clients, not readable, or presented by somebody without its key.
    Invalid,
}

impl CertificateRefusal {
    /// As metrics and log name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            CertificateRefusal::Unknown => "unknown",
            CertificateRefusal::Expired => "expired",
            CertificateRefusal::Foreign => "foreign",
            CertificateRefusal::Invalid => "invalid",
        }
    }
}

impl fmt::Display for CertificateRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was presented and refused, without a password.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'p> {
    /// Empty when nobody was named.
    pub username: &'p [u8],
    /// `None` for a password.
    pub certificate: Option<CertificateRefusal>,
}

/// A refused attempt.
#[derive(Clone, Debug)]
struct Attempt {
    /// As it was presented.
    name: String,
    certificate: Option<CertificateRefusal>,
    /// The cache and the credential that it names.
    named: Option<(CacheId, Username)>,
    remote: Option<IpAddr>,
}

impl Default for RefusedLogins {
    fn default() -> RefusedLogins {
        RefusedLogins {
            unnamed: AtomicU64::new(0),
            by_address: Mutex::new(Throttle::new(ADDRESS_WINDOW, ADDRESSES_MAX)),
            // As many keys as there are caches with refused logins.
            by_cache: Mutex::new(Throttle::new(CACHE_WINDOW, usize::MAX)),
            by_name: Mutex::new(Throttle::new(CACHE_WINDOW, NAMES_MAX)),
        }
    }
}

impl RefusedLogins {
    /// How many named no cache of this node.
    pub fn unnamed(&self) -> u64 {
        self.unnamed.load(Ordering::Relaxed)
    }

    /// Counts one. `account` is the one that the user name belongs to. Returns what is to be told now.
    pub fn note(
        &self,
        account: Option<&Account>,
        presented: Presented<'_>,
        remote: Option<IpAddr>,
        now: Timestamp,
    ) -> impl Iterator<Item = EngineEvent> + use<> {
        let named = account.and_then(|account| {
            let username = account.username.clone()?;
            Some((account.tenancy.cache, username))
        });
        let attempt = Attempt {
            name: shown(presented.username),
            certificate: presented.certificate,
            named,
            remote,
        };
        let address = {
            let mut by_address = self.by_address.lock();
            by_address.note(remote, None, attempt.clone(), now)
        };
        let address = address.map(|burst| of_address(burst, now));
        // Known and unknown names cost the same work, so that the time tells nothing (security.md MC-6).
        let for_owner = match &attempt.named {
            Some((cache, _)) => {
                let key = Some(*cache);
                let burst = self.by_cache.lock().note(key, None, attempt, now);
                burst.and_then(|burst| for_owner(burst, now))
            }
            None => {
                self.unnamed.fetch_add(1, Ordering::Relaxed);
                let key = possible_name(presented.username);
                let burst = self.by_name.lock().note(key, None, attempt, now);
                burst.and_then(|burst| of_name(burst, now))
            }
        };
        address.into_iter().chain(for_owner)
    }

    /// What is to be told because its window is over. Call it about once a second.
    pub fn due(&self, now: Timestamp) -> Vec<EngineEvent> {
        let by_address = self.by_address.lock().due(now);
        let by_cache = self.by_cache.lock().due(now);
        let by_name = self.by_name.lock().due(now);
        let owners = by_cache
            .into_iter()
            .filter_map(|burst| for_owner(burst, now));
        let addresses = by_address.into_iter().map(|burst| of_address(burst, now));
        let names = by_name.into_iter().filter_map(|burst| of_name(burst, now));
        addresses.chain(owners).chain(names).collect()
    }
}

fn of_address(burst: Burst<Option<IpAddr>, Attempt>, now: Timestamp) -> EngineEvent {
    EngineEvent::AddressRefused {
        remote: burst.key,
        cache: burst.latest.named.map(|(cache, _)| cache),
        username: burst.latest.name,
        certificate: burst.latest.certificate,
        refused: burst.times,
        window_secs: ADDRESS_WINDOW.as_secs() as u32,
        at: now,
    }
}

fn for_owner(burst: Burst<Option<CacheId>, Attempt>, now: Timestamp) -> Option<EngineEvent> {
    let (cache, credential) = burst.latest.named?;
    Some(EngineEvent::LoginsRefused {
        cache,
        credential,
        remote: burst.latest.remote,
        refused: burst.times,
        window_secs: CACHE_WINDOW.as_secs() as u32,
        at: now,
    })
}

fn of_name(burst: Burst<Option<Username>, Attempt>, now: Timestamp) -> Option<EngineEvent> {
    Some(EngineEvent::UnknownUserRefused {
        username: burst.key?,
        remote: burst.latest.remote,
        refused: burst.times,
        window_secs: CACHE_WINDOW.as_secs() as u32,
        at: now,
    })
}

/// A name that the control plane may know. What may be a password leaves the node in no form.
fn possible_name(username: &[u8]) -> Option<Username> {
    let text = std::str::from_utf8(username).ok()?;
    (text.len() <= NAME_BYTES_MAX).then_some(text)?.parse().ok()
}

/// A user name as it may stand in a log. Clients send anything, a password in the place of the name too.
fn shown(username: &[u8]) -> String {
    match username.len() {
        0..=NAME_BYTES_MAX => username.escape_ascii().to_string(),
        bytes => format!("({bytes} bytes)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_printable_and_no_password() {
        assert_eq!(shown(b"A11CE0"), "A11CE0");
        assert_eq!(shown(b"x\r\n\xff\x1b[2J"), r"x\r\n\xff\x1b[2J");
        assert_eq!(shown(b"0123456789ABCDEF0123456789ABCDEF"), "(32 bytes)");
        assert_eq!(shown(b""), "");
    }
}
