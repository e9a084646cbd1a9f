//! Few open files, and many connections that say nothing.

use std::net::TcpStream;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::support::db::Database;
use crate::support::full_service::{free_port, setting};
use crate::support::machine::{Answer, Machine};
use crate::support::plain::Plain;
use crate::support::process::Process;

const CLOSED: &str = "larder_engine_anonymous_connections_closed_total";
/// More than the service may open files.
const SILENT: usize = 400;

async fn logs_in(order: &Answer) -> Plain {
    let mut client = Plain::connect(&order.servers).await;
    let answer = client.login(&order.username, &order.password).await;
    assert_eq!(answer, "STORED");
    client
}

async fn is_answered(client: &mut Plain) {
    client.say("mn\r\n").await;
    assert_eq!(client.line().await, "MN");
}

/// A counter without labels, as `/metrics` has it now.
async fn counted(machine: &Machine, name: &str) -> u64 {
    let of_metrics = |(setting, _): &&(String, String)| setting == "LARDER_METRICS_ADDR";
    let (_, addr) = machine
        .settings
        .iter()
        .find(of_metrics)
        .expect("an address");
    let page = reqwest::get(format!("http://{addr}/metrics"))
        .await
        .expect("an answer");
    let page = page.text().await.expect("text");
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.expect("counted").parse().expect("a number")
}

fn silent(order: &Answer, count: usize) -> Vec<TcpStream> {
    let connect = |_| TcpStream::connect(&order.servers).expect("the kernel takes it");
    (0..count).map(connect).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_memcached_connections_take_nothing_from_others() {
    let database = Database::sqlite();
    let mut machine = Machine::new(&database, "127.0.0.1");
    let metrics = format!("127.0.0.1:{}", free_port());
    machine.settings = setting(&machine.settings, "LARDER_METRICS_ADDR", &metrics);
    let log = machine.folder.path().join("log");
    let process =
        Process::start_with_files(&machine.base, &machine.settings, &log, (256, 350)).await;
    let order = machine.order("r-1", false).await;
    order.is_on(&machine);
    let mut known = logs_in(&order).await;

    let held = silent(&order, SILENT);
    let mut new = logs_in(&order).await;
    is_answered(&mut new).await;
    is_answered(&mut known).await;
    let healthy = reqwest::get(format!("{}/healthz", machine.base)).await;
    assert!(healthy.expect("an answer").status().is_success());
    machine.order("r-2", false).await.is_on(&machine);

    // Nor does a limit that is reached all the same: a silent one makes room, and nobody waits for its deadline.
    drop(held);
    while counted(&machine, "larder_engine_connections").await > 2 {
        tokio::task::yield_now().await;
    }
    let _few = silent(&order, 10);
    while counted(&machine, "larder_engine_connections").await < 12 {
        tokio::task::yield_now().await;
    }
    let closed = counted(&machine, CLOSED).await;
    let pid = process.id();
    let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("ours");
    let open = folder.count() as u64;
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id"));
    let limit = |current| Rlimit {
        current: Some(current),
        maximum: Some(350),
    };
    prlimit(pid, Resource::Nofile, limit(open)).expect("ours");
    // More clients come than the process can have closed of its own descriptors since they were counted.
    let mut late = Vec::new();
    for _ in 0..8 {
        late.push(logs_in(&order).await);
    }
    for client in late.iter_mut().chain([&mut known]) {
        is_answered(client).await;
    }
    prlimit(pid, Resource::Nofile, limit(350)).expect("ours");
    assert!(counted(&machine, CLOSED).await > closed);

    let log = std::fs::read_to_string(&log).expect("a log");
    assert!(log.contains("had=256 now=350"), "{log}");
    assert!(log.contains("350 open files leave"), "{log}");
    process.kill().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_config_advises_against_few_open_files() {
    let database = Database::sqlite();
    let machine = Machine::new(&database, "127.0.0.1");
    for (files, is_few) in [("300", true), ("$(ulimit -H -n)", false)] {
        let check = format!("ulimit -n {files}; exec \"$0\" check-config");
        let done = std::process::Command::new("sh")
            .args(["-c", &check, env!("CARGO_BIN_EXE_larder")])
            .env_clear()
            .envs(machine.settings.iter().map(|(name, value)| (name, value)))
            .output()
            .expect("the program runs");
        let told = String::from_utf8(done.stdout).expect("UTF-8");
        let advised = told.contains("advice: 300 open files leave");
        assert_eq!(advised, is_few, "{told}");
    }
    database.drop().await;
}
