//! The calls Heroku makes, through the router, over a store and one node.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use larder::marketplace::heroku::HerokuSettings;
use larder::marketplace::heroku::{HerokuRoutes, calls_router};
use larder::web::RefusedCalls;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::outbox_fixture::heroku_settings;
use crate::support::HEROKU;
use crate::support::control_plane::ControlPlane;
use crate::support::db::on_each;

pub const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";
/// addon-slug:super-secret
const AUTH: &str = "Basic YWRkb24tc2x1ZzpzdXBlci1zZWNyZXQ=";

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Every refusal is JSON with a sentence, and nothing else.
    pub fn refused(&self, status: u16) {
        assert_eq!(self.status.as_u16(), status, "{:?}", self.text());
        assert_eq!(self.headers["content-type"], "application/json");
        let body = self.json();
        let members = body.as_object().expect("an object");
        assert_eq!(members.keys().collect::<Vec<_>>(), ["message"]);
        assert!(
            members["message"]
                .as_str()
                .is_some_and(|text| text.ends_with('.'))
        );
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub fn app(control: &ControlPlane, change: impl FnOnce(&mut HerokuSettings)) -> Router {
    let mut settings = heroku_settings("https://api.example.com");
    change(&mut settings);
    calls_router(HerokuRoutes {
        settings: Arc::new(settings),
        provisioning: control.provisioning.clone(),
        clock: control.clock.clone(),
        refused: RefusedCalls::default(),
    })
}

pub async fn ask(app: &Router, method: Method, path: &str, body: impl Into<Body>) -> Answer {
    ask_as(app, Some(AUTH), method, path, body).await
}

pub async fn ask_as(
    app: &Router,
    auth: Option<&str>,
    method: Method,
    path: &str,
    body: impl Into<Body>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(auth) = auth {
        request = request.header("Authorization", auth);
    }
    let request = request.body(body.into()).expect("a request");
    let response = app.clone().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: to_bytes(body, 1 << 20).await.expect("a body").to_vec(),
    }
}

pub fn sample(changes: &[(&str, Option<Value>)]) -> String {
    let mut body: Value =
        serde_json::from_str(include_str!("../../fixtures/heroku/provision.json")).expect("JSON");
    let members = body.as_object_mut().expect("an object");
    for (name, value) in changes {
        match value {
            Some(value) => members.insert((*name).to_owned(), value.clone()),
            None => members.remove(*name),
        };
    }
    body.to_string()
}

pub const COLLECTION: &str = "/heroku/resources";

pub fn one(id: &str) -> String {
    format!("/heroku/resources/{id}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_lives_from_post_to_delete() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let made = ask(&app, Method::POST, COLLECTION, sample(&[])).await;
        assert_eq!(made.status, StatusCode::CREATED);
        assert_eq!(made.headers["content-type"], "application/json");
        let body = made.json();
        assert_eq!(body["id"], UUID);
        assert_eq!(body["message"], "Your cache is ready.");
        assert_eq!(body["config"]["MEMCACHIER_SERVERS"], "p1.example.net:11211");
        let members = body["config"].as_object().expect("an object");
        assert_eq!(members.len(), 3);
        let names = |body: &Value| {
            let members = body.as_object().expect("an object");
            members.keys().cloned().collect::<Vec<String>>()
        };
        assert_eq!(
            names(&body),
            ["id", "config", "message"],
            "and nothing of ours"
        );

        let put = ask(
            &app,
            Method::PUT,
            &one(UUID),
            r#"{"plan":"100","uuid":"x"}"#,
        )
        .await;
        assert_eq!(put.status, StatusCode::OK);
        assert_eq!(
            put.json(),
            json!({"message": "Your cache is now on plan 100."})
        );
        let put = ask(&app, Method::PUT, &one(UUID), r#"{"plan":"100"}"#).await;
        assert_eq!(put.status, StatusCode::OK);

        let late = ask(&app, Method::POST, COLLECTION, sample(&[])).await;
        assert_eq!(late.status, StatusCode::OK, "a plan changes by PUT only");
        assert_eq!(late.json()["config"], body["config"]);
        assert_eq!(names(&late.json()), names(&body));

        let gone = ask(&app, Method::DELETE, &one(UUID), "").await;
        assert_eq!((gone.status, gone.body.len()), (StatusCode::NO_CONTENT, 0));
        ask(&app, Method::DELETE, &one(UUID), "").await.refused(410);
        ask(&app, Method::PUT, &one(UUID), r#"{"plan":"dev"}"#)
            .await
            .refused(410);
        ask(&app, Method::POST, COLLECTION, sample(&[]))
            .await
            .refused(410);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_equal_requests_get_byte_equal_answers() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let asks: Vec<_> = (0..64)
            .map(|count| {
                let app = app.clone();
                let path = if count % 2 == 0 {
                    COLLECTION
                } else {
                    "/heroku/resources/"
                };
                tokio::spawn(async move { ask(&app, Method::POST, path, sample(&[])).await })
            })
            .collect();
        let mut answers = HashSet::new();
        for answer in asks {
            let answer = answer.await.expect("no panic");
            answers.insert((answer.status.as_u16(), answer.text()));
        }
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(answers.into_iter().next().expect("one").0, 201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_accepted_gets_the_same_answer() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let mut answers = HashSet::new();
        for accept in [
            "application/vnd.heroku-addons+json; version=3",
            "application/vnd.heroku-addons+json;version=3",
            "application/json",
            "*/*",
            "text/html",
            "",
        ] {
            let request = Request::builder()
                .method(Method::POST)
                .uri(COLLECTION)
                .header("Authorization", AUTH)
                .header("Accept", accept)
                .header("Content-Type", "application/json")
                .body(Body::from(sample(&[])))
                .expect("a request");
            let response = app.clone().oneshot(request).await.expect("infallible");
            assert_eq!(response.status(), StatusCode::CREATED, "{accept}");
            assert_eq!(response.headers()["content-type"], "application/json");
            let body = to_bytes(response.into_body(), 1 << 20).await;
            answers.insert(body.expect("a body"));
        }
        assert_eq!(answers.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_for_the_background_is_accepted_in_the_same_words_each_time() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let slow = || sample(&[("plan", Some(json!("slow")))]);
        let (first, again) = (
            ask(&app, Method::POST, COLLECTION, slow()).await,
            ask(&app, Method::POST, COLLECTION, slow()).await,
        );
        for answer in [&first, &again] {
            assert_eq!(answer.status, StatusCode::ACCEPTED);
            let body = answer.json();
            let members = body.as_object().expect("an object");
            assert_eq!(members.keys().collect::<Vec<_>>(), ["id", "message"]);
            assert_eq!(body["id"], UUID);
        }
        assert_eq!(first.body, again.body);
        let put = ask(&app, Method::PUT, &one(UUID), r#"{"plan":"100"}"#).await;
        assert_eq!(put.status, StatusCode::OK);
        let gone = ask(&app, Method::DELETE, &one(UUID), "").await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
        ask(&app, Method::POST, COLLECTION, slow())
            .await
            .refused(410);
        let without = [
            ("plan", Some(json!("slow"))),
            ("oauth_grant", None),
            ("uuid", Some(json!("01234567-89ab-cdef-0123-456789abcd00"))),
        ];
        let at_once = ask(&app, Method::POST, COLLECTION, sample(&without)).await;
        assert_eq!(
            at_once.status,
            StatusCode::CREATED,
            "nobody could be told later"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_get_a_typed_refusal() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        for broken in [
            "",
            "{",
            "not json",
            "[]",
            "\"x\"",
            "7",
            "null",
            "{\"plan\":\"dev\"",
            "\u{0}",
        ] {
            ask(&app, Method::POST, COLLECTION, broken)
                .await
                .refused(400);
            ask(&app, Method::PUT, &one(UUID), broken)
                .await
                .refused(400);
        }
        ask(&app, Method::POST, COLLECTION, vec![b'{', b'"', 0xff, b'"'])
            .await
            .refused(400);
        let nested = "[".repeat(200) + "]".repeat(200).as_str();
        for member in ["options", "plan", "oauth_grant"] {
            let body = format!("{{\"{member}\":{nested}}}");
            ask(&app, Method::POST, COLLECTION, body).await.refused(422);
        }
        let twice = sample(&[]).replacen('{', "{\"plan\":\"dev\",", 1);
        ask(&app, Method::POST, COLLECTION, twice)
            .await
            .refused(422);
        for changes in [
            [("plan", None)],
            [("plan", Some(json!(7)))],
            [("plan", Some(json!("platinum")))],
            [("plan", Some(json!("Dev")))],
            [("plan", Some(json!("ｄev")))],
            [("plan", Some(json!("old")))],
            [("plan", Some(json!("dev\0")))],
            [("region", None)],
            [("region", Some(json!("amazon-web-services::mars-1")))],
            [("region", Some(json!("us\0")))],
            [("uuid", None)],
            [("uuid", Some(json!("r-1")))],
            [("uuid", Some(json!("r\0")))],
            [("uuid", Some(json!("")))],
            [("name", Some(json!(["a"])))],
        ] {
            let answer = ask(&app, Method::POST, COLLECTION, sample(&changes)).await;
            answer.refused(422);
            assert!(!answer.text().contains("9f1c2d3e"), "no echo");
        }
        let large = sample(&[("name", Some(json!("x".repeat(64 * 1024))))]);
        ask(&app, Method::POST, COLLECTION, large)
            .await
            .refused(413);
        ask(&app, Method::PUT, &one(UUID), r#"{"plan":"dev"}"#)
            .await
            .refused(404);
        ask(&app, Method::DELETE, &one(UUID), "").await.refused(404);
        ask(&app, Method::DELETE, &one("not-a-uuid"), "")
            .await
            .refused(404);
        ask(&app, Method::DELETE, &one("%00"), "")
            .await
            .refused(404);
        for path in [one("%ff"), one("%ff/"), one("x/y"), one("x/y/%ff")] {
            let put = ask(&app, Method::PUT, &path, r#"{"plan":"dev"}"#).await;
            put.refused(404);
            ask(&app, Method::DELETE, &path, "").await.refused(404);
        }
        let config = format!("{}/config", one(UUID));
        ask(&app, Method::GET, &config, "").await.refused(404);
        ask(&app, Method::GET, COLLECTION, "").await.refused(405);
        ask(&app, Method::POST, &one(UUID), "").await.refused(405);
        let id = UUID.parse().expect("an id");
        let stored = control.provisioning.find(HEROKU, &id).await;
        assert!(stored.expect("read").is_none());
    })
    .await;
}

/// A body that fails the test when somebody reads it.
fn untouchable() -> Body {
    let stream = tokio_stream::iter(std::iter::once_with(
        || -> Result<axum::body::Bytes, std::io::Error> { panic!("the body was read") },
    ));
    Body::from_stream(stream)
}

/// A fault of ours is told in Heroku's words too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_panics_is_a_503() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let answer = ask(&app, Method::POST, COLLECTION, untouchable()).await;
        answer.refused(503);
        assert_eq!(answer.headers["retry-after"], "5");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_without_the_password_are_refused_before_their_body_is_read() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let wrong = [
            "Basic YWRkb24tc2x1Zzp3cm9uZw==",
            "Basic eDpzdXBlci1zZWNyZXQ=",
            "Bearer x",
        ];
        for auth in wrong.map(Some).into_iter().chain([None]) {
            for (method, path) in [
                (Method::POST, COLLECTION.to_owned()),
                (Method::PUT, one(UUID)),
                (Method::DELETE, one(UUID)),
                (Method::GET, one(UUID)),
                (Method::GET, one("x/y")),
            ] {
                let answer = ask_as(&app, auth, method, &path, untouchable()).await;
                answer.refused(401);
                assert!(
                    answer.headers["www-authenticate"]
                        .to_str()
                        .expect("text")
                        .starts_with("Basic")
                );
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_previous_password_is_good_during_a_rotation() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let rotated = app(&control, |settings| {
            settings.passwords = vec!["new".to_owned().into(), "super-secret".to_owned().into()];
        });
        ask(&rotated, Method::DELETE, &one(UUID), "")
            .await
            .refused(404);
        let after = app(&control, |settings| {
            settings.passwords = vec!["new".to_owned().into()];
        });
        ask(&after, Method::DELETE, &one(UUID), "")
            .await
            .refused(401);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_is_a_503_without_a_grant_and_the_repeat_finds_the_cache() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let without_grant = || sample(&[("oauth_grant", None)]);
        control.hang();
        let answer = ask(&app, Method::POST, COLLECTION, without_grant()).await;
        answer.refused(503);
        assert_eq!(answer.headers["retry-after"], "5");
        control.go_on();
        let again = ask(&app, Method::POST, COLLECTION, without_grant()).await;
        assert_eq!(again.status, StatusCode::CREATED);
    })
    .await;
}

/// With a grant we can tell Heroku later, so the order is taken (interfaces.md §1, Placement).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_is_a_202_with_a_grant() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        control.hang();
        let answer = ask(&app, Method::POST, COLLECTION, sample(&[])).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        control.go_on();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_shapes_need_their_switch() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let body = json!({"heroku_id": "app123@heroku.com", "plan": "dev", "callback_url": "http://localhost:7779/x",
            "logplex_token": null, "options": {}})
        .to_string();
        let strict = app(&control, |_| {});
        ask(&strict, Method::POST, COLLECTION, body.clone()).await.refused(422);
        let legacy = app(&control, |settings| settings.legacy = true);
        let made = ask(&legacy, Method::POST, COLLECTION, body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        assert_eq!(made.json()["id"], "app123@heroku.com");
        let gone = ask(&legacy, Method::DELETE, &one("app123@heroku.com"), "").await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
    })
    .await;
}
