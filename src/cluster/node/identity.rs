//! Who this machine's node is: its data folder, and the file in it that keeps the node's id.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use aws_lc_rs::digest;

use super::JoinError;
use super::snapshot::write_private;
use crate::cluster::link::wire::Home;
use crate::domain::NodeId;
use crate::domain::secret::hex_lower;

/// Tells a data folder apart from every other one, on whatever machine, and from its own copies. A folder that is moved
/// within its disk stays the same.
pub fn folder_id(data_dir: &Path) -> io::Result<String> {
    let folder = data_dir.metadata()?;
    Ok(format!(
        "{}:{:x}:{:x}",
        machine(),
        folder.dev(),
        folder.ino()
    ))
}

pub(super) fn home(data_dir: &Path) -> Result<Home, JoinError> {
    let read = || -> io::Result<Home> {
        Ok(Home {
            id: folder_id(data_dir)?,
            path: data_dir.canonicalize()?.display().to_string(),
        })
    };
    read().map_err(|source| JoinError::IdFile {
        path: data_dir.to_owned(),
        source,
    })
}

/// For this user alone, where it is not there yet.
pub(super) fn make_folder(data_dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
}

/// A digest, since the machine's own id is meant to stay on the machine. Containers of one image share that id, so
/// that the host name counts, too.
fn machine() -> String {
    let text = |path| std::fs::read_to_string(path).unwrap_or_default();
    let (id, host) = (text("/etc/machine-id"), text("/proc/sys/kernel/hostname"));
    let both = format!("{id}{host}");
    let digest = digest::digest(&digest::SHA256, both.as_bytes());
    hex_lower(&digest.as_ref()[..8])
}

pub(super) fn read(path: &Path) -> Result<Option<NodeId>, JoinError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            let path = path.to_owned();
            return Err(JoinError::IdFile { path, source });
        }
    };
    match text.trim().parse() {
        Ok(id) => Ok(Some(id)),
        Err(_) => Err(JoinError::BadIdFile {
            path: path.to_owned(),
        }),
    }
}

/// Written beside and renamed, so that a crash or a loss of power leaves the old file or the new one.
pub(super) fn write(path: &Path, id: &NodeId) -> Result<(), JoinError> {
    write_private(path, format!("{id}\n").as_bytes()).map_err(|source| JoinError::IdFile {
        path: path.to_owned(),
        source,
    })
}
