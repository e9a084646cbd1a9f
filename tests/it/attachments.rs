//! One cache, several apps: who is attached changes after provisioning, and the lines follow.

use larder::domain::ExternalId;
use larder::marketplace::heroku::client::HerokuClient;
use larder::outbox::ports::Inventory as _;
use larder::sandbox::{AddonId, AppId, EndpointGroup, Fault, ProvisionOptions};
use larder::store::Store;

use crate::outbox_fixture::heroku_settings;
use crate::support::HEROKU;
use crate::support::control_plane::eventually;
use crate::support::dashboard::{Dashboard, visible_text};
use crate::support::db::Database;
use crate::support::full_service::{FullService, PASSWORD, PATIENCE, Wishes};
use crate::support::on_both_databases;

on_both_databases!(flush_lines_follow_the_attached_apps_by_webhook);
on_both_databases!(the_list_of_installs_is_read_with_all_its_pages);
on_both_databases!(an_app_without_a_log_input_misses_nothing_but_lines);
on_both_databases!(without_webhooks_the_attached_apps_are_read_now_and_then);

async fn flush_lines_follow_the_attached_apps_by_webhook(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let (shop, addon) = provision(&service, "shop").await;
    let jobs = service.sandbox.create_app("jobs").expect("a new app");
    let store = service.store().await;
    answered(&service, "POST", "/webhooks", 201).await;
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;

    service.sandbox.attach(addon, jobs).expect("attached");
    attached(&store, addon, &[shop, jobs]).await;
    flush(&mut owner).await;
    for app in [shop, jobs] {
        let line = service.sandbox.wait_for_line(app, "event=flush ", PATIENCE);
        line.await.expect("the line arrives");
        assert_eq!(service.lines_of(app, "flush").len(), 1);
    }

    service
        .sandbox
        .rename(addon, "winter-stock")
        .expect("a new name");
    eventually("the page shows the new name", async || {
        owner.page().await.contains("winter-stock")
    })
    .await;

    service.sandbox.detach(addon, jobs).expect("detached");
    attached(&store, addon, &[shop]).await;
    flush(&mut owner).await;
    eventually("the second line is in the owner's log", async || {
        service.lines_of(shop, "flush").len() == 2
    })
    .await;
    assert_eq!(service.lines_of(jobs, "flush").len(), 1);
    let refused = service
        .sandbox
        .read(|market| market.requests().count("POST", "/logs", 401));
    assert_eq!(refused, 0, "nothing was sent to the app that left");
    store.close().await;
    service.stop().await;
}

/// The platform grants us no webhooks, and lists one entry per page.
async fn without_webhooks_the_attached_apps_are_read_now_and_then(database: Database) {
    let wishes = Wishes {
        page_size: Some(1),
        settings: vec![("LARDER_HEROKU_RECONCILE_SECS".to_owned(), "1".to_owned())],
        ..Wishes::default()
    };
    let service = FullService::start(database, wishes).await;
    service
        .sandbox
        .set_fault(EndpointGroup::Webhooks, Some(Fault::Forbidden));
    let (shop, addon) = provision(&service, "shop").await;
    let jobs = service.sandbox.create_app("jobs").expect("a new app");
    let store = service.store().await;
    answered(&service, "GET", "/webhooks", 403).await;

    service.sandbox.attach(addon, jobs).expect("attached");
    attached(&store, addon, &[shop, jobs]).await;
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    flush(&mut owner).await;
    for app in [shop, jobs] {
        let line = service.sandbox.wait_for_line(app, "event=flush ", PATIENCE);
        line.await.expect("the line arrives");
    }
    service.sandbox.detach(addon, jobs).expect("detached");
    attached(&store, addon, &[shop]).await;
    let asked = service
        .sandbox
        .read(|market| market.requests().count("GET", "/webhooks", 403));
    assert_eq!(asked, 1, "a refusal is taken once");
    store.close().await;
    service.stop().await;
}

/// One install is entered at the marketplace without our being called, one vanishes there.
async fn the_list_of_installs_is_read_with_all_its_pages(database: Database) {
    let wishes = Wishes {
        page_size: Some(1),
        ..Wishes::default()
    };
    let service = FullService::start(database, wishes).await;
    let (shop, addon) = provision(&service, "shop").await;
    let (_, lost) = provision(&service, "blog").await;
    let options = ProvisionOptions::default();
    let other_app = service.sandbox.prepare_provision(shop, "dev", options);
    service.sandbox.forget(lost);

    let mut heroku = heroku_settings(service.sandbox.url());
    heroku.id = "larder".to_owned();
    heroku.passwords = vec![PASSWORD.to_owned().into()];
    let client = HerokuClient::new(heroku).expect("a client");
    let listed = client.installs().await.expect("a list");
    let mut listed: Vec<String> = listed.iter().map(ToString::to_string).collect();
    let mut wanted = vec![addon.to_string(), other_app.expect("entered").to_string()];
    listed.sort();
    wanted.sort();
    assert_eq!(listed, wanted, "two pages of one");
    service.stop().await;
}

/// Shop is an app of the generation that has no log input.
async fn an_app_without_a_log_input_misses_nothing_but_lines(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let options = ProvisionOptions {
        without_log_input: true,
        ..ProvisionOptions::default()
    };
    let made = service.sandbox.provision(shop, "dev", options).await;
    let addon = made.expect("a cache").id;
    answered(&service, "GET", "/addon-attachments", 200).await;
    let store = service.store().await;
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    flush(&mut owner).await;
    eventually("the page shows the flush", async || {
        visible_text(&owner.page().await).contains("Flushed")
    })
    .await;
    let new = owner.add_credentials().await;
    assert!(owner.promote(&new).await.status.is_redirection());
    let name = "MEMCACHIER_USERNAME";
    let arrived = service.sandbox.wait_for_var(shop, name, &new, PATIENCE);
    arrived.await.expect("the push arrives");

    assert_eq!(store.lines_waiting().await.expect("an answer"), 0);
    let all = service.sandbox.requests().into_iter();
    let calls = all.filter(|request| request.path.ends_with("/logs"));
    assert_eq!(calls.count(), 0, "nobody to send a line to");
    store.close().await;
    service.stop().await;
}

async fn provision(service: &FullService, name: &str) -> (AppId, AddonId) {
    let app = service.sandbox.create_app(name).expect("a new app");
    let addon = service
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
async fn answered(service: &FullService, method: &str, path_end: &str, status: u16) {
    let seen = service.sandbox.wait_for(PATIENCE, |market| {
        (market.requests().count(method, path_end, status) > 0).then_some(())
    });
    seen.await.expect("the call is made");
}

/// Waits until the service knows exactly these apps.
async fn attached(store: &Store, addon: AddonId, apps: &[AppId]) {
    let id: ExternalId = addon.to_string().parse().expect("an id");
    let found = store.resource_by_external(HEROKU, &id).await;
    let cache = found.expect("an answer").expect("a resource").cache;
    let mut wanted: Vec<String> = apps.iter().map(ToString::to_string).collect();
    wanted.sort();
    eventually("the attached apps are known", async || {
        store.attached_apps(cache).await.expect("an answer") == wanted
    })
    .await;
}
