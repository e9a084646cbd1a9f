//! `larder serve --role worker` as a process of its own, beside `larder serve` and others of its kind in one data folder.

use crate::support::control_plane::eventually;
use crate::support::db::Database;
use crate::support::machine::Machine;
use crate::support::needs;
use crate::support::process::Process;

const GONE: &str = "a process of the outbox is gone";

async fn there_are(database: &Database, processes: i64) {
    eventually("each process has its row", async || {
        let rows = "SELECT count(*) FROM outbox_workers";
        database.number(rows).await == processes
    })
    .await;
}

/// None of them takes one that lives for gone, whose leases would be cut short and count against no cap. One that was
/// killed is known by its successor, before the others notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_tell_the_living_from_the_dead_beside_them() {
    let Some(database) = needs(Database::postgres().await, "PostgreSQL") else {
        return;
    };
    let machine = Machine::new(&database, "node-a.example");
    let logs = tempfile::tempdir().expect("a folder");
    let log = |name: &str| logs.path().join(name);
    let told = |name: &str| std::fs::read_to_string(log(name)).expect("a log");
    let worker = |name: &str| Process::worker(&machine.settings, &log(name));

    let service = Process::start_logging(&machine.base, &machine.settings, &log("service")).await;
    there_are(&database, 1).await;
    let first = worker("first");
    there_are(&database, 2).await;
    let second = worker("second");
    there_are(&database, 3).await;
    for name in ["service", "first", "second"] {
        assert!(!told(name).contains(GONE), "{name}: {}", told(name));
    }

    first.kill().await;
    let again = worker("again");
    eventually("the successor knows", async || told("again").contains(GONE)).await;
    there_are(&database, 3).await;
    for name in ["service", "second"] {
        assert!(!told(name).contains(GONE), "{name}: {}", told(name));
    }

    assert!(again.terminate().await.success());
    there_are(&database, 2).await;
    let log = told("again");
    assert!(
        log.contains("stopping; attempts under way end first"),
        "{log}"
    );
    let last = log.lines().last().expect("a line");
    assert!(last.ends_with("stopped"), "{log}");

    assert!(second.terminate().await.success());
    assert!(service.terminate().await.success());
    database.drop().await;
}
