//! The certificate of the TLS listener and the CAs of client certificates. Both can be replaced while it runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::client_verifier::ClientVerifier;
use super::state::EngineState;
use super::sync::Mutex;
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

/// The TLS settings in force, and the files to read the next certificate from.
#[derive(Debug)]
pub struct Certificates {
    cert: PathBuf,
    key: PathBuf,
    engine: Arc<EngineState>,
    /// What `config` was made of. The lock is held while a new config is made, so that two changes at once both take
    /// effect.
    parts: Mutex<Parts>,
    config: ArcSwap<ServerConfig>,
}

#[derive(Clone, Debug)]
struct Parts {
    own: Arc<SingleCertAndKey>,
    /// The certificate itself, without its chain.
    leaf: CertificateDer<'static>,
    /// When empty, clients are not asked for a certificate.
    authorities: Vec<Authority>,
}

impl Certificates {
    /// Reads certificate chain and key, both PEM. Clients may log in with certificates that `authorities` issued.
    ///
    /// # Errors
    /// When a file cannot be read, the two do not fit, or an authority cannot be used.
    pub fn load(
        cert: PathBuf,
        key: PathBuf,
        authorities: Vec<Authority>,
        engine: Arc<EngineState>,
    ) -> Result<Certificates, TlsError> {
        let (own, leaf) = read(&cert, &key)?;
        let parts = Parts {
            own,
            leaf,
            authorities,
        };
        Ok(Certificates {
            cert,
            key,
            config: ArcSwap::from_pointee(parts.config(&engine)?),
            parts: Mutex::new(parts),
            engine,
        })
    }

    /// Reads the files again. New connections get the new certificate; open ones keep theirs. After an error the old
    /// certificate stays.
    ///
    /// # Errors
    /// As [`Certificates::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        let (own, leaf) = read(&self.cert, &self.key)?;
        self.change(|parts| {
            parts.own = own;
            parts.leaf = leaf;
        })
    }

    /// The certificate that new connections are shown, as DER.
    pub fn leaf(&self) -> Vec<u8> {
        self.parts.lock().leaf.to_vec()
    }

    /// Accepts client certificates of these CAs from the next connection on.
    ///
    /// # Errors
    /// When one cannot be used. The CAs of before then stay in force.
    pub fn trust(&self, authorities: Vec<Authority>) -> Result<(), TlsError> {
        self.change(|parts| parts.authorities = authorities)
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) -> Result<(), TlsError> {
        let mut parts = self.parts.lock();
        let mut next = parts.clone();
        change(&mut next);
        self.config.store(Arc::new(next.config(&self.engine)?));
        *parts = next;
        Ok(())
    }

    /// The TLS settings for a new connection.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }
}

impl Parts {
    /// TLS 1.2 and 1.3 with the library's defaults; no early data.
    fn config(&self, engine: &Arc<EngineState>) -> Result<ServerConfig, TlsError> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = if self.authorities.is_empty() {
            builder.with_no_client_auth()
        } else {
            let known = ClientVerifier::new(&self.authorities, &provider, engine);
            builder.with_client_cert_verifier(Arc::new(known.map_err(TlsError::Authority)?))
        };
        Ok(builder.with_cert_resolver(Arc::clone(&self.own) as Arc<_>))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn read(
    cert: &Path,
    key: &Path,
) -> Result<(Arc<SingleCertAndKey>, CertificateDer<'static>), TlsError> {
    let unreadable = |source| TlsError::Certificate {
        path: cert.to_owned(),
        source,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(unreadable)?;
    let Some(leaf) = chain.first().cloned() else {
        let path = cert.to_owned();
        return Err(TlsError::Empty { path });
    };
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Key {
        path: key.to_owned(),
        source,
    })?;
    let certified = CertifiedKey::from_der(chain, private, &provider())?;
    Ok((Arc::new(SingleCertAndKey::from(certified)), leaf))
}
