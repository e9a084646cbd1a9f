//! Faults do what their names say, in both directions.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::*;
use crate::sandbox::*;

#[tokio::test]
async fn a_provider_meets_queued_faults_one_by_one() {
    let fixture = SandboxFixture::new().await;
    let (app, addon) = fixture.ready_addon("shop").await;
    let (token, _) = fixture.tokens_of(&addon).await;
    let group = EndpointGroup::Config;
    let limited = Fault::TooManyRequests {
        retry_after_secs: 7,
    };
    let queue = [
        Some(Fault::ServerError),
        Some(limited),
        Some(Fault::Unauthorized),
    ];
    fixture.sandbox.queue_faults(group, queue);

    assert_eq!(status(fixture.push(&addon, &token, "second")).await, 500);
    let response = fixture.push(&addon, &token, "second").send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(status(fixture.push(&addon, &token, "second")).await, 401);
    assert_eq!(
        fixture.sandbox.config_vars(app)["MEMCACHIER_PASSWORD"],
        "first"
    );
    assert_eq!(status(fixture.push(&addon, &token, "second")).await, 200);

    fixture.sandbox.read(|market| {
        let requests = market.requests();
        assert_eq!(requests.count("PATCH", "/config", 500), 1);
        let faults: Vec<_> = requests
            .iter()
            .filter_map(|request| request.fault)
            .collect();
        assert_eq!(faults, ["500", "429", "401"]);
    });
}

/// Faults answer before the body is read; a provider that still sends it must read the fault, not a broken connection.
#[tokio::test]
async fn a_fault_leaves_the_connection_to_the_next_call() {
    let fixture = SandboxFixture::new().await;
    let faults = [Some(Fault::ServerError); 2];
    fixture.sandbox.queue_faults(EndpointGroup::Config, faults);
    let mut socket = TcpStream::connect(fixture.sandbox.addr()).await.unwrap();
    for _ in faults {
        let head = "PATCH /addons/x/config HTTP/1.1\r\nhost: x\r\ncontent-length: 600000\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"}") {
            assert!(socket.read_buf(&mut read).await.unwrap() > 0);
        }
        assert!(read.starts_with(b"HTTP/1.1 500 "));
        socket.write_all(&[b'x'; 600_000]).await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_reply_is_a_request_done_without_an_answer() {
    let fixture = SandboxFixture::new().await;
    let (app, addon) = fixture.ready_addon("shop").await;
    let (token, _) = fixture.tokens_of(&addon).await;
    fixture
        .sandbox
        .set_fault(EndpointGroup::Config, Some(Fault::LostReply));
    let lost = fixture
        .push(&addon, &token, "second")
        .send()
        .await
        .unwrap_err();
    assert!(!lost.is_timeout() && !lost.is_status(), "{lost:?}");
    assert_eq!(
        fixture.sandbox.config_vars(app)["MEMCACHIER_PASSWORD"],
        "second"
    );
}

#[tokio::test]
async fn a_hanging_endpoint_does_nothing_until_the_caller_gives_up() {
    let fixture = SandboxFixture::new().await;
    let (app, addon) = fixture.ready_addon("shop").await;
    let (token, _) = fixture.tokens_of(&addon).await;
    fixture
        .sandbox
        .set_fault(EndpointGroup::Config, Some(Fault::Hang));
    let push = fixture
        .push(&addon, &token, "second")
        .timeout(Duration::from_millis(50));
    assert!(push.send().await.unwrap_err().is_timeout());
    assert_eq!(
        fixture.sandbox.config_vars(app)["MEMCACHIER_PASSWORD"],
        "first"
    );
    let unanswered = |market: &Market| {
        let last = market.requests().iter().next_back()?;
        (last.status.is_none() && last.fault == Some("hang")).then_some(())
    };
    fixture.sandbox.wait_for(SOON, unanswered).await.unwrap();
    fixture.sandbox.set_fault(EndpointGroup::Config, None);
    assert_eq!(status(fixture.push(&addon, &token, "second")).await, 200);
}

#[tokio::test]
async fn other_groups_go_on_while_one_fails() {
    let fixture = SandboxFixture::new().await;
    let (_, addon) = fixture.ready_addon("shop").await;
    fixture
        .sandbox
        .set_fault(EndpointGroup::Logs, Some(Fault::Unauthorized));
    let slow = Fault::Slow(Duration::from_millis(1));
    fixture.sandbox.set_fault(EndpointGroup::Token, Some(slow));
    let (url, password) = fixture.log_input_of(&addon);
    let post = fixture
        .http
        .post(url)
        .basic_auth("token", Some(password))
        .body(frame("x"));
    assert_eq!(status(post).await, 401);
    let (token, _) = fixture.tokens_of(&addon).await;
    assert_eq!(status(fixture.push(&addon, &token, "second")).await, 200);
    fixture.sandbox.expire_tokens();
    assert_eq!(status(fixture.push(&addon, &token, "third")).await, 401);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_order_open_for_a_repeat() {
    let fixture = SandboxFixture::new().await;
    let app = fixture.sandbox.create_app("shop").unwrap();
    let lose = CallFaults {
        lose_reply: true,
        ..CallFaults::default()
    };
    fixture.sandbox.set_call_faults(lose);
    let lost = fixture
        .sandbox
        .provision(app, "dev", Default::default())
        .await
        .unwrap_err();
    assert!(matches!(lost, ProviderError::NoAnswer { .. }));
    assert_eq!(lost.status(), None);
    let [addon] = fixture.sandbox.addons().try_into().unwrap();
    assert_eq!(addon.state, AddonState::Provisioning);

    fixture.sandbox.set_call_faults(CallFaults::default());
    assert_eq!(
        fixture
            .sandbox
            .repeat_provision(addon.id)
            .await
            .unwrap()
            .status,
        201
    );
    let seen = fixture.provider.seen();
    assert_eq!(seen[0].body, seen[1].body);
    assert_eq!(fixture.sandbox.releases(app).len(), 1);
}

#[tokio::test]
async fn duplicated_calls_are_sent_twice_and_count_once() {
    let fixture = SandboxFixture::new().await;
    let twice = CallFaults {
        duplicate: true,
        ..CallFaults::default()
    };
    fixture.sandbox.set_call_faults(twice);
    let (app, _) = fixture.ready_addon("shop").await;
    assert_eq!(fixture.provider.seen().len(), 2);
    assert_eq!(fixture.sandbox.releases(app).len(), 1);
}

#[tokio::test]
async fn a_held_call_is_overtaken_by_the_next() {
    let fixture = SandboxFixture::new().await;
    let (_, addon) = fixture.ready_addon("shop").await;
    let reorder = CallFaults {
        reorder: true,
        ..CallFaults::default()
    };
    fixture.sandbox.set_call_faults(reorder);
    let first = fixture.sandbox.change_plan(addon.id, "100");
    let second = fixture.sandbox.change_plan(addon.id, "dev");
    let (first, second) = tokio::join!(biased; first, second);
    assert!(first.is_ok() && second.is_ok());
    let plans: Vec<Value> = fixture
        .provider
        .seen()
        .into_iter()
        .map(|seen| seen.body["plan"].clone())
        .collect();
    assert_eq!(plans[1..], [json!("dev"), json!("100")]);
}

#[tokio::test]
async fn no_provider_at_all_is_no_answer() {
    let mut nowhere = settings();
    nowhere.provider_base_url = "http://127.0.0.1:1/heroku/resources".to_owned();
    let sandbox = Sandbox::start(nowhere).await.unwrap();
    let app = sandbox.create_app("shop").unwrap();
    let error = sandbox
        .provision(app, "dev", Default::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ProviderError::NoAnswer { .. }), "{error}");
    sandbox.stop().await;
}
