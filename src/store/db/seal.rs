//! Secrets at rest: AES-256-GCM under a master key that is never in the database.
//!
//! A sealed value is `version (1) | key id (4) | nonce (12) | ciphertext | tag (16)`. The associated data names
//! table, column and row, so a ciphertext moved to another place does not open (security.md ST-2). New values
//! use the first key of the ring; values of listed older keys still open, until they are sealed again.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest;
use secrecy::{ExposeSecret, SecretSlice, SecretString};

const VERSION: u8 = 1;
const KEY_ID_LEN: usize = 4;
const NONCE_LEN: usize = 12;
const HEADER_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;

/// Where a sealed value lives. Part of what is authenticated.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub table: &'static str,
    pub column: &'static str,
    pub row: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("a sealed value does not open with any of the master keys given")]
    UnknownKey,
    #[error("a sealed value was damaged or moved from its row")]
    Tampered,
    #[error("the system refused to encrypt")]
    Unavailable,
}

/// A master key: 32 bytes, given by file or environment.
#[derive(Clone)]
pub struct MasterKey(SecretSlice<u8>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a master key is 32 bytes in base64 (44 characters); make one with `openssl rand -base64 32`"
)]
pub struct BadMasterKey;

impl MasterKey {
    pub fn from_base64(text: &str) -> Result<MasterKey, BadMasterKey> {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text.trim())
            .map_err(|_| BadMasterKey)?;
        if bytes.len() == 32 {
            Ok(MasterKey(bytes.into()))
        } else {
            Err(BadMasterKey)
        }
    }

    /// Names the key without telling anything about it: the start of a digest made for this purpose only.
    fn id(&self) -> [u8; KEY_ID_LEN] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"larder master key id\0");
        context.update(self.0.expose_secret());
        let mut id = [0; KEY_ID_LEN];
        id.copy_from_slice(&context.finish().as_ref()[..KEY_ID_LEN]);
        id
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

struct RingKey {
    id: [u8; KEY_ID_LEN],
    cipher: RandomizedNonceKey,
}

/// The master keys in use, the current one first.
pub struct KeyRing(Vec<RingKey>);

impl KeyRing {
    pub fn new(current: &MasterKey, previous: &[MasterKey]) -> Result<KeyRing, SealError> {
        let open = |key: &MasterKey| {
            let cipher = RandomizedNonceKey::new(&AES_256_GCM, key.0.expose_secret());
            Ok(RingKey {
                id: key.id(),
                cipher: cipher.map_err(|_| SealError::Unavailable)?,
            })
        };
        std::iter::once(current)
            .chain(previous)
            .map(open)
            .collect::<Result<_, _>>()
            .map(KeyRing)
    }

    pub fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let key = self.0.first().ok_or(SealError::UnknownKey)?;
        let mut body = plain.to_vec();
        let nonce = key
            .cipher
            .seal_in_place_append_tag(aad(place, key.id), &mut body)
            .map_err(|_| SealError::Unavailable)?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + body.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&key.id);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<SecretSlice<u8>, SealError> {
        let (header, body) = sealed
            .split_at_checked(HEADER_LEN)
            .ok_or(SealError::Tampered)?;
        let (id, nonce) = header[1..].split_at(KEY_ID_LEN);
        if header[0] != VERSION {
            return Err(SealError::Tampered);
        }
        let key = self
            .0
            .iter()
            .find(|key| key.id == id)
            .ok_or(SealError::UnknownKey)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Tampered)?;
        let mut body = body.to_vec();
        let plain = key
            .cipher
            .open_in_place(nonce, aad(place, key.id), &mut body)
            .map_err(|_| SealError::Tampered)?;
        Ok(plain.to_vec().into())
    }

    /// [`open`](KeyRing::open) for values that were text.
    pub fn open_text(&self, place: Place<'_>, sealed: &[u8]) -> Result<SecretString, SealError> {
        let bytes = self.open(place, sealed)?;
        let text = std::str::from_utf8(bytes.expose_secret()).map_err(|_| SealError::Tampered)?;
        Ok(text.to_owned().into())
    }

    /// What stands in a sealed value behind the version when it is sealed under the current key.
    pub(in crate::store) fn current_id(&self) -> Result<[u8; KEY_ID_LEN], SealError> {
        let current = self.0.first().ok_or(SealError::UnknownKey)?;
        Ok(current.id)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.0.len())
    }
}

/// Lengths stand before the parts, so that no two places give the same bytes.
fn aad(place: Place<'_>, key_id: [u8; KEY_ID_LEN]) -> Aad<Vec<u8>> {
    let mut bytes = key_id.to_vec();
    for part in [place.table, place.column, place.row] {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    Aad::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;

    fn key(fill: u8) -> MasterKey {
        MasterKey::from_base64(&base64::engine::general_purpose::STANDARD.encode([fill; 32]))
            .unwrap()
    }

    fn place(row: &str) -> Place<'_> {
        Place {
            table: "credentials",
            column: "password_sealed",
            row,
        }
    }

    #[test]
    fn opens_only_in_its_own_place() {
        let ring = KeyRing::new(&key(1), &[]).unwrap();
        let sealed = ring.seal(place("a"), b"secret").unwrap();
        assert_eq!(
            ring.open_text(place("a"), &sealed).unwrap().expose_secret(),
            "secret"
        );
        assert_eq!(
            ring.open(place("b"), &sealed).unwrap_err(),
            SealError::Tampered
        );
        let other = Place {
            column: "verifier",
            ..place("a")
        };
        assert_eq!(ring.open(other, &sealed).unwrap_err(), SealError::Tampered);
    }

    #[test]
    fn no_two_seals_of_a_text_are_alike() {
        let ring = KeyRing::new(&key(1), &[]).unwrap();
        let sealed = (0..10_000).map(|_| ring.seal(place("a"), b"secret").unwrap());
        let different: std::collections::HashSet<Vec<u8>> = sealed.collect();
        assert_eq!(different.len(), 10_000);
        let elsewhere = Place {
            table: "grants",
            ..place("a")
        };
        let sealed = ring.seal(place("a"), b"secret").unwrap();
        assert_eq!(
            ring.open(elsewhere, &sealed).unwrap_err(),
            SealError::Tampered
        );
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let ring = KeyRing::new(&key(1), &[]).unwrap();
        let sealed = ring.seal(place("a"), b"secret").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(ring.open(place("a"), &damaged).is_err(), "bit {bit}");
        }
        assert!(ring.open(place("a"), &sealed[..10]).is_err());
    }

    #[test]
    fn rotation_reads_the_old_and_writes_the_new() {
        let old = KeyRing::new(&key(1), &[]).unwrap();
        let sealed = old.seal(place("a"), b"secret").unwrap();
        let both = KeyRing::new(&key(2), &[key(1)]).unwrap();
        assert!(both.open(place("a"), &sealed).is_ok());
        let current = both.current_id().unwrap();
        assert_ne!(sealed[1..5], current);
        assert_eq!(both.seal(place("a"), b"secret").unwrap()[1..5], current);
        let new = KeyRing::new(&key(2), &[]).unwrap();
        assert_eq!(
            new.open(place("a"), &sealed).unwrap_err(),
            SealError::UnknownKey
        );
    }

    #[test]
    fn a_master_key_is_32_bytes() {
        for bad in ["", "AAAA", "not base64!", &"A".repeat(48)] {
            assert!(MasterKey::from_base64(bad).is_err(), "{bad}");
        }
    }
}
