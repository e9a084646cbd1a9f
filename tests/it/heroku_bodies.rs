//! What Heroku may put into its calls, through the router, and what becomes of it.

use std::collections::HashSet;

use axum::http::{Method, StatusCode};
use larder::domain::Resource;
use larder::outbox::Outbox;
use larder::store::outbox::grants::GrantState;
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::heroku_routes::{COLLECTION, UUID, app, ask, one, sample};
use crate::outbox_fixture::{OutboxFixture, heroku_client, outbox};
use crate::support::HEROKU;
use crate::support::control_plane::ControlPlane;
use crate::support::db::on_each;

/// The largest body that is read.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A resource's id other than the sample's.
fn uuid(number: usize) -> String {
    format!("01234567-89ab-cdef-0123-456789abcd{number:02}")
}

async fn stored(control: &ControlPlane, uuid: &str) -> Option<Resource> {
    let id = uuid.parse().expect("an id");
    let stored = control.provisioning.find(HEROKU, &id).await;
    stored.expect("read")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_absent_or_odd_does_not_matter() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let evil = json!("https://evil.example/logs");
        let (cluster, cache) = (json!("c9"), json!(77));
        let oddities = [
            vec![],
            vec![("oauth_grant", None)],
            vec![("oauth_grant", Some(Value::Null))],
            vec![("oauth_grant", Some(json!({})))],
            vec![("oauth_grant", Some(json!({"code": null})))],
            vec![("oauth_grant", Some(json!({"code": ""})))],
            vec![("oauth_grant", Some(json!([])))],
            vec![("oauth_grant", Some(json!("code")))],
            vec![("oauth_grant", Some(json!(7)))],
            vec![("log_input_url", None)],
            vec![("log_input_url", Some(json!(7)))],
            vec![("log_input_url", Some(json!("https://a.logplex.io/\0")))],
            vec![("callback_url", Some(json!("https://api.example.com/\0")))],
            vec![("name", Some(json!("a\0b\u{85}c")))],
            vec![("log_input_url", Some(Value::Null))],
            vec![("log_input_url", Some(evil))],
            vec![("callback_url", None)],
            vec![("options", None)],
            vec![("options", Some(json!({"foo": "true"})))],
            vec![("name", None)],
            vec![("name", Some(json!("x".repeat(4_000))))],
            vec![("heroku_id", Some(json!("app1@heroku.com")))],
            vec![("cluster", Some(cluster)), ("cache_id", Some(cache))],
        ];
        let (count, mut usernames) = (oddities.len(), HashSet::new());
        for (number, mut changes) in oddities.into_iter().enumerate() {
            let id = uuid(number);
            changes.push(("uuid", Some(json!(id))));
            let made = ask(&app, Method::POST, COLLECTION, sample(&changes)).await;
            assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
            let body = made.json();
            assert_eq!(body["id"], id);
            usernames.insert(body["config"]["MEMCACHIER_USERNAME"].to_string());
            let resource = stored(&control, &id).await.expect("a resource");
            assert_eq!(resource.cluster.as_str(), "c1");
        }
        // Most of them are called the same: the name is no key.
        assert_eq!(usernames.len(), count, "each is a resource of its own");
    })
    .await;
}

/// A date that cannot be read must not cost the customer a good code.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_code_with_an_odd_date_is_kept() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let dates = [json!(7), Value::Null, json!("soon"), json!({}), json!("\0")];
        for (number, date) in dates.into_iter().enumerate() {
            let id = uuid(number);
            let grant = json!({"code": "good", "expires_at": date, "type": 7});
            let order = sample(&[("uuid", Some(json!(id))), ("oauth_grant", Some(grant))]);
            let made = ask(&app, Method::POST, COLLECTION, order).await;
            assert_eq!(made.status, StatusCode::CREATED, "{date}: {}", made.text());
            let resource = stored(&control, &id).await.expect("a resource");
            let grant = control.store.grant(resource.cache).await.expect("read");
            assert!(grant.is_some(), "{date}");
        }
    })
    .await;
}

/// The customer reads the message, so it says what is wrong and what there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_names_what_is_wrong() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let twice = |member: &str| sample(&[]).replacen('{', &format!("{{{member},"), 1);
        let changed = |name: &'static str, value: Option<Value>| sample(&[(name, value)]);
        let nested = "[".repeat(200) + "]".repeat(200).as_str();
        let deep =
            |name: &'static str| changed(name, Some(json!("DEEP"))).replace("\"DEEP\"", &nested);
        for (order, told) in [
            (changed("plan", None), "lacks the member \"plan\""),
            (changed("plan", Some(json!(7))), "\"plan\" must be a text"),
            (
                changed("plan", Some(Value::Null)),
                "\"plan\" must be a text",
            ),
            (
                twice("\"plan\":\"dev\""),
                "\"plan\" is given more than once",
            ),
            (
                twice("\"oauth_grant\":null"),
                "\"oauth_grant\" is given more than once",
            ),
            (
                twice("\"log_input_url\":\"https://x\""),
                "\"log_input_url\" is given more than once",
            ),
            (deep("oauth_grant"), "\"oauth_grant\" is nested too deeply"),
            (
                deep("log_input_url"),
                "\"log_input_url\" is nested too deeply",
            ),
            (deep("region"), "\"region\" is nested too deeply"),
            (
                changed("plan", Some(json!("gold"))),
                "no plan \"gold\". The plans are: dev, 100, slow.",
            ),
            (changed("plan", Some(json!("a\0b"))), "no plan \"ab\""),
            (changed("uuid", None), "\"uuid\""),
            (changed("uuid", Some(json!([]))), "\"uuid\" must be a text"),
            (changed("uuid", Some(json!("\0"))), "\"uuid\""),
            (changed("region", None), "\"region\""),
            (
                changed("region", Some(json!({}))),
                "\"region\" must be a text",
            ),
            (changed("region", Some(json!("mars"))), "region \"mars\""),
            (changed("region", Some(json!("us\0"))), "region \"us\""),
            (changed("name", Some(json!(7))), "\"name\" must be a text"),
            (
                changed("callback_url", Some(json!([]))),
                "\"callback_url\" must be a text",
            ),
        ] {
            let answer = ask(&app, Method::POST, COLLECTION, order).await;
            answer.refused(422);
            let message = answer.json()["message"].to_string().replace("\\\"", "\"");
            assert!(message.contains(told), "{told} in {message}");
        }
        let made = ask(&app, Method::POST, COLLECTION, sample(&[])).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        for (change, told) in [
            ("{}", "lacks the member \"plan\""),
            (r#"{"plan":7}"#, "\"plan\" must be a text"),
            (r#"{"plan":"gold"}"#, "The plans are: dev, 100, slow."),
        ] {
            let answer = ask(&app, Method::PUT, &one(UUID), change).await;
            answer.refused(422);
            let message = answer.json()["message"].to_string().replace("\\\"", "\"");
            assert!(message.contains(told), "{told} in {message}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_uuid_in_capitals_is_the_same_uuid() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let capitals = sample(&[("uuid", Some(json!(UUID.to_uppercase())))]);
        let made = ask(&app, Method::POST, COLLECTION, capitals).await;
        assert_eq!(made.status, StatusCode::CREATED);
        assert_eq!(made.json()["id"], UUID);
        let again = ask(&app, Method::POST, COLLECTION, sample(&[])).await;
        assert_eq!(again.body, made.body);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_kibibytes_are_read_and_not_a_byte_more() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let of_length = |bytes: usize| {
            let body = sample(&[]);
            let blanks = " ".repeat(bytes - body.len());
            body + blanks.as_str()
        };
        let over = of_length(BODY_BYTES_MAX + 1);
        ask(&app, Method::POST, COLLECTION, over).await.refused(413);
        assert!(stored(&control, UUID).await.is_none());
        let full = of_length(BODY_BYTES_MAX);
        let made = ask(&app, Method::POST, COLLECTION, full).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    })
    .await;
}

/// heroku.md §6. The plan `old` is not offered any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_changes_both_ways_and_to_nothing_that_is_not_offered() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let made = ask(&app, Method::POST, COLLECTION, sample(&[])).await;
        assert_eq!(made.status, StatusCode::CREATED);
        for body in [
            r#"{"plan":"platinum"}"#,
            r#"{"plan":"old"}"#,
            r#"{"plan":"Dev"}"#,
            r#"{"plan":""}"#,
            r#"{"plan":7}"#,
            r#"{"plan":null}"#,
            r#"{"uuid":"01234567-89ab-cdef-0123-456789abcdef"}"#,
            "{}",
        ] {
            ask(&app, Method::PUT, &one(UUID), body).await.refused(422);
            let resource = stored(&control, UUID).await.expect("a resource");
            assert_eq!(resource.plan.as_str(), "dev", "{body}");
        }
        for plan in ["100", "dev"] {
            let body = json!({"plan": plan}).to_string();
            let put = ask(&app, Method::PUT, &one(UUID), body).await;
            assert_eq!(put.status, StatusCode::OK);
            // Without a config, so that the app is not restarted.
            let told = format!("Your cache is now on plan {plan}.");
            assert_eq!(put.json(), json!({"message": told}));
            let resource = stored(&control, UUID).await.expect("a resource");
            assert_eq!(resource.plan.as_str(), plan);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_region_is_a_503_or_accepted_for_later_where_that_can_be_told() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        control.fill_region().await;
        let plan = || ("plan", Some(json!("100")));
        let silent = sample(&[plan(), ("oauth_grant", None)]);
        let refused = ask(&app, Method::POST, COLLECTION, silent).await;
        refused.refused(503);
        assert_eq!(refused.headers["retry-after"], "5");
        assert!(stored(&control, UUID).await.is_none());

        let first = ask(&app, Method::POST, COLLECTION, sample(&[plan()])).await;
        assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.text());
        let body = first.json();
        let members = body.as_object().expect("an object");
        assert_eq!(members.keys().collect::<Vec<_>>(), ["id", "message"]);
        assert_eq!(body["id"], UUID);
        let again = ask(&app, Method::POST, COLLECTION, sample(&[plan()])).await;
        assert_eq!(again.status, StatusCode::ACCEPTED);
        assert_eq!(again.body, first.body);
    })
    .await;
}

/// A platform that gives tokens and takes config vars.
async fn platform() -> MockServer {
    let server = MockServer::start().await;
    let tokens = json!({"access_token": "a", "refresh_token": "r", "expires_in": 28_799});
    Mock::given(path("/oauth/token"))
        .respond_with(ResponseTemplate::new(200).set_body_json(tokens))
        .mount(&server)
        .await;
    Mock::given(method("PATCH"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!([])))
        .mount(&server)
        .await;
    server
}

async fn seen_by(server: &MockServer) -> Vec<Request> {
    server.received_requests().await.expect("recording")
}

/// An outbox that calls this platform.
fn outbox_to(server: &MockServer, fixture: &OutboxFixture) -> Outbox {
    outbox(
        &fixture.control.store,
        &fixture.control.clock,
        fixture.nodes.clone(),
        heroku_client(&server.uri()),
    )
}

async fn work(outbox: &Outbox) {
    while outbox.run_due().await.expect("the store answers") > 0 {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_grant_is_taken_until_one_has_brought_a_token() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let server = platform().await;
        let outbox = outbox_to(&server, &fixture);
        let app = app(&fixture.control, |_| {});
        let post = async |code: &str| {
            let grant = json!({"code": code, "expires_at": "2026-11-22T18:35:00-0000"});
            let body = sample(&[("oauth_grant", Some(grant)), ("log_input_url", None)]);
            let made = ask(&app, Method::POST, COLLECTION, body).await;
            assert_eq!(made.status, StatusCode::CREATED, "{code}");
        };
        let state = async || {
            let resource = stored(&fixture.control, UUID).await.expect("a resource");
            let grant = fixture
                .control
                .store
                .grant(resource.cache)
                .await
                .expect("read");
            grant.expect("a grant").state
        };
        post("first").await;
        post("second").await;
        assert_eq!(state().await, GrantState::Pending);
        work(&outbox).await;
        assert_eq!(state().await, GrantState::Active);
        post("third").await;
        work(&outbox).await;
        assert_eq!(state().await, GrantState::Active);

        let seen = seen_by(&server).await;
        let exchanges = seen.iter().filter(|call| call.url.path() == "/oauth/token");
        let forms: Vec<_> = exchanges
            .map(|call| String::from_utf8_lossy(&call.body).into_owned())
            .collect();
        assert_eq!(
            forms,
            ["grant_type=authorization_code&code=second&client_secret=client-secret"]
        );
    })
    .await;
}

/// Whatever a request says, a token goes to the configured platform alone (security.md OB-12).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_s_callback_url_is_never_called() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let (server, foreign) = (platform().await, platform().await);
        let outbox = outbox_to(&server, &fixture);
        let app = app(&fixture.control, |_| {});
        let callback = format!("{}/addons/{UUID}", foreign.uri());
        let body = sample(&[
            ("callback_url", Some(json!(callback))),
            ("log_input_url", None),
        ]);
        let made = ask(&app, Method::POST, COLLECTION, body).await;
        assert_eq!(made.status, StatusCode::CREATED);
        let resource = stored(&fixture.control, UUID).await.expect("a resource");
        let owner = fixture.control.owner(resource.cache, "visit").await;
        fixture.promote_new(&owner).await;
        work(&outbox).await;
        let pushed = format!("/addons/{UUID}/config");
        let seen = seen_by(&server).await;
        assert!(seen.iter().any(|call| call.url.path() == pushed));
        assert!(seen_by(&foreign).await.is_empty());
    })
    .await;
}
