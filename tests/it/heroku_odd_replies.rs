//! Odd members in what Heroku sends: one of them spoils nothing beside it.

use axum::http::{Method, StatusCode};
use larder::http::CallErrorKind;
use larder::outbox::ports::{ResourceReader as _, TokenIssuer as _};
use larder::store::outbox::grants::GrantState;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::heroku_routes::{COLLECTION, UUID, app, ask, sample};
use crate::outbox_fixture::{OutboxFixture, heroku_client, outbox};
use crate::support::HEROKU;
use crate::support::db::on_each;

async fn answer(server: &MockServer, at: &str, body: Value) {
    Mock::given(path(at))
        .respond_with(ResponseTemplate::new(200).set_body_json(body))
        .mount(server)
        .await;
}

/// What is known of the add-on: its name is a number, an app's log input too, and another's owner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_odd_member_stops_no_reconcile() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let server = MockServer::start().await;
        answer(&server, "/oauth/token", json!({"access_token": "HRKU-access"})).await;
        let addon = json!({"id": UUID, "name": 7, "state": "provisioned"});
        answer(&server, &format!("/addons/{UUID}"), addon).await;
        let apps = json!([
            {"app": {"id": "app-1", "name": "n"}, "addon": {"app": {"id": "app-1"}}, "log_input_url": 7},
            {"app": {"id": "app-2"}, "addon": [], "log_input_url": null},
        ]);
        answer(&server, &format!("/addons/{UUID}/addon-attachments"), apps).await;

        let app = app(&fixture.control, |_| {});
        let order = sample(&[("name", Some(json!("bakery"))), ("log_input_url", None)]);
        let made = ask(&app, Method::POST, COLLECTION, order).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        let store = &fixture.control.store;
        let outbox = outbox(
            store,
            &fixture.control.clock,
            fixture.nodes.clone(),
            heroku_client(&server.uri()),
        );
        while outbox.run_due().await.expect("the store answers") > 0 {}
        assert_eq!(outbox.reconcile_due().await.expect("read"), 1);
        let id = UUID.parse().expect("an id");
        let resource = store.resource_by_external(HEROKU, &id).await.expect("read");
        let resource = resource.expect("a resource");
        let attached = store.attached_apps(resource.cache).await.expect("read");
        assert_eq!(attached, ["app-1", "app-2"]);
        assert_eq!(resource.name, "bakery", "no other was told");
    })
    .await;
}

/// A list without one of its apps, taken for the whole, would detach that app.
#[tokio::test]
async fn a_list_whose_app_cannot_be_read_is_no_list() {
    let server = MockServer::start().await;
    for odd in [
        json!({"log_input_url": null}),
        json!({"app": {"id": 7}}),
        json!(7),
    ] {
        server.reset().await;
        let list = json!([{"app": {"id": "app-1"}}, odd]);
        answer(&server, &format!("/addons/{UUID}/addon-attachments"), list).await;
        let id = UUID.parse().expect("an id");
        let token = "the-token".to_owned().into();
        let client = heroku_client(&server.uri());
        let refused = client.attachments(&id, Some(&token)).await;
        let kind = refused.expect_err("no list").kind;
        assert_eq!(kind, CallErrorKind::Refused, "{odd}");
    }
}

#[tokio::test]
async fn a_fresh_code_with_an_odd_date_is_a_code() {
    let server = MockServer::start().await;
    let id = UUID.parse().expect("an id");
    let client = heroku_client(&server.uri());
    let at = format!("/vendor/resources/{UUID}/oauth-grant");
    for date in [json!(1_795_372_500), Value::Null, json!({}), json!("soon")] {
        server.reset().await;
        answer(&server, &at, json!({"code": "again", "expires_at": date})).await;
        let fresh = client.fresh_code(&id).await.expect("an answer");
        assert_eq!(fresh.expect("a code").expose_secret(), "again", "{date}");
    }
    for none in [
        json!({"code": ""}),
        json!({"code": 7}),
        json!(["again"]),
        json!("again"),
    ] {
        server.reset().await;
        answer(&server, &at, none.clone()).await;
        let refused = client.fresh_code(&id).await.expect_err("no code");
        assert_eq!(refused.kind, CallErrorKind::Refused, "{none}");
        assert!(!refused.message.contains("again"), "{}", refused.message);
    }
}

/// As of a clock of ours that is ahead. Heroku's token endpoint is in trouble once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_whose_date_has_passed_is_tried_for_some_minutes() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let server = MockServer::start().await;
        Mock::given(path("/oauth/token"))
            .respond_with(ResponseTemplate::new(503))
            .up_to_n_times(1)
            .expect(1)
            .mount(&server)
            .await;
        answer(
            &server,
            "/oauth/token",
            json!({"access_token": "HRKU-access"}),
        )
        .await;
        let app = app(&fixture.control, |_| {});
        let grant = json!({"code": "good", "expires_at": "1970-01-01T00:00:00Z"});
        let order = sample(&[("oauth_grant", Some(grant)), ("log_input_url", None)]);
        let made = ask(&app, Method::POST, COLLECTION, order).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        let store = &fixture.control.store;
        let outbox = outbox(
            store,
            &fixture.control.clock,
            fixture.nodes.clone(),
            heroku_client(&server.uri()),
        );
        for _ in 0..2 {
            while outbox.run_due().await.expect("the store answers") > 0 {}
            fixture.pass(31);
        }
        let id = UUID.parse().expect("an id");
        let resource = store.resource_by_external(HEROKU, &id).await.expect("read");
        let grant = store.grant(resource.expect("a resource").cache).await;
        let grant = grant.expect("read").expect("a grant");
        assert_eq!(grant.state, GrantState::Active);
    })
    .await;
}
