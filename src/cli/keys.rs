//! The keys that `larder dev` makes on its first start and keeps.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::DEV_KEYS;
use crate::domain::secret::{hex_lower, random_bytes};

const NOTICE: &str = "# Made by `larder dev` for this directory. Losing the master key loses every secret in the database.\n";

/// The keys that an earlier `larder dev` made in this data directory, if any.
pub(super) fn made_before(data_dir: &Path) -> anyhow::Result<Option<Vec<(String, String)>>> {
    let exist = data_dir.join(DEV_KEYS).exists();
    exist.then(|| read_or_make(data_dir)).transpose()
}

/// Reads the keys of this data directory, making them first where there are none.
pub(super) fn read_or_make(data_dir: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let path = data_dir.join(DEV_KEYS);
    if !path.exists() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir)
            .with_context(|| format!("cannot make {}", data_dir.display()))?;
        write(&path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let keys: std::collections::BTreeMap<String, String> =
        toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    Ok(keys.into_iter().collect())
}

fn write(path: &Path) -> anyhow::Result<()> {
    let master_key = STANDARD.encode(random_bytes::<32>());
    let mut text = format!("{NOTICE}LARDER_MASTER_KEY = \"{master_key}\"\n");
    for name in [
        "LARDER_HEROKU_PASSWORD",
        "LARDER_HEROKU_SSO_SALT",
        "LARDER_HEROKU_CLIENT_SECRET",
    ] {
        text += &format!("{name} = \"{}\"\n", hex_lower(&random_bytes::<16>()));
    }
    keep(path, &text)
}

/// A file for this user's eyes only. Written beside and renamed, so that a crash leaves either nothing or all of it.
pub(super) fn keep(path: &Path, text: &str) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn keys_are_made_once_and_for_this_user_only() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("larder-data");
        let first = read_or_make(&data_dir).unwrap();
        assert_eq!(first, read_or_make(&data_dir).unwrap());
        assert_eq!(first.len(), 4);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&data_dir), 0o700);
        assert_eq!(mode(&data_dir.join(DEV_KEYS)), 0o600);
    }
}
