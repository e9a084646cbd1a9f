//! Authentication: the port to the known credentials, and the check of what a client presents.
//!
//! A login is a look-up in memory and one keyed hash. An unknown user name costs the same work as a wrong password and
//! gets the same answer, so that a client cannot find out which user names exist.

use std::net::IpAddr;
use std::sync::Arc;

use super::events::EventThrottle;
use super::sync::Mutex;
use super::sync::atomic::{AtomicU32, Ordering};
use super::tenancy::Tenancy;
use crate::domain::credential::LastUse;
use crate::domain::secret::{Verifier, VerifierKey, random_bytes};
use crate::domain::{Capabilities, CertificateSpec, Fingerprint, Timestamp, Username};

/// Finds credentials. It is called on the serving threads, so it must neither block nor wait for a lock that a change
/// of credentials holds.
pub trait Directory: Send + Sync {
    fn find(&self, username: &[u8]) -> Option<Arc<Account>>;
}

/// What a client must show to use an account.
#[derive(Clone, Debug)]
pub enum Proof {
    Password(Verifier),
    /// The TLS handshake has proved that the client holds the certificate's key.
    Certificate(CertificateSpec),
    /// Nothing but connecting to the open listener.
    OpenListener,
}

/// A credential on this node with one of its proofs. The directory and all connections that logged in with it share
/// the account.
///
/// The order of the fields matters: with thousands of tenants each cache line that a request touches is a cache miss,
/// so the fields that every request reads stand together at the front.
#[derive(Debug)]
#[repr(C)]
pub struct Account {
    /// Capability bits, and [`REVOKED`]. Read before each command.
    bits: AtomicU32,
    connections: AtomicU32,
    pub tenancy: Arc<Tenancy>,
    /// `None` for the account of the open listener.
    pub username: Option<Username>,
    pub(super) proof: Proof,
    last_login: Mutex<Option<(Timestamp, Option<IpAddr>)>>,
    /// Limits how often logins are reported.
    pub(super) login_events: EventThrottle,
}

/// Set when the credential is revoked. Above all capability bits.
const REVOKED: u32 = 1 << 31;

/// What an account allows now.
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
            bits: AtomicU32::new(u32::from(capabilities.bits())),
            tenancy,
            connections: AtomicU32::new(0),
            last_login: Mutex::new(None),
            login_events: EventThrottle::default(),
        }
    }

    /// What the account allows now. A relaxed load is enough: nothing else depends on its order, and a change becomes
    /// visible to each connection at its next command.
    #[inline]
    pub fn standing(&self) -> Standing {
        let bits = self.bits.load(Ordering::Relaxed);
        if bits & REVOKED == 0 {
            Standing::Valid(Capabilities::from_bits(bits as u8))
        } else {
            Standing::Revoked
        }
    }

    pub fn may_flush(&self) -> bool {
        let flush = Capabilities::FLUSH;
        matches!(self.standing(), Standing::Valid(granted) if granted.allows(flush))
    }

    pub fn is_revoked(&self) -> bool {
        self.standing() == Standing::Revoked
    }

    /// Changes what open connections may do. A revoked account stays revoked, also when both happen at once: the bits
    /// change in one atomic step.
    pub fn set_capabilities(&self, capabilities: Capabilities) {
        let granted = u32::from(capabilities.bits());
        let keep_revoked = |bits| Some((bits & REVOKED) | granted);
        let _ = self
            .bits
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, keep_revoked);
        self.tenancy.end_forbidden_flush();
    }

    /// Ends the account for good. Its connections execute no further command, and the next sweep closes them. A delayed
    /// flush that it asked for does not take place.
    pub fn revoke(&self) {
        self.bits.fetch_or(REVOKED, Ordering::SeqCst);
        self.tenancy.end_forbidden_flush();
    }

    /// Whether this is the account of `proof`.
    pub fn has_proof(&self, proof: &Proof) -> bool {
        match (&self.proof, proof) {
            (Proof::Password(own), Proof::Password(other)) => own.matches(other),
            (Proof::Certificate(own), Proof::Certificate(other)) => own == other,
            (Proof::OpenListener, Proof::OpenListener) => true,
            _ => false,
        }
    }

    /// Whether its certificate has expired. Passwords do not expire.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        matches!(&self.proof, Proof::Certificate(certificate) if certificate.expires_at <= now)
    }

    /// The certificate of the account, if its proof is one.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match &self.proof {
            Proof::Certificate(certificate) => Some(certificate.fingerprint),
            Proof::Password(_) | Proof::OpenListener => None,
        }
    }

    fn verifier(&self) -> Option<&Verifier> {
        match &self.proof {
            Proof::Password(verifier) => Some(verifier),
            Proof::Certificate(_) | Proof::OpenListener => None,
        }
    }

    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// When and from where somebody last logged in.
    pub fn last_login(&self) -> Option<LastUse> {
        let (at, from) = (*self.last_login.lock())?;
        let from = from.map(|address| address.to_string()).unwrap_or_default();
        Some(LastUse { at, from })
    }

    pub(super) fn note_login(&self, at: Timestamp, from: Option<IpAddr>) {
        *self.last_login.lock() = Some((at, from));
    }
}

/// Checks user names and passwords.
pub struct Authenticator {
    directory: Arc<dyn Directory>,
    key: VerifierKey,
    /// Compared with when the user name is unknown. No password matches it.
    of_nobody: Verifier,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authenticator(..)")
    }
}

/// The result of a login attempt.
#[derive(Debug)]
pub enum Verdict {
    Accepted(Arc<Account>),
    /// The user name is known, so its tenant counts the error.
    WrongPassword(Arc<Account>),
    Unknown,
}

impl Authenticator {
    pub fn new(directory: Arc<dyn Directory>, key: VerifierKey) -> Authenticator {
        Authenticator {
            directory,
            key,
            of_nobody: Verifier::from_bytes(random_bytes()),
        }
    }

    /// Checks an attempt. Hash, look-up and comparison are made in every case, so that all attempts take the same time.
    pub fn verify(&self, username: &[u8], password: &[u8]) -> Verdict {
        let presented = self.key.verifier(username, password);
        overwrite_stack();
        let found = self.directory.find(username);
        let stored = found
            .as_ref()
            .and_then(|account| account.verifier())
            .unwrap_or(&self.of_nobody);
        let matches = stored.matches(&presented);
        match found {
            Some(account) if matches && !account.is_revoked() => Verdict::Accepted(account),
            Some(account) => Verdict::WrongPassword(account),
            None => Verdict::Unknown,
        }
    }
}

/// The digest leaves a copy of the password on the stack, below the frame of its caller (security.md ST-9). It takes less
/// than this.
#[inline(never)]
fn overwrite_stack() {
    let mut below = [0_u8; 4096];
    std::hint::black_box(&mut below);
}

/// One of the connections that a cache may have, and the account that the connection acts under. Dropping it frees the
/// slot.
#[derive(Debug)]
pub struct ConnectionSlot {
    account: Arc<Account>,
}

impl ConnectionSlot {
    /// Takes a slot. `None` when all slots of the cache are taken.
    pub fn take(account: Arc<Account>) -> Option<ConnectionSlot> {
        if !account.tenancy.add_connection() {
            return None;
        }
        account.connections.fetch_add(1, Ordering::Relaxed);
        Some(ConnectionSlot { account })
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

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.account.connections.fetch_sub(1, Ordering::Relaxed);
        self.account.tenancy.remove_connection();
    }
}

/// User name and password from the data of SASL PLAIN: `[authzid] NUL username NUL password` (RFC 4616). `None` when the
/// data has another form. Acting for another user is not supported, so the authzid must be absent or the user name.
pub fn sasl_plain_parts(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = data.splitn(3, |&byte| byte == 0);
    let (authzid, username, password) = (parts.next()?, parts.next()?, parts.next()?);
    let acts_for_itself = authzid.is_empty() || authzid == username;
    (acts_for_itself && !username.is_empty()).then_some((username, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sasl_plain_data_has_three_parts() {
        assert_eq!(
            sasl_plain_parts(b"\0user\0pass"),
            Some((&b"user"[..], &b"pass"[..]))
        );
        assert_eq!(
            sasl_plain_parts(b"user\0user\0p"),
            Some((&b"user"[..], &b"p"[..]))
        );
        for bad in [
            &b""[..],
            b"user",
            b"\0user",
            b"\0\0pass",
            b"other\0user\0pass",
        ] {
            assert_eq!(sasl_plain_parts(bad), None, "{bad:?}");
        }
    }
}
