//! Our own small CA: how its certificate and those of clients are made. Nothing here is stored.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::secret::random_bytes;
use crate::domain::{Authority, Certificate, Fingerprint, Timestamp, Username};
use crate::store::caches::certificates::AuthorityRecord;

const DAY: Duration = Duration::from_secs(86_400);
/// How long a client certificate is good.
const CERTIFICATE_VALIDITY: Duration = DAY.saturating_mul(365);
/// How long a CA is. It issues while a certificate of today ends before it does; then the next CA takes over.
const AUTHORITY_VALIDITY: Duration = DAY.saturating_mul(3_650);
/// Certificates begin a little in the past, for clocks that are late.
const BACKDATED: Duration = Duration::from_secs(3_600);

/// A certificate just made, with the only copy of its private key.
#[derive(Debug)]
pub struct IssuedCertificate {
    pub certificate: Certificate,
    /// Certificate and private key, both PEM, in one text.
    pub pem: SecretString,
}

/// When a certificate issued at `now` ends. To the second, as certificates have it.
pub(super) fn certificate_end(now: Timestamp) -> Timestamp {
    Timestamp::from_secs(now.plus(CERTIFICATE_VALIDITY).secs())
}

/// A new CA.
pub(super) fn establish(number: u32, now: Timestamp) -> Result<AuthorityRecord, rcgen::Error> {
    let expires_at = Timestamp::from_secs(now.plus(AUTHORITY_VALIDITY).secs());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = params_of(number);
    valid(&mut params, now, expires_at);
    let certificate = params.self_signed(&key)?;
    Ok(AuthorityRecord {
        number,
        certificate: Authority::from_der(certificate.der()),
        key: key.serialize_der().into(),
        expires_at,
    })
}

/// A new key and a certificate for it that says who its holder is and is good for nothing else.
pub(super) fn sign(
    authority: &AuthorityRecord,
    username: &Username,
    now: Timestamp,
) -> Result<IssuedCertificate, rcgen::Error> {
    let der = PrivatePkcs8KeyDer::from(authority.key.expose_secret());
    let signer = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)?;
    let issuer = Issuer::new(params_of(authority.number), signer);
    let expires_at = certificate_end(now);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named(username.as_str());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, now, expires_at);
    let certificate = params.signed_by(&key, &issuer)?;
    let private = SecretString::from(key.serialize_pem());
    let pem = format!("{}{}", certificate.pem(), private.expose_secret());
    Ok(IssuedCertificate {
        certificate: Certificate {
            fingerprint: Fingerprint::of(certificate.der()),
            username: username.clone(),
            created_at: now,
            expires_at,
        },
        pem: pem.into(),
    })
}

/// What is said of a CA when it is made, and again whenever it signs.
fn params_of(number: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("Larder clients {number}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn valid(params: &mut CertificateParams, from: Timestamp, to: Timestamp) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let after_epoch = |at: Timestamp| Duration::from_secs(u64::try_from(at.secs()).unwrap_or(0));
    params.not_before = epoch + after_epoch(from.minus(BACKDATED));
    params.not_after = epoch + after_epoch(to);
    // positive, whatever is drawn
    let mut serial = random_bytes::<16>();
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
}
