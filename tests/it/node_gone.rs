//! A machine that is gone, beside one that serves: where new caches go, and what becomes of the old ones. Real
//! `larder serve` processes on one database.

use larder::cluster::{Cluster, ClusterSettings, FiguresSource};
use reqwest::StatusCode;

use crate::support::control_plane::{ControlPlane, eventually, plans};
use crate::support::db::{Database, on_each};
use crate::support::full_service::setting;
use crate::support::machine::{Machine, on_both};
use crate::support::needs;
use crate::support::plain::Plain;
use crate::support::process::Process;

/// How often the audit says that an operator ordered this about a node. What was refused is not in it.
macro_rules! ordered {
    ($database:expr, $action:literal) => {
        $database
            .number(concat!(
                "SELECT count(*) FROM audit WHERE cache_id IS NULL AND actor LIKE '%operator%' AND action = '",
                $action,
                "'"
            ))
            .await
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_go_to_the_machine_that_serves() {
    on_both(async |database| {
        let old = Machine::new(&database, "node-a.example");
        let stopped = old.start().await;
        old.order("first", false).await.is_on(&old);
        assert!(stopped.terminate().await.success());

        let new = Machine::new(&database, "node-b.example");
        let serving = new.start().await;
        for number in 0..6 {
            new.order(&format!("r-{number}"), false).await.is_on(&new);
        }
        // The first one was never used: an order that is repeated finds a machine for it.
        new.order("first", false).await.is_on(&new);
        assert_eq!(new.state_of(&old.server).await, "away");
        assert_eq!(new.state_of(&new.server).await, "serving");
        serving.kill().await;
        database.drop().await;
    })
    .await;
}

/// Two machines on PostgreSQL, of which the first has the most room.
async fn pair(database: &Database) -> (Machine, Process, Machine, Process) {
    let mut large = Machine::new(database, "node-a.example");
    large.settings = setting(&large.settings, "LARDER_ENGINE_MEMORY", "2GiB");
    let small = Machine::new(database, "node-b.example");
    let (one, other) = (large.start().await, small.start().await);
    (large, one, small, other)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_just_after_a_machine_died_finds_another_one() {
    let Some(database) = needs(Database::postgres().await, "PostgreSQL") else {
        return;
    };
    let (large, dying, small, serving) = pair(&database).await;
    small.order("r-1", false).await.is_on(&large);
    dying.kill().await;
    // Nobody knows yet that it died, and it still has the most room.
    assert_eq!(small.state_of(&large.server).await, "serving");
    small.order("r-2", false).await.is_on(&small);
    let due = "SELECT count(*) FROM config_sync WHERE applied < desired";
    assert_eq!(database.number(due).await, 0, "the answer told the values");
    eventually("the dead machine counts as away", async || {
        small.state_of(&large.server).await == "away"
    })
    .await;
    small.order("r-1", false).await.is_on(&small);
    assert_eq!(
        database.number(due).await,
        1,
        "an earlier answer told others"
    );
    let moved = "SELECT count(*) FROM events WHERE kind = 'placed_anew'";
    assert_eq!(database.number(moved).await, 2);

    // A machine that comes back holds nothing that was placed anew.
    let again = large.start().await;
    assert_eq!(small.state_of(&large.server).await, "serving");
    small.order("r-1", false).await.is_on(&small);
    let on_large = "SELECT count(*) FROM placements p JOIN nodes n ON n.id = p.node_id \
                    WHERE n.proxy_hostname = 'node-a.example'";
    assert_eq!(database.number(on_large).await, 0);
    again.kill().await;
    serving.kill().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_no_room_anywhere_an_order_waits_where_it_can_be_told() {
    on_both(async |database| {
        let only = Machine::new(&database, "node-a.example");
        let serving = only.start().await;
        let told = only.admin("nodes drain node-a.example").await;
        assert!(told.contains("gets no new cache until"), "{told}");
        assert_eq!(only.state_of(&only.server).await, "draining");
        let refused = only.order("r-1", false).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.retry_after);
        assert_eq!(only.order("r-2", true).await.status, StatusCode::ACCEPTED);

        only.admin(&format!("nodes open {}", only.server)).await;
        assert_eq!(only.state_of(&only.server).await, "serving");
        only.order("r-1", false).await.is_on(&only);
        let placed = "SELECT count(*) FROM placements";
        eventually("the accepted one finds room", async || {
            database.number(placed).await == 2
        })
        .await;
        serving.kill().await;
        database.drop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_orders_is_in_the_audit() {
    on_both(async |database| {
        let only = Machine::new(&database, "node-a.example");
        let serving = only.start().await;
        only.admin("nodes drain node-a.example").await;
        only.admin("nodes open node-a.example").await;
        only.admin("rekey").await;
        only.refused("nodes retire node-a.example").await;
        assert_eq!(ordered!(database, "node.drain"), 1);
        assert_eq!(ordered!(database, "node.open"), 1);
        assert_eq!(ordered!(database, "keys.rekey"), 1);
        assert_eq!(ordered!(database, "node.retire"), 0);
        serving.kill().await;
        database.drop().await;
    })
    .await;
}

/// A cache that somebody uses stays with its machine until an operator gives the machine up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_caches_of_a_retired_machine_begin_anew() {
    on_both(async |database| {
        let old = Machine::new(&database, "node-a.example");
        let dying = old.start().await;
        let made = old.order("r-1", false).await;
        made.is_on(&old);
        let port = old.server.rsplit_once(':').expect("a port").1;
        let mut client = Plain::connect(&format!("127.0.0.1:{port}")).await;
        assert_eq!(client.login(&made.username, &made.password).await, "STORED");
        let used = "SELECT count(*) FROM credentials WHERE last_used_at IS NOT NULL";
        eventually("the login is noted", async || {
            database.number(used).await == 1
        })
        .await;
        assert!(
            old.refused("nodes retire node-a.example")
                .await
                .contains("stop it first")
        );
        dying.kill().await;

        let new = Machine::new(&database, "node-b.example");
        let serving = new.start().await;
        eventually("the dead machine counts as away", async || {
            new.state_of(&old.server).await == "away"
        })
        .await;
        let list = new.admin("nodes").await;
        assert!(list.contains("cannot be reached"), "{list}");
        new.order("r-1", false).await.is_on(&old);
        let told = new.admin("nodes retire node-a.example").await;
        assert!(told.contains("begin empty: 1 cache."), "{told}");
        assert_eq!(new.state_of(&old.server).await, "retired");
        assert_eq!(ordered!(database, "node.retire"), 1);
        let moved = new.order("r-1", false).await;
        moved.is_on(&new);
        assert_eq!(
            (&moved.username, &moved.password),
            (&made.username, &made.password)
        );
        let port = new.server.rsplit_once(':').expect("a port").1;
        let mut client = Plain::connect(&format!("127.0.0.1:{port}")).await;
        assert_eq!(client.login(&made.username, &made.password).await, "STORED");
        let due = "SELECT count(*) FROM config_sync WHERE applied < desired";
        assert_eq!(
            database.number(due).await,
            1,
            "the new SERVERS are to be pushed"
        );
        let told = "SELECT count(*) FROM events WHERE kind = 'placed_anew'";
        assert_eq!(database.number(told).await, 1);
        assert!(serving.terminate().await.success());

        // The retired machine comes back as a new one.
        let again = old.start().await;
        let list = old.admin("nodes").await;
        let rows = list.lines().filter(|line| line.contains(&old.server));
        let states: Vec<_> = rows
            .filter_map(|row| row.split_whitespace().nth(1))
            .collect();
        assert_eq!(states.len(), 2, "{list}");
        assert!(
            states.contains(&"retired") && states.contains(&"serving"),
            "{list}"
        );
        again.kill().await;
        database.drop().await;
    })
    .await;
}

/// Support looks a customer's cache up by its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_of_caches_tells_whose_machine_is_away() {
    on_both(async |database| {
        let old = Machine::new(&database, "node-a.example");
        let stopped = old.start().await;
        old.order("r-1", false).await.is_on(&old);
        let list = old.admin("caches acme-r-1").await;
        assert!(
            !list.contains("(NODE") && !list.contains("nodes retire"),
            "{list}"
        );
        let id = old.node_id();
        assert!(stopped.terminate().await.success());

        let new = Machine::new(&database, "node-b.example");
        let serving = new.start().await;
        new.order("r-2", false).await.is_on(&new);
        let list = new.admin("caches acme-r-1").await;
        assert!(list.contains("c1 (NODE AWAY)"), "{list}");
        let named = format!("! {id} ({}): not heard of since 20", old.server);
        assert!(list.contains(&named), "{list}");
        assert!(
            list.contains("; 1 cache listed here cannot be reached"),
            "{list}"
        );
        let way_out = format!("`larder admin nodes retire {id}`");
        assert!(list.contains(&way_out), "{list}");
        let list = new.admin("caches acme-r-2").await;
        assert!(!list.contains("AWAY") && !list.contains(&id), "{list}");
        serving.kill().await;
        database.drop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_there_is_named() {
    on_both(async |database| {
        let only = Machine::new(&database, "node-a.example");
        let serving = only.start().await;
        for verb in ["drain", "open", "retire"] {
            let refused = only.refused(&format!("nodes {verb} node-z.example")).await;
            assert!(
                refused.contains("there is no node node-z.example"),
                "{refused}"
            );
        }
        serving.kill().await;
        database.drop().await;
    })
    .await;
}

/// The owner of a cache reads when its machine is gone and when it is back, each once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_are_told_of_a_machine_that_is_away() {
    let Some(database) = needs(Database::postgres().await, "PostgreSQL") else {
        return;
    };
    let (large, dying, _small, serving) = pair(&database).await;
    large.order("r-1", false).await.is_on(&large);
    dying.kill().await;
    let told = "SELECT count(*) FROM events WHERE kind = 'node_away'";
    eventually("the owner is told", async || {
        database.number(told).await == 1
    })
    .await;
    let again = large.start().await;
    let back = "SELECT count(*) FROM events WHERE kind = 'node_back'";
    eventually("and that it is back", async || {
        database.number(back).await == 1
    })
    .await;
    assert_eq!(database.number(told).await, 1);
    again.kill().await;
    serving.kill().await;
    database.drop().await;
}

/// The same on SQLite, whose file one machine serves at a time: who comes after the dead one tells that it is away, and it
/// tells itself that it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_are_told_of_a_machine_whose_place_another_took() {
    let database = Database::sqlite();
    let first = Machine::new(&database, "node-a.example");
    let dying = first.start().await;
    first.order("r-1", false).await.is_on(&first);
    dying.kill().await;
    let second = Machine::new(&database, "node-b.example");
    let serving = second.start().await;
    let told = "SELECT count(*) FROM events WHERE kind = 'node_away'";
    eventually("the owner is told", async || {
        database.number(told).await == 1
    })
    .await;
    assert!(serving.terminate().await.success());
    let again = first.start().await;
    let back = "SELECT count(*) FROM events WHERE kind = 'node_back'";
    eventually("and that it is back", async || {
        database.number(back).await == 1
    })
    .await;
    assert_eq!(database.number(told).await, 1);
    again.kill().await;
    database.drop().await;
}

/// A dashboard shows of a cache on another machine what its node has reported, and whose it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_of_another_machine_are_said_to_be_there() {
    on_each(async |db| {
        let here = ControlPlane::start(db).await;
        let cache = here.provision("r-1").await.resource.cache;
        let elsewhere = Cluster::new(
            db.opened_again().await,
            plans(),
            here.clock.clone(),
            ClusterSettings::default(),
        );
        let figures = here.cluster.figures(cache).await.expect("figures");
        assert!(figures.here().is_some());
        let node = "p1.example.net:11211".to_owned();
        eventually("its figures are reported", async || {
            let figures = elsewhere.figures(cache).await.expect("an answer");
            matches!(figures, FiguresSource::Reported { node: there, .. } if there == node)
        })
        .await;
        here.stop.cancel();
        eventually("its node has ended", async || {
            let figures = elsewhere.figures(cache).await.expect("an answer");
            matches!(figures, FiguresSource::Away { node: away, .. } if away == node)
        })
        .await;
    })
    .await;
}
