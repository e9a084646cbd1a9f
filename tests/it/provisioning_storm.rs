//! A marketplace delivers at least once, and sometimes very often: whatever it repeats makes one cache, is answered
//! alike, and never brings back what was given up.

use std::sync::Arc;

use larder::sandbox::{AddonId, AddonState, AppId, ProviderReply, ProvisionOptions};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::db::Database;
use crate::support::on_both_databases;
use crate::support::plain::Plain;
use crate::support::scene::{Scene, Wishes};

const AT_ONCE: usize = 64;

on_both_databases!(a_storm_of_equal_requests_makes_one_cache);

/// Shop orders one cache, and the marketplace sends that order 64 times at once. Later it changes the plan, removes
/// the cache several times at once, and long after that an old order still arrives.
async fn a_storm_of_equal_requests_makes_one_cache(database: Database) {
    let world = Arc::new(Scene::start(database, Wishes::default()).await);
    let shop = world.sandbox.create_app("shop").expect("a new app");
    let options = ProvisionOptions::default();
    let order = world.sandbox.prepare_provision(shop, "dev", options);
    let addon = order.expect("an order");

    let replies = at_once(&world, AT_ONCE, move |world: Arc<Scene>| async move {
        let reply = world.sandbox.repeat_provision(addon).await;
        let reply = reply.expect("an answer");
        // whoever has an answer may use it at once
        assert_eq!(login(&reply).await, "STORED");
        reply
    })
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
    count_rows(&world, 1).await;
    assert_eq!(world.sandbox.releases(shop).len(), 1);
    assert_eq!(
        world.sandbox.config_vars(shop)["MEMCACHIER_USERNAME"],
        config(&first)["MEMCACHIER_USERNAME"]
    );

    let changed = world.sandbox.change_plan(addon, "100").await;
    assert_eq!(changed.expect("a plan change").plan, "100");
    let late = world.sandbox.repeat_provision(addon).await;
    let late = late.expect("an answer");
    assert_eq!(late.status, 200, "no longer what was ordered");
    assert_eq!(config(&late), config(&first), "and the same cache");

    the_cache_goes_for_good(&world, shop, addon, &first).await;
    let world = Arc::into_inner(world).expect("nobody else is left");
    world.stop().await;
}

async fn the_cache_goes_for_good(
    world: &Arc<Scene>,
    shop: AppId,
    addon: AddonId,
    first: &ProviderReply,
) {
    let replies = at_once(world, 8, move |world: Arc<Scene>| async move {
        let reply = world.sandbox.deprovision(addon).await;
        reply.expect("an answer")
    })
    .await;
    let removed = replies.iter().filter(|reply| reply.status == 204).count();
    let gone = replies.iter().filter(|reply| reply.status == 410).count();
    assert_eq!((removed, gone), (1, 7), "{replies:?}");
    assert!(world.sandbox.config_vars(shop).is_empty());
    assert_ne!(login(first).await, "STORED", "its login is refused");

    // an order that was under way all the time must not bring it back
    let late = at_once(world, 8, move |world: Arc<Scene>| async move {
        let reply = world.sandbox.repeat_provision(addon).await;
        reply.expect("an answer")
    })
    .await;
    for reply in &late {
        assert_eq!(reply.status, 410, "{}", reply.body);
        assert!(reply.message().is_some_and(|text| !text.is_empty()));
    }
    let state = world
        .sandbox
        .read(|market| market.addon(addon).map(|addon| addon.state));
    assert_eq!(state, Some(AddonState::Deprovisioned));
    assert_ne!(login(first).await, "STORED");
    count_rows(world, 0).await;
}

/// Runs `call` so many times at the same time; all results.
async fn at_once<T: Send + 'static, F>(
    world: &Arc<Scene>,
    times: usize,
    call: impl Fn(Arc<Scene>) -> F,
) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let mut calls: JoinSet<T> = (0..times).map(|_| call(Arc::clone(world))).collect();
    let mut results = Vec::new();
    while let Some(result) = calls.join_next().await {
        results.push(result.expect("no panic"));
    }
    results
}

/// One resource ever, and so many live ones with one credential each.
async fn count_rows(world: &Scene, live: i64) {
    let database = &world.database;
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
