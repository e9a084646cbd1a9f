//! Files and folders of a configuration that others on this machine may read, write or replace.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;

use super::{Config, NodeConfig};

/// In a folder with this bit only its owner removes or renames a file, as in `/tmp`.
const STICKY: u32 = 0o1000;

/// Advice about them. `secrets_in` is the settings file, where it holds secrets.
pub(super) fn advice(config: &Config, secrets_in: Option<&Path>) -> Vec<String> {
    let mut paths = vec![config.process.data_dir.clone()];
    let url = config.database_url.expose_secret();
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.trim_start_matches("//");
        let path = path.split('?').next().unwrap_or(path);
        paths.extend(["", "-wal", "-shm"].map(|end| PathBuf::from(format!("{path}{end}"))));
    }
    paths.extend(config.master_key_file.clone());
    let memcached_tls = config
        .node
        .as_ref()
        .and_then(|node| node.memcached.tls.as_ref());
    paths.extend(memcached_tls.map(|tls| tls.key.clone()));
    let link_tls = config.link.as_ref().and_then(|link| link.tls.as_ref());
    paths.extend(link_tls.map(|tls| tls.key.clone()));
    let manifest = config.manifest.holds_secrets();
    paths.extend(config.manifest.file.clone().filter(|_| manifest));
    paths.extend(secrets_in.map(Path::to_owned));
    about(&paths)
}

/// The same for a node in a process of its own.
pub(super) fn advice_for_node(config: &NodeConfig, secrets_in: Option<&Path>) -> Vec<String> {
    let mut paths = vec![config.process.data_dir.clone()];
    let tls = config.node.memcached.tls.as_ref();
    paths.extend(tls.map(|tls| tls.key.clone()));
    paths.extend(secrets_in.map(Path::to_owned));
    about(&paths)
}

fn about(paths: &[PathBuf]) -> Vec<String> {
    let exposed = paths.iter().filter_map(|path| exposed(path));
    exposed.chain(replaceable(paths)).collect()
}

/// What others may do with a path, if anything. A file in a folder that is closed to them is out of their reach.
fn exposed(path: &Path) -> Option<String> {
    let mode = mode_of(path)?;
    let may = match (mode & 0o044 != 0, mode & 0o022 != 0) {
        (false, false) => return None,
        (true, false) => "read",
        (false, true) => "write",
        (true, true) => "read and write",
    };
    let shown = path.display();
    is_reached(path)
        .then(|| format!("others on this machine may {may} {shown}: `chmod go= {shown}`"))
}

/// Who may write to a folder may put another file in the place of one there, however closed that one is.
fn replaceable(paths: &[PathBuf]) -> Vec<String> {
    let present = paths.iter().filter(|path| path.exists());
    let folders: BTreeSet<&Path> = present.map(|path| folder_of(path)).collect();
    // Of those that are in the list themselves it is told already.
    let others = folders
        .into_iter()
        .filter(|folder| !paths.iter().any(|path| path == folder));
    let open = others.filter(|folder| {
        let mode = mode_of(folder).unwrap_or(0);
        mode & 0o022 != 0 && mode & STICKY == 0 && is_reached(folder)
    });
    let told = open.map(|folder| {
        let shown = folder.display();
        format!(
            "others on this machine may put files of their own in the place of ours in {shown}: `chmod go-w {shown}`"
        )
    });
    told.collect()
}

/// `None` for what is not there.
fn mode_of(path: &Path) -> Option<u32> {
    Some(fs::metadata(path).ok()?.permissions().mode())
}

/// Whether others may pass through the folder that it really lies in.
fn is_reached(path: &Path) -> bool {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    mode_of(folder_of(&real)).is_none_or(|mode| mode & 0o011 != 0)
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    folder.unwrap_or(Path::new("."))
}
