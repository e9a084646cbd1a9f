//! A code that Heroku has answered to is spent, whatever became of the answer: a fresh one is asked for, and the old one is not
//! sent again.

use std::sync::Arc;

use larder::http::CallErrorKind;
use larder::marketplace::heroku::client::HerokuClient;
use larder::outbox::ports::TokenIssuer as _;
use larder::store::outbox::grants::GrantState;
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::outbox_fixture::{OutboxFixture, code, heroku_settings, outbox};
use crate::support::control_plane::{ready, request};
use crate::support::db::on_each;

const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

/// Answers to a code that bring no tokens. The last one breaks off.
const IN_VAIN: [&str; 3] = [
    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 19\r\n\r\n{\"access_token\":\"\"}",
    "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 22\r\n\r\n{\"id\":\"invalid_grant\"}",
    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1000\r\n\r\n{\"access_token\":\"HRKU-",
];
const TOKENS: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 30\r\n\r\n{\"access_token\":\"HRKU-access\"}";

/// A token endpoint that has tokens for the code `again` only. Its address, and the secret of each form it was sent.
async fn token_endpoint(in_vain: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let sent: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            // The form ends so.
            while !request.ends_with(b"&client_secret=client-secret")
                && stream.read_buf(&mut request).await.unwrap_or(0) > 0
            {}
            let request = String::from_utf8_lossy(&request);
            let form = request.rsplit("\r\n\r\n").next().unwrap_or_default();
            let secret = form.split('&').nth(1).unwrap_or_default().to_owned();
            let answer = if secret == "code=again" {
                TOKENS
            } else {
                in_vain
            };
            seen.lock().push(secret);
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    (url, sent)
}

/// The endpoint for fresh codes is in trouble for as long as two more tries take, and then dates its code in an odd way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_code_is_not_sent_again_while_a_fresh_one_is_asked_for() {
    for in_vain in IN_VAIN {
        on_each(async |db| {
            let fixture = OutboxFixture::start(db).await;
            let api = MockServer::start().await;
            let fresh = || path(format!("/vendor/resources/{UUID}/oauth-grant"));
            Mock::given(fresh())
                .respond_with(ResponseTemplate::new(503))
                .up_to_n_times(3)
                .expect(3)
                .mount(&api)
                .await;
            let again = json!({"code": "again", "expires_at": 1_795_372_500, "type": null});
            Mock::given(fresh())
                .respond_with(ResponseTemplate::new(200).set_body_json(again))
                .expect(1)
                .mount(&api)
                .await;
            let (id_url, sent) = token_endpoint(in_vain).await;
            let mut settings = heroku_settings(&api.uri());
            settings.id_url = id_url;
            let client = Arc::new(HerokuClient::new(settings).expect("a client"));
            let control = &fixture.control;
            let (store, clock) = (&control.store, &control.clock);
            let outbox = outbox(store, clock, fixture.nodes.clone(), client);
            let mut ask = request(UUID);
            ask.grant = Some(code("the-code", clock));
            let made = control.provisioning.provision(ask).await;
            let cache = ready(made.expect("a cache")).resource.cache;
            let state = async || {
                let grant = store.grant(cache).await.expect("read");
                grant.expect("a grant").state
            };
            for _ in 0..3 {
                while outbox.run_due().await.expect("the store answers") > 0 {}
                assert_eq!(*sent.lock(), ["code=the-code"], "{in_vain}");
                assert_eq!(state().await, GrantState::Pending, "{in_vain}");
                // Longer than any wait between two tries.
                fixture.pass(31);
            }
            while outbox.run_due().await.expect("the store answers") > 0 {}
            assert_eq!(*sent.lock(), ["code=the-code", "code=again"], "{in_vain}");
            assert_eq!(state().await, GrantState::Active, "{in_vain}");
        })
        .await;
    }
}

/// A refresh token can be used again, so an answer without tokens is trouble that passes.
#[tokio::test]
async fn an_answer_without_tokens_to_a_refresh_token_is_asked_for_again() {
    for (number, in_vain) in IN_VAIN.into_iter().enumerate() {
        let (id_url, _) = token_endpoint(in_vain).await;
        let mut settings = heroku_settings("http://127.0.0.1:9");
        settings.id_url = id_url;
        let client = HerokuClient::new(settings).expect("a client");
        let refused = client.refresh(&"the-token".to_owned().into()).await;
        let kind = refused.expect_err("no tokens").kind;
        let is_passing = matches!(kind, CallErrorKind::Retry { .. });
        // But for the one that refuses it.
        assert_eq!(is_passing, number != 1, "{in_vain}");
    }
}
