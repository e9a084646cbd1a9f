//! A plan that is provisioned in the background, seen from the marketplace and from the owner's dashboard.

use larder::sandbox::{
    AddonId, AddonState, AppId, CallFaults, EndpointGroup, Fault, ProviderError, ProvisionOptions,
};

use crate::support::control_plane::eventually;
use crate::support::dashboard::{Dashboard, visible_text};
use crate::support::db::Database;
use crate::support::full_service::{FullService, PATIENCE, Wishes, plan};
use crate::support::on_both_databases;

on_both_databases!(an_order_in_the_background_ends_in_one_release);
on_both_databases!(an_order_may_be_taken_back);
on_both_databases!(an_order_that_cannot_be_finished_is_given_up_and_told);

async fn start_service(database: Database) -> FullService {
    let in_background = plan("dev", 25, 50) + "asynchronous = true\n";
    let wishes = Wishes {
        file: Some([in_background, plan("100", 100, 50)].concat()),
        ..Wishes::default()
    };
    FullService::start(database, wishes).await
}

async fn order(service: &FullService, app: &str) -> (AppId, AddonId) {
    let app = service.sandbox.create_app(app).expect("a new name");
    let options = ProvisionOptions::default();
    let addon = service.sandbox.provision(app, "dev", options).await;
    let addon = addon.expect("accepted");
    assert_eq!(addon.state, AddonState::Provisioning);
    assert!(addon.config.is_empty(), "202 brings no values");
    (app, addon.id)
}

/// Shop orders a cache while the platform's config API, and then its completion actions, have their troubles.
async fn an_order_in_the_background_ends_in_one_release(database: Database) {
    let service = start_service(database).await;
    let (config, actions) = (EndpointGroup::Config, EndpointGroup::Actions);
    service.sandbox.set_fault(config, Some(Fault::ServerError));
    service.sandbox.set_fault(actions, Some(Fault::ServerError));
    let (shop, addon) = order(&service, "shop").await;
    let (first, again) = (
        service.sandbox.repeat_provision(addon).await,
        service.sandbox.repeat_provision(addon).await,
    );
    let (first, again) = (first.expect("an answer"), again.expect("an answer"));
    assert_eq!((first.status, again.status), (202, 202));
    assert_eq!(first.body, again.body, "accepted again, in the same words");

    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    let page = visible_text(&owner.page().await);
    assert!(page.contains("Being set up"), "{page}");
    assert!(page.contains("There is nothing to do for you"), "{page}");
    let changed = service.sandbox.change_plan(addon, "100").await;
    assert_eq!(changed.expect("another plan").plan, "100");

    service
        .sandbox
        .queue_faults(actions, [Some(Fault::LostReply)]);
    service.sandbox.set_fault(config, None);
    service.sandbox.set_fault(actions, None);
    let ready = service.sandbox.wait_for(PATIENCE, |market| {
        (market.addon(addon)?.state == AddonState::Provisioned).then_some(())
    });
    ready.await.expect("the platform hears that it is ready");
    let primary = owner.usernames().await.remove(0);
    let vars = service.sandbox.config_vars(shop);
    assert_eq!(vars["MEMCACHIER_USERNAME"], primary);
    assert_eq!(service.sandbox.releases(shop).len(), 1, "one release");
    eventually("the dashboard knows", async || {
        visible_text(&owner.page().await).contains("Enabled")
    })
    .await;
    let late = service.sandbox.repeat_provision(addon).await;
    let late = late.expect("an answer");
    assert_eq!(late.status, 200, "it is on another plan by now");
    service.stop().await;
}

/// Shop orders, and removes the add-on before it is ready.
async fn an_order_may_be_taken_back(database: Database) {
    let service = start_service(database).await;
    let config = EndpointGroup::Config;
    service.sandbox.set_fault(config, Some(Fault::ServerError));
    let (shop, addon) = order(&service, "shop").await;
    let removed = service.sandbox.deprovision(addon).await;
    assert_eq!(removed.expect("an answer").status, 204);
    service.sandbox.set_fault(config, None);
    let again = service.sandbox.repeat_provision(addon).await;
    assert_eq!(again.expect("an answer").status, 410);
    assert!(service.sandbox.releases(shop).is_empty());

    // The same where the platform never hears that it was removed, and thinks of it as on its way.
    service.sandbox.set_fault(config, Some(Fault::ServerError));
    let (blog, addon) = order(&service, "blog").await;
    service.sandbox.set_call_faults(CallFaults {
        lose_reply: true,
        ..CallFaults::default()
    });
    let removed = service.sandbox.deprovision(addon).await;
    assert!(matches!(removed, Err(ProviderError::NoAnswer { .. })));
    service.sandbox.set_call_faults(CallFaults::default());
    service.sandbox.set_fault(config, None);
    let again = service.sandbox.repeat_provision(addon).await;
    assert_eq!(again.expect("an answer").status, 410);
    assert!(service.sandbox.releases(blog).is_empty());
    service.stop().await;
}

/// The platform takes no values for eleven hours, and would remove the add-on itself after twelve.
async fn an_order_that_cannot_be_finished_is_given_up_and_told(database: Database) {
    let service = start_service(database).await;
    let config = EndpointGroup::Config;
    service.sandbox.set_fault(config, Some(Fault::ServerError));
    let (shop, addon) = order(&service, "shop").await;
    // Nobody can set the clock of a service, so the order becomes an old one.
    let hours_ago = "UPDATE resources SET created_at = created_at - 39600000000";
    service.database.execute(hours_ago).await;
    let gone = service.sandbox.wait_for(PATIENCE, |market| {
        (market.addon(addon)?.state == AddonState::Deprovisioned).then_some(())
    });
    gone.await.expect("the platform hears that we give up");
    eventually("our side has ended too", async || {
        let ended = "SELECT count(*) FROM resources WHERE deprovisioned_at IS NOT NULL";
        service.database.number(ended).await == 1
    })
    .await;

    let again = service.sandbox.repeat_provision(addon).await;
    assert_eq!(again.expect("an answer").status, 410);
    let mut told = service.sandbox.requests();
    told.retain(|request| request.path.contains("/actions/"));
    assert_eq!(told.len(), 1, "told once: {told:?}");
    assert!(told[0].path.ends_with("/actions/deprovision"));
    assert_eq!(
        (told[0].method.as_str(), told[0].status),
        ("POST", Some(200))
    );
    assert!(service.sandbox.releases(shop).is_empty());
    service.stop().await;
}
