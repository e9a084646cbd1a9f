//! A marketplace delivers at least once, and sometimes very often: whatever it repeats makes one cache, is answered
//! alike, and never brings back what was given up.

use std::sync::Arc;
use std::time::Duration;

use larder::sandbox::{
    AddonId, AddonState, AppId, CallFaults, ProviderError, ProviderReply, ProvisionOptions,
};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::control_plane::eventually;
use crate::support::dashboard::Dashboard;
use crate::support::db::Database;
use crate::support::full_service::{FullService, PATIENCE, Wishes};
use crate::support::on_both_databases;
use crate::support::plain::Plain;

const AT_ONCE: usize = 64;

on_both_databases!(a_storm_of_equal_requests_makes_one_cache);
on_both_databases!(every_call_sent_twice_is_done_once);
on_both_databases!(of_two_plan_changes_the_one_that_arrives_last_holds);
on_both_databases!(an_order_whose_answer_was_lost_can_be_removed);
on_both_databases!(repeats_and_plan_changes_push_nothing);

/// Shop orders one cache, and the marketplace sends that order 64 times at once. Later it changes the plan, removes
/// the cache several times at once, and long after that an old order still arrives.
async fn a_storm_of_equal_requests_makes_one_cache(database: Database) {
    let service = Arc::new(FullService::start(database, Wishes::default()).await);
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let options = ProvisionOptions::default();
    let order = service.sandbox.prepare_provision(shop, "dev", options);
    let addon = order.expect("an order");

    let replies = at_once(
        &service,
        AT_ONCE,
        move |service: Arc<FullService>| async move {
            let reply = service.sandbox.repeat_provision(addon).await;
            let reply = reply.expect("an answer");
            // whoever has an answer may use it at once
            assert_eq!(login(&reply).await, "STORED");
            reply
        },
    )
    .await;
    let first = replies[0].clone();
    assert_eq!(first.status, 201, "{}", first.body);
    for reply in &replies {
        assert!(
            *reply == first,
            "{} {} is not {} {}",
            reply.status,
            reply.body,
            first.status,
            first.body
        );
    }
    count_rows(&service, 1).await;
    assert_eq!(service.sandbox.releases(shop).len(), 1);
    assert_eq!(
        service.sandbox.config_vars(shop)["MEMCACHIER_USERNAME"],
        config(&first)["MEMCACHIER_USERNAME"]
    );

    let changed = service.sandbox.change_plan(addon, "100").await;
    assert_eq!(changed.expect("a plan change").plan, "100");
    let late = service.sandbox.repeat_provision(addon).await;
    let late = late.expect("an answer");
    assert_eq!(late.status, 200, "no longer what was ordered");
    assert_eq!(config(&late), config(&first), "and the same cache");

    the_cache_goes_for_good(&service, shop, addon, &first).await;
    let service = Arc::into_inner(service).expect("nobody else is left");
    service.stop().await;
}

on_both_databases!(an_order_that_comes_after_its_end_makes_nothing);

/// Shop gives a cache up before its order has arrived. The order comes all the same.
async fn an_order_that_comes_after_its_end_makes_nothing(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let options = ProvisionOptions::default();
    let order = service.sandbox.prepare_provision(shop, "dev", options);
    let addon = order.expect("an order");

    let unknown = service.sandbox.deprovision(addon).await;
    let unknown = unknown.expect_err("nobody knows it");
    assert_eq!(unknown.status(), Some(404));
    let late = service.sandbox.repeat_provision(addon).await;
    let late = late.expect("an answer");
    assert_eq!(late.status, 410, "{}", late.body);
    let credentials = service.database.number("SELECT count(*) FROM credentials");
    assert_eq!(credentials.await, 0);
    assert!(service.sandbox.config_vars(shop).is_empty());
    service.stop().await;
}

async fn the_cache_goes_for_good(
    service: &Arc<FullService>,
    shop: AppId,
    addon: AddonId,
    first: &ProviderReply,
) {
    let replies = at_once(service, 8, move |service: Arc<FullService>| async move {
        let reply = service.sandbox.deprovision(addon).await;
        reply.expect("an answer")
    })
    .await;
    let removed = replies.iter().filter(|reply| reply.status == 204).count();
    let gone = replies.iter().filter(|reply| reply.status == 410).count();
    assert_eq!((removed, gone), (1, 7), "{replies:?}");
    assert!(service.sandbox.config_vars(shop).is_empty());
    assert_ne!(login(first).await, "STORED", "its login is refused");

    // an order that was under way all the time must not bring it back
    let late = at_once(service, 8, move |service: Arc<FullService>| async move {
        let reply = service.sandbox.repeat_provision(addon).await;
        reply.expect("an answer")
    })
    .await;
    for reply in &late {
        assert_eq!(reply.status, 410, "{}", reply.body);
        assert!(reply.message().is_some_and(|text| !text.is_empty()));
    }
    let state = service
        .sandbox
        .read(|market| market.addon(addon).map(|addon| addon.state));
    assert_eq!(state, Some(AddonState::Deprovisioned));
    assert_ne!(login(first).await, "STORED");
    count_rows(service, 0).await;
}

/// The marketplace sends each of its calls twice at the same time, and late.
async fn every_call_sent_twice_is_done_once(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    service.sandbox.set_call_faults(CallFaults {
        slow: Some(Duration::from_millis(50)),
        duplicate: true,
        ..CallFaults::default()
    });
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let options = ProvisionOptions::default();
    let made = service.sandbox.provision(shop, "dev", options).await;
    let addon = made.expect("a cache").id;
    let path = addon.to_string();
    let answered = |method: &str, path_end: &str, status: u16| {
        service
            .sandbox
            .read(|market| market.requests().count(method, path_end, status))
    };
    assert_eq!(answered("POST", "/heroku/resources", 201), 2);
    count_rows(&service, 1).await;
    assert_eq!(service.sandbox.releases(shop).len(), 1);

    let changed = service.sandbox.change_plan(addon, "100").await;
    assert_eq!(changed.expect("a plan change").plan, "100");
    assert_eq!(answered("PUT", &path, 200), 2);
    assert_eq!(service.sandbox.releases(shop).len(), 1);

    let removed = service.sandbox.deprovision(addon).await;
    assert!(matches!(removed.expect("an answer").status, 204 | 410));
    assert_eq!(answered("DELETE", &path, 204), 1);
    assert_eq!(answered("DELETE", &path, 410), 1);
    count_rows(&service, 0).await;
    service.stop().await;
}

/// Shop changes its plan twice at once, and the marketplace lets the second overtake the first.
async fn of_two_plan_changes_the_one_that_arrives_last_holds(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let options = ProvisionOptions::default();
    let made = service.sandbox.provision(shop, "dev", options).await;
    let addon = made.expect("a cache").id;
    service.sandbox.set_call_faults(CallFaults {
        reorder: true,
        ..CallFaults::default()
    });
    for (held_back, overtaking, on_large) in [("100", "dev", 1), ("dev", "100", 0)] {
        // Called in this order, so the first is the one that is held back.
        let (first, second) = tokio::join!(
            service.sandbox.change_plan(addon, held_back),
            service.sandbox.change_plan(addon, overtaking)
        );
        first.expect("a plan change");
        second.expect("a plan change");
        let large = "SELECT count(*) FROM resources WHERE plan = '100'";
        assert_eq!(service.database.number(large).await, on_large);
        let known = service.sandbox.addons().remove(0).plan;
        assert_eq!(known, held_back, "both sides know the same");
    }
    service.sandbox.set_call_faults(CallFaults::default());
    service.stop().await;
}

/// The marketplace gives up waiting for an answer, and cleans up.
async fn an_order_whose_answer_was_lost_can_be_removed(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let options = ProvisionOptions::default();
    let addon = service.sandbox.prepare_provision(shop, "dev", options);
    let addon = addon.expect("an order");
    service.sandbox.set_call_faults(CallFaults {
        lose_reply: true,
        ..CallFaults::default()
    });
    let ordered = service.sandbox.repeat_provision(addon).await;
    assert!(matches!(ordered, Err(ProviderError::NoAnswer { .. })));
    count_rows(&service, 1).await;

    service.sandbox.set_call_faults(CallFaults::default());
    let removed = service.sandbox.deprovision(addon).await;
    assert_eq!(removed.expect("an answer").status, 204);
    let late = service.sandbox.repeat_provision(addon).await;
    assert_eq!(late.expect("an answer").status, 410);
    count_rows(&service, 0).await;
    assert!(service.sandbox.releases(shop).is_empty());
    service.stop().await;
}

/// What is repeated or concerns the plan alone changes no variable. The promotion at the end shows that one that
/// changes is pushed, and the pushes of a resource come in order.
async fn repeats_and_plan_changes_push_nothing(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let options = ProvisionOptions::default();
    let made = service.sandbox.provision(shop, "dev", options).await;
    let addon = made.expect("a cache").id;
    for plan in ["100", "100", "dev"] {
        let again = service.sandbox.repeat_provision(addon).await;
        assert!(matches!(again.expect("an answer").status, 200 | 201));
        let changed = service.sandbox.change_plan(addon, plan).await;
        assert_eq!(changed.expect("a plan change").plan, plan);
    }
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    let pushes = || {
        let mut requests = service.sandbox.requests();
        requests.retain(|request| request.method == "PATCH");
        requests.len()
    };
    assert_eq!(pushes(), 0);
    let new = owner.add_credentials().await;
    assert!(owner.promote(&new).await.status.is_redirection());
    let name = "MEMCACHIER_USERNAME";
    let arrived = service.sandbox.wait_for_var(shop, name, &new, PATIENCE);
    arrived.await.expect("the push arrives");
    eventually("the push is recorded", async || pushes() > 0).await;
    assert_eq!(pushes(), 1, "only what has changed");
    assert_eq!(service.sandbox.releases(shop).len(), 2);
    service.stop().await;
}

/// Runs `call` so many times at the same time; all results.
async fn at_once<T: Send + 'static, F>(
    service: &Arc<FullService>,
    times: usize,
    call: impl Fn(Arc<FullService>) -> F,
) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let mut calls: JoinSet<T> = (0..times).map(|_| call(Arc::clone(service))).collect();
    let mut results = Vec::new();
    while let Some(result) = calls.join_next().await {
        results.push(result.expect("no panic"));
    }
    results
}

/// One resource ever, and so many live ones with one credential each.
async fn count_rows(service: &FullService, live: i64) {
    let database = &service.database;
    let resources = database.number("SELECT count(*) FROM resources");
    assert_eq!(resources.await, 1, "one resource");
    let alive = database.number("SELECT count(*) FROM resources WHERE deprovisioned_at IS NULL");
    assert_eq!(alive.await, live);
    let credentials = database.number("SELECT count(*) FROM credentials");
    assert_eq!(credentials.await, 1, "one credential");
    let usable = database.number("SELECT count(*) FROM credentials WHERE removed_at IS NULL");
    assert_eq!(usable.await, live);
}

fn config(reply: &ProviderReply) -> Value {
    let body: Value = serde_json::from_str(&reply.body).expect("JSON");
    body["config"].clone()
}

/// What the cache's node says to the login of an answer's config.
async fn login(reply: &ProviderReply) -> String {
    let config = config(reply);
    let value = |name: &str| config[name].as_str().expect("a text").to_owned();
    let mut client = Plain::connect(&value("MEMCACHIER_SERVERS")).await;
    client
        .login(&value("MEMCACHIER_USERNAME"), &value("MEMCACHIER_PASSWORD"))
        .await
}
