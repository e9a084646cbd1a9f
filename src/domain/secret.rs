//! Secrets as types: what may be shown, what may be compared, and how.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use subtle::ConstantTimeEq;

use super::credential::Username;

/// `length` bytes from the system's random source.
///
/// # Panics
/// When the operating system has no randomness to give; going on without would mint guessable secrets.
pub fn random_bytes<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    #[expect(
        clippy::expect_used,
        reason = "a process without randomness must not hand out secrets"
    )]
    rand::fill(&mut bytes).expect("the system random source answers");
    bytes
}

/// Whether two secrets are the same. Keyed digests of both sides are compared, so neither what they hold nor
/// how long they are shapes the time this takes (security.md G-2). The one comparison of secrets in the tree.
pub fn same_secret(left: &[u8], right: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &random_bytes::<32>());
    let (left, right) = (hmac::sign(&key, left), hmac::sign(&key, right));
    left.as_ref().ct_eq(right.as_ref()).into()
}

/// The key under which memcached passwords are turned into verifiers. Nodes hold it; it opens nothing.
#[derive(Clone)]
pub struct VerifierKey {
    hmac: hmac::Key,
    bytes: Arc<SecretBox<[u8; 32]>>,
}

impl VerifierKey {
    pub fn from_bytes(bytes: &[u8; 32]) -> VerifierKey {
        VerifierKey {
            hmac: hmac::Key::new(hmac::HMAC_SHA256, bytes),
            bytes: Arc::new(SecretBox::init_with(|| *bytes)),
        }
    }

    /// The key itself, for the node link, which brings it to a node in another process, and for that node's sealed
    /// snapshot. It goes nowhere else.
    pub fn expose_bytes(&self) -> &[u8; 32] {
        self.bytes.expose_secret()
    }

    /// HMAC-SHA-256 over user name, NUL, password. Fast on purpose: the password is 128 random bits, and a
    /// slow hash would turn a reconnect storm into an outage (security.md MC-7).
    pub fn verifier(&self, username: &[u8], password: &[u8]) -> Verifier {
        let mut context = hmac::Context::with_key(&self.hmac);
        context.update(username);
        context.update(&[0]);
        context.update(password);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.sign().as_ref());
        Verifier(bytes)
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifierKey(..)")
    }
}

/// All that a node gets of a password. Not comparable with `==`: use [`Verifier::matches`].
#[derive(Clone)]
pub struct Verifier([u8; 32]);

impl Verifier {
    pub fn from_bytes(bytes: [u8; 32]) -> Verifier {
        Verifier(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Both sides are digests of fixed length, so a constant-time comparison is enough.
    pub fn matches(&self, other: &Verifier) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

/// A memcached password: 32 upper-case hexadecimal characters, 128 random bits. Survives every quoting rule.
#[derive(Clone)]
pub struct Password(SecretString);

impl Password {
    pub fn generate() -> Password {
        Password(hex_upper(&random_bytes::<16>()).into())
    }

    /// Takes back what the store sealed.
    pub fn from_stored(text: String) -> Password {
        Password(text.into())
    }

    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    pub fn verifier(&self, key: &VerifierKey, username: &Username) -> Verifier {
        key.verifier(username.as_str().as_bytes(), self.expose().as_bytes())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

const BEARER_BYTES: usize = 32;

/// A random bearer secret for browsers: the hash in the long-lived dashboard URL, or a session cookie.
/// Only its [digest](BearerSecret::digest) is looked up in the store.
#[derive(Clone)]
pub struct BearerSecret(SecretString);

impl BearerSecret {
    /// 256 random bits, URL-safe.
    pub fn generate() -> BearerSecret {
        BearerSecret(
            URL_SAFE_NO_PAD
                .encode(random_bytes::<BEARER_BYTES>())
                .into(),
        )
    }

    /// What a browser presented. Anything goes: a text that was never issued has a digest nobody stored.
    pub fn presented(text: &str) -> BearerSecret {
        BearerSecret(text.to_owned().into())
    }

    /// Whether one that was issued looks like this. One that does not was made up; one that does may have ended.
    pub fn has_issued_form(&self) -> bool {
        let decoded = URL_SAFE_NO_PAD.decode(self.expose());
        decoded.is_ok_and(|bytes| <[u8; BEARER_BYTES]>::try_from(bytes).is_ok())
    }

    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// SHA-256 in lower-case hexadecimal: the form in which it is stored and looked up.
    pub fn digest(&self) -> String {
        digest_hex(self.expose().as_bytes())
    }
}

impl fmt::Debug for BearerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerSecret(..)")
    }
}

/// SHA-256 as lower-case hexadecimal.
pub fn digest_hex(bytes: &[u8]) -> String {
    hex_lower(digest::digest(&digest::SHA256, bytes).as_ref())
}

pub fn hex_upper(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

pub fn hex_lower(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hex_and_never_print() {
        let password = Password::generate();
        assert_eq!(password.expose().len(), 32);
        assert!(
            password
                .expose()
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte))
        );
        assert_eq!(format!("{password:?}"), "Password(..)");
    }

    #[test]
    fn a_verifier_binds_user_and_password() {
        let key = VerifierKey::from_bytes(&[7; 32]);
        let stored = key.verifier(b"4F2A90", b"secret");
        assert!(stored.matches(&key.verifier(b"4F2A90", b"secret")));
        assert!(!stored.matches(&key.verifier(b"4F2A91", b"secret")));
        assert!(!stored.matches(&key.verifier(b"4F2A90s", b"ecret")));
        assert!(!stored.matches(&VerifierKey::from_bytes(&[8; 32]).verifier(b"4F2A90", b"secret")));
    }

    /// Nodes and the control plane may be of different versions; they must agree.
    #[test]
    fn a_verifier_stays_the_same_for_ever() {
        let key = VerifierKey::from_bytes(&[7; 32]);
        assert_eq!(
            hex_lower(key.verifier(b"4F2A90", b"secret").as_bytes()),
            "c104d9d90e4d1e11e1892f4c9ad84f36cc7025fb1068fb458a04252c9dcca19f"
        );
    }

    /// A node in another process makes the same verifiers with what the link brought it.
    #[test]
    fn a_key_that_is_made_again_from_its_bytes_is_the_same() {
        let key = VerifierKey::from_bytes(&[7; 32]);
        let again = VerifierKey::from_bytes(key.expose_bytes());
        let verifier = key.verifier(b"4F2A90", b"secret");
        assert!(verifier.matches(&again.verifier(b"4F2A90", b"secret")));
        assert_eq!(format!("{key:?}"), "VerifierKey(..)");
    }

    #[test]
    fn secrets_compare_by_content_and_length() {
        assert!(same_secret(b"abc", b"abc"));
        assert!(!same_secret(b"abc", b"abd"));
        assert!(!same_secret(b"abc", b"abcd"));
    }

    /// Whether `==` is there for a type: the method of the type itself goes before that of the trait.
    struct Type<T>(std::marker::PhantomData<T>);

    trait NotComparable {
        fn is_comparable(&self) -> bool {
            false
        }
    }

    impl<T> NotComparable for Type<T> {}

    impl<T: PartialEq> Type<T> {
        fn is_comparable(&self) -> bool {
            true
        }
    }

    /// security.md G-2: whoever wants to compare secrets must come to [`same_secret`] or [`Verifier::matches`].
    #[test]
    fn secrets_have_no_equality() {
        use std::marker::PhantomData;
        assert!(Type(PhantomData::<String>).is_comparable());
        assert!(!Type(PhantomData::<SecretString>).is_comparable());
        assert!(!Type(PhantomData::<Password>).is_comparable());
        assert!(!Type(PhantomData::<BearerSecret>).is_comparable());
        assert!(!Type(PhantomData::<Verifier>).is_comparable());
        assert!(!Type(PhantomData::<VerifierKey>).is_comparable());
    }
}
