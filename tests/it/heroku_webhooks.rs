//! News from Heroku through the router: who is believed, and what it leads to.

use std::sync::Arc;

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use larder::domain::Clock as _;
use larder::marketplace::heroku::Webhooks;
use larder::marketplace::heroku::routes::{HerokuRoutes, router};
use larder::store::claims::Caps;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::outbox_bed::heroku_settings;
use crate::support::db::on_each;
use crate::support::world::World;

const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";
const SECRET: &str = "webhook-secret";

fn app(world: &World) -> Router {
    let mut settings = heroku_settings("https://api.example.com");
    settings.webhooks = Some(Webhooks {
        url: "https://larder.example.com/heroku/webhooks".to_owned(),
        secret: SECRET.to_owned().into(),
    });
    router(HerokuRoutes {
        settings: Arc::new(settings),
        provisioning: world.provisioning.clone(),
        clock: world.clock.clone(),
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

async fn tell(app: &Router, news: &Value) -> u16 {
    let body = news.to_string();
    post(app, Some(&sign(SECRET, body.as_bytes())), body).await
}

fn attachment(event: &str, addon: &str) -> Value {
    json!({
        "id": "another", "action": "create", "resource": "addon-attachment", "sequence": null,
        "data": { "id": "11111111-0000-4000-8000-000000000000", "name": "TEAL", "addon": { "id": addon } },
        "webhook_metadata": { "event": { "id": event, "include": "api:addon-attachment" } },
    })
}

/// Looks that are due; they are then done.
async fn due(world: &World) -> u64 {
    let now = world.clock.now();
    let due = world.store.watches_backlog(now).await.unwrap().due;
    let caps = Caps {
        take: 8,
        per_destination: 8,
    };
    let day = now.plus(std::time::Duration::from_secs(86_400));
    let mut tx = world.store.begin().await.unwrap();
    for claim in tx.claim_watches(now, day, caps).await.unwrap() {
        tx.record_look(&claim, None, day, now).await.unwrap();
    }
    tx.commit().await.unwrap();
    due
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signed_news_leads_to_one_look_per_event() {
    on_each(async |db| {
        let world = World::start(db).await;
        world.provision(UUID).await;
        let app = app(&world);
        assert_eq!(due(&world).await, 0);
        assert_eq!(tell(&app, &attachment("evt-1", UUID)).await, 204);
        assert_eq!(due(&world).await, 1);
        assert_eq!(tell(&app, &attachment("evt-1", UUID)).await, 204);
        assert_eq!(due(&world).await, 0, "a repeat leads to nothing");
        let renamed = json!({ "id": "evt-2", "action": "update", "resource": "addon", "data": { "id": UUID } });
        assert_eq!(tell(&app, &renamed).await, 204);
        assert_eq!(due(&world).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_ours_or_not_signed_leads_to_nothing() {
    on_each(async |db| {
        let world = World::start(db).await;
        world.provision(UUID).await;
        let app = app(&world);
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
        for news in &beside {
            assert_eq!(tell(&app, news).await, 204, "{news}");
        }
        assert_eq!(due(&world).await, 0);

        let get = Request::get("/heroku/webhooks")
            .body(Body::empty())
            .unwrap();
        let answer = app.clone().oneshot(get).await.unwrap();
        assert_eq!(answer.status(), 405);
    })
    .await;
}
