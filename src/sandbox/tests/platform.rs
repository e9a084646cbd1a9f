//! Calls of the provider: tokens, config, actions, reads, log lines, and what a restart remembers.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::*;
use crate::sandbox::*;

#[tokio::test]
async fn a_push_cuts_one_release_on_each_attached_app() {
    let fixture = SandboxFixture::new().await;
    let (shop, addon) = fixture.ready_addon("shop").await;
    let jobs = fixture.sandbox.create_app("jobs").unwrap();
    fixture.sandbox.attach(addon.id, jobs).unwrap();
    let (token, _) = fixture.tokens_of(&addon).await;

    let response = fixture.push(&addon, &token, "second").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let config: Value = response.json().await.unwrap();
    assert_eq!(config.as_array().unwrap().len(), 3);
    fixture
        .sandbox
        .wait_for_var(jobs, "MEMCACHIER_PASSWORD", "second", SOON)
        .await
        .unwrap();
    let counts =
        |fixture: &SandboxFixture| [shop, jobs].map(|app| fixture.sandbox.releases(app).len());
    assert_eq!(counts(&fixture), [2, 2]);
    assert_eq!(status(fixture.push(&addon, &token, "second")).await, 200);
    assert_eq!(counts(&fixture), [2, 2], "an unchanged value cuts nothing");
}

#[tokio::test]
async fn the_config_endpoint_refuses_what_is_not_agreed() {
    let fixture = SandboxFixture::new().await;
    let (app, addon) = fixture.ready_addon("shop").await;
    let (_, other) = fixture.ready_addon("jobs").await;
    let (token, _) = fixture.tokens_of(&addon).await;
    let path = format!("/addons/{}/config", addon.id);
    let patch = |body: Value| fixture.api(Method::PATCH, &path, &token).json(&body);

    let stray = patch(json!({ "config": [{ "name": "PATH", "value": "x" }] }));
    let response = stray.send().await.unwrap();
    assert_eq!(response.status(), 422);
    let error: Value = response.json().await.unwrap();
    assert_eq!(error["id"], "invalid_params");
    assert!(error["message"].as_str().unwrap().contains("PATH"));
    assert!(error["url"].is_string());

    assert_eq!(status(patch(json!({ "config": "x" }))).await, 400);
    let plain = fixture.api(Method::PATCH, &path, &token).body("{}");
    assert_eq!(status(plain).await, 415);
    assert_eq!(status(fixture.push(&addon, "wrong", "x")).await, 401);
    assert_eq!(status(fixture.push(&other, &token, "x")).await, 403);
    let unknown = format!("/addons/{}/config", AddonId::generate());
    assert_eq!(
        status(fixture.api(Method::GET, &unknown, &token)).await,
        404
    );
    let versionless = fixture.http.get(fixture.url(&path)).bearer_auth(&token);
    assert_eq!(status(versionless).await, 406);
    assert_eq!(status(fixture.api(Method::GET, &path, &token)).await, 200);
    assert_eq!(fixture.sandbox.releases(app).len(), 1);
}

#[tokio::test]
async fn the_asynchronous_flow_releases_once_at_its_end() {
    let fixture = SandboxFixture::new().await;
    fixture
        .provider
        .answers(202, json!({ "id": "x", "message": "On its way." }));
    let (app, addon) = fixture.ready_addon("shop").await;
    assert_eq!(addon.state, AddonState::Provisioning);
    let (token, _) = fixture.tokens_of(&addon).await;
    assert_eq!(status(fixture.push(&addon, &token, "first")).await, 200);
    assert!(fixture.sandbox.releases(app).is_empty());

    let action = format!("/addons/{}/actions/provision", addon.id);
    let response = fixture
        .api(Method::POST, &action, &token)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let object: Value = response.json().await.unwrap();
    assert_eq!(object["state"], "provisioned");
    assert_eq!(object["plan"]["name"], "larder:dev");
    assert_eq!(fixture.sandbox.releases(app).len(), 1);
    assert_eq!(
        status(fixture.api(Method::POST, &action, &token)).await,
        422
    );
    let give_up = format!("/addons/{}/actions/deprovision", addon.id);
    assert_eq!(
        status(fixture.api(Method::POST, &give_up, &token)).await,
        422
    );

    assert_eq!(
        fixture.sandbox.deprovision(addon.id).await.unwrap().status,
        202
    );
    assert_eq!(
        status(fixture.api(Method::POST, &give_up, &token)).await,
        200
    );
    assert!(fixture.sandbox.addons().is_empty());
    assert_eq!(
        status(fixture.api(Method::POST, &give_up, &token)).await,
        401
    );
}

#[tokio::test]
async fn giving_up_removes_a_waiting_addon() {
    let fixture = SandboxFixture::new().await;
    fixture.provider.answers(202, json!({ "id": "x" }));
    let (app, addon) = fixture.ready_addon("shop").await;
    let (token, _) = fixture.tokens_of(&addon).await;
    let give_up = format!("/addons/{}/actions/deprovision", addon.id);
    assert_eq!(
        status(fixture.api(Method::POST, &give_up, &token)).await,
        200
    );
    assert!(fixture.sandbox.addons().is_empty());
    assert!(fixture.sandbox.releases(app).is_empty());
}

#[tokio::test]
async fn codes_and_tokens_end_as_they_should() {
    let fixture = SandboxFixture::new().await;
    let (_, addon) = fixture.ready_addon("shop").await;
    let (_, late) = fixture.ready_addon("jobs").await;
    let (access, refresh) = fixture.tokens_of(&addon).await;
    let redeem = |code: String, secret: &'static str| {
        let fixture = &fixture;
        async move {
            let fields = [
                ("grant_type", "authorization_code"),
                ("code", code.as_str()),
                ("client_secret", secret),
            ];
            fixture.token_request(&fields).await.status().as_u16()
        }
    };
    assert_eq!(
        redeem(fixture.code_of(&addon), "client-secret").await,
        400,
        "used"
    );
    assert_eq!(redeem(fixture.code_of(&late), "wrong").await, 401);
    fixture.sandbox.advance_clock(Duration::from_secs(301));
    assert_eq!(
        redeem(fixture.code_of(&late), "client-secret").await,
        400,
        "too late"
    );

    assert_eq!(status(fixture.push(&addon, &access, "x")).await, 200);
    fixture.sandbox.advance_clock(Duration::from_secs(8 * 3600));
    assert_eq!(status(fixture.push(&addon, &access, "x")).await, 401);
    let fields = |secret: &'static str| {
        let refresh = refresh.as_str();
        [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh),
            ("client_secret", secret),
        ]
    };
    let response = fixture.token_request(&fields("client-secret")).await;
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["expires_in"], 28_800);
    let access = body["access_token"].as_str().unwrap();
    assert_eq!(status(fixture.push(&addon, access, "y")).await, 200);

    fixture
        .sandbox
        .reset_client_secret("new-secret".to_owned().into());
    assert_eq!(status(fixture.push(&addon, access, "z")).await, 401);
    assert_eq!(
        fixture
            .token_request(&fields("client-secret"))
            .await
            .status(),
        401
    );
    assert_eq!(
        fixture.token_request(&fields("new-secret")).await.status(),
        200
    );
    assert_eq!(
        fixture.token_request(&[("grant_type", "x")]).await.status(),
        400
    );
}

#[tokio::test]
async fn reads_show_only_what_the_token_reaches_page_by_page() {
    let fixture = SandboxFixture::new().await;
    let (shop, addon) = fixture.ready_addon("shop").await;
    let (unattached, _) = fixture.ready_addon("unattached").await;
    let jobs = fixture.sandbox.create_app("jobs").unwrap();
    fixture.sandbox.attach(addon.id, jobs).unwrap();
    let (token, _) = fixture.tokens_of(&addon).await;
    let get = |path: String| fixture.api(Method::GET, &path, &token);

    let own: Value = get("/addons".into())
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(own.as_array().unwrap().len(), 1);
    let mut apps = Vec::new();
    let mut range = "id ..; max=1".to_owned();
    loop {
        let request = get(format!("/addons/{}/addon-attachments", addon.id));
        let response = request.header("range", &range).send().await.unwrap();
        let next = response.headers().get("next-range").cloned();
        let page: Value = response.json().await.unwrap();
        for attachment in page.as_array().unwrap() {
            assert!(
                attachment["log_input_url"]
                    .as_str()
                    .unwrap()
                    .contains("@127.0.0.1:")
            );
            apps.push(attachment["app"]["name"].as_str().unwrap().to_owned());
        }
        match next {
            Some(next) => range = next.to_str().unwrap().to_owned(),
            None => break,
        }
    }
    apps.sort();
    assert_eq!(apps, ["jobs", "shop"]);
    let app: Value = get(format!("/apps/{shop}"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(app["name"], "shop");
    assert_eq!(status(get(format!("/apps/{unattached}"))).await, 403);
    assert_eq!(
        status(get(format!("/apps/{}", AppId::generate()))).await,
        404
    );
    assert_eq!(
        status(get(format!("/apps/{shop}/collaborators"))).await,
        200
    );
}

#[tokio::test]
async fn log_lines_reach_their_app_and_only_it() {
    let fixture = SandboxFixture::new().await;
    let (shop, addon) = fixture.ready_addon("shop").await;
    let (other, _) = fixture.ready_addon("other").await;
    let (url, password) = fixture.log_input_of(&addon);
    let body = format!("{}{}", frame("event=flush items=3"), frame("user=josé"));
    let post = |content_type: &'static str, count: &'static str, body: String| {
        let request = fixture.http.post(&url).basic_auth("token", Some(&password));
        let request = request.header("content-type", content_type);
        request.header("logplex-msg-count", count).body(body)
    };
    let good = "application/logplex-1";
    assert_eq!(status(post(good, "2", body.clone())).await, 204);
    let line = fixture
        .sandbox
        .wait_for_line(shop, "event=flush", SOON)
        .await
        .unwrap();
    let shown = "2026-11-22T18:30:00.000000+00:00 app[larder]: event=flush items=3";
    assert_eq!(line.to_string(), shown);
    assert_eq!(line.addon, Some(addon.id));
    let lines_of_other = fixture.sandbox.log_lines(other);
    assert!(lines_of_other.iter().all(|line| line.addon.is_none()));

    assert_eq!(status(post(good, "3", body.clone())).await, 400);
    assert_eq!(
        status(post(good, "2", format!("{body}9 <190>1"))).await,
        400
    );
    assert_eq!(
        status(post(
            "application/logplex-1; charset=utf-8",
            "2",
            body.clone()
        ))
        .await,
        415
    );
    assert!(
        post_chunked(&fixture, &password, &body)
            .await
            .starts_with("HTTP/1.1 411 ")
    );
    let unknown = fixture
        .http
        .post(&url)
        .basic_auth("token", Some("t.x"))
        .body(body);
    assert_eq!(status(unknown).await, 401);
    assert_eq!(status(fixture.http.get(&url)).await, 405);

    let from_addon = |line: &&LogLine| line.addon.is_some();
    let stored = fixture.sandbox.log_lines(shop);
    assert_eq!(
        stored.iter().filter(from_addon).count(),
        2,
        "refused bodies store nothing"
    );
}

/// By hand, for the client sends a length whenever it knows one. Returns the head of the answer.
async fn post_chunked(fixture: &SandboxFixture, password: &str, body: &str) -> String {
    let credentials = STANDARD.encode(format!("token:{password}"));
    let request = format!(
        "POST /logs HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {credentials}\r\n\
         content-type: application/logplex-1\r\ntransfer-encoding: chunked\r\n\
         connection: close\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(fixture.sandbox.addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_state_file_brings_everything_back_but_logs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep").join("sandbox.json");
    let with_file = || SandboxSettings {
        state_file: Some(path.clone()),
        ..settings()
    };
    let fixture = SandboxFixture::with(with_file()).await;
    let (app, addon) = fixture.ready_addon("shop").await;
    let (token, _) = fixture.tokens_of(&addon).await;
    fixture.sandbox.stop().await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let again = SandboxFixture::with(with_file()).await;
    assert_eq!(
        again.sandbox.config_vars(app)["MEMCACHIER_PASSWORD"],
        "first"
    );
    assert_eq!(status(again.push(&addon, &token, "second")).await, 200);
    assert_eq!(again.sandbox.releases(app).len(), 2);
    again.sandbox.stop().await;

    std::fs::write(&path, "{\"format\": 99, \"market\": 1}").unwrap();
    let refused = Sandbox::start(with_file()).await.err().unwrap().to_string();
    assert!(refused.contains("format 99"), "{refused}");
    std::fs::write(&path, "{").unwrap();
    let refused = Sandbox::start(with_file()).await.err().unwrap().to_string();
    assert!(refused.contains("damaged"), "{refused}");
}
