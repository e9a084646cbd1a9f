//! What a process claims for itself before it runs a service: its data folder, and the file of a SQLite database. Two
//! processes on one of them would be one node, and push each other's addresses to customers. A worker has no node, and
//! claims only a place in the folder. The claims end with the process, in whatever way that ends; `larder admin` works
//! beside them.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::{SystemClock, store_settings};
use crate::cluster::{FOLDER_LOCK, folder_id};
use crate::config::Config;
use crate::domain::Clock as _;
use crate::store::{FileLock, FileLockError};

/// Workers that a data folder has places for.
const WORKERS_MAX: u32 = 32;

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
        make_folder(data_dir)?;
        let holder = holder(command);
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

/// Where the service in a data folder runs, for the outbox. Whoever holds the folder's claim is there alone, so that an
/// earlier process of that place is gone. `None` where the folder cannot be read.
pub(super) fn place_of_service(data_dir: &Path) -> Option<String> {
    folder_id(data_dir).ok().map(|id| format!("{id} service"))
}

/// A place in a data folder that one worker has to itself. Workers claim no folder: any number may run in one, beside the
/// service too.
#[derive(Debug)]
pub(super) struct WorkerPlace {
    name: String,
    _lock: FileLock,
}

impl WorkerPlace {
    /// Takes the first one that no living process has, making the folder where it is not there yet.
    pub(super) fn take(data_dir: &Path) -> anyhow::Result<WorkerPlace> {
        make_folder(data_dir)?;
        let folder = folder_id(data_dir)?;
        let holder = holder("larder serve --role worker");
        for number in 1..=WORKERS_MAX {
            match FileLock::take(&data_dir.join(format!("worker-{number}.lock")), &holder) {
                Ok(lock) => {
                    return Ok(WorkerPlace {
                        name: format!("{folder} worker {number}"),
                        _lock: lock,
                    });
                }
                Err(FileLockError::Held { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        anyhow::bail!("{WORKERS_MAX} workers run in the data folder already")
    }

    /// For the outbox: an earlier process of that place is gone.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

fn make_folder(data_dir: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir);
    made.with_context(|| format!("cannot make the data folder {}", data_dir.display()))
}

/// What others read of this process.
fn holder(command: &str) -> String {
    let (pid, since) = (std::process::id(), SystemClock.now());
    format!("{command}, pid {pid}, since {since}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_has_a_place_of_its_own_and_the_next_one_takes_a_free_one() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let (first, second) = (
            WorkerPlace::take(&data).unwrap(),
            WorkerPlace::take(&data).unwrap(),
        );
        let names = [first.name(), second.name()].map(str::to_owned);
        assert_ne!(names[0], names[1]);
        let _service = FolderClaim::take(&data, "larder serve").unwrap();
        let service = place_of_service(&data).unwrap();
        assert!(!names.contains(&service), "{names:?}");
        drop(first);
        assert_eq!(WorkerPlace::take(&data).unwrap().name(), names[0]);
        let elsewhere = WorkerPlace::take(folder.path()).unwrap();
        assert!(!names.contains(&elsewhere.name), "{names:?}");
    }
}
