//! What the data plane must know of a cache. No secret that opens anything is among it.

use super::capability::Capabilities;
use super::certificate::Fingerprint;
use super::credential::Username;
use super::flush::Origin;
use super::ids::{CacheId, FlushId};
use super::secret::Verifier;
use super::time::Timestamp;

/// Everything a node needs to serve one cache, as of some revision. Always the whole truth of that cache, so
/// applying a newer one over an older one, or twice, is safe.
#[derive(Clone, Debug)]
pub struct CacheSpec {
    pub cache: CacheId,
    /// The short name used in log lines.
    pub label: String,
    pub limit_bytes: u64,
    pub connections_max: u32,
    pub credentials: Vec<CredentialSpec>,
    /// Flushes ordered by the control plane that no node has reported done.
    pub flush_orders: Vec<FlushOrder>,
}

/// A credential as a node knows it.
#[derive(Clone, Debug)]
pub struct CredentialSpec {
    pub username: Username,
    pub verifier: Verifier,
    pub capabilities: Capabilities,
    /// Certificates that stand for it, besides its password.
    pub certificates: Vec<CertificateSpec>,
}

/// A client certificate as a node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateSpec {
    pub fingerprint: Fingerprint,
    pub expires_at: Timestamp,
}

/// A flush that the dashboard or an operator asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlushOrder {
    pub id: FlushId,
    pub origin: Origin,
    pub reason: Option<String>,
}
