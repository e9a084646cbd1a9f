//! CAs of tests and the certificates they sign, good and bad; and TLS clients that bring them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use larder::domain::{Authority, CertificateSpec, Fingerprint, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, StreamOwned,
    SupportedProtocolVersion,
};

/// A CA like ours, or one that looks like it.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// What a client presents: a certificate and its key.
#[derive(Debug)]
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Ca {
    pub fn new(name: &str) -> Ca {
        Ca::of(name, KeyPair::generate().unwrap())
    }

    fn of(name: &str, key: KeyPair) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap();
        Ca {
            issuer: Issuer::new(params, key),
            certificate: certificate.der().clone(),
        }
    }

    /// The same CA in another process, which has its key.
    pub fn with_key(name: &str, key: &str) -> Ca {
        Ca::of(name, KeyPair::from_pem(key).unwrap())
    }

    /// Its certificate and its key, in PEM.
    pub fn to_pem(&self) -> (String, String) {
        let label = "CERTIFICATE";
        let body = BASE64.encode(&self.certificate);
        let certificate = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        (certificate, self.issuer.key().serialize_pem())
    }

    pub fn authority(&self) -> Authority {
        Authority::from_der(&self.certificate)
    }

    /// A good one.
    pub fn client(&self, name: &str) -> Identity {
        self.sign(name, |_| ())
    }

    /// One that is as it should be but for `spoil`.
    pub fn sign(&self, name: &str, spoil: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        spoil(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

impl Identity {
    /// One that nobody but itself has signed.
    pub fn self_signed(spoil: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = named("self");
        spoil(&mut params);
        Identity {
            certificate: params.self_signed(&key).unwrap().der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }

    /// A server that presents it.
    pub fn server(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key());
        Arc::new(config.unwrap())
    }

    /// What the dashboard gave: certificate and key in one text.
    pub fn from_pem(pem: &str) -> Identity {
        Identity {
            certificate: CertificateDer::from_pem_slice(pem.as_bytes()).unwrap(),
            key: PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap(),
        }
    }

    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// As a node is told of it.
    pub fn spec(&self, expires_at: Timestamp) -> CertificateSpec {
        CertificateSpec {
            fingerprint: self.fingerprint(),
            expires_at,
        }
    }
}

/// A TLS client that keeps its sessions, and resumes them when it connects again.
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// Trusts the server certificate in this file.
    pub fn new(trusted: &Path, identity: Option<&Identity>) -> TlsClient {
        TlsClient::speaking(rustls::ALL_VERSIONS, trusted, identity)
    }

    pub fn speaking(
        versions: &[&'static SupportedProtocolVersion],
        trusted: &Path,
        identity: Option<&Identity>,
    ) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(trusted).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => builder
                .with_client_auth_cert(vec![certificate.clone()], key.clone_key())
                .unwrap(),
        };
        TlsClient(Arc::new(config))
    }

    pub fn connect(&self, addr: SocketAddr) -> TlsTalk {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.0), name).unwrap();
        let socket = TcpStream::connect(addr).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        TlsTalk(StreamOwned::new(connection, socket))
    }
}

/// One TLS connection.
pub struct TlsTalk(StreamOwned<ClientConnection, TcpStream>);

impl TlsTalk {
    /// Sends, and reads as many bytes as `expected` has.
    ///
    /// # Errors
    /// When the server ends it first: with the alert that it gave, if it gave one.
    pub fn try_talk(&mut self, line: &[u8], expected: &[u8]) -> std::io::Result<Vec<u8>> {
        self.0.write_all(line)?;
        self.0.flush()?;
        let mut reply = vec![0; expected.len()];
        self.0.read_exact(&mut reply)?;
        Ok(reply)
    }

    #[track_caller]
    pub fn talk(&mut self, line: &str, expected: &str) {
        let reply = self.try_talk(line.as_bytes(), expected.as_bytes());
        let reply = reply.expect("an answer");
        assert_eq!(String::from_utf8_lossy(&reply), expected);
    }

    /// Why the server does not serve this connection.
    #[track_caller]
    pub fn refusal(&mut self) -> String {
        match self.try_talk(b"mn\r\n", b"MN\r\n") {
            Ok(reply) => panic!("it is served: {}", String::from_utf8_lossy(&reply)),
            Err(error) => error.to_string(),
        }
    }

    /// Waits for the server to end it. Nothing may come before.
    #[track_caller]
    pub fn closed(&mut self) {
        let mut rest = [0; 64];
        // A connection that is cut off ends without a farewell.
        let read = self.0.read(&mut rest).unwrap_or_else(|error| {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "still open");
            0
        });
        assert_eq!(read, 0, "{:?}", &rest[..read]);
    }

    pub fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}
