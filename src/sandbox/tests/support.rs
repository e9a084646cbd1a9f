//! A provider that answers as told, and a client that speaks as a provider should.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::sandbox::*;

/// Long enough for a loaded machine; nothing waits this long when all is well.
pub const SOON: Duration = Duration::from_secs(20);

/// One request as the provider saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
}

#[derive(Clone, Default)]
pub struct FakeProvider {
    seen: Arc<Mutex<Vec<Seen>>>,
    answer: Arc<Mutex<Option<(u16, Value)>>>,
}

impl FakeProvider {
    /// The answer to everything, instead of what a good provider says.
    pub fn answers(&self, status: u16, body: Value) {
        *self.answer.lock() = Some((status, body));
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

async fn fake_answer(
    State(provider): State<FakeProvider>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    provider.seen.lock().push(Seen {
        method: method.clone(),
        path: uri.path().to_owned(),
        headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    });
    let (status, body) = match provider.answer.lock().clone() {
        Some(answer) => answer,
        None if method == Method::POST => (
            201,
            json!({
                "id": "any", "message": "Your cache is ready.", "config": full_config("first"),
            }),
        ),
        None if method == Method::PUT => (200, json!({ "message": "Plan changed." })),
        None => (204, Value::Null),
    };
    let status = StatusCode::from_u16(status).unwrap();
    match body {
        Value::Null => status.into_response(),
        body => (status, axum::Json(body)).into_response(),
    }
}

pub fn full_config(password: &str) -> Value {
    json!({
        "MEMCACHIER_SERVERS": "127.0.0.1:11211",
        "MEMCACHIER_USERNAME": "4F2A90",
        "MEMCACHIER_PASSWORD": password,
    })
}

/// A sandbox, its provider, and a client; all end with it.
pub struct SandboxFixture {
    pub sandbox: Sandbox,
    pub provider: FakeProvider,
    pub http: reqwest::Client,
    task: JoinHandle<()>,
}

impl Drop for SandboxFixture {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn settings() -> SandboxSettings {
    let manifest = Manifest::parse(include_str!("../../../addon-manifest.json")).unwrap();
    let mut settings = SandboxSettings::new(manifest, "client-secret".to_owned().into());
    settings.addr = ([127, 0, 0, 1], 0).into();
    settings.plans = vec!["dev".to_owned(), "100".to_owned()];
    settings.overlap = Duration::ZERO;
    settings
}

impl SandboxFixture {
    pub async fn new() -> SandboxFixture {
        SandboxFixture::with(settings()).await
    }

    pub async fn with(mut settings: SandboxSettings) -> SandboxFixture {
        let provider = FakeProvider::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/heroku", listener.local_addr().unwrap());
        let routes = Router::new()
            .fallback(fake_answer)
            .with_state(provider.clone());
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        settings.provider_base_url = format!("{url}/resources");
        settings.provider_sso_url = format!("{url}/sso");
        SandboxFixture {
            sandbox: Sandbox::start(settings).await.unwrap(),
            provider,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            task,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.sandbox.url())
    }

    /// An app with an add-on of plan `dev`, ready.
    pub async fn ready_addon(&self, app: &str) -> (AppId, Addon) {
        let app = self.sandbox.create_app(app).unwrap();
        let ordered = self.sandbox.provision(app, "dev", Default::default());
        (app, ordered.await.unwrap())
    }

    /// The grant code of the add-on, as it was sent to the provider.
    pub fn code_of(&self, addon: &Addon) -> String {
        let sent = self.provider.seen();
        let provision = sent
            .iter()
            .find(|seen| seen.body["uuid"] == json!(addon.id));
        let code = &provision.unwrap().body["oauth_grant"]["code"];
        code.as_str().unwrap().to_owned()
    }

    pub async fn token_request(&self, fields: &[(&str, &str)]) -> reqwest::Response {
        let request = self.http.post(self.url("/oauth/token")).form(fields);
        request.send().await.unwrap()
    }

    /// Exchanges the add-on's code: access and refresh token.
    pub async fn tokens_of(&self, addon: &Addon) -> (String, String) {
        let code = self.code_of(addon);
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("client_secret", "client-secret"),
        ];
        let response = self.token_request(&fields).await;
        assert_eq!(response.status(), 200);
        let body: Value = response.json().await.unwrap();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        (text("access_token"), text("refresh_token"))
    }

    pub fn api(&self, method: Method, path: &str, token: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, self.url(path))
            .bearer_auth(token)
            .header("accept", "application/vnd.heroku+json; version=3")
    }

    /// PATCHes the password of the add-on.
    pub fn push(&self, addon: &Addon, token: &str, password: &str) -> reqwest::RequestBuilder {
        let body = json!({ "config": [{ "name": "MEMCACHIER_PASSWORD", "value": password }] });
        let path = format!("/addons/{}/config", addon.id);
        self.api(Method::PATCH, &path, token).json(&body)
    }

    /// The log input URL of the add-on's owner, as it was sent: user information apart from the rest.
    pub fn log_input_of(&self, addon: &Addon) -> (String, String) {
        let sent = self.provider.seen();
        let provision = sent
            .iter()
            .find(|seen| seen.body["uuid"] == json!(addon.id));
        let url = provision.unwrap().body["log_input_url"]
            .as_str()
            .unwrap()
            .to_owned();
        let (user_info, rest) = url
            .strip_prefix("http://")
            .unwrap()
            .split_once('@')
            .unwrap();
        let (user, password) = user_info.split_once(':').unwrap();
        assert_eq!(user, "token");
        (format!("http://{rest}"), password.to_owned())
    }
}

pub async fn status(request: reqwest::RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

/// One well-formed frame of the log input.
pub fn frame(text: &str) -> String {
    let content = format!("<190>1 2026-11-22T18:30:00.000000+00:00 host app larder - - {text}");
    format!("{} {content}", content.len())
}
