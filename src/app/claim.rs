//! What a process claims for itself before it runs a service: its data folder, and the file of a SQLite database. Two
//! processes on one of them would be one node, and push each other's addresses to customers. The claims end with the
//! process, in whatever way that ends; `larder admin` works beside them.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::{SystemClock, store_settings};
use crate::cluster::FOLDER_LOCK;
use crate::config::Config;
use crate::domain::Clock as _;
use crate::store::{FileLock, FileLockError};

/// A data folder that is this process's.
#[derive(Debug)]
pub struct FolderClaim {
    /// As others read it: which process, since when.
    holder: String,
    _lock: FileLock,
}

impl FolderClaim {
    /// Claims the folder, making it first where it is not there yet. `command` is what others read, such as
    /// `larder serve`.
    pub fn take(data_dir: &Path, command: &str) -> anyhow::Result<FolderClaim> {
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir);
        made.with_context(|| format!("cannot make the data folder {}", data_dir.display()))?;
        let (pid, since) = (std::process::id(), SystemClock.now());
        let holder = format!("{command}, pid {pid}, since {since}");
        match FileLock::take(&data_dir.join(FOLDER_LOCK), &holder) {
            Ok(lock) => Ok(FolderClaim {
                holder,
                _lock: lock,
            }),
            Err(FileLockError::Held { holder, .. }) => anyhow::bail!(
                "the data folder {} is in use by another larder ({holder}): stop that one, or give this one a \
                 LARDER_DATA_DIR and addresses of its own",
                data_dir.display()
            ),
            Err(error) => Err(error.into()),
        }
    }

    /// Claims the file of a SQLite database as well; nothing of PostgreSQL.
    pub(super) fn database(&self, config: &Config) -> anyhow::Result<Option<FileLock>> {
        Ok(store_settings(config).claim(&self.holder)?)
    }
}
