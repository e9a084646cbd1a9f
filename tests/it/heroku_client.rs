//! The calls we make, as a provider's server sees them.

use std::sync::Arc;
use std::time::Duration;

use larder::access::Owner;
use larder::domain::{ConfigValues, Timestamp};
use larder::http::CallErrorKind;
use larder::marketplace::heroku::client::HerokuClient;
use larder::outbox::Outbox;
use larder::outbox::ports::{
    Completion as _, ConfigPush as _, LogLine, LogSink as _, ProviderState, ResourceReader as _,
    TokenIssuer as _,
};
use larder::store::outbox::grants::GrantState;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use wiremock::matchers::{basic_auth, body_string_contains, header, method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::outbox_fixture::{OutboxFixture, code, heroku_client, heroku_settings, outbox};
use crate::support::control_plane::{ready, request};
use crate::support::db::on_each;

const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

fn tokens(count: u32) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({
        "access_token": format!("HRKU-access-{count}"), "refresh_token": format!("refresh-{count}"),
        "expires_in": 28_799, "token_type": "Bearer", "user_id": "u", "session_nonce": null,
    }))
}

async fn token_endpoint(server: &MockServer) {
    Mock::given(path("/oauth/token"))
        .and(body_string_contains("grant_type=authorization_code"))
        .respond_with(tokens(1))
        .mount(server)
        .await;
    Mock::given(path("/oauth/token"))
        .and(body_string_contains("grant_type=refresh_token"))
        .respond_with(tokens(2))
        .mount(server)
        .await;
}

/// A cache of that marketplace, and an outbox that calls it.
async fn cache(fixture: &OutboxFixture, server: &MockServer) -> (Owner, Outbox) {
    let outbox = outbox(
        &fixture.control.store,
        &fixture.control.clock,
        fixture.nodes.clone(),
        heroku_client(&server.uri()),
    );
    let mut ask = request(UUID);
    ask.grant = Some(code("the-code", &fixture.control.clock));
    let log_url = server.uri().replace("http://", "http://token:t.1@") + "/logs";
    ask.log_url = Some(log_url.into());
    let made = fixture.control.provisioning.provision(ask).await;
    let owner = fixture
        .control
        .owner(ready(made.expect("a cache")).resource.cache, "visit")
        .await;
    (owner, outbox)
}

async fn pushes(server: &MockServer) -> Vec<Request> {
    let all = server.received_requests().await.expect("recording");
    let patched = |request: &Request| request.method.as_str() == "PATCH";
    all.into_iter().filter(patched).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_arrives_once_the_provider_does() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let server = MockServer::start().await;
        token_endpoint(&server).await;
        let answers = [
            ResponseTemplate::new(500),
            ResponseTemplate::new(429).insert_header("Retry-After", "7"),
            ResponseTemplate::new(200).set_delay(Duration::from_secs(30)),
        ];
        for answer in answers {
            Mock::given(method("PATCH"))
                .respond_with(answer)
                .up_to_n_times(1)
                .mount(&server)
                .await;
        }
        Mock::given(path(format!("/addons/{UUID}/config")))
            .and(header("Authorization", "Bearer HRKU-access-1"))
            .and(header("Accept", "application/vnd.heroku+json; version=3"))
            .and(header("User-Agent", "Larder test"))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!([])))
            .mount(&server)
            .await;
        let (owner, outbox) = cache(&fixture, &server).await;
        let promoted = fixture.promote_new(&owner).await;
        let reason = async || {
            while outbox.run_due().await.expect("the store answers") > 0 {}
            let state = fixture.state(owner.cache()).await;
            assert!(state.pending_since.is_some());
            state.last_error.expect("a reason")
        };
        assert!(reason().await.contains("500"));
        fixture.pass(1);
        assert!(reason().await.contains("429"));
        fixture.pass(6);
        reason().await;
        assert_eq!(pushes(&server).await.len(), 2, "Retry-After is obeyed");
        fixture.pass(1);
        assert!(reason().await.contains("no answer in time"));
        fixture.pass(4);
        while outbox.run_due().await.expect("the store answers") > 0 {}
        let state = fixture.state(owner.cache()).await;
        assert_eq!((state.applied, state.last_error), (2, None));

        let last = pushes(&server).await.pop().expect("a push");
        let body: Value = serde_json::from_slice(&last.body).expect("JSON");
        let password = fixture.control.store.primary(owner.cache()).await;
        let (_, password) = password.expect("read").expect("a primary");
        assert_eq!(
            body,
            json!({"config": [
                {"name": "MEMCACHIER_SERVERS", "value": "p1.example.net:11211"},
                {"name": "MEMCACHIER_USERNAME", "value": promoted},
                {"name": "MEMCACHIER_PASSWORD", "value": password.expose()},
            ]})
        );
    })
    .await;
}

#[tokio::test]
async fn a_fresh_grant_is_asked_for_with_the_manifests_password() {
    let server = MockServer::start().await;
    let client = heroku_client(&server.uri());
    let resource = UUID.parse().expect("an id");
    let none = client.fresh_code(&resource).await;
    assert!(none.expect("404 is an answer").is_none());
    Mock::given(method("GET"))
        .and(path(format!("/vendor/resources/{UUID}/oauth-grant")))
        .and(basic_auth("addon-slug", "super-secret"))
        .respond_with(ResponseTemplate::new(503))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    let trouble = client.fresh_code(&resource).await.expect_err("trouble");
    assert!(matches!(trouble.kind, CallErrorKind::Retry { .. }));
    let grant = json!({"code": "again", "expires_at": "2026-11-22T10:35:00-0800", "type": "authorization_code"});
    Mock::given(path(format!("/vendor/resources/{UUID}/oauth-grant")))
        .and(basic_auth("addon-slug", "super-secret"))
        .respond_with(ResponseTemplate::new(200).set_body_json(grant))
        .mount(&server)
        .await;
    let code = client.fresh_code(&resource).await.expect("an answer");
    assert_eq!(code.expect("a code").expose_secret(), "again");
}

#[tokio::test]
async fn codes_and_refresh_tokens_travel_in_the_form_alone() {
    let server = MockServer::start().await;
    token_endpoint(&server).await;
    let client = heroku_client(&server.uri());
    let got = client.exchange(&"the-code".to_owned().into()).await;
    assert_eq!(got.expect("tokens").expires_in.as_secs(), 28_799);
    let got = client.refresh(&"refresh/1+".to_owned().into()).await;
    got.expect("tokens");
    let requests = server.received_requests().await.expect("recording");
    let seen: Vec<_> = requests
        .iter()
        .map(|request| String::from_utf8_lossy(&request.body).into_owned())
        .collect();
    assert_eq!(
        seen,
        [
            "grant_type=authorization_code&code=the-code&client_secret=client-secret",
            "grant_type=refresh_token&refresh_token=refresh%2F1%2B&client_secret=client-secret",
        ]
    );
    for request in requests {
        assert!(!request.headers.contains_key("authorization"));
        assert_eq!(request.url.query(), None);
        let form = &request.headers["content-type"];
        assert_eq!(form, "application/x-www-form-urlencoded");
    }
}

fn values() -> ConfigValues {
    ConfigValues {
        servers: "p1.example.net:11211".to_owned(),
        username: "4F2A90".parse().expect("a user name"),
        password: larder::domain::secret::Password::from_stored("MARKERPASSWORD".to_owned()),
    }
}

async fn push(client: &HerokuClient) -> Result<(), larder::http::CallError> {
    let resource = UUID.parse().expect("an id");
    let token: SecretString = "MARKERTOKEN".to_owned().into();
    client.push_config(&resource, Some(&token), &values()).await
}

#[tokio::test]
async fn answers_are_sorted_as_the_failure_table_says() {
    let long = Duration::from_secs(60);
    let retry = |after| CallErrorKind::Retry { after };
    for (status, kind) in [
        (301, retry(None)),
        (401, CallErrorKind::Unauthorized),
        (403, CallErrorKind::Refused),
        (404, CallErrorKind::Gone),
        (408, retry(None)),
        (409, CallErrorKind::Refused),
        (410, CallErrorKind::Gone),
        (422, CallErrorKind::Refused),
        (429, retry(Some(long))),
        (500, retry(None)),
        (503, retry(None)),
    ] {
        let server = MockServer::start().await;
        let why = "name not in manifest";
        let echo = format!("{why}: MARKERPASSWORD or MARKERTOKEN");
        let echo = json!({"id": "x", "message": echo});
        Mock::given(method("PATCH"))
            .respond_with(ResponseTemplate::new(status).set_body_json(echo))
            .mount(&server)
            .await;
        let error = push(&heroku_client(&server.uri()))
            .await
            .expect_err("a failure");
        assert_eq!(error.kind, kind, "{status}");
        assert!(!error.message.contains("MARKER"), "{}", error.message);
        assert!(error.message.contains(&status.to_string()));
        if kind == CallErrorKind::Refused {
            assert!(error.message.contains(why), "{}", error.message);
        }
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let inner = MockServer::start().await;
    for status in [301, 302, 303, 307, 308] {
        let server = MockServer::start().await;
        Mock::given(method("PATCH"))
            .respond_with(ResponseTemplate::new(status).insert_header("Location", inner.uri()))
            .mount(&server)
            .await;
        push(&heroku_client(&server.uri()))
            .await
            .expect_err("a failure");
    }
    let seen = inner.received_requests().await.expect("recording");
    assert!(seen.is_empty());
}

#[tokio::test]
async fn plain_http_and_inner_addresses_need_the_switch() {
    let server = MockServer::start().await;
    for api in [server.uri(), server.uri().replace("http:", "https:")] {
        let mut settings = heroku_settings(&api);
        settings.allow_http = false;
        let client = HerokuClient::new(settings).expect("a client");
        push(&client).await.expect_err("a failure");
    }
    let mut settings = heroku_settings(
        &server
            .uri()
            .replace("http://127.0.0.1", "https://localhost"),
    );
    settings.allow_http = false;
    let client = HerokuClient::new(settings).expect("a client");
    let error = push(&client).await.expect_err("a failure");
    assert!(
        error.message.contains("cannot connect"),
        "{}",
        error.message
    );
    let seen = server.received_requests().await.expect("recording");
    assert!(seen.is_empty());
}

#[tokio::test]
async fn an_endless_answer_is_cut() {
    let server = MockServer::start().await;
    Mock::given(method("PATCH"))
        .respond_with(ResponseTemplate::new(422).set_body_string("x".repeat(8 << 20)))
        .mount(&server)
        .await;
    let error = push(&heroku_client(&server.uri()))
        .await
        .expect_err("a failure");
    assert_eq!(error.kind, CallErrorKind::Refused);
}

fn lines() -> Vec<LogLine> {
    let at = Timestamp::from_secs(1_795_372_200);
    let text = |text: &str| LogLine {
        at,
        text: text.to_owned(),
    };
    vec![text("event=flush user=josé"), text("second")]
}

async fn log(client: &HerokuClient, url: String) -> Result<(), larder::http::CallError> {
    let resource = UUID.parse().expect("an id");
    let url: SecretString = url.into();
    client.send_log(&resource, &url, "dlv_1-2", &lines()).await
}

#[tokio::test]
async fn lines_are_posted_as_logplex_wants_them() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(204))
        .mount(&server)
        .await;
    let client = heroku_client(&server.uri());
    let url = server
        .uri()
        .replace("http://", &format!("http://token:t.{UUID}@"))
        + "/logs";
    log(&client, url).await.expect("delivered");
    let request = server
        .received_requests()
        .await
        .expect("recording")
        .remove(0);
    let given = |name: &str| request.headers[name].to_str().expect("text");
    assert_eq!(request.url.path(), "/logs");
    assert_eq!(request.url.username(), "");
    assert_eq!(given("user-agent"), "Larder test");
    assert_eq!(given("content-type"), "application/logplex-1");
    assert_eq!(given("logplex-msg-count"), "2");
    assert_eq!(given("logplex-frame-id"), "dlv_1-2");
    assert_eq!(given("content-length"), request.body.len().to_string());
    assert_eq!(
        given("authorization"),
        "Basic dG9rZW46dC4wMTIzNDU2Ny04OWFiLWNkZWYtMDEyMy00NTY3ODlhYmNkZWY="
    );
    let body = String::from_utf8(request.body.clone()).expect("UTF-8");
    let head = format!("<190>1 2026-11-22T18:30:00.000000+00:00 {UUID} app addon-slug - - ");
    let frame = |text: &str| format!("{} {head}{text}", head.len() + text.len());
    assert_eq!(
        body,
        frame("event=flush user=josé") + frame("second").as_str()
    );
}

#[tokio::test]
async fn log_answers_are_sorted_and_other_hosts_not_called() {
    let after_a_minute = CallErrorKind::Retry {
        after: Some(Duration::from_secs(60)),
    };
    for (status, kind) in [
        (400, CallErrorKind::Refused),
        (401, CallErrorKind::Unauthorized),
        (403, CallErrorKind::Unauthorized),
        (404, CallErrorKind::Unauthorized),
        (405, CallErrorKind::Refused),
        (410, CallErrorKind::Unauthorized),
        (413, CallErrorKind::Refused),
        (415, CallErrorKind::Refused),
        (429, after_a_minute),
        (500, CallErrorKind::Retry { after: None }),
        (503, CallErrorKind::Retry { after: None }),
    ] {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(status))
            .mount(&server)
            .await;
        let client = heroku_client(&server.uri());
        let url = server.uri().replace("http://", "http://token:MARKER@") + "/logs";
        let error = log(&client, url).await.expect_err("a failure");
        assert_eq!(error.kind, kind, "{status}");
        let url = server
            .uri()
            .replace("http://127.0.0.1", "http://token:MARKER@localhost");
        let error = log(&client, url).await.expect_err("not on the list");
        assert_eq!(error.kind, CallErrorKind::Refused);
        assert!(!error.message.contains("MARKER"), "{}", error.message);
        assert_eq!(
            server.received_requests().await.expect("recording").len(),
            1
        );
    }
}

/// heroku.md §5: no body, any 2xx is success, and the state that tells what became of a lost answer.
#[tokio::test]
async fn completion_actions_are_posted_and_states_are_read() {
    let server = MockServer::start().await;
    for (action, status) in [("provision", 200), ("deprovision", 204)] {
        Mock::given(method("POST"))
            .and(path(format!("/addons/{UUID}/actions/{action}")))
            .and(header("Authorization", "Bearer the-token"))
            .and(header("Accept", "application/vnd.heroku+json; version=3"))
            .respond_with(ResponseTemplate::new(status))
            .up_to_n_times(1)
            .mount(&server)
            .await;
    }
    let refusal = json!({"id": "invalid_params", "message": "wrong state of the-token"});
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(422).set_body_json(refusal))
        .mount(&server)
        .await;
    let client = heroku_client(&server.uri());
    let (id, token) = (UUID.parse().expect("an id"), "the-token".to_owned().into());
    client.finish(&id, Some(&token)).await.expect("taken");
    client.give_up(&id, Some(&token)).await.expect("taken");
    let again = client.finish(&id, Some(&token)).await.expect_err("refused");
    assert_eq!(again.kind, CallErrorKind::Refused);
    assert!(!again.message.contains("the-token"), "{}", again.message);
    for request in server.received_requests().await.expect("recording") {
        assert!(request.body.is_empty());
    }
    for (told, state) in [
        (json!("provisioning"), ProviderState::Provisioning),
        (json!("provisioned"), ProviderState::Provisioned),
        (json!("deprovisioned"), ProviderState::Deprovisioned),
        (json!("deprovisioning"), ProviderState::Deprovisioned),
        (json!("another word"), ProviderState::Provisioning),
        (Value::Null, ProviderState::Provisioning),
    ] {
        let server = MockServer::start().await;
        let addon = json!({"id": UUID, "name": "acme", "state": told});
        Mock::given(path(format!("/addons/{UUID}")))
            .respond_with(ResponseTemplate::new(200).set_body_json(addon))
            .mount(&server)
            .await;
        let read = heroku_client(&server.uri())
            .resource(&id, Some(&token))
            .await;
        assert_eq!(read.expect("an add-on").state, state, "{told}");
    }
}

#[tokio::test]
async fn attachments_are_followed_over_their_pages() {
    let server = MockServer::start().await;
    let page = |app: &str, url: Value| {
        json!([{"id": "a", "name": "MEMCACHIER", "app": {"id": app, "name": "n"},
            "addon": {"id": UUID, "app": {"id": "app-1", "name": "n"}}, "log_input_url": url}])
    };
    Mock::given(path(format!("/addons/{UUID}/addon-attachments")))
        .and(header("Range", "id ]a..; max=1"))
        .respond_with(ResponseTemplate::new(200).set_body_json(page("app-2", Value::Null)))
        .mount(&server)
        .await;
    let first = ResponseTemplate::new(206)
        .insert_header("Next-Range", "id ]a..; max=1")
        .set_body_json(page(
            "app-1",
            json!("https://token:t.1@1.us.logplex.io/logs"),
        ));
    Mock::given(path(format!("/addons/{UUID}/addon-attachments")))
        .respond_with(first)
        .mount(&server)
        .await;
    let client = heroku_client(&server.uri());
    let resource = UUID.parse().expect("an id");
    let apps = client
        .attachments(&resource, Some(&"t".to_owned().into()))
        .await;
    let apps = apps.expect("a list");
    let seen: Vec<_> = apps
        .iter()
        .map(|app| (app.app.as_str(), app.owns, app.log_url.is_some()))
        .collect();
    assert_eq!(seen, [("app-1", true, true), ("app-2", false, false)]);
}

/// The whole way of a dead log input: 401, the list of attachments, the fresh URL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_log_input_is_read_again_from_the_attachments() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let server = MockServer::start().await;
        token_endpoint(&server).await;
        let (owner, outbox) = cache(&fixture, &server).await;
        let fresh = server.uri().replace("http://", "http://token:t.2@") + "/logs";
        let list = json!([{"app": {"id": "app-1"}, "addon": {"app": {"id": "app-1"}}, "log_input_url": fresh}]);
        Mock::given(path(format!("/addons/{UUID}/addon-attachments")))
            .respond_with(ResponseTemplate::new(200).set_body_json(list))
            .mount(&server)
            .await;
        // base64 of token:t.2
        Mock::given(path("/logs"))
            .and(header("Authorization", "Basic dG9rZW46dC4y"))
            .respond_with(ResponseTemplate::new(204))
            .expect(1)
            .mount(&server)
            .await;
        Mock::given(path("/logs"))
            .respond_with(ResponseTemplate::new(401))
            .expect(1)
            .mount(&server)
            .await;
        outbox.run_due().await.expect("the grant");
        fixture.flush(&owner, "p1").await;
        while outbox.run_due().await.expect("the store answers") > 0 {}
        assert_eq!(fixture.control.store.lines_waiting().await.expect("read"), 0);
        drop(Arc::new(server));
    })
    .await;
}

/// Replies of success whose lifetime cannot be read: the tokens are good.
#[tokio::test]
async fn a_token_reply_with_an_odd_lifetime_is_good_for_eight_hours() {
    for odd in [
        json!({}),
        json!({"expires_in": null}),
        json!({"expires_in": "3600"}),
        json!({"expires_in": 3600.5}),
        json!({"expires_in": 0}),
        json!({"expires_in": -1}),
        json!({"expires_in": [], "refresh_token": 7}),
    ] {
        let server = MockServer::start().await;
        let mut reply = odd.clone();
        reply["access_token"] = json!("HRKU-access");
        Mock::given(path("/oauth/token"))
            .respond_with(ResponseTemplate::new(200).set_body_json(reply))
            .mount(&server)
            .await;
        let client = heroku_client(&server.uri());
        let tokens = client.exchange(&"the-code".to_owned().into()).await;
        let tokens = tokens.unwrap_or_else(|error| panic!("{odd}: {error}"));
        assert_eq!(tokens.access.expose_secret(), "HRKU-access");
        assert_eq!(tokens.expires_in, Duration::from_secs(8 * 3_600), "{odd}");
    }
}

/// Heroku says success and gives no token: the code is spent, and is not sent again, however often the order is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_spent_for_nothing_is_never_sent_again() {
    for reply in [
        json!({"access_token": "", "expires_in": 28_799}),
        json!({"access_token": "two\nlines"}),
        json!("a text"),
    ] {
        on_each(async |db| {
            let fixture = OutboxFixture::start(db).await;
            let server = MockServer::start().await;
            Mock::given(path("/oauth/token"))
                .respond_with(ResponseTemplate::new(200).set_body_json(&reply))
                .mount(&server)
                .await;
            let (owner, outbox) = cache(&fixture, &server).await;
            let work = async || while outbox.run_due().await.expect("the store answers") > 0 {};
            let order_again = async |text: &str| {
                let mut again = request(UUID);
                again.grant = Some(code(text, &fixture.control.clock));
                let again = fixture.control.provisioning.provision(again).await;
                again.expect("the same cache");
            };
            let sent = async || {
                let all = server.received_requests().await.expect("recording");
                let sent = all.iter().filter(|sent| sent.url.path() == "/oauth/token");
                sent.count()
            };
            work().await;
            for _ in 0..3 {
                order_again("the-code").await;
                fixture.pass(20);
                work().await;
            }
            assert_eq!(sent().await, 1, "{reply}");
            let grant = fixture.control.store.grant(owner.cache()).await;
            let grant = grant.expect("read").expect("a grant");
            assert_eq!(grant.state, GrantState::Broken, "{reply}");

            // A new code is another matter; the old one stays spent behind it.
            for text in ["a-new-code", "the-code"] {
                order_again(text).await;
                work().await;
            }
            assert_eq!(sent().await, 2, "{reply}");
        })
        .await;
    }
}
