//! Faults of the provider: a promoted credential arrives once the provider can take it, the dashboard says all
//! the while what it is waiting for, and the app is restarted once.

use larder::sandbox::{
    AddonId, AppId, EndpointGroup, Fault, Market, ProvisionOptions, RecordedRequest,
};
use larder::store::Store;

use crate::support::control_plane::eventually;
use crate::support::dashboard::{Dashboard, visible_text};
use crate::support::db::Database;
use crate::support::full_service::{FullService, PATIENCE, Wishes};
use crate::support::on_both_databases;

const RETRY_AFTER_SECS: u32 = 1;

on_both_databases!(a_push_outlasts_a_provider_in_trouble);
on_both_databases!(a_line_outlasts_a_log_input_in_trouble_and_a_dead_one_is_left_alone);
on_both_databases!(a_line_finds_the_log_input_in_place_of_a_dead_one);

/// Shop's owner promotes a credential while the provider's API answers 500, then asks for patience, then hangs, then
/// does what it is told but loses the answer, and at last is well again.
async fn a_push_outlasts_a_provider_in_trouble(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let (shop, addon) = provision(&service).await;
    let old = username(&service, shop);
    let releases_before = service.sandbox.releases(shop).len();
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    let new = owner.add_credentials().await;
    assert!(
        push_line(&mut owner)
            .await
            .starts_with("Config vars: Applied")
    );

    set(&service, Some(Fault::ServerError));
    assert!(owner.promote(&new).await.status.is_redirection());
    says_pending(
        &mut owner,
        "Reason: config update: 500 Internal Server Error. Next try",
    )
    .await;
    assert_eq!(username(&service, shop), old);

    set(
        &service,
        Some(Fault::TooManyRequests {
            retry_after_secs: RETRY_AFTER_SECS,
        }),
    );
    says_pending(
        &mut owner,
        "Reason: config update: 429 Too Many Requests. Next try",
    )
    .await;

    set(&service, Some(Fault::Hang));
    says_pending(
        &mut owner,
        "Reason: config update: no answer in time. Next try",
    )
    .await;
    assert_eq!(username(&service, shop), old);

    service
        .sandbox
        .queue_faults(EndpointGroup::Config, [Some(Fault::LostReply)]);
    set(&service, None);
    let arrived = service
        .sandbox
        .wait_for_var(shop, "MEMCACHIER_USERNAME", &new, PATIENCE);
    arrived
        .await
        .expect("the push arrives once the provider is well");
    says_pending(
        &mut owner,
        "Reason: config update: the connection broke. Next try",
    )
    .await;
    eventually("the dashboard says applied", async || {
        push_line(&mut owner)
            .await
            .starts_with("Config vars: Applied")
    })
    .await;

    // With one release the variables changed once: from the old values to the new ones, and never back.
    assert_eq!(
        service.sandbox.releases(shop).len(),
        releases_before + 1,
        "exactly one release"
    );
    assert_eq!(username(&service, shop), new);
    assert_eq!(
        service.sandbox.config_vars(shop)["MEMCACHIER_PASSWORD"],
        owner.reveal(&new).await
    );
    patience_was_kept(&pushes(&service));
    service.stop().await;
}

/// Shop's log input fails in every way that passes, and then refuses our token for good.
async fn a_line_outlasts_a_log_input_in_trouble_and_a_dead_one_is_left_alone(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let (shop, addon) = provision(&service).await;
    eventually("the attached apps are read", async || {
        lists_read(&service) == 1
    })
    .await;
    let store = service.store().await;
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;

    let logs = EndpointGroup::Logs;
    let patience = Fault::TooManyRequests {
        retry_after_secs: RETRY_AFTER_SECS,
    };
    let passing = [Fault::ServerError, patience, Fault::LostReply];
    service.sandbox.queue_faults(logs, passing.map(Some));
    assert!(owner.flush().await.status.is_redirection());
    let mut told = vec![Some(500), Some(429), None, Some(204)];
    eventually("the line is taken", async || {
        log_answers(&service).len() == told.len()
    })
    .await;
    assert_eq!(log_answers(&service), told);
    let lines = service.lines_of(shop, "flush");
    assert_eq!(lines.len(), 2, "once more after the lost answer");
    assert_eq!(lines[0], lines[1]);

    service.sandbox.set_fault(logs, Some(Fault::Unauthorized));
    assert!(owner.flush().await.status.is_redirection());
    told.push(Some(401));
    eventually("the apps are read once more", async || {
        lists_read(&service) == 2
    })
    .await;
    no_line_waits(&service, &store, 2).await;
    assert_eq!(log_answers(&service), told);

    // The provider names the same input as before, so there is nobody to send the next line to.
    service.sandbox.set_fault(logs, None);
    assert!(owner.flush().await.status.is_redirection());
    no_line_waits(&service, &store, 3).await;
    assert_eq!(log_answers(&service), told);
    assert_eq!(lists_read(&service), 2);
    store.close().await;
    service.stop().await;
}

/// How each call of the log input was answered.
fn log_answers(service: &FullService) -> Vec<Option<u16>> {
    let all = service.sandbox.requests().into_iter();
    let calls = all.filter(|request| request.path.ends_with("/logs"));
    calls.map(|request| request.status).collect()
}

/// How often we have read which apps an add-on is attached to.
fn lists_read(service: &FullService) -> usize {
    let count = |market: &Market| market.requests().count("GET", "/addon-attachments", 200);
    service.sandbox.read(count)
}

/// Shop's log input is replaced, and nobody tells us.
async fn a_line_finds_the_log_input_in_place_of_a_dead_one(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let (shop, addon) = provision(&service).await;
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    eventually("the attached apps are read", async || {
        lists_read(&service) == 1
    })
    .await;
    let renewed = service.sandbox.renew_log_inputs(addon);
    renewed.expect("it is provisioned");
    for count in 1..=2 {
        assert!(owner.flush().await.status.is_redirection());
        eventually("the line arrives", async || {
            service.lines_of(shop, "flush").len() == count
        })
        .await;
    }
    // Once in vain, and from then on straight to the new one.
    assert_eq!(log_answers(&service), [Some(401), Some(204), Some(204)]);
    service.stop().await;
}

/// Waits until so many flushes are in the history and nothing is left to be sent of them.
async fn no_line_waits(service: &FullService, store: &Store, flushes: i64) {
    eventually("the flush is reported", async || {
        let reported = "SELECT count(*) FROM events WHERE kind = 'flush'";
        service.database.number(reported).await == flushes
    })
    .await;
    eventually("no line waits", async || {
        store.lines_waiting().await.expect("an answer") == 0
    })
    .await;
}

/// After each 429 the next push came no earlier than asked.
fn patience_was_kept(pushes: &[RecordedRequest]) {
    let mut asked = 0;
    for pair in pushes.windows(2) {
        if pair[0].status == Some(429) {
            asked += 1;
            let waited = pair[1].at.duration_since(pair[0].at);
            assert!(
                waited.as_millis() >= i128::from(RETRY_AFTER_SECS) * 1_000,
                "{waited:?}"
            );
        }
    }
    assert!(asked > 0, "{pushes:#?}");
}

fn pushes(service: &FullService) -> Vec<RecordedRequest> {
    let all = service.sandbox.requests().into_iter();
    all.filter(|request| request.method == "PATCH").collect()
}

fn set(service: &FullService, fault: Option<Fault>) {
    service.sandbox.set_fault(EndpointGroup::Config, fault);
}

fn username(service: &FullService, app: AppId) -> String {
    service.sandbox.config_vars(app)["MEMCACHIER_USERNAME"].clone()
}

/// One kind of fault lasts until its reason is on the page.
async fn says_pending(owner: &mut Dashboard, reason: &str) {
    eventually(reason, async || {
        let line = push_line(owner).await;
        assert!(line.starts_with("Config vars: Pending"), "{line}");
        line.contains(reason)
    })
    .await;
}

/// What a reader of the dashboard is told about the config vars.
async fn push_line(owner: &mut Dashboard) -> String {
    let page = owner.page().await;
    let start = page
        .find("<p class=\"push")
        .expect("the line about the push");
    let end = page[start..].find("</p>").expect("its end");
    visible_text(&page[start..start + end])
}

async fn provision(service: &FullService) -> (AppId, AddonId) {
    let app = service.sandbox.create_app("shop").expect("a new app");
    let options = ProvisionOptions::default();
    let addon = service.sandbox.provision(app, "dev", options).await;
    (app, addon.expect("a cache").id)
}
