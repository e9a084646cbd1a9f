//! `larder serve` under the limits of `deploy/larder.service` (security.md OP-8): without rights, every mount read-only
//! but one folder, and only system calls that the unit's filter permits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::Command;

use crate::process_limits::{NOBODY, WITHOUT_RIGHTS};
use crate::support::control_plane::eventually;
use crate::support::db::Database;
use crate::support::full_service::{PROXY, setting};
use crate::support::machine::Machine;
use crate::support::needs;
use crate::support::plain::Plain;
use crate::support::process::Process;

const UNIT: &str = include_str!("../../deploy/larder.service");
const STRACE: &str = "/usr/bin/strace";
const SYSTEMD_ANALYZE: &str = "/usr/bin/systemd-analyze";

/// Makes every mount read-only but the folder that it is started in, and becomes the command that follows. That is
/// stricter than `ProtectSystem=strict` with `PrivateTmp=yes`, which leave `/dev`, `/proc`, `/sys` and a new `/tmp`.
const ONE_WRITABLE_FOLDER: &str = r#"
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
folder=$(pwd -P)
mount --bind "$folder" "$folder"
cd "$folder"
findmnt --list --noheadings --output TARGET | while read -r place; do
    [ "$place" = "$folder" ] || mount -o remount,bind,ro "$place"
done
exec "$@"
"#;

/// Whether this machine permits us a mount namespace of our own, and has these programs.
fn can_confine(programs: &[&str]) -> Option<()> {
    let is_root = fs::metadata("/proc/self").expect("Linux has it").uid() == 0;
    let unshare = Command::new("/usr/bin/unshare")
        .args(["--mount", "true"])
        .status();
    let can = is_root
        && unshare.is_ok_and(|status| status.success())
        && programs.iter().all(|program| Path::new(program).exists());
    needs(
        can.then_some(()),
        "root with a mount namespace, setpriv, strace or systemd-analyze",
    )
}

/// A machine that keeps everything in one folder, which belongs to nobody.
fn machine(database: &Database) -> Machine {
    let mut machine = Machine::new(database, PROXY);
    let folder = machine.folder.path();
    chown(folder, Some(NOBODY), Some(NOBODY)).expect("given away");
    let file = format!("sqlite:{}", folder.join("larder.db").display());
    machine.settings = setting(&machine.settings, "LARDER_DATABASE_URL", &file);
    machine
}

/// Starts it in its folder, confined; `before` stands directly before the program.
async fn start_confined(machine: &Machine, before: &[&str]) -> Process {
    let mut words = vec!["/usr/bin/unshare", "--mount"];
    words.extend(["/bin/sh", "-c", ONE_WRITABLE_FOLDER, "sh"]);
    words.extend(WITHOUT_RIGHTS);
    words.extend(before);
    let folder = machine.folder.path();
    Process::start_under(&words, &machine.base, &machine.settings, folder).await
}

/// An order, a login, an item, a flush.
async fn use_once(machine: &Machine) {
    let made = machine.order("confined", false).await;
    made.is_on(machine);
    let mut client = Plain::connect(&made.servers).await;
    assert_eq!(client.login(&made.username, &made.password).await, "STORED");
    for (request, answer) in [
        ("set k 0 0 1\r\nv\r\n", "STORED"),
        ("flush_all\r\n", "OK"),
        ("get k\r\n", "END"),
    ] {
        client.say(request).await;
        assert_eq!(client.line().await, answer, "{request}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_with_one_writable_folder() {
    if can_confine(&[WITHOUT_RIGHTS[0]]).is_none() {
        return;
    }
    let database = Database::sqlite();
    let machine = machine(&database);
    let process = start_confined(&machine, &[]).await;
    // As the process sees it, and as root: what refuses is the mount, not the owner.
    let seen = format!("/proc/{}/root", process.id());
    for place in ["", "tmp", "var/tmp", "dev/shm"] {
        let file = format!("{seen}/{place}/written-by-a-test");
        let refused = File::create(&file).map(drop).map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::ReadOnlyFilesystem), "{file}");
    }
    let own = machine.folder.path().canonicalize().expect("a folder");
    File::create(format!("{seen}{}/written-by-a-test", own.display())).expect("writable");
    use_once(&machine).await;
    assert!(process.terminate().await.success());
    database.drop().await;
}

/// The sets of system calls that systemd knows, with their members: calls, and other sets.
fn sets_of_calls() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(SYSTEMD_ANALYZE)
        .args(["--no-pager", "syscall-filter"])
        .output()
        .expect("systemd-analyze runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut sets = BTreeMap::<String, Vec<String>>::new();
    let mut set = String::new();
    for line in text.lines() {
        let word = line.trim();
        if word.is_empty() || word.starts_with('#') {
            continue;
        }
        if line.starts_with('@') {
            word.clone_into(&mut set);
        } else {
            sets.entry(set.clone()).or_default().push(word.to_owned());
        }
    }
    sets
}

/// Every call that the unit's filter names, itself or by a set.
fn permitted_calls() -> BTreeSet<String> {
    let sets = sets_of_calls();
    let filters = UNIT
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="));
    let mut names: Vec<String> = filters
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect();
    let mut calls = BTreeSet::new();
    while let Some(name) = names.pop() {
        assert!(!name.starts_with('~'), "{name} takes calls away again");
        match sets.get(&name) {
            Some(members) => names.extend(members.iter().cloned()),
            None => {
                calls.insert(name);
            }
        }
    }
    calls
}

/// The names in the table that `strace -c` writes: the last word of each row between its two lines.
fn calls_made(table: &str) -> BTreeSet<String> {
    let is_line = |row: &&str| row.starts_with("------");
    let mut rows = table.lines().skip_while(|row| !is_line(row));
    rows.next();
    rows.take_while(|row| !is_line(row))
        .filter_map(|row| row.split_whitespace().last())
        .map(str::to_owned)
        .collect()
}

/// systemd ends a process at the first call that its filter does not name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_makes_only_calls_that_the_unit_permits() {
    if can_confine(&[WITHOUT_RIGHTS[0], STRACE, SYSTEMD_ANALYZE]).is_none() {
        return;
    }
    let database = Database::sqlite();
    let machine = machine(&database);
    // With -D the program stays the process that was started, and strace is beside it.
    let strace = [STRACE, "-D", "-f", "-c", "-o", "calls"];
    let process = start_confined(&machine, &strace).await;
    use_once(&machine).await;
    assert!(process.terminate().await.success());
    let file = machine.folder.path().join("calls");
    let read = || fs::read_to_string(&file).unwrap_or_default();
    eventually("strace has written its table", async || {
        read().ends_with(" total\n")
    })
    .await;
    let made = calls_made(&read());
    for call in ["execve", "accept4", "fsync", "clone3"] {
        assert!(made.contains(call), "{call} was seen: {made:?}");
    }
    let permitted = permitted_calls();
    let refused: Vec<&String> = made.difference(&permitted).collect();
    assert!(refused.is_empty(), "the unit ends it at {refused:?}");
    database.drop().await;
}

/// systemd's own score, from 0 (confined) to 100 (exposed). The unit has 22 with systemd 252.
const EXPOSURE_MAX: u32 = 22;

#[test]
fn the_unit_leaves_little_exposed() {
    let analyze = Path::new(SYSTEMD_ANALYZE).exists().then_some(());
    if needs(analyze, "systemd-analyze").is_none() {
        return;
    }
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/larder.service");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let output = Command::new(SYSTEMD_ANALYZE)
        .args(["--no-pager", "security", "--offline=yes", &threshold, unit])
        .output()
        .expect("systemd-analyze runs");
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{table}");
}
