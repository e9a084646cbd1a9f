//! Certificates of the TLS listener, replaced while it runs.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

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
}

/// The present certificate, and where the next one is found.
#[derive(Debug)]
pub struct Certificates {
    cert: PathBuf,
    key: PathBuf,
    present: ArcSwap<ServerConfig>,
}

impl Certificates {
    /// Reads certificate chain and key, both PEM.
    ///
    /// # Errors
    /// When a file cannot be read or the two do not fit.
    pub fn load(cert: PathBuf, key: PathBuf) -> Result<Certificates, TlsError> {
        let present = ArcSwap::from_pointee(read(&cert, &key)?);
        Ok(Certificates { cert, key, present })
    }

    /// Reads the files again. Connections go on with what they have; new ones get the new certificate. After an
    /// error the old one stays.
    ///
    /// # Errors
    /// As [`Certificates::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        self.present.store(Arc::new(read(&self.cert, &self.key)?));
        Ok(())
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.present.load_full())
    }
}

/// TLS 1.2 and 1.3 with the library's defaults; no client certificates, no early data.
fn read(cert: &PathBuf, key: &PathBuf) -> Result<ServerConfig, TlsError> {
    let unreadable = |source| TlsError::Certificate {
        path: cert.clone(),
        source,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(unreadable)?;
    if chain.is_empty() {
        return Err(TlsError::Empty { path: cert.clone() });
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Key {
        path: key.clone(),
        source,
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)?;
    Ok(config)
}
