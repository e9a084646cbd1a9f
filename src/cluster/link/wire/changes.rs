use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::{BadMessage, parse};
use crate::domain::secret::Verifier;
use crate::domain::{self, CacheId, Capabilities, CertificateSpec, CredentialSpec, Timestamp};

/// What a node asks for: all that has changed since it stood at `known`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesQuery {
    /// The revision in force on the node; 0 when it knows nothing.
    pub known: i64,
    /// A long list comes in parts: only caches with a higher number than this.
    #[serde(default)]
    pub after: i64,
    /// [`Changes::plans`] of the list that the node had last.
    #[serde(default)]
    pub plans: u32,
    /// How long the answer may wait for something to tell.
    #[serde(default)]
    pub wait_ms: u64,
}

/// What a node must do to stand at `revision`, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    pub revision: i64,
    /// The list is all there is: the node forgets each cache that is not on it.
    pub complete: bool,
    pub caches: Vec<CacheChange>,
    /// All CAs whose client certificates are to be believed. They are never taken back.
    pub authorities: Vec<Authority>,
    /// User names of changed caches that are on other nodes, and those whose credential was removed. All there are, when
    /// the list is complete. A node takes a `set` of one for a login.
    #[serde(default)]
    pub usernames: Vec<String>,
    /// The list goes on behind this cache. The node stands at the revision of the first part once it has all parts, and
    /// begins anew when a part differs from the first in `complete`.
    #[serde(default)]
    pub more_after: Option<i64>,
    /// Stands for the table of plans, from which limits come. A node that has limits of another table gets the complete
    /// list, since no revision tells of that.
    #[serde(default)]
    pub plans: u32,
}

/// The present truth about one cache, for one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheChange {
    Serve(CacheSpec),
    /// Deprovisioned, or not on this node any more.
    Forget {
        cache: i64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheSpec {
    pub cache: i64,
    pub label: String,
    pub limit_bytes: u64,
    pub connections_max: u32,
    pub credentials: Vec<Credential>,
    pub flush_orders: Vec<FlushOrder>,
}

/// What a node knows of a credential. The verifier opens nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    pub username: String,
    /// 32 bytes in base64.
    pub verifier: String,
    /// One bit per capability; a node ignores those that it does not know.
    pub capabilities: u8,
    pub certificates: Vec<Certificate>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// SHA-256 over the DER, in hexadecimal.
    pub fingerprint: String,
    /// Microseconds since the Unix epoch.
    pub expires_at: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushOrder {
    pub id: String,
    pub origin: String,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The CA's certificate, DER in base64.
    pub der: String,
}

impl From<&domain::CacheSpec> for CacheSpec {
    fn from(spec: &domain::CacheSpec) -> CacheSpec {
        CacheSpec {
            cache: spec.cache.0,
            label: spec.label.clone(),
            limit_bytes: spec.limit_bytes,
            connections_max: spec.connections_max,
            credentials: spec.credentials.iter().map(Credential::from).collect(),
            flush_orders: spec.flush_orders.iter().map(FlushOrder::from).collect(),
        }
    }
}

impl From<&CredentialSpec> for Credential {
    fn from(spec: &CredentialSpec) -> Credential {
        let certificate = |certificate: &CertificateSpec| Certificate {
            fingerprint: certificate.fingerprint.to_string(),
            expires_at: certificate.expires_at.micros(),
        };
        Credential {
            username: spec.username.to_string(),
            verifier: BASE64.encode(spec.verifier.as_bytes()),
            capabilities: spec.capabilities.bits(),
            certificates: spec.certificates.iter().map(certificate).collect(),
        }
    }
}

impl From<&domain::FlushOrder> for FlushOrder {
    fn from(order: &domain::FlushOrder) -> FlushOrder {
        FlushOrder {
            id: order.id.to_string(),
            origin: order.origin.to_string(),
            reason: order.reason.clone(),
        }
    }
}

impl From<&domain::Authority> for Authority {
    fn from(authority: &domain::Authority) -> Authority {
        Authority {
            der: BASE64.encode(authority.der()),
        }
    }
}

impl TryFrom<CacheSpec> for domain::CacheSpec {
    type Error = BadMessage;

    fn try_from(spec: CacheSpec) -> Result<domain::CacheSpec, BadMessage> {
        let credentials = spec.credentials.into_iter().map(CredentialSpec::try_from);
        let orders = spec
            .flush_orders
            .into_iter()
            .map(domain::FlushOrder::try_from);
        Ok(domain::CacheSpec {
            cache: CacheId(spec.cache),
            label: spec.label,
            limit_bytes: spec.limit_bytes,
            connections_max: spec.connections_max,
            credentials: credentials.collect::<Result<_, _>>()?,
            flush_orders: orders.collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<Credential> for CredentialSpec {
    type Error = BadMessage;

    fn try_from(credential: Credential) -> Result<CredentialSpec, BadMessage> {
        let mut verifier = [0; 32];
        let length = BASE64.decode_slice(&credential.verifier, &mut verifier);
        if length != Ok(verifier.len()) {
            return Err(BadMessage("verifier"));
        }
        let certificate = |certificate: Certificate| {
            Ok(CertificateSpec {
                fingerprint: parse("fingerprint", &certificate.fingerprint)?,
                expires_at: Timestamp::from_micros(certificate.expires_at),
            })
        };
        let certificates = credential.certificates.into_iter().map(certificate);
        Ok(CredentialSpec {
            username: parse("user name", &credential.username)?,
            verifier: Verifier::from_bytes(verifier),
            capabilities: Capabilities::from_bits(credential.capabilities),
            certificates: certificates.collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<FlushOrder> for domain::FlushOrder {
    type Error = BadMessage;

    fn try_from(order: FlushOrder) -> Result<domain::FlushOrder, BadMessage> {
        Ok(domain::FlushOrder {
            id: parse("flush id", &order.id)?,
            origin: parse("flush origin", &order.origin)?,
            reason: order.reason,
        })
    }
}

impl TryFrom<&Authority> for domain::Authority {
    type Error = BadMessage;

    fn try_from(authority: &Authority) -> Result<domain::Authority, BadMessage> {
        let der = BASE64.decode(&authority.der);
        let der = der.map_err(|_| BadMessage("certificate authority"))?;
        Ok(domain::Authority::from_der(&der))
    }
}
