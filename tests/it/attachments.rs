//! One cache, several apps: who is attached changes after provisioning, and the lines follow.

use larder::domain::{ExternalId, Marketplace};
use larder::marketplace::heroku::client::HerokuClient;
use larder::outbox::ports::Provider as _;
use larder::sandbox::{AddonId, AppId, EndpointGroup, Fault, ProvisionOptions};
use larder::store::Store;

use crate::outbox_bed::heroku_settings;
use crate::support::dashboard::{Dashboard, visible_text};
use crate::support::db::Database;
use crate::support::on_both_databases;
use crate::support::scene::{PASSWORD, PATIENCE, Scene, Wishes};
use crate::support::world::eventually;

on_both_databases!(flush_lines_follow_the_attached_apps_by_webhook);
on_both_databases!(the_list_of_installs_is_read_with_all_its_pages);
on_both_databases!(an_app_without_a_log_input_misses_nothing_but_lines);
on_both_databases!(without_webhooks_the_attached_apps_are_read_now_and_then);

async fn flush_lines_follow_the_attached_apps_by_webhook(database: Database) {
    let world = Scene::start(database, Wishes::default()).await;
    let (shop, addon) = provision(&world, "shop").await;
    let jobs = world.sandbox.create_app("jobs").expect("a new app");
    let store = world.store().await;
    answered(&world, "POST", "/webhooks", 201).await;
    let mut owner = Dashboard::open(&world.sandbox, addon, &world.base).await;

    world.sandbox.attach(addon, jobs).expect("attached");
    attached(&store, addon, &[shop, jobs]).await;
    flush(&mut owner).await;
    for app in [shop, jobs] {
        let line = world.sandbox.wait_for_line(app, "event=flush ", PATIENCE);
        line.await.expect("the line arrives");
        assert_eq!(world.lines_of(app, "flush").len(), 1);
    }

    world
        .sandbox
        .rename(addon, "winter-stock")
        .expect("a new name");
    eventually("the page shows the new name", async || {
        owner.page().await.contains("winter-stock")
    })
    .await;

    world.sandbox.detach(addon, jobs).expect("detached");
    attached(&store, addon, &[shop]).await;
    flush(&mut owner).await;
    eventually("the second line is in the owner's log", async || {
        world.lines_of(shop, "flush").len() == 2
    })
    .await;
    assert_eq!(world.lines_of(jobs, "flush").len(), 1);
    let refused = world
        .sandbox
        .read(|market| market.requests().count("POST", "/logs", 401));
    assert_eq!(refused, 0, "nothing was sent to the app that left");
    store.close().await;
    world.stop().await;
}

/// The platform grants us no webhooks, and lists one entry per page.
async fn without_webhooks_the_attached_apps_are_read_now_and_then(database: Database) {
    let wishes = Wishes {
        page_size: Some(1),
        settings: vec![("LARDER_HEROKU_LOOK_SECS".to_owned(), "1".to_owned())],
        ..Wishes::default()
    };
    let world = Scene::start(database, wishes).await;
    world
        .sandbox
        .set_fault(EndpointGroup::Webhooks, Some(Fault::Forbidden));
    let (shop, addon) = provision(&world, "shop").await;
    let jobs = world.sandbox.create_app("jobs").expect("a new app");
    let store = world.store().await;
    answered(&world, "GET", "/webhooks", 403).await;

    world.sandbox.attach(addon, jobs).expect("attached");
    attached(&store, addon, &[shop, jobs]).await;
    let mut owner = Dashboard::open(&world.sandbox, addon, &world.base).await;
    flush(&mut owner).await;
    for app in [shop, jobs] {
        let line = world.sandbox.wait_for_line(app, "event=flush ", PATIENCE);
        line.await.expect("the line arrives");
    }
    world.sandbox.detach(addon, jobs).expect("detached");
    attached(&store, addon, &[shop]).await;
    let asked = world
        .sandbox
        .read(|market| market.requests().count("GET", "/webhooks", 403));
    assert_eq!(asked, 1, "a refusal is taken once");
    store.close().await;
    world.stop().await;
}

/// One install is entered at the marketplace without our being called, one vanishes there.
async fn the_list_of_installs_is_read_with_all_its_pages(database: Database) {
    let wishes = Wishes {
        page_size: Some(1),
        ..Wishes::default()
    };
    let world = Scene::start(database, wishes).await;
    let (shop, addon) = provision(&world, "shop").await;
    let (_, lost) = provision(&world, "blog").await;
    let options = ProvisionOptions::default();
    let stranger = world.sandbox.prepare_provision(shop, "dev", options);
    world.sandbox.forget(lost);

    let mut heroku = heroku_settings(world.sandbox.url());
    heroku.id = "larder".to_owned();
    heroku.passwords = vec![PASSWORD.to_owned().into()];
    let client = HerokuClient::new(heroku).expect("a client");
    let listed = client.installs().await.expect("an answer").expect("a list");
    let mut listed: Vec<String> = listed.iter().map(ToString::to_string).collect();
    let mut wanted = vec![addon.to_string(), stranger.expect("entered").to_string()];
    listed.sort();
    wanted.sort();
    assert_eq!(listed, wanted, "two pages of one");
    world.stop().await;
}

/// Shop is an app of the generation that has no log input.
async fn an_app_without_a_log_input_misses_nothing_but_lines(database: Database) {
    let world = Scene::start(database, Wishes::default()).await;
    let shop = world.sandbox.create_app("shop").expect("a new app");
    let options = ProvisionOptions {
        without_log_input: true,
        ..ProvisionOptions::default()
    };
    let made = world.sandbox.provision(shop, "dev", options).await;
    let addon = made.expect("a cache").id;
    answered(&world, "GET", "/addon-attachments", 200).await;
    let store = world.store().await;
    let mut owner = Dashboard::open(&world.sandbox, addon, &world.base).await;
    flush(&mut owner).await;
    eventually("the page shows the flush", async || {
        visible_text(&owner.page().await).contains("Flushed")
    })
    .await;
    let new = owner.add_credentials().await;
    assert!(owner.promote(&new).await.status.is_redirection());
    let name = "MEMCACHIER_USERNAME";
    let arrived = world.sandbox.wait_for_var(shop, name, &new, PATIENCE);
    arrived.await.expect("the push arrives");

    assert_eq!(store.lines_waiting().await.expect("an answer"), 0);
    let all = world.sandbox.requests().into_iter();
    let calls = all.filter(|request| request.path.ends_with("/logs"));
    assert_eq!(calls.count(), 0, "nobody to send a line to");
    store.close().await;
    world.stop().await;
}

async fn provision(world: &Scene, name: &str) -> (AppId, AddonId) {
    let app = world.sandbox.create_app(name).expect("a new app");
    let addon = world
        .sandbox
        .provision(app, "dev", ProvisionOptions::default())
        .await
        .expect("a cache");
    (app, addon.id)
}

async fn flush(owner: &mut Dashboard) {
    assert!(owner.flush().await.status.is_redirection());
}

/// Waits until a call of ours was answered so.
async fn answered(world: &Scene, method: &str, path_end: &str, status: u16) {
    let seen = world.sandbox.wait_for(PATIENCE, |market| {
        (market.requests().count(method, path_end, status) > 0).then_some(())
    });
    seen.await.expect("the call is made");
}

/// Waits until the service knows exactly these apps.
async fn attached(store: &Store, addon: AddonId, apps: &[AppId]) {
    let id: ExternalId = addon.to_string().parse().expect("an id");
    let found = store.resource_by_external(Marketplace::Heroku, &id).await;
    let cache = found.expect("an answer").expect("a resource").cache;
    let mut wanted: Vec<String> = apps.iter().map(ToString::to_string).collect();
    wanted.sort();
    eventually("the attached apps are known", async || {
        store.attached_apps(cache).await.expect("an answer") == wanted
    })
    .await;
}
