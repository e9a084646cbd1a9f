//! Who a client is: the port to the known credentials, and the check of what it presents.
//!
//! A login is a look-up in memory and one keyed hash. An unknown user name costs the same work as a wrong password
//! and gets the same answer.

use std::net::IpAddr;
use std::sync::Arc;

use super::events::Gate;
use super::sync::Mutex;
use super::sync::atomic::{AtomicU32, Ordering};
use super::tenancy::Tenancy;
use crate::domain::credential::LastUse;
use crate::domain::secret::{Verifier, VerifierKey, random_bytes};
use crate::domain::{Capabilities, CertificateSpec, Fingerprint, Timestamp, Username};

/// Where credentials are found. Called on the engine's threads: it must neither block nor wait for a lock that a
/// change holds.
pub trait Directory: Send + Sync {
    fn find(&self, username: &[u8]) -> Option<Arc<Account>>;
}

/// What opens an account.
#[derive(Clone, Debug)]
pub enum Proof {
    Password(Verifier),
    /// Whose key the client has shown to have.
    Certificate(CertificateSpec),
    /// Coming through the open listener.
    Door,
}

/// A credential on this node by one of its proofs, shared by the directory and all connections that came in with it.
///
/// In this order, because among thousands of tenants each cache line that a request touches is waited for.
#[derive(Debug)]
#[repr(C)]
pub struct Account {
    /// Capabilities, and [`REVOKED`]. Read before each command.
    word: AtomicU32,
    connections: AtomicU32,
    pub tenancy: Arc<Tenancy>,
    /// `None` for those who come through the open listener.
    pub username: Option<Username>,
    pub(super) proof: Proof,
    last_login: Mutex<Option<(Timestamp, Option<IpAddr>)>>,
    pub(super) login_gate: Gate,
}

/// The credential is gone. Above all capability bits.
const REVOKED: u32 = 1 << 31;

/// What the capability word says now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Valid(Capabilities),
    Revoked,
}

impl Account {
    pub fn new(
        username: Option<Username>,
        proof: Proof,
        capabilities: Capabilities,
        tenancy: Arc<Tenancy>,
    ) -> Account {
        Account {
            username,
            proof,
            word: AtomicU32::new(u32::from(capabilities.bits())),
            tenancy,
            connections: AtomicU32::new(0),
            last_login: Mutex::new(None),
            login_gate: Gate::default(),
        }
    }

    /// A relaxed load: a change reaches each connection with its next command.
    #[inline]
    pub fn standing(&self) -> Standing {
        let word = self.word.load(Ordering::Relaxed);
        if word & REVOKED == 0 {
            Standing::Valid(Capabilities::from_bits(word as u8))
        } else {
            Standing::Revoked
        }
    }

    pub fn is_revoked(&self) -> bool {
        self.standing() == Standing::Revoked
    }

    /// Changes what live connections may do. A revoked account stays revoked.
    pub fn set_capabilities(&self, capabilities: Capabilities) {
        let bits = u32::from(capabilities.bits());
        let keep_revoked = |word| Some((word & REVOKED) | bits);
        let _ = self
            .word
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, keep_revoked);
    }

    pub fn revoke(&self) {
        self.word.fetch_or(REVOKED, Ordering::SeqCst);
    }

    pub fn is_opened_by(&self, proof: &Proof) -> bool {
        match (&self.proof, proof) {
            (Proof::Password(own), Proof::Password(other)) => own.matches(other),
            (Proof::Certificate(own), Proof::Certificate(other)) => own == other,
            (Proof::Door, Proof::Door) => true,
            _ => false,
        }
    }

    /// Whether its certificate has expired. Passwords do not.
    pub fn is_over(&self, now: Timestamp) -> bool {
        matches!(&self.proof, Proof::Certificate(certificate) if certificate.expires_at <= now)
    }

    /// The certificate that opens it, if one does.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match &self.proof {
            Proof::Certificate(certificate) => Some(certificate.fingerprint),
            Proof::Password(_) | Proof::Door => None,
        }
    }

    fn verifier(&self) -> Option<&Verifier> {
        match &self.proof {
            Proof::Password(verifier) => Some(verifier),
            Proof::Certificate(_) | Proof::Door => None,
        }
    }

    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    pub fn last_login(&self) -> Option<LastUse> {
        let (at, from) = (*self.last_login.lock())?;
        let from = from.map(|address| address.to_string()).unwrap_or_default();
        Some(LastUse { at, from })
    }

    pub(super) fn note_login(&self, at: Timestamp, from: Option<IpAddr>) {
        *self.last_login.lock() = Some((at, from));
    }
}

/// Checks what clients present.
pub struct Authenticator {
    directory: Arc<dyn Directory>,
    key: VerifierKey,
    /// Compared with when the user is unknown. No password has it.
    nobody: Verifier,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authenticator(..)")
    }
}

/// What became of an attempt.
#[derive(Debug)]
pub enum Verdict {
    Accepted(Arc<Account>),
    /// A known user name with a wrong password: its tenant counts the error.
    WrongPassword(Arc<Account>),
    Unknown,
}

impl Authenticator {
    pub fn new(directory: Arc<dyn Directory>, key: VerifierKey) -> Authenticator {
        Authenticator {
            directory,
            key,
            nobody: Verifier::from_bytes(random_bytes()),
        }
    }

    /// Hash, look-up and comparison are made in every case.
    pub fn verify(&self, username: &[u8], password: &[u8]) -> Verdict {
        let presented = self.key.verifier(username, password);
        let found = self.directory.find(username);
        let stored = found
            .as_ref()
            .and_then(|account| account.verifier())
            .unwrap_or(&self.nobody);
        let matches = stored.matches(&presented);
        match found {
            Some(account) if matches && !account.is_revoked() => Verdict::Accepted(account),
            Some(account) => Verdict::WrongPassword(account),
            None => Verdict::Unknown,
        }
    }
}

/// A connection's place in a cache: the identity it acts under. Leaving is dropping it.
#[derive(Debug)]
pub struct Seat {
    account: Arc<Account>,
}

impl Seat {
    /// Takes a place; `None` when the cache has as many connections as it may have.
    pub fn take(account: Arc<Account>) -> Option<Seat> {
        if !account.tenancy.enter() {
            return None;
        }
        account.connections.fetch_add(1, Ordering::Relaxed);
        Some(Seat { account })
    }

    #[inline]
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    #[inline]
    pub fn tenancy(&self) -> &Tenancy {
        &self.account.tenancy
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.account.connections.fetch_sub(1, Ordering::Relaxed);
        self.account.tenancy.leave();
    }
}

/// The parts of SASL PLAIN's data: `[authzid] NUL username NUL password`. Acting for another user is not offered,
/// so an authzid must be absent or the user name itself.
pub fn plain_parts(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = data.splitn(3, |&byte| byte == 0);
    let (authzid, username, password) = (parts.next()?, parts.next()?, parts.next()?);
    let acts_for_itself = authzid.is_empty() || authzid == username;
    (acts_for_itself && !username.is_empty()).then_some((username, password))
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_data_has_three_parts() {
        assert_eq!(
            plain_parts(b"\0user\0pass"),
            Some((&b"user"[..], &b"pass"[..]))
        );
        assert_eq!(
            plain_parts(b"user\0user\0p"),
            Some((&b"user"[..], &b"p"[..]))
        );
        for bad in [
            &b""[..],
            b"user",
            b"\0user",
            b"\0\0pass",
            b"other\0user\0pass",
        ] {
            assert_eq!(plain_parts(bad), None, "{bad:?}");
        }
    }
}
