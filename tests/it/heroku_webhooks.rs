//! Webhook events from Heroku through the router: who is believed, and what it leads to.

use std::sync::Arc;

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use larder::domain::Clock as _;
use larder::marketplace::heroku::Webhooks;
use larder::marketplace::heroku::{HerokuRoutes, calls_router};
use larder::web::RefusedCalls;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::outbox_fixture::heroku_settings;
use crate::support::claims::{heroku, terms};
use crate::support::control_plane::ControlPlane;
use crate::support::db::on_each;

const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";
const SECRET: &str = "webhook-secret";

fn app(control: &ControlPlane) -> Router {
    let mut settings = heroku_settings("https://api.example.com");
    settings.webhooks = Some(Webhooks {
        url: "https://larder.example.com/heroku/webhooks".to_owned(),
        secret: SECRET.to_owned().into(),
    });
    calls_router(HerokuRoutes {
        settings: Arc::new(settings),
        provisioning: control.provisioning.clone(),
        clock: control.clock.clone(),
        refused: RefusedCalls::default(),
    })
}

fn sign(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    STANDARD.encode(hmac::sign(&key, body))
}

async fn post(app: &Router, signature: Option<&str>, body: impl Into<Vec<u8>>) -> u16 {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri("/heroku/webhooks");
    if let Some(signature) = signature {
        request = request.header("Heroku-Webhook-Hmac-SHA256", signature);
    }
    let request = request.body(Body::from(body.into())).expect("a request");
    let answer = app.clone().oneshot(request).await.expect("infallible");
    answer.status().as_u16()
}

async fn tell(app: &Router, event: &Value) -> u16 {
    let body = event.to_string();
    post(app, Some(&sign(SECRET, body.as_bytes())), body).await
}

fn attachment(event: &str, addon: &str) -> Value {
    json!({
        "id": "another", "action": "create", "resource": "addon-attachment", "sequence": null,
        "data": { "id": "11111111-0000-4000-8000-000000000000", "name": "TEAL", "addon": { "id": addon } },
        "webhook_metadata": { "event": { "id": event, "include": "api:addon-attachment" } },
    })
}

/// Reconcile that are due; they are then done.
async fn due(control: &ControlPlane) -> u64 {
    let now = control.clock.now();
    let due = control
        .store
        .reconciles_backlog(&heroku(), now)
        .await
        .unwrap()
        .due;
    let day = now.plus(std::time::Duration::from_secs(86_400));
    let mut tx = control.store.begin().await.unwrap();
    for claim in tx.claim_reconciles(&terms(now, day, 8, 8)).await.unwrap() {
        tx.record_reconciled(&claim, None, day, now).await.unwrap();
    }
    tx.commit().await.unwrap();
    due
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signed_news_leads_to_one_look_per_event() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        control.provision(UUID).await;
        let app = app(&control);
        assert_eq!(due(&control).await, 0);
        assert_eq!(tell(&app, &attachment("evt-1", UUID)).await, 204);
        assert_eq!(due(&control).await, 1);
        assert_eq!(tell(&app, &attachment("evt-1", UUID)).await, 204);
        assert_eq!(due(&control).await, 0, "a repeat leads to nothing");
        let renamed = json!({ "id": "evt-2", "action": "update", "resource": "addon", "data": { "id": UUID } });
        assert_eq!(tell(&app, &renamed).await, 204);
        assert_eq!(due(&control).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_ours_or_not_signed_leads_to_nothing() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        control.provision(UUID).await;
        let app = app(&control);
        let body = attachment("evt-1", UUID).to_string();
        assert_eq!(post(&app, None, body.clone()).await, 401);
        let foreign = sign("another-secret", body.as_bytes());
        assert_eq!(post(&app, Some(&foreign), body.clone()).await, 401);
        let good = sign(SECRET, body.as_bytes());
        assert_eq!(post(&app, Some(&good), format!("{body} ")).await, 401);
        assert_eq!(post(&app, Some("!"), "not JSON").await, 401);

        let broken = b"{\"id\":";
        assert_eq!(post(&app, Some(&sign(SECRET, broken)), *broken).await, 400);
        let large = vec![b' '; 64 * 1024 + 1];
        assert_eq!(post(&app, Some(&sign(SECRET, &large)), large).await, 413);

        let unknown = "99999999-89ab-cdef-0123-456789abcdef";
        let beside = [
            attachment("evt-2", unknown),
            attachment("evt-3", "not a uuid"),
            attachment(&"x".repeat(129), UUID),
            json!({ "id": "evt-4", "resource": "dyno", "data": { "id": UUID } }),
            json!({ "resource": "addon", "data": { "id": UUID } }),
            json!({}),
        ];
        for event in &beside {
            assert_eq!(tell(&app, event).await, 204, "{event}");
        }
        assert_eq!(due(&control).await, 0);

        let get = Request::get("/heroku/webhooks")
            .body(Body::empty())
            .unwrap();
        let answer = app.clone().oneshot(get).await.unwrap();
        assert_eq!(answer.status(), 405);
    })
    .await;
}

/// Heroku repeats for days what is refused, so a member of another type than expected refuses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_with_a_member_of_another_type_is_taken() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        control.provision(UUID).await;
        let app = app(&control);
        for odd in [
            json!({ "id": 7, "resource": "addon", "data": { "id": UUID } }),
            json!({ "id": "evt-1", "resource": 7, "data": { "id": UUID } }),
            json!({ "id": "evt-1", "resource": "addon", "data": [] }),
            json!({ "id": "evt-1", "resource": "addon", "data": [UUID] }),
            json!({ "id": "evt-1", "resource": "addon", "data": { "id": {} } }),
            json!({ "id": "evt-1", "resource": "addon-attachment", "data": { "addon": UUID } }),
        ] {
            assert_eq!(tell(&app, &odd).await, 204, "{odd}");
            assert_eq!(due(&control).await, 0, "{odd}");
        }
        // What is needed is there; all else may be anything.
        let mut sound = attachment("evt-2", UUID);
        for name in ["id", "action", "sequence", "actor", "created_at"] {
            sound[name] = json!([7]);
        }
        assert_eq!(tell(&app, &sound).await, 204);
        assert_eq!(due(&control).await, 1);

        let list = json!([attachment("evt-3", UUID)]);
        assert_eq!(tell(&app, &list).await, 400, "no object");
    })
    .await;
}

/// A signed event whose id is none is taken and leads to nothing: it must not come again for days.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_with_an_odd_id_leads_to_nothing() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        control.provision(UUID).await;
        let app = app(&control);
        for odd in ["evt\u{1}", "evt\0", &"e".repeat(129)] {
            assert_eq!(tell(&app, &attachment(odd, UUID)).await, 204, "{odd:?}");
            assert_eq!(due(&control).await, 0, "{odd:?}");
        }
        assert_eq!(tell(&app, &attachment(&"e".repeat(128), UUID)).await, 204);
        assert_eq!(due(&control).await, 1);
    })
    .await;
}
