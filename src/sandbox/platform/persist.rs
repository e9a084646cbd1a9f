//! The state file: what `larder dev` finds again after a restart. Unsealed, mode 0600, for development only.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::sandbox::platform::hub::Hub;
use crate::sandbox::platform::market::Market;

/// Raised when an older file can no longer be read.
const FORMAT: u32 = 1;

/// Why the state file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    #[error("cannot use the sandbox's state file {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the sandbox's state file {path} is damaged; remove it to start afresh")]
    Damaged {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(
        "the sandbox's state file {path} has format {found}, this program reads {FORMAT}; remove it to start afresh"
    )]
    Format { path: PathBuf, found: u32 },
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Deserialize)]
struct Stored {
    market: Market,
}

#[derive(Serialize)]
struct Storing<'a> {
    format: u32,
    market: &'a Market,
}

/// Reads the file; a missing one is an empty market.
pub(in crate::sandbox) fn load(path: &Path) -> Result<Market, StateFileError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Market::default()),
        Err(source) => {
            let path = path.to_owned();
            return Err(StateFileError::Io { path, source });
        }
    };
    let damaged = |source| StateFileError::Damaged {
        path: path.to_owned(),
        source,
    };
    let head: Head = serde_json::from_slice(&bytes).map_err(damaged)?;
    if head.format != FORMAT {
        return Err(StateFileError::Format {
            path: path.to_owned(),
            found: head.format,
        });
    }
    let stored: Stored = serde_json::from_slice(&bytes).map_err(damaged)?;
    Ok(stored.market)
}

/// Writes the file beside its place and renames it, so that a reader finds the old or the new one, whole.
pub(in crate::sandbox) fn save(path: &Path, hub: &Hub) -> Result<(), StateFileError> {
    let failed = |source| StateFileError::Io {
        path: path.to_owned(),
        source,
    };
    let storing = |market: &Market| {
        let format = FORMAT;
        serde_json::to_vec_pretty(&Storing { format, market })
    };
    let bytes = hub
        .read(storing)
        .map_err(|error| failed(io::Error::other(error)))?;
    write_whole(path, &bytes).map_err(failed)
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let beside = path.with_extension("new");
    // Left by a crash, it could have another mode; only creation sets one.
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&beside, path)
}

/// Saves after every lasting change, several close ones together, and once more at the end.
pub(in crate::sandbox) async fn keep_saved(hub: Arc<Hub>, path: PathBuf) {
    let mut changes = hub.durable_changes();
    loop {
        let stopped = tokio::select! {
            biased;
            () = hub.stop.cancelled() => true,
            changed = changes.changed() => changed.is_err(),
        };
        changes.mark_unchanged();
        let (saving, place) = (hub.clone(), path.clone());
        let saved = tokio::task::spawn_blocking(move || save(&place, &saving)).await;
        if let Ok(Err(error)) = saved {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(%error, cause, "the sandbox will not remember its state");
        }
        if stopped {
            return;
        }
    }
}
