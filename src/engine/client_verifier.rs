//! The check of client certificates in TLS handshakes.

use std::cell::Cell;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use super::refused_logins::CertificateRefusal;
use super::state::EngineState;
use crate::domain::{Authority, Fingerprint, der};

/// Accepts a client certificate that one of our CAs issued, that has not expired, and that the directory knows. A client
/// need not present one. The directory does not know a certificate that was revoked or whose credential was removed;
/// the TLS alert tells the client so.
///
/// TLS does not verify again when a session is resumed. Whoever serves the connection must look its certificate up once
/// more.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    engine: Arc<EngineState>,
}

/// A client certificate that was refused, without the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefusedCertificate {
    pub reason: CertificateRefusal,
    /// The name in it, which ours have from their credential. Empty when there is none.
    pub username: Box<[u8]>,
}

impl RefusedCertificate {
    pub(super) fn of(certificate: &[u8], reason: CertificateRefusal) -> RefusedCertificate {
        RefusedCertificate {
            reason,
            username: der::common_name(certificate).unwrap_or_default().into(),
        }
    }
}

thread_local! {
    /// What this thread's verifier refused last. TLS does not tell the verifier whose certificate it checks, and keeps none
    /// that was refused; but it asks on the thread that feeds the connection, within that call.
    static REFUSED: Cell<Option<RefusedCertificate>> = const { Cell::new(None) };
}

/// The certificate that made the handshake fail which this thread has just fed. `None` when it failed otherwise.
pub(super) fn take_refused() -> Option<RefusedCertificate> {
    REFUSED.take()
}

/// Hands the result on, and keeps a refusal for [`take_refused`].
fn noting<T>(
    certificate: &[u8],
    checked: Result<T, Error>,
    reason: impl FnOnce(&Error) -> CertificateRefusal,
) -> Result<T, Error> {
    let refused = checked.as_ref().err().map(reason);
    REFUSED.set(refused.map(|reason| RefusedCertificate::of(certificate, reason)));
    checked
}

fn reason_of(error: &Error) -> CertificateRefusal {
    let Error::InvalidCertificate(error) = error else {
        return CertificateRefusal::Invalid;
    };
    match error {
        // There are no revocation lists: this is the directory's answer.
        CertificateError::Revoked => CertificateRefusal::Unknown,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            CertificateRefusal::Expired
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            CertificateRefusal::Foreign
        }
        _ => CertificateRefusal::Invalid,
    }
}

impl ClientVerifier {
    /// # Errors
    /// When there is no CA, or one that cannot be read.
    pub(super) fn new(
        authorities: &[Authority],
        provider: &Arc<CryptoProvider>,
        engine: &Arc<EngineState>,
    ) -> Result<ClientVerifier, Error> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(CertificateDer::from(authority.der()).into_owned())?;
        }
        let chain =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .allow_unauthenticated()
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        Ok(ClientVerifier {
            chain,
            engine: Arc::clone(engine),
        })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now);
        let known = verified.and_then(|verified| {
            let account = self.engine.certified(&Fingerprint::of(end_entity));
            account.ok_or(CertificateError::Revoked)?;
            Ok(verified)
        });
        noting(end_entity, known, reason_of)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let proved = self.chain.verify_tls12_signature(message, cert, dss);
        noting(cert, proved, |_| CertificateRefusal::Invalid)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let proved = self.chain.verify_tls13_signature(message, cert, dss);
        noting(cert, proved, |_| CertificateRefusal::Invalid)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
