//! Keys with their hash, computed once per command.

use std::hash::{BuildHasher, Hasher as _};
use std::sync::OnceLock;

/// The shard is chosen by this many top bits of the hash.
pub(super) const SHARD_BITS: u32 = 6;

/// A keyed hash with a random key, the same for all tenants of this process. Clients choose their keys; without the
/// secret key of the hash they could choose keys that all collide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hasher(&'static ahash::RandomState);

impl Hasher {
    pub(super) fn of_process() -> Hasher {
        static SEEDED: OnceLock<ahash::RandomState> = OnceLock::new();
        Hasher(SEEDED.get_or_init(ahash::RandomState::new))
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        // Not `hash_one`: it would hash the length a second time, and `write` has already mixed it in.
        let mut hasher = self.0.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    #[inline]
    pub(super) fn key<'k>(&self, bytes: &'k [u8]) -> HashedKey<'k> {
        HashedKey {
            bytes,
            hash: self.hash(bytes),
        }
    }
}

/// A key and its hash. Made by [`super::Tenant::key`]; 1 to 250 bytes, checked by the protocols.
#[derive(Clone, Copy, Debug)]
pub struct HashedKey<'k> {
    bytes: &'k [u8],
    hash: u64,
}

impl<'k> HashedKey<'k> {
    #[inline]
    pub fn as_bytes(&self) -> &'k [u8] {
        self.bytes
    }

    #[inline]
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// Which of `shards`, a power of two, holds this key.
    #[inline]
    pub(super) fn shard(&self, shards: usize) -> usize {
        (self.hash >> (64 - SHARD_BITS)) as usize & (shards - 1)
    }
}
