//! The log of a process that a test starts: read in the end for a panic, and shown when the test fails.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::NamedTempFile;

use super::panics;

/// So much of its end is shown when the test fails.
const SHOWN_LINES: usize = 200;

/// Where a process writes its log. When it is dropped, it fails the test if the process has panicked (security.md G-6).
pub struct ProcessLog {
    file: File,
    /// Where it can be read.
    path: Option<PathBuf>,
    /// Goes away with the process.
    _own: Option<NamedTempFile>,
}

impl ProcessLog {
    pub fn of_our_own() -> ProcessLog {
        let own = NamedTempFile::new().expect("a new file");
        ProcessLog {
            file: own.reopen().expect("the file is there"),
            path: Some(own.path().to_owned()),
            _own: Some(own),
        }
    }

    /// The test reads it too, and keeps it at least as long as the process.
    pub fn in_new_file(path: &Path) -> ProcessLog {
        ProcessLog {
            file: File::create(path).expect("a new file"),
            path: Some(path.to_owned()),
            _own: None,
        }
    }

    /// What is written there is lost.
    pub fn unreadable(file: File) -> ProcessLog {
        ProcessLog {
            file,
            path: None,
            _own: None,
        }
    }

    pub fn writer(&self) -> Stdio {
        self.file.try_clone().expect("a second handle").into()
    }
}

impl Drop for ProcessLog {
    fn drop(&mut self) {
        let Some(path) = &self.path else {
            return;
        };
        let log = std::fs::read(path);
        if std::thread::panicking() {
            // The test fails already, and the log may say why.
            let log = log.unwrap_or_default();
            eprintln!(
                "the log of larder:\n{}",
                end_of(&String::from_utf8_lossy(&log))
            );
        } else {
            let log = log.expect("the log is kept");
            panics::none_in(&String::from_utf8_lossy(&log));
        }
    }
}

fn end_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}
