//! Calls of the node link as anybody can make them who reaches its address: HTTP with a token of one's choice.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use larder::cluster::link::wire::{
    Home, Introduction, Phase, Report, TokenQuery, VERSION, Welcome,
};
use reqwest::header::{CACHE_CONTROL, HeaderMap};
use reqwest::{Client, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

/// A caller of one control process.
pub struct LinkCaller {
    http: Client,
    base: String,
}

/// What a call was answered.
#[derive(Debug)]
pub struct LinkAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

/// A node that joined by such a call.
pub struct RawNode {
    pub id: String,
    /// The id of its data folder.
    pub home: String,
    pub token: String,
}

/// A machine that presents itself for the first time.
pub fn introduction(host: &str, home: &str) -> Introduction {
    Introduction {
        version: VERSION,
        known_as: None,
        cluster: "c1".to_owned(),
        region: "us".to_owned(),
        proxy_hostname: host.to_owned(),
        proxy_port: 11211,
        memory_bytes: 1 << 30,
        home: Home {
            id: home.to_owned(),
            path: "/var/lib/larder".to_owned(),
        },
    }
}

/// A report with nothing to tell.
pub fn report(home: &str) -> Report {
    Report {
        home: home.to_owned(),
        phase: Phase::Serving,
        ..Report::default()
    }
}

impl LinkCaller {
    /// To the control process with this address, such as `http://127.0.0.1:12345`.
    pub fn to(url: &str) -> LinkCaller {
        LinkCaller {
            http: Client::new(),
            base: format!("{url}/link/v1"),
        }
    }

    pub async fn call(&self, path: &str, token: Option<&str>, body: &impl Serialize) -> LinkAnswer {
        let body = serde_json::to_vec(body).expect("JSON");
        self.call_with(path, token, body).await
    }

    /// The same with any bytes as its body.
    pub async fn call_with(&self, path: &str, token: Option<&str>, body: Vec<u8>) -> LinkAnswer {
        let request = self.http.post(format!("{}{path}", self.base));
        let request = request
            .header("content-type", "application/json")
            .body(body);
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await.expect("an answer");
        let answer = LinkAnswer {
            status: answer.status(),
            headers: answer.headers().clone(),
            body: answer.json().await.expect("JSON"),
        };
        let stored = answer.headers.get(CACHE_CONTROL);
        assert_eq!(stored.expect("a header"), "no-store", "{path}");
        answer
    }

    /// Joins as a new node.
    pub async fn join(&self, enrolment: &str, host: &str, home: &str) -> RawNode {
        let introduction = introduction(host, home);
        let answer = self.call("/join", Some(enrolment), &introduction).await;
        assert_eq!(answer.status, StatusCode::OK);
        let welcome: Welcome = serde_json::from_value(answer.body).expect("a welcome");
        let token = welcome.token.expect("a token").token;
        RawNode {
            id: welcome.node,
            home: home.to_owned(),
            token: token.expose().to_owned(),
        }
    }

    /// Reports for a node with this token.
    pub async fn report(&self, node: &RawNode, token: Option<&str>) -> StatusCode {
        let path = format!("/nodes/{}/report", node.id);
        self.call(&path, token, &report(&node.home)).await.status
    }

    /// Asks for a node's next token with this one.
    pub async fn renew(&self, node: &RawNode, token: &str) -> StatusCode {
        let path = format!("/nodes/{}/token", node.id);
        let home = node.home.clone();
        let answer = self.call(&path, Some(token), &TokenQuery { home }).await;
        answer.status
    }
}

/// Tokens that a stranger makes for a node: signed with nothing, and with a key of its own, of today.
pub fn forged(node: &RawNode) -> [String; 2] {
    let day = std::time::SystemTime::UNIX_EPOCH.elapsed();
    let day = day.expect("after 1970").as_secs() / 86_400;
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(day.to_string());
    let claims = json!({"aud": "larder-node", "sub": node.id, "exp": 9_999_999_999_u64});
    let key = EncodingKey::from_secret(&[7; 32]);
    let signed = jsonwebtoken::encode(&header, &claims, &key).expect("a token");
    let (_, rest) = signed.split_once('.').expect("three parts");
    let (claims, _) = rest.split_once('.').expect("three parts");
    // {"alg":"none"}
    let unsigned = format!("eyJhbGciOiJub25lIn0.{claims}.");
    [signed, unsigned]
}
