//! Client certificates: how a client that cannot log in says who it is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::digest;

use super::credential::Username;
use super::secret::hex_lower;
use super::time::Timestamp;

/// SHA-256 over a certificate's DER: all that is kept to know it again. No secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a fingerprint: 64 characters 0-9 and a-f are expected")]
pub struct BadFingerprint;

impl Fingerprint {
    pub fn of(der: &[u8]) -> Fingerprint {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        Fingerprint(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight bytes, for lists that people read.
    pub fn short(&self) -> String {
        hex_lower(&self.0[..8])
    }
}

/// Lower-case hexadecimal, as the store keeps it and `openssl x509 -fingerprint -sha256` shows it with colons.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex_lower(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    fn from_str(text: &str) -> Result<Fingerprint, BadFingerprint> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(BadFingerprint),
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(BadFingerprint);
        }
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Fingerprint(bytes))
    }
}

/// A certificate issued for a credential and not revoked. Its private key is with its owner alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub fingerprint: Fingerprint,
    pub username: Username,
    pub created_at: Timestamp,
    /// From here on it is refused.
    pub expires_at: Timestamp,
}

/// The certificate of one of our own CAs, DER. Whatever it has signed for clients is looked up by its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority(Arc<[u8]>);

impl Authority {
    pub fn from_der(der: &[u8]) -> Authority {
        Authority(der.into())
    }

    pub fn der(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_read_back() {
        let fingerprint = Fingerprint::of(b"a certificate");
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert_ne!(fingerprint, Fingerprint::of(b"another"));
        assert!(fingerprint.to_string().starts_with(&fingerprint.short()));
    }

    #[test]
    fn other_texts_are_refused() {
        let text = Fingerprint::of(b"a certificate").to_string();
        let upper = text.to_uppercase();
        for bad in ["", &text[1..], &format!("{text}0"), &upper, &"é".repeat(32)] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad:?}");
        }
    }
}
