//! Where a cache stands that was ordered in a region without a node, and who is told. Real `larder serve` processes.

use reqwest::StatusCode;

use crate::support::control_plane::eventually;
use crate::support::db::Database;
use crate::support::full_service::setting;
use crate::support::machine::{Machine, on_both};
use crate::support::process::larder;

const EU: &str = "amazon-web-services::eu-west-1";

fn machine_in(database: &Database, host: &str, region: &str) -> Machine {
    let mut machine = Machine::new(database, host);
    for (name, value) in [("LARDER_REGION", region), ("LARDER_CLUSTER", region)] {
        machine.settings = setting(&machine.settings, name, value);
    }
    machine
}

async fn advice(machine: &Machine) -> String {
    let ended = larder("check-config", &machine.settings, machine.folder.path()).await;
    assert!(ended.success, "{}", ended.stderr);
    ended.stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_stands_elsewhere_is_said_to() {
    on_both(async |database| {
        let mut only = machine_in(&database, "node-a.example", "us");
        let serving = only.start().await;
        let there = "It is served from the region us instead of \"amazon-web-services::eu-west-1\".";
        let made = only.order_in("r-1", EU, false).await;
        made.is_on(&only);
        assert_eq!(made.message, format!("Your cache is ready. {there}"));
        let changed = only.change_plan("r-1", "100").await;
        assert_eq!(changed.status, StatusCode::OK);
        assert_eq!(changed.message, format!("Your cache is now on plan 100. {there}"));
        let at_home = only.order("r-2", false).await;
        assert_eq!(at_home.message, "Your cache is ready.");
        let list = only.admin("caches").await;
        assert!(list.contains("us (ORDERED amazon-web-services::eu-west-1)"), "{list}");
        assert_eq!(list.matches("ORDERED").count(), 1, "{list}");
        assert!(list.contains("! 1 cache is served from another region"), "{list}");
        let told = advice(&only).await;
        assert!(told.contains("sells caches in eu, where no node is (nodes are in us)"), "{told}");
        assert!(serving.terminate().await.success());

        only.settings = setting(&only.settings, "LARDER_REGION_STRICT", "on");
        let strict = only.start().await;
        let refused = only.order_in("r-3", EU, true).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(
            refused.message,
            "Caches are not offered in the region \"amazon-web-services::eu-west-1\". The only region is us."
        );
        only.order("r-4", false).await.is_on(&only);
        // What stands elsewhere goes on, and is not extended there.
        only.order_in("r-1", EU, false).await;
        let refused = only.change_plan("r-1", "dev").await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(
            refused.message,
            "Your cache stands in the region us instead of \"amazon-web-services::eu-west-1\", so its plan cannot be \
             changed. The only region is us."
        );
        let unchanged = only.change_plan("r-1", "100").await;
        assert_eq!(unchanged.status, StatusCode::OK, "a repeat of what was done");
        assert_eq!(only.change_plan("r-2", "100").await.status, StatusCode::OK);
        let told = advice(&only).await;
        assert!(told.contains("an order from there is refused"), "{told}");
        strict.kill().await;
        database.drop().await;
    })
    .await;
}

/// A second machine that was given another region and no cluster of its own: it would take all nodes of its cluster along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_does_not_change_the_region_of_the_others() {
    on_both(async |database| {
        let us = Machine::new(&database, "node-a.example");
        let serving = us.start().await;
        us.order("r-1", false).await.is_on(&us);
        // A SQLite file has one process, so there the first machine has only stopped: it may come back.
        assert!(serving.terminate().await.success());
        let mut eu = Machine::new(&database, "node-b.example");
        eu.settings = setting(&eu.settings, "LARDER_REGION", "eu");
        let refused = eu.start_in_vain().await.stderr;
        assert!(
            refused.contains("cluster c1 is in the region us, and this node has LARDER_REGION=eu"),
            "{refused}"
        );
        assert!(refused.contains("LARDER_CLUSTER of its own"), "{refused}");
        let list = us.admin("nodes").await;
        assert!(!list.contains(&eu.server), "{list}");
        assert_eq!(region_of(&list, &us), "us", "{list}");

        let mut apart = eu.elsewhere(tempfile::tempdir().expect("a folder"), "node-c.example");
        apart.settings = setting(&apart.settings, "LARDER_CLUSTER", "c2");
        let beside = apart.start().await;
        let list = us.admin("nodes").await;
        assert_eq!(region_of(&list, &us), "us", "{list}");
        assert_eq!(region_of(&list, &apart), "eu", "{list}");
        assert!(beside.terminate().await.success());

        // Nobody else is in the cluster any more, so it is where its next node is.
        us.admin("nodes retire node-a.example").await;
        let moved = eu.start().await;
        let list = eu.admin("nodes").await;
        assert_eq!(region_of(&list, &eu), "eu", "{list}");
        moved.kill().await;
        database.drop().await;
    })
    .await;
}

/// As `admin nodes` shows it.
fn region_of<'list>(list: &'list str, machine: &Machine) -> &'list str {
    let row = list.lines().find(|line| line.contains(&machine.server));
    let row = row.unwrap_or_else(|| panic!("{} is not in\n{list}", machine.server));
    row.split_whitespace().nth(3).expect("a region")
}

/// An order is taken for its region's only node, which is away, and that node is retired before it has room: the answer
/// could not say where the cache would be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_waited_is_told_that_it_stands_elsewhere() {
    on_both(async |database| {
        let eu = machine_in(&database, "node-a.example", "eu");
        eu.start().await.kill().await;
        let us = machine_in(&database, "node-b.example", "us");
        let serving = us.start().await;
        eventually("the dead machine counts as away", async || {
            us.state_of(&eu.server).await == "away"
        })
        .await;
        let taken = us.order_in("r-1", EU, true).await;
        assert_eq!(taken.status, StatusCode::ACCEPTED, "{taken:?}");
        assert!(!taken.message.contains("instead of"), "{}", taken.message);
        us.admin("nodes retire node-a.example").await;
        let told = "SELECT count(*) FROM events WHERE kind = 'placed_elsewhere' \
                    AND fields LIKE '%\"region\":\"us\"%' AND fields LIKE '%eu-west-1%'";
        eventually("its owner is told", async || {
            database.number(told).await == 1
        })
        .await;
        let list = us.admin("caches").await;
        assert!(
            list.contains("us (ORDERED amazon-web-services::eu-west-1)"),
            "{list}"
        );
        // By now the answer says it too.
        let again = us.order_in("r-1", EU, true).await;
        assert_eq!(again.status, StatusCode::ACCEPTED, "{again:?}");
        assert!(
            again
                .message
                .contains("served from the region us instead of"),
            "{}",
            again.message
        );
        serving.kill().await;
        database.drop().await;
    })
    .await;
}

/// `check-config` where only workers run: the region is a default that nobody chose, and no node is there. And `*` is no
/// region.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_nobody_chose_is_not_served() {
    on_both(async |database| {
        let mut machine = machine_in(&database, "node-a.example", "eu");
        let serving = machine.start().await;
        let told = advice(&machine).await;
        assert!(
            told.contains("sells caches in us, where no node is (nodes are in eu)"),
            "{told}"
        );
        let chosen = std::mem::take(&mut machine.settings);
        let others = chosen.iter().filter(|(name, _)| name != "LARDER_REGION");
        machine.settings = others.cloned().collect();
        let told = advice(&machine).await;
        assert!(
            told.contains("sells caches in us, where no node is (nodes are in eu)"),
            "{told}"
        );
        for (regions, expected) in [("*,us", Some("us")), ("*", None), ("*,eu", None)] {
            machine.settings = setting(&machine.settings, "LARDER_REGIONS", regions);
            let told = advice(&machine).await;
            let sold = expected.map(|region| format!("sells caches in {region}, where"));
            let is_told = sold.map_or(!told.contains("sells caches in"), |sold| {
                told.contains(&sold)
            });
            assert!(is_told, "{regions}: {told}");
        }
        serving.kill().await;
        database.drop().await;
    })
    .await;
}

/// The only node of a region is retired: a strict operator's caches wait for another one there, the others move.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retired_node_s_caches_leave_their_region_only_if_they_may() {
    on_both(async |database| {
        let eu = machine_in(&database, "node-a.example", "eu");
        let dying = eu.start().await;
        let made = eu.order_in("r-1", EU, false).await;
        made.is_on(&eu);
        assert_eq!(made.message, "Your cache is ready.");
        dying.kill().await;

        let mut us = machine_in(&database, "node-b.example", "us");
        us.settings = setting(&us.settings, "LARDER_REGION_STRICT", "on");
        let strict = us.start().await;
        let told = advice(&us).await;
        assert!(!told.contains("sells caches in"), "a node is in each: {told}");
        eventually("the dead machine counts as away", async || {
            us.state_of(&eu.server).await == "away"
        })
        .await;
        let told = us.admin("nodes retire node-a.example").await;
        assert!(told.contains("until another node of their region has room: 1 cache."), "{told}");
        let told = advice(&us).await;
        assert!(told.contains("sells caches in eu, where no node is"), "{told}");
        let refused = us.order_in("r-2", EU, false).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        let moved = "SELECT count(*) FROM events WHERE kind = 'placed_anew'";
        assert_eq!(database.number(moved).await, 0);
        assert!(strict.terminate().await.success());

        us.settings = setting(&us.settings, "LARDER_REGION_STRICT", "off");
        let serving = us.start().await;
        let told_where = "SELECT count(*) FROM events WHERE kind = 'placed_anew' AND fields LIKE '%\"region\":\"us\"%'";
        eventually("the cache moves", async || database.number(told_where).await == 1).await;
        let list = us.admin("caches").await;
        assert!(list.contains("us (ORDERED amazon-web-services::eu-west-1)"), "{list}");
        serving.kill().await;
        database.drop().await;
    })
    .await;
}
