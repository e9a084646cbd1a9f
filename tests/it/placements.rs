//! Where caches stand, and what their owners were told of their nodes, where several processes write at once.

use std::time::Duration;

use larder::cluster::{Cluster, ClusterSettings};
use larder::domain::credential::LastUse;
use larder::domain::{Clock as _, Identity, NodeId, NodePhase, ResourceState, Revision};
use larder::provisioning::{Provisioned, ProvisioningError};
use larder::store::Tx;
use larder::store::caches::last_used::Use;
use larder::store::fleet::nodes::{NodeProgress, NodeRecord};
use larder::store::service::audit::AuditRecord;

use crate::outbox_fixture::code;
use crate::support::HEROKU;
use crate::support::claims::terms;
use crate::support::control_plane::{ControlPlane, eventually, plans, request};
use crate::support::db::on_each;

/// Of two processes that would tell the same, one does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_is_told_once_that_a_node_is_away_and_once_that_it_is_back() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let node = control.node.id().clone();
        let elsewhere: NodeId = "node_elsewhere".parse().expect("an id");
        let tell = async |node: &NodeId, away: bool| {
            let mut tx = control.store.begin().await.expect("a transaction");
            let told = tx.set_told_away(cache, node, away).await.expect("written");
            tx.commit().await.expect("a commit");
            told
        };
        for away in [true, false] {
            assert!(tell(&node, away).await, "away: {away}");
            assert!(!tell(&node, away).await, "once, away: {away}");
        }
        assert!(
            !tell(&elsewhere, true).await,
            "the cache is not on that node"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_is_placed_on_its_own_nodes_alone() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let mine = control.provision("r-1").await.resource.cache;
        let theirs = control.provision("r-2").await.resource.cache;
        let second = control.serving_node("node_second", "p2.example.net").await;
        let mut tx = control.store.begin().await.expect("a transaction");
        tx.place(theirs, &second).await.expect("placed");
        let placed = async |tx: &mut Tx, cache| {
            let nodes = tx.placed_on(cache).await.expect("nodes");
            let ids: Vec<NodeId> = nodes.into_iter().map(|node| node.id).collect();
            ids
        };
        let first = control.node.id().clone();
        assert_eq!(placed(&mut tx, mine).await, std::slice::from_ref(&first));
        let mut both = placed(&mut tx, theirs).await;
        both.sort();
        let mut expected = vec![first, second];
        expected.sort();
        assert_eq!(both, expected);
    })
    .await;
}

/// A cache that was ordered without room, and ended before there was any, is set up nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_room_for_a_cache_that_is_gone() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        control.fill_region().await;
        let mut ask = request("r-1");
        ask.plan = "100".to_owned();
        ask.grant = Some(code("c", &control.clock));
        let made = control.provisioning.provision(ask).await.expect("accepted");
        let Provisioned::Pending(resource) = made else {
            panic!("there is no room");
        };
        let free = "full-0".parse().expect("an id");
        for id in [&free, &resource.external_id] {
            let removed = control.provisioning.deprovision(HEROKU, id).await;
            removed.expect("removed");
        }
        let cache = resource.cache;
        assert!(!control.cluster.find_room(cache).await.expect("answers"));
        let nodes = control.store.nodes_of(cache).await.expect("answers");
        assert!(nodes.is_empty(), "{nodes:?}");
    })
    .await;
}

/// Each process empties retired nodes: a cache is moved by one of them, and its owner is told once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_move_a_stranded_cache_once() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let old = NodeRecord {
            id: "node_old".parse().expect("an id"),
            cluster: "c1".parse().expect("a name"),
            region: "us".to_owned(),
            proxy_hostname: "p0.example.net".to_owned(),
            proxy_port: 11211,
            memory_bytes: 1 << 30,
            home_id: "m:9:9".to_owned(),
            home_path: "/var/lib/larder".to_owned(),
        };
        let now = control.clock.now();
        let mut caches = Vec::new();
        for number in 0..10 {
            let made = control.provision(&format!("r-{number}")).await;
            caches.push(made.resource.cache);
        }
        let mut tx = control.store.begin().await.expect("a transaction");
        tx.register_node(&old, now).await.expect("written");
        let gone = NodeProgress {
            phase: NodePhase::Stopped,
            applied: Revision::default(),
            on_snapshot: false,
        };
        let heard = tx.record_heartbeat(&old.id, &old.home_id, gone, now);
        heard.await.expect("written");
        for cache in &caches {
            tx.unplace(*cache, control.node.id())
                .await
                .expect("unplaced");
            tx.place(*cache, &old.id).await.expect("placed");
        }
        assert!(tx.retire_node(&old.id, now).await.expect("retired"));
        tx.commit().await.expect("a commit");

        let (store, clock) = (db.opened_again().await, control.clock.clone());
        let other = Cluster::new(store, plans(), clock, ClusterSettings::default());
        let empty =
            |cluster: Cluster| tokio::spawn(async move { cluster.empty_retired_nodes().await });
        for emptied in [empty(control.cluster.clone()), empty(other)] {
            emptied.await.expect("no panic").expect("answers");
        }
        for cache in caches {
            let history = control.history(cache).await;
            let moved = history.iter().filter(|kind| *kind == "placed_anew");
            assert_eq!(moved.count(), 1, "{history:?}");
            let nodes = control.store.nodes_of(cache).await.expect("answers");
            assert_eq!(nodes.len(), 1);
            assert_eq!(&nodes[0].id, control.node.id());
        }
    })
    .await;
}

/// With no room elsewhere, a cache whose node does not answer waits for room. That is written down before it is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_no_node_answers_is_set_up_later() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        control.hang();
        let mut ask = request("r-1");
        ask.grant = Some(code("c", &control.clock));
        let made = control.provisioning.provision(ask).await.expect("accepted");
        let Provisioned::Pending(answered) = made else {
            panic!("its node hangs");
        };
        let cache = answered.cache;
        let stored = control.store.resource(cache).await.expect("answers");
        let state = stored.expect("a resource").state;
        assert_eq!(state, ResourceState::Provisioning);
        let nodes = control.store.nodes_of(cache).await.expect("answers");
        assert!(nodes.is_empty(), "{nodes:?}");
        let now = control.clock.now().plus(Duration::from_secs(10));
        let mut tx = control.store.begin().await.expect("a transaction");
        let until = now.plus(Duration::from_secs(60));
        let claims = tx.claim_async_provisions(&terms(now, until, 8, 8)).await;
        assert_eq!(claims.expect("claims").len(), 1, "somebody completes it");
        drop(tx);
        control.go_on();
        assert!(control.cluster.find_room(cache).await.expect("answers"));
    })
    .await;
}

/// The node of a cache in use is away and has not heard of the latest change. A repeat of its order is answered as before,
/// unless the app is to have other values, which are in force nowhere yet (P3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_about_a_cache_in_use_needs_only_what_the_provider_holds() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let made = control.provision("r-1").await;
        let (cache, values) = (made.resource.cache, made.values);
        let owner = control.owner(cache, "visit").await;
        let last = LastUse {
            at: control.clock.now(),
            from: "10.0.0.1".to_owned(),
        };
        let login = Use {
            cache,
            username: &values.username,
            last: &last,
        };
        let mut tx = control.store.begin().await.expect("a transaction");
        tx.record_last_used(&[login]).await.expect("noted");
        tx.commit().await.expect("a commit");

        control.hang();
        let added = control.access.create(&owner).await;
        let (added, _) = added.expect("a credential");
        control.stop.cancel();
        eventually("its node is away", async || {
            control.cluster.is_any_away(cache).await.expect("answers")
        })
        .await;
        let again = control.provision("r-1").await;
        assert!(!again.created);
        assert_eq!(again.values.servers, values.servers);
        assert_eq!(again.values.username, values.username);
        assert_eq!(again.values.password.expose(), values.password.expose());

        let promoted = control.access.promote(&owner, &added.username).await;
        promoted.expect("a promotion");
        let again = control.provisioning.provision(request("r-1")).await;
        assert!(
            matches!(again, Err(ProvisioningError::NodeBehind)),
            "{again:?}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_about_nodes_are_in_the_audit() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let node = control.serving_node("node_second", "p2.example.net").await;
        control.cluster.drain_node(&node).await.expect("drained");
        control.cluster.open_node(&node).await.expect("opened");
        control.clock.advance(Duration::from_secs(60));
        control.cluster.retire_node(&node).await.expect("retired");
        let audit = control.store.audit_of_none(10).await.expect("the audit");
        let orders: Vec<_> = audit
            .iter()
            .rev()
            .map(|record| (record.entry.action.as_str(), record.entry.detail.as_str()))
            .collect();
        let node = node.as_str();
        let expected = [
            ("node.drain", node),
            ("node.open", node),
            ("node.retire", node),
        ];
        assert_eq!(orders, expected);
        let by_operator = |record: &AuditRecord| record.entry.actor.identity == Identity::Operator;
        assert!(audit.iter().all(by_operator));
    })
    .await;
}
