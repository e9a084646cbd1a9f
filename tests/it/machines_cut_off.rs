//! Nodes whose control plane is away, or to which the network is cut: customers notice nothing, a node that is started
//! again meanwhile serves from its snapshot, and what was changed is in force once both sides can talk again.

use crate::refusals::metric;
use crate::support::app::{App, set};
use crate::support::control_plane::eventually;
use crate::support::dashboard::{Dashboard, visible_text};
use crate::support::db::Database;
use crate::support::link_proxy::LinkProxy;
use crate::support::machines::{ControlMachine, Fleet, NodeMachine};
use crate::support::on_both_databases;
use crate::support::process::Process;

on_both_databases!(nobodys_cache_stops_while_the_control_plane_is_away);
on_both_databases!(what_was_changed_behind_a_cut_is_in_force_when_it_heals);

/// In `/metrics` of a node.
const ON_SNAPSHOT: &str = "larder_node_on_snapshot ";

/// What the dashboard says of a change that the one node of the cache has not confirmed.
const BEHIND: &str = "Applied on 0 of 1 node so far";

/// One control process on SQLite, whose file is for one, and two on PostgreSQL.
fn controls(fleet: &Fleet) -> Vec<ControlMachine> {
    let count = match fleet.database.url().starts_with("sqlite:") {
        true => 1,
        false => 2,
    };
    (0..count).map(|_| fleet.control()).collect()
}

async fn nobodys_cache_stops_while_the_control_plane_is_away(database: Database) {
    let fleet = Fleet::start(database).await;
    let controls = controls(&fleet);
    let mut running: Vec<Process> = Vec::new();
    for control in &controls {
        running.push(control.start().await);
    }
    let urls: Vec<String> = controls.iter().map(ControlMachine::url).collect();
    let (one, node) = (&controls[0], fleet.node(&urls));
    let serving = node.start().await;
    one.sees(&node, "serving").await;

    // Shop's owner has removed a credential before everything goes down.
    fleet.calls_go_to(one);
    let shop = fleet.order("shop").await;
    let mut owner = fleet.owner(&shop, one).await;
    let leaked = owner.add_credentials().await;
    let leaked = shop.values.with(&leaked, &owner.reveal(&leaked).await);
    leaked.works().await;
    assert!(owner.delete(&leaked.username).await.status.is_redirection());
    leaked.is_refused().await;
    node.keeps_what_it_has(&mut owner, &shop.values.username)
        .await;

    // Nothing answers the node any more, and its customers go on, on old connections and on new ones.
    let app = App::start(&shop.values);
    app.goes_on().await;
    for process in running {
        process.kill().await;
    }
    app.goes_on().await;
    app.goes_on().await;
    app.stop().await;

    // Its machine loses power, and it serves again before anybody answers it.
    serving.kill().await;
    let serving = node.start().await;
    let app = App::start(&shop.values);
    app.goes_on().await;
    leaked.is_refused().await;
    let log = node.logs.newest();
    assert!(log.contains("snapshot"), "{log}");
    assert_eq!(metric(&node.metrics(), ON_SNAPSHOT).await, 1);

    // A control process comes back, and the node follows it from where it stood.
    let returned = one.start().await;
    eventually("the node is not on its snapshot", async || {
        metric(&node.metrics(), ON_SNAPSHOT).await == 0
    })
    .await;
    let mut owner = fleet.owner(&shop, one).await;
    let fresh = owner.add_credentials().await;
    let fresh = shop.values.with(&fresh, &owner.reveal(&fresh).await);
    fresh.works().await;
    one.sees(&node, "serving").await;
    eventually("an operator sees it, too", async || {
        let list = one.machine.admin("nodes").await;
        !list.contains("on snapshot")
    })
    .await;
    app.goes_on().await;
    app.stop().await;
    returned.kill().await;
    serving.kill().await;
    fleet.stop().await;
}

/// A node, its control process, and a network between them that fails.
struct CutOff {
    fleet: Fleet,
    network: LinkProxy,
    control: ControlMachine,
    node: NodeMachine,
    processes: [Process; 2],
}

impl CutOff {
    async fn start(database: Database) -> CutOff {
        let fleet = Fleet::start(database).await;
        let control = fleet.control();
        let network = LinkProxy::to(control.link).await;
        let node = fleet.node(std::slice::from_ref(&network.url));
        let processes = [control.start().await, node.start().await];
        control.sees(&node, "serving").await;
        fleet.calls_go_to(&control);
        CutOff {
            fleet,
            network,
            control,
            node,
            processes,
        }
    }

    async fn stop(self) {
        for process in self.processes {
            process.kill().await;
        }
        self.fleet.stop().await;
    }
}

async fn says_that_the_node_is_behind(owner: &mut Dashboard) {
    let text = visible_text(&owner.page().await);
    assert!(text.contains(BEHIND), "{text}");
}

async fn what_was_changed_behind_a_cut_is_in_force_when_it_heals(database: Database) {
    let fixture = CutOff::start(database).await;
    let (fleet, network) = (&fixture.fleet, &fixture.network);
    let shop = fleet.order("shop").await;
    let mut owner = fleet.owner(&shop, &fixture.control).await;
    let second = owner.add_credentials().await;
    let second = shop.values.with(&second, &owner.reveal(&second).await);
    second.works().await;
    let mut open = second.login().await;
    let app = App::start(&shop.values);

    // Nothing passes. The second credential may write for as long as the node has not heard otherwise.
    network.cut();
    let boxes = format!("credentials/{}/capabilities", second.username);
    let restricted = owner.act(&boxes, &[]).await;
    assert!(restricted.status.is_redirection(), "{}", restricted.body);
    says_that_the_node_is_behind(&mut owner).await;
    assert_eq!(set(&mut open, "k", "v").await, "STORED");
    app.goes_on().await;
    network.heal();
    eventually("writing is refused", async || {
        set(&mut open, "k", "v").await == "NOT_STORED"
    })
    .await;

    // What the node says is lost, so that nobody knows what it has applied.
    network.cut_one_way();
    let removed = owner.delete(&second.username).await;
    assert!(removed.status.is_redirection(), "{}", removed.body);
    says_that_the_node_is_behind(&mut owner).await;
    app.goes_on().await;
    network.heal();
    second.is_refused().await;
    assert_eq!(open.rest().await, "", "its connection is closed");
    fixture.control.sees(&fixture.node, "serving").await;

    // What the node says arrives again: a form that changes nothing tells how far it is.
    let boxes = format!("credentials/{}/capabilities", shop.values.username);
    eventually("the node has confirmed every change", async || {
        let saved = owner.act(&boxes, &[("write", "on"), ("flush", "on")]).await;
        assert!(saved.status.is_redirection(), "{}", saved.body);
        let text = visible_text(&owner.page().await);
        assert!(text.contains("were saved"), "{text}");
        !text.contains(BEHIND)
    })
    .await;
    app.goes_on().await;
    app.stop().await;
    fixture.stop().await;
}
