//! Config pushes: what the provider holds follows the primary, whatever the weather (P2, P3).

use std::time::Duration;

use larder::domain::Clock as _;
use larder::outbox::ports::SendErrorKind;
use larder::store::grants::GrantState;
use larder::store::nodes::NodeRecord;

use crate::outbox_bed::{Bed, Call, code};
use crate::support::db::on_each;
use crate::support::world::{eventually, request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_pushed_after_provisioning() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        bed.work().await;
        assert_eq!(*bed.provider.calls.lock(), [Call::Exchange]);
        let state = bed.state(owner.cache()).await;
        assert_eq!((state.desired, state.applied), (1, 1));
        assert_eq!(state.pending_since, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_is_pushed_once() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        let promoted = bed.promote_new(&owner).await;
        assert!(bed.state(owner.cache()).await.pending_since.is_some());
        while bed.work().await > 0 {}
        assert_eq!(bed.provider.pushes(), [promoted]);
        let state = bed.state(owner.cache()).await;
        assert_eq!((state.desired, state.applied), (2, 2));
        assert_eq!((state.pending_since, state.last_error), (None, None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_and_back_is_no_push() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        bed.promote_new(&owner).await;
        bed.promote(&owner, &owner.resource().label).await;
        while bed.work().await > 0 {}
        assert_eq!(bed.provider.pushes(), Vec::<String>::new());
        let state = bed.state(owner.cache()).await;
        assert_eq!((state.desired, state.applied), (3, 3));
    })
    .await;
}

/// The machine comes back under another name: SERVERS is among what the provider holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_new_address_is_pushed() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        bed.work().await;
        let node = |host: &str| NodeRecord {
            id: bed.world.node.id().clone(),
            cluster: "c1".parse().expect("a cluster"),
            region: "us".to_owned(),
            proxy_hostname: host.to_owned(),
            proxy_port: 11211,
            memory_bytes: 1 << 30,
        };
        let start = async |host: &str| {
            let mut tx = bed.world.store.begin().await.expect("a transaction");
            tx.register_node(&node(host), bed.world.clock.now())
                .await
                .expect("registered");
            tx.commit().await.expect("a commit");
            while bed.work().await > 0 {}
        };
        start("p1.example.net").await;
        assert_eq!(bed.provider.pushes().len(), 0, "the same address");
        start("p9.example.net").await;
        assert_eq!(bed.provider.pushes(), [owner.resource().label.clone()]);
        let servers = bed.provider.servers.lock().clone();
        assert_eq!(servers, ["p9.example.net:11211"]);
        let state = bed.state(owner.cache()).await;
        assert_eq!((state.desired, state.applied), (2, 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_push_before_the_nodes_know_the_credential() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        let promoted = bed.promote_new(&owner).await;
        bed.nodes_follow(false);
        bed.work().await;
        assert_eq!(bed.provider.pushes(), Vec::<String>::new());
        let state = bed.state(owner.cache()).await;
        let why = state.last_error.expect("a reason");
        assert!(why.contains("nodes"), "{why}");
        assert_eq!(state.dead_at, None);

        bed.nodes_follow(true);
        bed.pass(1);
        bed.work().await;
        assert_eq!(bed.provider.pushes(), [promoted]);
    })
    .await;
}

/// What is pushed is what was waited for, even when the primary changes while the nodes are waited for (P3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_during_the_wait_is_waited_for_too() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        bed.work().await;
        bed.promote_new(&owner).await;
        let gate = bed.nodes.hold();
        let outbox = bed.outbox.clone();
        let pushing = tokio::spawn(async move { outbox.run_due().await });
        eventually("the nodes are waited for", async || {
            bed.nodes.awaited.lock().len() == 1
        })
        .await;
        let second = bed.promote_new(&owner).await;
        gate.add_permits(1);
        eventually("they are waited for again", async || {
            bed.nodes.awaited.lock().len() == 2
        })
        .await;
        assert!(bed.provider.pushes().is_empty());
        let awaited = bed.nodes.awaited.lock().clone();
        assert!(awaited[1] > awaited[0]);
        gate.add_permits(1);
        pushing.await.expect("no panic").expect("recorded");
        assert_eq!(*bed.provider.effects.lock(), [second]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_during_a_push_is_pushed_after_it() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        bed.work().await;
        let first = bed.promote_new(&owner).await;
        let gate = bed.provider.hold();
        let outbox = bed.outbox.clone();
        let pushing = tokio::spawn(async move { outbox.run_due().await });
        eventually("the push is on the wire", async || {
            bed.provider.pushes().len() == 1
        })
        .await;
        let second = bed.promote_new(&owner).await;
        while bed.work().await > 0 {}
        assert_eq!(bed.provider.pushes().len(), 1, "one in flight per resource");
        bed.provider.go_on();
        gate.add_permits(1);
        pushing.await.expect("no panic").expect("recorded");
        let between = bed.state(owner.cache()).await;
        assert_eq!((between.desired, between.applied), (3, 2));
        bed.work().await;
        assert_eq!(*bed.provider.effects.lock(), [first, second]);
        let state = bed.state(owner.cache()).await;
        assert_eq!((state.desired, state.applied), (3, 3));
    })
    .await;
}

/// A worker that slept through its lease sends over the newer value. It notices, and another round puts it right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_value_never_stays_over_a_newer_one() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let other = bed.another_worker(db).await;
        let owner = bed.cache("r-1").await;
        bed.work().await;
        let older = bed.promote_new(&owner).await;
        let gate = bed.provider.hold();
        let outbox = bed.outbox.clone();
        let asleep = tokio::spawn(async move { outbox.run_due().await });
        eventually("the push is on the wire", async || {
            bed.provider.pushes().len() == 1
        })
        .await;
        bed.provider.go_on();

        bed.pass(61);
        let newer = bed.promote_new(&owner).await;
        assert_eq!(
            other.run_due().await.expect("the store answers"),
            2,
            "the push and the lines"
        );
        assert_eq!(bed.state(owner.cache()).await.applied, 3);

        gate.add_permits(1);
        asleep.await.expect("no panic").expect("recorded");
        assert_eq!(*bed.provider.effects.lock(), [newer.clone(), older]);
        assert_eq!(bed.state(owner.cache()).await.applied, 3, "not recorded");
        while bed.work().await > 0 {}
        assert_eq!(bed.provider.effects.lock().last(), Some(&newer));
        let state = bed.state(owner.cache()).await;
        assert_eq!(state.desired, state.applied);
    })
    .await;
}

/// The push arrived and its answer did not: to go back is a push, although the last one recorded says the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_and_back_is_a_push_when_the_way_there_is_uncertain() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        bed.work().await;
        let there = bed.promote_new(&owner).await;
        bed.provider.lose_answers(true);
        bed.provider.fail([SendErrorKind::Retry { after: None }]);
        bed.work().await;
        bed.provider.lose_answers(false);
        let back = owner.resource().label.clone();
        bed.promote(&owner, &back).await;
        bed.pass(10);
        while bed.work().await > 0 {}
        assert_eq!(*bed.provider.effects.lock(), [there, back]);
        let state = bed.state(owner.cache()).await;
        assert_eq!(state.desired, state.applied);
    })
    .await;
}

/// The older value arrives after the newer one, before the newer one's worker has recorded it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_value_over_one_not_yet_recorded_does_not_stay() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let other = bed.another_worker(db).await;
        let owner = bed.cache("r-1").await;
        bed.work().await;
        let older = bed.promote_new(&owner).await;
        let asleep_gate = bed.provider.hold();
        let outbox = bed.outbox.clone();
        let asleep = tokio::spawn(async move { outbox.run_due().await });
        eventually("the older push is on the wire", async || {
            bed.provider.pushes().len() == 1
        })
        .await;

        bed.pass(61);
        let newer = bed.promote_new(&owner).await;
        let quick_gate = bed.provider.hold_after();
        let quick = tokio::spawn(async move { other.run_due().await });
        eventually("the newer push took effect", async || {
            bed.provider.effects.lock().len() == 1
        })
        .await;
        asleep_gate.add_permits(1);
        asleep.await.expect("no panic").expect("recorded");
        bed.provider.go_on();
        quick_gate.add_permits(1);
        quick.await.expect("no panic").expect("recorded");
        assert_eq!(*bed.provider.effects.lock(), [newer.clone(), older]);

        while bed.work().await > 0 {}
        assert_eq!(bed.provider.effects.lock().last(), Some(&newer));
        let state = bed.state(owner.cache()).await;
        assert_eq!(state.desired, state.applied);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_token_is_refreshed_once_and_the_call_repeated_once() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        bed.work().await;
        let promoted = bed.promote_new(&owner).await;
        bed.provider.fail([SendErrorKind::Unauthorized]);
        bed.work().await;
        let push = |token: &str| Call::Push {
            token: token.to_owned(),
            username: promoted.clone(),
        };
        let calls = bed.provider.calls.lock().clone();
        assert_eq!(
            calls[1..4],
            [
                push("access-1"),
                Call::Refresh("refresh-1".to_owned()),
                push("access-2"),
            ]
        );
        assert_eq!(bed.state(owner.cache()).await.applied, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_refused_twice_calls_a_person_and_is_tried_again_hourly() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        bed.work().await;
        bed.promote_new(&owner).await;
        bed.provider.refuse_tokens(true);
        while bed.work().await > 0 {}
        assert_eq!(bed.provider.pushes().len(), 2);
        let refreshed = |call: &Call| matches!(call, Call::Refresh(_));
        assert_eq!(bed.provider.count(refreshed), 1);
        assert!(bed.state(owner.cache()).await.dead_at.is_some());
        let grant = bed.world.store.grant(owner.cache()).await;
        let grant = grant.expect("read").expect("a grant");
        assert_eq!(grant.state, GrantState::Broken);

        bed.provider.refuse_tokens(false);
        bed.pass(3_601);
        while bed.work().await > 0 {}
        assert_eq!(bed.provider.count(refreshed), 2);
        assert_eq!(bed.state(owner.cache()).await.applied, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_shown_and_a_newer_change_gets_its_own_chance() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        bed.work().await;
        bed.promote_new(&owner).await;
        bed.provider.fail([SendErrorKind::Refused]);
        while bed.work().await > 0 {}
        let state = bed.state(owner.cache()).await;
        assert!(state.dead_at.is_some());
        assert_eq!(state.last_error.as_deref(), Some("scripted Refused"));
        bed.pass(3_500);
        assert_eq!(bed.work().await, 0);
        bed.provider.fail([SendErrorKind::Refused]);
        bed.pass(200);
        assert_eq!(bed.work().await, 1, "hourly, for ever");

        let newest = bed.promote_new(&owner).await;
        while bed.work().await > 0 {}
        assert_eq!(bed.provider.effects.lock().last(), Some(&newest));
        let state = bed.state(owner.cache()).await;
        assert_eq!((state.dead_at, state.last_error), (None, None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clicks_do_not_hurry_a_provider_that_asked_for_patience() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        bed.work().await;
        bed.promote_new(&owner).await;
        bed.provider.fail([SendErrorKind::Retry {
            after: Some(Duration::from_secs(120)),
        }]);
        while bed.work().await > 0 {}
        let newest = bed.promote_new(&owner).await;
        while bed.work().await > 0 {}
        assert_eq!(bed.provider.pushes().len(), 1);
        bed.pass(121);
        while bed.work().await > 0 {}
        assert_eq!(*bed.provider.effects.lock(), [newest]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_grant_the_push_is_impossible_until_one_comes() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let made = bed.world.provision("r-1").await;
        let owner = bed.world.owner(made.resource.cache, "visit").await;
        let promoted = bed.promote_new(&owner).await;
        while bed.work().await > 0 {}
        let state = bed.state(owner.cache()).await;
        assert!(state.dead_at.is_some());
        let why = state.last_error.expect("a reason");
        assert!(why.contains("no grant"), "{why}");

        let mut again = request("r-1");
        again.grant = Some(code("late", &bed.world.clock));
        let again = bed.world.provisioning.provision(again).await;
        again.expect("the same cache");
        while bed.work().await > 0 {}
        assert_eq!(bed.provider.pushes(), [promoted]);
        assert_eq!(bed.state(owner.cache()).await.dead_at, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_out_for_a_resource_that_went_away() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        bed.promote_new(&owner).await;
        let id = "r-1".parse().expect("an id");
        let heroku = larder::domain::Marketplace::Heroku;
        let gone = bed.world.provisioning.deprovision(heroku, &id).await;
        gone.expect("deprovisioned");
        assert_eq!(bed.work().await, 0);
        assert_eq!(*bed.provider.calls.lock(), []);
        let store = &bed.world.store;
        assert!(store.grant(owner.cache()).await.expect("read").is_none());
        assert_eq!(store.lines_waiting().await.expect("read"), 0);
    })
    .await;
}
