//! The certificate of an HTTP listener. It can be replaced while the listener runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// Why a certificate cannot be used. The key itself is never shown.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    #[error("cannot read the certificate file {path}")]
    Certificate { path: PathBuf, source: PemError },
    #[error("the certificate file {path} holds no certificate")]
    Empty { path: PathBuf },
    #[error("cannot read the key file {path}")]
    Key { path: PathBuf, source: PemError },
    #[error("certificate and key do not fit")]
    Mismatch(#[from] rustls::Error),
}

/// The TLS settings in force, and the files to read the next certificate from.
#[derive(Debug)]
pub struct ReloadableTls {
    cert: PathBuf,
    key: PathBuf,
    config: ArcSwap<ServerConfig>,
}

/// Reads certificate chain and key, both PEM.
///
/// # Errors
/// When a file cannot be read, or the two do not fit.
pub fn server_config(cert: &Path, key: &Path) -> Result<ReloadableTls, TlsFileError> {
    Ok(ReloadableTls {
        cert: cert.to_owned(),
        key: key.to_owned(),
        config: ArcSwap::from_pointee(read(cert, key)?),
    })
}

impl ReloadableTls {
    /// Reads the files again. New connections get the new certificate; open ones keep theirs.
    ///
    /// # Errors
    /// As [`server_config`]. The old certificate then stays.
    pub fn reload(&self) -> Result<(), TlsFileError> {
        let config = read(&self.cert, &self.key)?;
        self.config.store(Arc::new(config));
        Ok(())
    }

    /// The TLS settings for a new connection.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }
}

/// TLS 1.2 and 1.3 with the library's defaults, no early data, and HTTP/1.1 within.
fn read(cert: &Path, key: &Path) -> Result<ServerConfig, TlsFileError> {
    let unreadable = |source| TlsFileError::Certificate {
        path: cert.to_owned(),
        source,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(unreadable)?;
    if chain.is_empty() {
        let path = cert.to_owned();
        return Err(TlsFileError::Empty { path });
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsFileError::Key {
        path: key.to_owned(),
        source,
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certified = CertifiedKey::from_der(chain, private, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
