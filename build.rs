//! Compiles the migrations in, and gives published builds the commit that they are made from.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=migrations");
    let out = env::var_os("OUT_DIR")
        .map(PathBuf::from)
        .unwrap_or_default();
    let mut lists = String::new();
    for (constant, folder) in [
        ("SQLITE", "migrations/sqlite"),
        ("POSTGRES", "migrations/postgres"),
    ] {
        let texts = migrations(Path::new(folder))?;
        // writing to a String cannot fail
        let _ = writeln!(
            lists,
            "pub(super) const {constant}: &[Text] = &[\n{texts}];"
        );
    }
    fs::write(out.join("migrations.rs"), lists)?;
    name_commit();
    Ok(())
}

/// The files of a folder as a list of number, name and text: `0001_foundation.sql` is 1, "foundation".
fn migrations(folder: &Path) -> io::Result<String> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    paths.sort();
    let mut list = String::new();
    for path in &paths {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let parts = stem
            .split_once('_')
            .and_then(|(number, name)| Some((number.parse::<i64>().ok()?, name)));
        let Some((number, name)) = parts else {
            return Err(io::Error::other(format!(
                "{} is not NUMBER_NAME.sql",
                path.display()
            )));
        };
        let name = name.replace('_', " ");
        // Named from the package on, so that this text is the same in whatever folder it is built.
        let in_package = format!("/{}", path.display());
        let _ = writeln!(
            list,
            "    ({number}, {name:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {in_package:?}))),"
        );
    }
    Ok(list)
}

/// For release builds only: others would be built anew after every commit, to say what their builder knows.
fn name_commit() {
    println!("cargo:rerun-if-env-changed=LARDER_COMMIT");
    if env::var("PROFILE").as_deref() != Ok("release") || env::var_os("LARDER_COMMIT").is_some() {
        return;
    }
    if let Some(head) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={head}");
    }
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo:rustc-env=LARDER_COMMIT={commit}");
    }
}

/// What git answers; nothing where there is no git or no repository.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
