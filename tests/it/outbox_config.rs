//! Config pushes: what the provider holds follows the primary, whatever goes wrong (P2, P3).

use std::time::Duration;

use larder::domain::Clock as _;
use larder::http::CallErrorKind;
use larder::store::fleet::nodes::NodeRecord;
use larder::store::outbox::grants::GrantState;

use crate::outbox_fixture::{Call, OutboxFixture, code};
use crate::support::HEROKU;
use crate::support::control_plane::{eventually, request};
use crate::support::db::on_each;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_pushed_after_provisioning() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        assert_eq!(*fixture.provider.calls.lock(), [Call::Exchange]);
        let state = fixture.state(owner.cache()).await;
        assert_eq!((state.desired, state.applied), (1, 1));
        assert_eq!(state.pending_since, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_is_pushed_once() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        let promoted = fixture.promote_new(&owner).await;
        assert!(fixture.state(owner.cache()).await.pending_since.is_some());
        while fixture.work().await > 0 {}
        assert_eq!(fixture.provider.pushes(), [promoted]);
        let state = fixture.state(owner.cache()).await;
        assert_eq!((state.desired, state.applied), (2, 2));
        assert_eq!((state.pending_since, state.last_error), (None, None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_and_back_is_no_push() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.promote_new(&owner).await;
        fixture.promote(&owner, &owner.resource().label).await;
        while fixture.work().await > 0 {}
        assert_eq!(fixture.provider.pushes(), Vec::<String>::new());
        let state = fixture.state(owner.cache()).await;
        assert_eq!((state.desired, state.applied), (3, 3));
    })
    .await;
}

/// The machine comes back under another name: SERVERS is among what the provider holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_new_address_is_pushed() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        let node = |host: &str| NodeRecord {
            id: fixture.control.node.id().clone(),
            cluster: "c1".parse().expect("a cluster"),
            region: "us".to_owned(),
            proxy_hostname: host.to_owned(),
            proxy_port: 11211,
            memory_bytes: 1 << 30,
            home_id: "m:1:2".to_owned(),
            home_path: "/var/lib/larder".to_owned(),
        };
        let start = async |host: &str| {
            let mut tx = fixture.control.store.begin().await.expect("a transaction");
            tx.register_node(&node(host), fixture.control.clock.now())
                .await
                .expect("registered");
            tx.commit().await.expect("a commit");
            while fixture.work().await > 0 {}
        };
        start("p1.example.net").await;
        assert_eq!(fixture.provider.pushes().len(), 0, "the same address");
        start("p9.example.net").await;
        assert_eq!(fixture.provider.pushes(), [owner.resource().label.clone()]);
        let servers = fixture.provider.servers.lock().clone();
        assert_eq!(servers, ["p9.example.net:11211"]);
        let state = fixture.state(owner.cache()).await;
        assert_eq!((state.desired, state.applied), (2, 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_push_before_the_nodes_know_the_credential() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        let promoted = fixture.promote_new(&owner).await;
        fixture.nodes_follow(false);
        fixture.work().await;
        assert_eq!(fixture.provider.pushes(), Vec::<String>::new());
        let state = fixture.state(owner.cache()).await;
        let why = state.last_error.expect("a reason");
        assert!(why.contains("nodes"), "{why}");
        assert_eq!(state.dead_at, None);

        fixture.nodes_follow(true);
        fixture.pass(1);
        fixture.work().await;
        assert_eq!(fixture.provider.pushes(), [promoted]);
    })
    .await;
}

/// What is pushed is what was waited for, even when the primary changes while the nodes are waited for (P3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_during_the_wait_is_waited_for_too() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.promote_new(&owner).await;
        let gate = fixture.nodes.hold();
        let outbox = fixture.outbox.clone();
        let pushing = tokio::spawn(async move { outbox.run_due().await });
        eventually("the nodes are waited for", async || {
            fixture.nodes.awaited.lock().len() == 1
        })
        .await;
        let second = fixture.promote_new(&owner).await;
        gate.add_permits(1);
        eventually("they are waited for again", async || {
            fixture.nodes.awaited.lock().len() == 2
        })
        .await;
        assert!(fixture.provider.pushes().is_empty());
        let awaited = fixture.nodes.awaited.lock().clone();
        assert!(awaited[1] > awaited[0]);
        gate.add_permits(1);
        pushing.await.expect("no panic").expect("recorded");
        assert_eq!(*fixture.provider.effects.lock(), [second]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_during_a_push_is_pushed_after_it() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        let first = fixture.promote_new(&owner).await;
        let gate = fixture.provider.hold();
        let outbox = fixture.outbox.clone();
        let pushing = tokio::spawn(async move { outbox.run_due().await });
        eventually("the push is on the wire", async || {
            fixture.provider.pushes().len() == 1
        })
        .await;
        let second = fixture.promote_new(&owner).await;
        while fixture.work().await > 0 {}
        assert_eq!(
            fixture.provider.pushes().len(),
            1,
            "one in flight per resource"
        );
        fixture.provider.go_on();
        gate.add_permits(1);
        pushing.await.expect("no panic").expect("recorded");
        let between = fixture.state(owner.cache()).await;
        assert_eq!((between.desired, between.applied), (3, 2));
        fixture.work().await;
        assert_eq!(*fixture.provider.effects.lock(), [first, second]);
        let state = fixture.state(owner.cache()).await;
        assert_eq!((state.desired, state.applied), (3, 3));
    })
    .await;
}

/// A worker that slept through its lease sends over the newer value. It notices, and another round puts it right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_value_never_stays_over_a_newer_one() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let other = fixture.another_worker(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        let older = fixture.promote_new(&owner).await;
        let gate = fixture.provider.hold();
        let outbox = fixture.outbox.clone();
        let asleep = tokio::spawn(async move { outbox.run_due().await });
        eventually("the push is on the wire", async || {
            fixture.provider.pushes().len() == 1
        })
        .await;
        fixture.provider.go_on();

        fixture.pass(61);
        let newer = fixture.promote_new(&owner).await;
        assert_eq!(
            other.run_due().await.expect("the store answers"),
            2,
            "the push and the lines"
        );
        assert_eq!(fixture.state(owner.cache()).await.applied, 3);

        gate.add_permits(1);
        asleep.await.expect("no panic").expect("recorded");
        assert_eq!(*fixture.provider.effects.lock(), [newer.clone(), older]);
        assert_eq!(
            fixture.state(owner.cache()).await.applied,
            3,
            "not recorded"
        );
        while fixture.work().await > 0 {}
        assert_eq!(fixture.provider.effects.lock().last(), Some(&newer));
        let state = fixture.state(owner.cache()).await;
        assert_eq!(state.desired, state.applied);
    })
    .await;
}

/// A worker that waited for the nodes until its lease had ended sends nothing any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_does_not_begin_after_its_lease_has_ended() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let other = fixture.another_worker(db).await;
        let owner = fixture.cache("r-1").await;
        while fixture.work().await > 0 {}
        let before = fixture.nodes.awaited.lock().len();
        let first = fixture.promote_new(&owner).await;
        let gate = fixture.nodes.hold();
        let outbox = fixture.outbox.clone();
        let asleep = tokio::spawn(async move { outbox.run_due().await });
        eventually("it waits for the nodes", async || {
            fixture.nodes.awaited.lock().len() > before
        })
        .await;
        fixture.nodes.go_on();
        fixture.pass(61);
        other.run_due().await.expect("the store answers");
        let sent = std::slice::from_ref(&first);
        assert_eq!(fixture.provider.effects.lock().as_slice(), sent);

        // So that the one who slept finds something to push.
        fixture.promote_new(&owner).await;
        gate.add_permits(1);
        asleep.await.expect("no panic").expect("recorded");
        assert_eq!(
            fixture.provider.pushes(),
            [first],
            "nothing without a lease"
        );
    })
    .await;
}

/// The values were pushed while somebody wanted others and then these again: a worker that slept may have sent the others
/// in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_and_back_during_a_push_is_pushed_again() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        while fixture.work().await > 0 {}
        let here = fixture.promote_new(&owner).await;
        let gate = fixture.provider.hold();
        let outbox = fixture.outbox.clone();
        let pushing = tokio::spawn(async move { outbox.run_due().await });
        eventually("the push is on the wire", async || {
            fixture.provider.pushes().len() == 1
        })
        .await;
        fixture.promote_new(&owner).await;
        fixture.promote(&owner, &here).await;
        fixture.provider.go_on();
        gate.add_permits(1);
        pushing.await.expect("no panic").expect("recorded");
        while fixture.work().await > 0 {}
        assert_eq!(*fixture.provider.effects.lock(), [here.clone(), here]);
    })
    .await;
}

/// The push arrived and its answer did not: to go back is a push, although the last one recorded says the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_and_back_is_a_push_when_the_way_there_is_uncertain() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        let there = fixture.promote_new(&owner).await;
        fixture.provider.lose_answers(true);
        fixture
            .provider
            .fail([CallErrorKind::Retry { after: None }]);
        fixture.work().await;
        fixture.provider.lose_answers(false);
        let back = owner.resource().label.clone();
        fixture.promote(&owner, &back).await;
        fixture.pass(10);
        while fixture.work().await > 0 {}
        assert_eq!(*fixture.provider.effects.lock(), [there, back]);
        let state = fixture.state(owner.cache()).await;
        assert_eq!(state.desired, state.applied);
    })
    .await;
}

/// The older value arrives after the newer one, before the newer one's worker has recorded it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_value_over_one_not_yet_recorded_does_not_stay() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let other = fixture.another_worker(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        let older = fixture.promote_new(&owner).await;
        let asleep_gate = fixture.provider.hold();
        let outbox = fixture.outbox.clone();
        let asleep = tokio::spawn(async move { outbox.run_due().await });
        eventually("the older push is on the wire", async || {
            fixture.provider.pushes().len() == 1
        })
        .await;

        fixture.pass(61);
        let newer = fixture.promote_new(&owner).await;
        let quick_gate = fixture.provider.hold_after();
        let quick = tokio::spawn(async move { other.run_due().await });
        eventually("the newer push took effect", async || {
            fixture.provider.effects.lock().len() == 1
        })
        .await;
        asleep_gate.add_permits(1);
        asleep.await.expect("no panic").expect("recorded");
        fixture.provider.go_on();
        quick_gate.add_permits(1);
        quick.await.expect("no panic").expect("recorded");
        assert_eq!(*fixture.provider.effects.lock(), [newer.clone(), older]);

        while fixture.work().await > 0 {}
        assert_eq!(fixture.provider.effects.lock().last(), Some(&newer));
        let state = fixture.state(owner.cache()).await;
        assert_eq!(state.desired, state.applied);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_token_is_refreshed_once_and_the_call_repeated_once() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        let promoted = fixture.promote_new(&owner).await;
        fixture.provider.fail([CallErrorKind::Unauthorized]);
        fixture.work().await;
        let push = |token: &str| Call::Push {
            token: token.to_owned(),
            username: promoted.clone(),
        };
        let calls = fixture.provider.calls.lock().clone();
        assert_eq!(
            calls[1..4],
            [
                push("access-1"),
                Call::Refresh("refresh-1".to_owned()),
                push("access-2"),
            ]
        );
        assert_eq!(fixture.state(owner.cache()).await.applied, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_refused_twice_calls_a_person_and_is_tried_again_hourly() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.promote_new(&owner).await;
        fixture.provider.refuse_tokens(true);
        while fixture.work().await > 0 {}
        assert_eq!(fixture.provider.pushes().len(), 2);
        let refreshed = |call: &Call| matches!(call, Call::Refresh(_));
        assert_eq!(fixture.provider.count(refreshed), 1);
        assert!(fixture.state(owner.cache()).await.dead_at.is_some());
        let grant = fixture.control.store.grant(owner.cache()).await;
        let grant = grant.expect("read").expect("a grant");
        assert_eq!(grant.state, GrantState::Broken);

        fixture.provider.refuse_tokens(false);
        fixture.pass(3_601);
        while fixture.work().await > 0 {}
        assert_eq!(fixture.provider.count(refreshed), 2);
        assert_eq!(fixture.state(owner.cache()).await.applied, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_shown_and_a_newer_change_gets_its_own_chance() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.promote_new(&owner).await;
        fixture.provider.fail([CallErrorKind::Refused]);
        while fixture.work().await > 0 {}
        let state = fixture.state(owner.cache()).await;
        assert!(state.dead_at.is_some());
        assert_eq!(state.last_error.as_deref(), Some("scripted Refused"));
        fixture.pass(3_500);
        assert_eq!(fixture.work().await, 0);
        fixture.provider.fail([CallErrorKind::Refused]);
        fixture.pass(200);
        assert_eq!(fixture.work().await, 1, "hourly, for ever");

        let newest = fixture.promote_new(&owner).await;
        while fixture.work().await > 0 {}
        assert_eq!(fixture.provider.effects.lock().last(), Some(&newest));
        let state = fixture.state(owner.cache()).await;
        assert_eq!((state.dead_at, state.last_error), (None, None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clicks_do_not_hurry_a_provider_that_asked_for_patience() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        fixture.promote_new(&owner).await;
        fixture.provider.fail([CallErrorKind::Retry {
            after: Some(Duration::from_secs(120)),
        }]);
        while fixture.work().await > 0 {}
        let newest = fixture.promote_new(&owner).await;
        while fixture.work().await > 0 {}
        assert_eq!(fixture.provider.pushes().len(), 1);
        fixture.pass(121);
        while fixture.work().await > 0 {}
        assert_eq!(*fixture.provider.effects.lock(), [newest]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_grant_the_push_is_impossible_until_one_comes() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let made = fixture.control.provision("r-1").await;
        let owner = fixture.control.owner(made.resource.cache, "visit").await;
        let promoted = fixture.promote_new(&owner).await;
        while fixture.work().await > 0 {}
        let state = fixture.state(owner.cache()).await;
        assert!(state.dead_at.is_some());
        let why = state.last_error.expect("a reason");
        assert!(why.contains("no grant"), "{why}");

        let mut again = request("r-1");
        again.grant = Some(code("late", &fixture.control.clock));
        let again = fixture.control.provisioning.provision(again).await;
        again.expect("the same cache");
        while fixture.work().await > 0 {}
        assert_eq!(fixture.provider.pushes(), [promoted]);
        assert_eq!(fixture.state(owner.cache()).await.dead_at, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_out_for_a_resource_that_went_away() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.promote_new(&owner).await;
        let id = "r-1".parse().expect("an id");
        let heroku = HEROKU;
        let gone = fixture.control.provisioning.deprovision(heroku, &id).await;
        gone.expect("deprovisioned");
        assert_eq!(fixture.work().await, 0);
        assert_eq!(*fixture.provider.calls.lock(), []);
        let store = &fixture.control.store;
        assert!(store.grant(owner.cache()).await.expect("read").is_none());
        assert_eq!(store.lines_waiting().await.expect("read"), 0);
    })
    .await;
}
