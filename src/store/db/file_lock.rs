//! A lock on a file of its own, held by one process. It lies beside what it guards: to close a descriptor of a SQLite
//! file would give up the locks that the process has on it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A look at who holds a lock takes it for an instant, so that one refusal is not final.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);
/// More than any holder's line.
const HOLDER_BYTES_MAX: u64 = 400;

/// Held until it is dropped, or until the process ends in whatever way.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

/// Why a file could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum FileLockError {
    #[error("{path} is held by another process: {holder}")]
    Held { path: PathBuf, holder: String },
    #[error("cannot lock {path}")]
    Io { path: PathBuf, source: io::Error },
}

impl FileLock {
    /// Takes the lock, and writes down who holds it.
    pub fn take(path: &Path, holder: &str) -> Result<FileLock, FileLockError> {
        let failed = |source| FileLockError::Io {
            path: path.to_owned(),
            source,
        };
        let mut tries = 0;
        loop {
            let mut file = open(path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(FileLockError::Held {
                        path: path.to_owned(),
                        holder: read_holder(&mut file),
                    });
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            // Somebody may have removed the file while we opened it: a lock on it would guard nothing.
            if !is_still_at(&file, path) {
                continue;
            }
            // For people only: a full disk is no reason not to hold the lock.
            let _ = write_holder(&mut file, holder);
            return Ok(FileLock { _file: file });
        }
    }

    /// Who holds the lock; `None` while nobody does, or when that cannot be told.
    pub fn held_by(path: &Path) -> Option<String> {
        let mut file = File::open(path).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(read_holder(&mut file)),
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn is_still_at(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(there)) = (file.metadata(), path.metadata()) else {
        return false;
    };
    (held.dev(), held.ino()) == (there.dev(), there.ino())
}

fn write_holder(file: &mut File, holder: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{holder}")
}

fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(HOLDER_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "it does not say which".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_until_it_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("larder.lock");
        assert_eq!(FileLock::held_by(&path), None);
        let held = FileLock::take(&path, "pid 1, the first of them all").unwrap();
        assert_eq!(
            FileLock::held_by(&path).as_deref(),
            Some("pid 1, the first of them all")
        );
        let refused = FileLock::take(&path, "pid 2").unwrap_err().to_string();
        assert!(
            refused.ends_with("pid 1, the first of them all"),
            "{refused}"
        );
        drop(held);
        assert_eq!(FileLock::held_by(&path), None);
        let second = FileLock::take(&path, "pid 2").unwrap();
        assert_eq!(FileLock::held_by(&path).as_deref(), Some("pid 2"));
        drop(second);
    }

    #[test]
    fn a_removed_file_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("larder.lock");
        let file = open(&path).unwrap();
        assert!(is_still_at(&file, &path));
        std::fs::remove_file(&path).unwrap();
        assert!(!is_still_at(&file, &path));
        std::fs::write(&path, "another").unwrap();
        assert!(!is_still_at(&file, &path));
    }
}
