//! CAS values over a `larder serve` that is killed and started again. A client that was given one before the kill must
//! not overwrite with it what was stored after.

use crate::support::db::Database;
use crate::support::machine::{Answer, Machine};
use crate::usernames_elsewhere::logged_in;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cas_value_from_before_a_kill_fits_no_item_after_it() {
    let database = Database::sqlite();
    let machine = Machine::new(&database, "node-a.example");
    let process = machine.start().await;
    let cache = machine.order("alice", false).await;
    cache.is_on(&machine);
    let before = stored_cas(&machine, &cache).await;
    process.kill().await;

    let process = machine.start().await;
    let after = stored_cas(&machine, &cache).await;
    // Both are the first of their start. Two of 2^28 lie this close to each other once in ten million runs.
    assert!(before.abs_diff(after) > 10, "{before} and {after}");
    assert!(before.max(after) < 1 << 28, "{before} and {after}");
    let mut client = logged_in(&machine, &cache).await;
    client
        .say(&format!("cas k 0 0 3 {before}\r\nold\r\n"))
        .await;
    assert_eq!(client.line().await, "EXISTS");
    process.kill().await;
    database.drop().await;
}

/// The CAS value of an item that is stored now.
async fn stored_cas(machine: &Machine, cache: &Answer) -> u64 {
    let mut client = logged_in(machine, cache).await;
    client.say("ms k 3 c\r\nnew\r\n").await;
    let line = client.line().await;
    let cas = line.strip_prefix("HD c").and_then(|cas| cas.parse().ok());
    cas.unwrap_or_else(|| panic!("{line}"))
}
