//! Lists that Heroku gives, and what it can be asked for at all.

use larder::http::CallErrorKind;
use larder::marketplace::heroku::Webhooks;
use larder::marketplace::heroku::client::HerokuClient;
use larder::outbox::ports::{Inventory as _, Provider as _, ResourceReader as _, Webhooks as _};
use serde_json::json;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::outbox_fixture::{heroku_client, heroku_settings};

const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";
const WEBHOOKS: &str = "https://larder.example.com/heroku/webhooks";

fn webhooks() -> Webhooks {
    Webhooks {
        url: WEBHOOKS.to_owned(),
        secret: "webhook-secret".to_owned().into(),
    }
}

/// An answer of failure is no list, whatever stands in it: an empty one would make every resource seem lost.
#[tokio::test]
async fn a_list_of_installs_in_an_answer_of_failure_does_not_count() {
    let refused = CallErrorKind::Refused;
    let trouble = CallErrorKind::Retry { after: None };
    for (status, kind) in [(400, refused), (404, CallErrorKind::Gone), (503, trouble)] {
        let server = MockServer::start().await;
        Mock::given(path("/api/v3/apps"))
            .respond_with(ResponseTemplate::new(status).set_body_json(json!([])))
            .mount(&server)
            .await;
        let failed = heroku_client(&server.uri()).installs().await;
        assert_eq!(failed.map_err(|error| error.kind), Err(kind), "{status}");
    }
}

/// What the answer to a reading means: only *not known* makes a resource missed.
#[tokio::test]
async fn a_resource_that_cannot_be_read_says_why() {
    let trouble = CallErrorKind::Retry { after: None };
    for (status, kind) in [
        (401, CallErrorKind::Unauthorized),
        (403, CallErrorKind::Refused),
        (404, CallErrorKind::Gone),
        (410, CallErrorKind::Gone),
        (503, trouble),
    ] {
        let server = MockServer::start().await;
        let body = json!({ "name": "acme", "state": "provisioned" });
        Mock::given(path(format!("/addons/{UUID}")))
            .respond_with(ResponseTemplate::new(status).set_body_json(body))
            .mount(&server)
            .await;
        let client = heroku_client(&server.uri());
        let (id, token) = (UUID.parse().expect("an id"), "token".to_owned().into());
        let read = client.resource(&id, Some(&token)).await;
        assert_eq!(
            read.map_err(|error| error.kind).err(),
            Some(kind),
            "{status}"
        );
    }
}

/// A subscription whose answer was lost is found, and not made a second time.
#[tokio::test]
async fn a_subscription_that_exists_is_not_made_again() {
    for (url, posts) in [(WEBHOOKS, 0), ("https://elsewhere.example/hooks", 1)] {
        let server = MockServer::start().await;
        let hooks = format!("/addons/{UUID}/webhooks");
        Mock::given(method("GET"))
            .and(path(&hooks))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!([{ "url": url }])))
            .mount(&server)
            .await;
        Mock::given(method("POST"))
            .and(path(&hooks))
            .respond_with(ResponseTemplate::new(201).set_body_json(json!({})))
            .expect(posts)
            .mount(&server)
            .await;
        let mut settings = heroku_settings(&server.uri());
        settings.webhooks = Some(webhooks());
        let client = HerokuClient::new(settings).expect("a client");
        let (id, token) = (UUID.parse().expect("an id"), "token".to_owned().into());
        let subscribed = client.subscribe(&id, Some(&token)).await;
        subscribed.expect("subscribed");
    }
}

/// Without a secret to check events with, none are subscribed to.
#[test]
fn events_are_subscribed_to_only_where_they_can_be_checked() {
    let able = |webhooks| {
        let mut settings = heroku_settings("http://127.0.0.1:1");
        settings.webhooks = webhooks;
        let client = HerokuClient::new(settings).expect("a client");
        client.webhooks().is_some()
    };
    assert!(!able(None));
    assert!(able(Some(webhooks())));
}
