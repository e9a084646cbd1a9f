//! Control processes, nodes and a worker on machines of their own, on one PostgreSQL database: what one control process
//! is told reaches every node, and nothing that was acknowledged is lost when any of the processes is killed.
//! `machines_cut_off` and `machines_secrets` have the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use larder::sandbox::{AddonId, AppId, ProvisionOptions};
use parking_lot::Mutex;

use crate::support::app::{Values, get, set};
use crate::support::control_plane::eventually;
use crate::support::db::Database;
use crate::support::full_service::{MASTER_KEY, PATIENCE, lines_of};
use crate::support::machines::{ControlMachine, Fleet, NodeMachine, Shop};
use crate::support::needs;

/// What a killed process had claimed comes due again after a minute, and the line is then delivered.
const LEASES_OVER: Duration = PATIENCE.saturating_mul(6);

async fn postgres() -> Option<Database> {
    let database = Database::postgres_restricted(MASTER_KEY).await;
    needs(database, "PostgreSQL")
}

/// Shops order until each node has a cache; answers one of each.
async fn one_on_each(fleet: &Fleet, nodes: [&NodeMachine; 2]) -> [Shop; 2] {
    let mut shops: BTreeMap<String, Shop> = BTreeMap::new();
    for number in 0..10 {
        let shop = fleet.order(&format!("shop-{number}")).await;
        shops.insert(shop.values.servers.clone(), shop);
        if shops.len() == nodes.len() {
            break;
        }
    }
    nodes.map(|node| {
        let shop = shops.remove(&node.server);
        shop.unwrap_or_else(|| panic!("of ten caches none is on {}", node.server))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marketplace_orders_from_either_control_process_and_every_node_gets_it() {
    let Some(database) = postgres().await else {
        return;
    };
    let fleet = Fleet::start(database).await;
    let (one, other) = (fleet.control(), fleet.control());
    let controls = [one.start().await, other.start().await];
    let urls = [one.url(), other.url()];
    let (left, right) = (fleet.node(&urls), fleet.node(&urls));
    let nodes = [left.start().await, right.start().await];
    let worker = fleet.worker(&one);
    let delivers = worker.launch();
    one.sees(&left, "serving").await;
    one.sees(&right, "serving").await;

    fleet.calls_go_to(&one);
    for shop in one_on_each(&fleet, [&left, &right]).await {
        // The credential that the answer brought works at once.
        let mut client = shop.values.login().await;
        assert_eq!(set(&mut client, "greeting", "hello").await, "STORED");
        let found = get(&mut client, "greeting").await;
        assert_eq!(found.as_deref(), Some("hello"));
        owner_changes_everything(&fleet, &shop, &other).await;
        marketplace_ends_it(&fleet, &shop).await;
    }
    for process in [delivers].into_iter().chain(nodes).chain(controls) {
        assert!(process.terminate().await.success(), "a clean end");
    }
    let stopped = "SELECT count(*) FROM nodes WHERE phase = 'stopped'";
    let told = fleet.database.number(stopped).await;
    assert_eq!(told, 2, "both nodes said farewell");
    fleet.stop().await;
}

/// The owner of a cache that was ordered from one control process works at the other one.
async fn owner_changes_everything(fleet: &Fleet, shop: &Shop, other: &ControlMachine) {
    let mut owner = fleet.owner(shop, other).await;
    let second = owner.add_credentials().await;
    let second = shop.values.with(&second, &owner.reveal(&second).await);
    second.works().await;

    // Without the right to write, connections that are open may not write either.
    let mut open = second.login().await;
    let boxes = format!("credentials/{}/capabilities", second.username);
    let restricted = owner.act(&boxes, &[]).await;
    assert!(restricted.status.is_redirection(), "{}", restricted.body);
    eventually("writing is refused", async || {
        set(&mut open, "greeting", "hi").await == "NOT_STORED"
    })
    .await;

    // The primary changes places, and the app gets the new one.
    assert!(
        owner
            .promote(&second.username)
            .await
            .status
            .is_redirection()
    );
    let name = "MEMCACHIER_USERNAME";
    let pushed = fleet
        .sandbox
        .wait_for_var(shop.app, name, &second.username, PATIENCE);
    pushed.await.expect("the push arrives");

    // The former primary goes, and what it had opened is closed.
    let mut former = shop.values.login().await;
    let removed = owner.delete(&shop.values.username).await;
    assert!(removed.status.is_redirection(), "{}", removed.body);
    shop.values.is_refused().await;
    assert_eq!(former.rest().await, "", "its connection is closed");

    // A flush from the dashboard empties the node, and the app reads of it.
    assert_eq!(get(&mut open, "greeting").await.as_deref(), Some("hello"));
    assert!(owner.flush().await.status.is_redirection());
    eventually("the cache is empty", async || {
        get(&mut open, "greeting").await.is_none()
    })
    .await;
    let line = fleet
        .sandbox
        .wait_for_line(shop.app, "event=flush ", PATIENCE);
    let line = line.await.expect("the app hears of it").text;
    assert!(line.contains("origin=\"web interface\""), "{line}");
}

async fn marketplace_ends_it(fleet: &Fleet, shop: &Shop) {
    let primary = Values::of_app(&fleet.sandbox, shop.app);
    let mut open = primary.login().await;
    let flushes = lines_of(&fleet.sandbox.log_lines(shop.app), "flush");
    assert_eq!(flushes.len(), 1, "one flush is one line: {flushes:?}");
    let removed = fleet.sandbox.deprovision(shop.addon).await;
    assert_eq!(removed.expect("an answer").status, 204);
    primary.is_refused().await;
    assert_eq!(open.rest().await, "", "its connection is closed");
}

/// What the marketplace was told with a 2xx, by order.
type Told = Mutex<BTreeMap<AddonId, Values>>;

/// Sends these orders, or sends them again, and keeps what was answered. What was told before must be told again.
async fn send(fleet: &Fleet, orders: &[(AppId, AddonId)], told: &Told) {
    for &(_, order) in orders {
        let Ok(reply) = fleet.sandbox.repeat_provision(order).await else {
            continue;
        };
        if ![200, 201].contains(&reply.status) {
            continue;
        }
        let values = Values::of_answer(&reply.body);
        let before = told.lock().insert(order, values.clone());
        if let Some(before) = before {
            assert_eq!(values, before, "{order} was told something else");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_each_process_in_turn_is_killed() {
    const ORDERS: usize = 6;
    let Some(database) = postgres().await else {
        return;
    };
    let fleet = Fleet::start(database).await;
    let (one, other) = (fleet.control(), fleet.control());
    let (dying, second) = (one.start().await, other.start().await);
    let node = fleet.node(&[one.url(), other.url()]);
    let serving = node.start().await;
    let worker = fleet.worker(&other);
    let delivers = worker.launch();
    other.sees(&node, "serving").await;

    // A control process is killed while it takes orders. The marketplace sends them all again, to the other one.
    let orders: Vec<(AppId, AddonId)> = (0..ORDERS).map(|number| prepare(&fleet, number)).collect();
    let told = Told::default();
    fleet.calls_go_to(&one);
    let kill = async {
        eventually("the first order is answered", async || {
            !told.lock().is_empty()
        })
        .await;
        dying.kill().await;
    };
    tokio::join!(send(&fleet, &orders, &told), kill);
    fleet.calls_go_to(&other);
    eventually("each order is answered", async || {
        send(&fleet, &orders, &told).await;
        told.lock().len() == ORDERS
    })
    .await;
    works(&told).await;

    // The worker is killed with a line to deliver, and the node once its flush is stored.
    let (app, order) = orders[0];
    let values = told.lock()[&order].clone();
    flush(&fleet, &values, 1).await;
    delivers.kill().await;
    let delivers = worker.launch();
    let first = one.start().await;
    flush(&fleet, &values, 2).await;
    serving.kill().await;
    let serving = node.start().await;
    works(&told).await;
    let delivered = fleet.sandbox.wait_for(LEASES_OVER, |market| {
        let log: Vec<_> = market.app(app)?.log.iter().cloned().collect();
        (lines_of(&log, "flush").len() >= 2).then_some(())
    });
    delivered.await.expect("each flush is told");

    // Neither lost nor there twice.
    send(&fleet, &orders, &told).await;
    let live = "SELECT count(*) FROM resources WHERE state <> 'deprovisioned'";
    assert_eq!(fleet.database.number(live).await, ORDERS as i64);
    let list = one.machine.admin("caches").await;
    for addon in fleet.sandbox.addons() {
        assert!(list.contains(&addon.name), "{} is lost\n{list}", addon.name);
    }
    for process in [delivers, serving, first, second] {
        process.kill().await;
    }
    fleet.stop().await;
}

/// A new app's order, which is not sent yet.
fn prepare(fleet: &Fleet, number: usize) -> (AppId, AddonId) {
    let app = fleet.sandbox.create_app(&format!("shop-{number}"));
    let app = app.expect("a new name");
    let options = ProvisionOptions::default();
    let order = fleet.sandbox.prepare_provision(app, "dev", options);
    (app, order.expect("an order"))
}

/// Whatever the marketplace was told works.
async fn works(told: &Told) {
    let all: Vec<Values> = told.lock().values().cloned().collect();
    for values in all {
        values.works().await;
    }
}

/// An app flushes its cache, and the node hands the event over.
async fn flush(fleet: &Fleet, values: &Values, stored: i64) {
    let mut client = values.login().await;
    client.say("flush_all\r\n").await;
    assert_eq!(client.line().await, "OK");
    let events = "SELECT count(*) FROM events WHERE kind = 'flush'";
    eventually("the flush is stored", async || {
        fleet.database.number(events).await == stored
    })
    .await;
}
