//! Certificates of the TLS listener, and which clients' certificates it believes; both replaced while it runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::known_clients::KnownClients;
use super::node::Node;
use crate::domain::Authority;

/// Why a certificate cannot be used. The key itself is never shown.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read the certificate file {path}")]
    Certificate {
        path: PathBuf,
        source: rustls::pki_types::pem::Error,
    },
    #[error("the certificate file {path} holds no certificate")]
    Empty { path: PathBuf },
    #[error("cannot read the key file {path}")]
    Key {
        path: PathBuf,
        source: rustls::pki_types::pem::Error,
    },
    #[error("certificate and key do not fit")]
    Mismatch(#[from] rustls::Error),
    #[error("a CA for client certificates cannot be used")]
    Authority(#[source] rustls::Error),
}

/// The present certificate, and where the next one is found.
#[derive(Debug)]
pub struct Certificates {
    cert: PathBuf,
    key: PathBuf,
    node: Arc<Node>,
    /// What `present` is made of. Held while a new one is made, so that none is lost.
    parts: Mutex<Parts>,
    present: ArcSwap<ServerConfig>,
}

#[derive(Clone, Debug)]
struct Parts {
    own: Arc<SingleCertAndKey>,
    /// Without any, no client is asked for a certificate.
    authorities: Vec<Authority>,
}

impl Certificates {
    /// Reads certificate chain and key, both PEM. Clients may identify themselves by what `authorities` issued.
    ///
    /// # Errors
    /// When a file cannot be read, the two do not fit, or an authority cannot be used.
    pub fn load(
        cert: PathBuf,
        key: PathBuf,
        authorities: Vec<Authority>,
        node: Arc<Node>,
    ) -> Result<Certificates, TlsError> {
        let own = read(&cert, &key)?;
        let parts = Parts { own, authorities };
        Ok(Certificates {
            cert,
            key,
            present: ArcSwap::from_pointee(parts.config(&node)?),
            parts: Mutex::new(parts),
            node,
        })
    }

    /// Reads the files again. Connections go on with what they have; new ones get the new certificate. After an
    /// error the old one stays.
    ///
    /// # Errors
    /// As [`Certificates::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let own = read(&self.cert, &self.key)?;
        self.change(|parts| parts.own = own)
    }

    /// Believes what these issued, from the next connection on.
    ///
    /// # Errors
    /// When one cannot be used; those before then stay.
    pub fn trust(&self, authorities: Vec<Authority>) -> Result<(), TlsError> {
        self.change(|parts| parts.authorities = authorities)
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) -> Result<(), TlsError> {
        let mut parts = self.parts.lock();
        let mut next = parts.clone();
        change(&mut next);
        self.present.store(Arc::new(next.config(&self.node)?));
        *parts = next;
        Ok(())
    }

    /// What a new connection begins with.
    pub fn present(&self) -> Arc<ServerConfig> {
        self.present.load_full()
    }
}

impl Parts {
    /// TLS 1.2 and 1.3 with the library's defaults; no early data.
    fn config(&self, node: &Arc<Node>) -> Result<ServerConfig, TlsError> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = if self.authorities.is_empty() {
            builder.with_no_client_auth()
        } else {
            let known = KnownClients::new(&self.authorities, &provider, node);
            builder.with_client_cert_verifier(Arc::new(known.map_err(TlsError::Authority)?))
        };
        Ok(builder.with_cert_resolver(Arc::clone(&self.own) as Arc<_>))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn read(cert: &Path, key: &Path) -> Result<Arc<SingleCertAndKey>, TlsError> {
    let unreadable = |source| TlsError::Certificate {
        path: cert.to_owned(),
        source,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(unreadable)?;
    if chain.is_empty() {
        let path = cert.to_owned();
        return Err(TlsError::Empty { path });
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Key {
        path: key.to_owned(),
        source,
    })?;
    let certified = CertifiedKey::from_der(chain, private, &provider())?;
    Ok(Arc::new(SingleCertAndKey::from(certified)))
}
