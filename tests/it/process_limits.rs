//! What the system may do with the memory of a running service (security.md ST-9).

use std::os::unix::fs::MetadataExt as _;

use crate::engine_tls::make_certificate;
use crate::support::control_plane::eventually;
use crate::support::db::Database;
use crate::support::full_service::{free_port, plan, setting, settings};
use crate::support::needs;
use crate::support::plain::Plain;
use crate::support::process::Process;

/// The line of `/proc/PID/limits` on core dumps: the soft and the hard limit.
pub fn core_limits(process: u32) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).expect("Linux has it");
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    let mut words = line
        .expect("a line on core dumps")
        .split_whitespace()
        .map(str::to_owned);
    (words.next().expect("soft"), words.next().expect("hard"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_service_leaves_no_core_dump() {
    let own = core_limits(std::process::id());
    let data = tempfile::tempdir().expect("a folder");
    for (allow, expected) in [("off", ("0".to_owned(), "0".to_owned())), ("on", own)] {
        let base = format!("http://127.0.0.1:{}", free_port());
        let database = Database::sqlite();
        let settings = settings(&base, "http://127.0.0.1:1", &database, &data);
        let settings = setting(&settings, "LARDER_ALLOW_DUMPS", allow);
        let process = Process::start(&base, &settings).await;
        assert_eq!(core_limits(process.id()), expected, "dumps are {allow}");
        // A process that may not be dumped belongs to root, so that nobody else reads its memory or its environment.
        let owner = |path: &str| std::fs::metadata(path).expect("Linux has it").uid();
        let (of_process, of_test) = (
            owner(&format!("/proc/{}/mem", process.id())),
            owner("/proc/self/mem"),
        );
        assert_eq!(
            of_process,
            if allow == "off" { 0 } else { of_test },
            "dumps are {allow}"
        );
        assert!(process.terminate().await.success());
        database.drop().await;
    }
}

/// Sockets of UDP that a process holds, as `/proc` tells them.
fn udp_sockets(process: u32) -> usize {
    let mut own = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(format!("/proc/{process}/fd")).expect("Linux has it") {
        let Ok(target) = std::fs::read_link(entry.expect("an entry").path()) else {
            continue;
        };
        let target = target.to_string_lossy().into_owned();
        if let Some(inode) = target.strip_prefix("socket:[") {
            own.insert(inode.trim_end_matches(']').to_owned());
        }
    }
    let mut found = 0;
    for table in ["udp", "udp6", "udplite", "udplite6"] {
        let table = std::fs::read_to_string(format!("/proc/{process}/net/{table}"));
        for line in table.unwrap_or_default().lines().skip(1) {
            let inode = line.split_whitespace().nth(9).unwrap_or_default();
            found += usize::from(own.contains(inode));
        }
    }
    found
}

/// memcached's UDP was an amplifier of attacks. Every listener that a setting can open is open here (security.md MC-1).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_setting_opens_a_udp_socket() {
    let own = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    assert!(udp_sockets(std::process::id()) > 0, "they would be seen");
    drop(own);
    let data = tempfile::tempdir().expect("a folder");
    make_certificate(data.path(), "tls");
    let file = |name: &str| data.path().join(name).display().to_string();
    let base = format!("http://127.0.0.1:{}", free_port());
    let database = Database::sqlite();
    let mut all = settings(&base, "http://127.0.0.1:1", &database, &data);
    for (name, value) in [
        (
            "LARDER_MEMCACHED_TLS_ADDR",
            format!("127.0.0.1:{}", free_port()),
        ),
        ("LARDER_MEMCACHED_TLS_DETECT", "on".to_owned()),
        ("LARDER_TLS_CERT", file("tls.pem")),
        ("LARDER_TLS_KEY", file("tls.key")),
        (
            "LARDER_MEMCACHED_OPEN_ADDR",
            format!("127.0.0.1:{}", free_port()),
        ),
        ("LARDER_MEMCACHED_OPEN_CACHE", "dev".to_owned()),
    ] {
        all = setting(&all, name, &value);
    }
    let process = Process::start(&base, &all).await;
    // A look-up of a name may hold one for a moment.
    eventually("no socket of UDP", async || udp_sockets(process.id()) == 0).await;
    assert!(process.terminate().await.success());
    database.drop().await;
}

pub const NOBODY: u32 = 65_534;
/// What stands before a program that root starts as nobody, without any capability or a way to one.
pub const WITHOUT_RIGHTS: [&str; 7] = [
    "/usr/bin/setpriv",
    "--no-new-privs",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--bounding-set=-all",
    "--inh-caps=-all",
];

/// As nobody, without any capability or a way to one, and with one folder that it may write to (security.md OP-8).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_without_any_right() {
    let setpriv = std::path::Path::new(WITHOUT_RIGHTS[0]).exists();
    if needs(setpriv.then_some(()), "setpriv").is_none() {
        return;
    }
    let is_root = std::fs::metadata("/proc/self").expect("Linux has it").uid() == 0;
    let data = tempfile::tempdir().expect("a folder");
    let mut words = WITHOUT_RIGHTS.to_vec();
    if is_root {
        std::os::unix::fs::chown(data.path(), Some(NOBODY), Some(NOBODY)).expect("given away");
    } else {
        words.truncate(2);
    }
    let base = format!("http://127.0.0.1:{}", free_port());
    let database = Database::sqlite();
    let all = settings(&base, "http://127.0.0.1:1", &database, &data);
    let file = format!("sqlite:{}", data.path().join("larder.db").display());
    // Its memory is to be looked at here, which a process that may not be dumped permits to none.
    let all = setting(
        &setting(&all, "LARDER_DATABASE_URL", &file),
        "LARDER_ALLOW_DUMPS",
        "on",
    );
    let process = Process::start_under(&words, &base, &all, data.path()).await;
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("Linux has it");
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} in {status}"))
            .trim()
            .to_owned()
    };
    assert_eq!(line("NoNewPrivs:"), "1");
    if is_root {
        assert!(
            line("Uid:")
                .split_whitespace()
                .all(|uid| uid == NOBODY.to_string()),
            "{status}"
        );
        for set in ["CapEff:", "CapPrm:", "CapBnd:", "CapInh:"] {
            assert_eq!(line(set).trim_matches('0'), "", "{set}");
        }
    }
    assert!(process.terminate().await.success());
    database.drop().await;
}

/// What the process may hold in items and replies.
const CEILING: usize = 48 << 20;
/// What it may hold at rest: the ceiling and a tenth, buffers of threads and of the client.
const AT_REST: usize = CEILING + CEILING / 10 + (16 << 20);

/// What the system counts for the process.
fn resident(process: &Process) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()));
    let status = status.expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kib.expect("a number") << 10
}

/// A process with that ceiling and an open cache of the plan given, written to without end with values of every size. It
/// never grows by more than `most`, and soon by no more than it may at rest.
async fn fill(plans: &str, most: usize) {
    let data = tempfile::tempdir().expect("a folder");
    let base = format!("http://127.0.0.1:{}", free_port());
    let open = format!("127.0.0.1:{}", free_port());
    let database = Database::sqlite();
    let mut all = settings(&base, "http://127.0.0.1:1", &database, &data);
    for (name, value) in [
        ("LARDER_ENGINE_MEMORY", CEILING.to_string()),
        ("LARDER_MEMCACHED_OPEN_ADDR", open.clone()),
        ("LARDER_MEMCACHED_OPEN_CACHE", "dev".to_owned()),
    ] {
        all = setting(&all, name, &value);
    }
    std::fs::write(data.path().join("larder.toml"), plans).expect("a new file");
    let process = Process::start_in(&base, &all, data.path()).await;
    let mut client = Plain::connect(&open).await;
    client.say("set k 0 0 1\r\nv\r\n").await;
    assert_eq!(client.line().await, "STORED");
    let (before, mut stored) = (resident(&process), 0);
    let grown = || resident(&process).saturating_sub(before);
    for number in 0_usize.. {
        let length = number.wrapping_mul(7_919) % if number % 50 == 0 { 600_000 } else { 3_000 };
        client
            .say(&format!(
                "set k{number} 0 0 {length} noreply\r\n{}\r\n",
                "v".repeat(length)
            ))
            .await;
        stored += length;
        if number % 500 == 0 {
            client.say("mn\r\n").await;
            assert_eq!(client.line().await, "MN");
            let now = grown();
            assert!(now <= most, "{now} bytes more after {stored}");
        }
        if stored > 4 * CEILING {
            break;
        }
    }
    eventually("what was freed is given back", async || grown() <= AT_REST).await;
    assert!(process.terminate().await.success());
}

/// What the system counts for the process stays within the ceiling and a tenth, beside what it held before (security.md
/// MC-17). The cache's own limit holds it back first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_cache_keeps_the_process_within_its_memory() {
    fill(&plan("dev", 25, 50), AT_REST).await;
}

/// Here the ceiling of the process is what holds the cache back. The allocator gives large values that were freed back to
/// the system seconds later, so while they come and go it keeps some of them: 5 to 12 MiB were seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_larger_than_the_process_meets_the_ceiling() {
    fill(&plan("dev", 400, 50), AT_REST + (16 << 20)).await;
}
