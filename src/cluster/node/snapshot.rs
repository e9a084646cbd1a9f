//! What a node keeps on its disk to serve logins after a restart while its control plane is away. The file
//! `snapshot.sealed` is `nonce (12) | ciphertext | tag (16)`, AES-256-GCM over JSON, under the key in `snapshot.key`,
//! which the node makes itself. There is no password in it, only what passwords are checked with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use secrecy::{ExposeSecret as _, SecretSlice};
use serde::{Deserialize, Serialize};

use super::identity;
use crate::cluster::link::wire::{self, BadMessage, WireSecret};
use crate::domain::secret::{VerifierKey, random_bytes};
use crate::domain::{Authority, CacheId, CacheSpec, NodeId, Revision, Timestamp, Username};

const FORMAT: u32 = 1;
const RELEASE: &str = env!("CARGO_PKG_VERSION");
const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;
/// The associated data: no other file that is sealed under the key opens as a snapshot.
const LABEL: &[u8] = b"larder node snapshot";

/// Why a snapshot, or its key, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("cannot use {path}: {why}")]
    File { path: PathBuf, why: io::Error },
    #[error("others can read {path}; run `chmod 600 {path}`")]
    KeyExposed { path: PathBuf },
    #[error(
        "{path} is no key of 32 bytes; remove it, and the node makes a new one and a new snapshot"
    )]
    BadKey { path: PathBuf },
    #[error("{path} is damaged or sealed under another key; a node that has joined replaces it")]
    Damaged { path: PathBuf },
    #[error("this release cannot read {path}; a node that has joined replaces it")]
    Unreadable { path: PathBuf },
    #[error("the system refused to encrypt the snapshot")]
    Unsealed,
}

/// What a node knew at some time.
pub struct Snapshot {
    pub(super) node: NodeId,
    /// The id of the data folder that the node ran from.
    pub(super) home: String,
    /// Everything up to this revision is in it and was reported. Later changes may be in it.
    pub(super) revision: Revision,
    /// As in [`wire::Changes::plans`].
    pub(super) plans: u32,
    pub(super) taken_at: Timestamp,
    pub(super) verifier_key: VerifierKey,
    /// Without flush orders: those that were not reported come again with the first list.
    pub(super) caches: BTreeMap<CacheId, CacheSpec>,
    pub(super) authorities: Vec<Authority>,
    pub(super) usernames: BTreeSet<Username>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("node", &self.node)
            .field("revision", &self.revision)
            .field("taken_at", &self.taken_at)
            .field("caches", &self.caches.len())
            .finish_non_exhaustive()
    }
}

/// A snapshot as it stands in the file.
#[derive(Serialize, Deserialize)]
pub(super) struct Content {
    format: u32,
    /// The program that wrote it.
    release: String,
    node: String,
    home: String,
    revision: i64,
    plans: u32,
    /// Microseconds since the Unix epoch.
    taken_at: i64,
    verifier_key: WireSecret,
    caches: Vec<wire::CacheSpec>,
    authorities: Vec<wire::Authority>,
    usernames: Vec<String>,
}

impl From<&Snapshot> for Content {
    fn from(snapshot: &Snapshot) -> Content {
        Content {
            format: FORMAT,
            release: RELEASE.to_owned(),
            node: snapshot.node.to_string(),
            home: snapshot.home.clone(),
            revision: snapshot.revision.0,
            plans: snapshot.plans,
            taken_at: snapshot.taken_at.micros(),
            verifier_key: WireSecret::of_bytes(snapshot.verifier_key.expose_bytes()),
            caches: snapshot.caches.values().map(Into::into).collect(),
            authorities: snapshot.authorities.iter().map(Into::into).collect(),
            usernames: snapshot.usernames.iter().map(Username::to_string).collect(),
        }
    }
}

impl TryFrom<Content> for Snapshot {
    type Error = BadMessage;

    fn try_from(content: Content) -> Result<Snapshot, BadMessage> {
        if content.format != FORMAT {
            return Err(BadMessage("format"));
        }
        // Another release may have left out what this one must know of a cache, and nobody would send it again. From
        // revision 0 on the node asks for everything.
        let revision = match content.release == RELEASE {
            true => Revision(content.revision),
            false => Revision::default(),
        };
        let mut caches = BTreeMap::new();
        for spec in content.caches {
            let spec = CacheSpec::try_from(spec)?;
            caches.insert(spec.cache, spec);
        }
        let authorities = content.authorities.iter().map(Authority::try_from);
        let usernames = content.usernames.iter();
        let usernames = usernames.map(|name| wire::parse::<Username>("user name", name));
        Ok(Snapshot {
            node: wire::parse("node id", &content.node)?,
            home: content.home,
            revision,
            plans: content.plans,
            taken_at: Timestamp::from_micros(content.taken_at),
            verifier_key: VerifierKey::from_bytes(&content.verifier_key.key_bytes()?),
            caches,
            authorities: authorities.collect::<Result<_, _>>()?,
            usernames: usernames.collect::<Result<_, _>>()?,
        })
    }
}

/// Where a node keeps its snapshot. Its calls block on the disk.
pub struct SnapshotFile {
    path: PathBuf,
    key: RandomizedNonceKey,
}

impl fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl SnapshotFile {
    /// Reads the key in the data folder; makes folder and key where they are not there.
    ///
    /// # Errors
    /// When the key cannot be read or kept, is no key, or others than this user may read it.
    pub fn open(data_dir: &Path) -> Result<SnapshotFile, SnapshotError> {
        let made = identity::make_folder(data_dir);
        made.map_err(|why| failed(data_dir, why))?;
        let path = data_dir.join("snapshot.key");
        let key: SecretSlice<u8> = match File::open(&path) {
            Ok(file) => read_key(file, &path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key: SecretSlice<u8> = random_bytes::<KEY_LEN>().to_vec().into();
                let kept = write_private(&path, key.expose_secret());
                kept.map_err(|why| failed(&path, why))?;
                key
            }
            Err(why) => return Err(failed(&path, why)),
        };
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.expose_secret());
        Ok(SnapshotFile {
            path: data_dir.join("snapshot.sealed"),
            key: key.map_err(|_| SnapshotError::BadKey { path })?,
        })
    }

    /// The snapshot, whole; `None` when there is none.
    ///
    /// # Errors
    /// When the file cannot be read, was changed, or is not of this key or format. The node then goes on without it.
    pub fn read(&self) -> Result<Option<Snapshot>, SnapshotError> {
        let sealed = match std::fs::read(&self.path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(failed(&self.path, why)),
        };
        let Some(plain) = self.unseal(&sealed) else {
            let path = self.path.clone();
            return Err(SnapshotError::Damaged { path });
        };
        // The parser's own error may quote what it read.
        let content: Option<Content> = serde_json::from_slice(plain.expose_secret()).ok();
        match content.map(Snapshot::try_from) {
            Some(Ok(snapshot)) => Ok(Some(snapshot)),
            _ => Err(SnapshotError::Unreadable {
                path: self.path.clone(),
            }),
        }
    }

    fn unseal(&self, sealed: &[u8]) -> Option<SecretSlice<u8>> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let plain = self.key.open_in_place(nonce, Aad::from(LABEL), &mut body);
        let length = plain.ok()?.len();
        body.truncate(length);
        Some(body.into())
    }

    /// Replaces the snapshot. After a crash the file is the old one or the new one.
    pub(super) fn write(&self, content: &Content) -> Result<(), SnapshotError> {
        let body = serde_json::to_vec(content);
        let mut body = body.map_err(|_| SnapshotError::Unsealed)?;
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(LABEL), &mut body)
            .map_err(|_| SnapshotError::Unsealed)?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + body.len());
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&body);
        write_private(&self.path, &sealed).map_err(|why| failed(&self.path, why))
    }

    pub(super) fn remove(&self) -> Result<(), SnapshotError> {
        match std::fs::remove_file(&self.path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(failed(&self.path, why)),
            _ => Ok(()),
        }
    }
}

fn failed(path: &Path, why: io::Error) -> SnapshotError {
    SnapshotError::File {
        path: path.to_owned(),
        why,
    }
}

fn read_key(mut file: File, path: &Path) -> Result<SecretSlice<u8>, SnapshotError> {
    let about = file.metadata().map_err(|why| failed(path, why))?;
    if about.mode() & 0o077 != 0 {
        let path = path.to_owned();
        return Err(SnapshotError::KeyExposed { path });
    }
    let mut key = Vec::with_capacity(KEY_LEN);
    file.read_to_end(&mut key)
        .map_err(|why| failed(path, why))?;
    Ok(key.into())
}

/// A file for this user's eyes only. Written beside and renamed, and both are on the disk when this returns.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    // Left by a crash, it could have another mode; only creation sets one.
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
