//! Faults do what their names say, in both directions.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::*;
use crate::sandbox::*;

#[tokio::test]
async fn a_provider_meets_queued_faults_one_by_one() {
    let world = World::new().await;
    let (app, addon) = world.ready_addon("shop").await;
    let (token, _) = world.tokens_of(&addon).await;
    let group = EndpointGroup::Config;
    let limited = Fault::TooManyRequests {
        retry_after_secs: 7,
    };
    let queue = [
        Some(Fault::ServerError),
        Some(limited),
        Some(Fault::Unauthorized),
    ];
    world.sandbox.queue_faults(group, queue);

    assert_eq!(status(world.push(&addon, &token, "second")).await, 500);
    let response = world.push(&addon, &token, "second").send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(status(world.push(&addon, &token, "second")).await, 401);
    assert_eq!(
        world.sandbox.config_vars(app)["MEMCACHIER_PASSWORD"],
        "first"
    );
    assert_eq!(status(world.push(&addon, &token, "second")).await, 200);

    world.sandbox.read(|market| {
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
    let world = World::new().await;
    let faults = [Some(Fault::ServerError); 2];
    world.sandbox.queue_faults(EndpointGroup::Config, faults);
    let mut socket = TcpStream::connect(world.sandbox.addr()).await.unwrap();
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
    let world = World::new().await;
    let (app, addon) = world.ready_addon("shop").await;
    let (token, _) = world.tokens_of(&addon).await;
    world
        .sandbox
        .set_fault(EndpointGroup::Config, Some(Fault::LostReply));
    let lost = world
        .push(&addon, &token, "second")
        .send()
        .await
        .unwrap_err();
    assert!(!lost.is_timeout() && !lost.is_status(), "{lost:?}");
    assert_eq!(
        world.sandbox.config_vars(app)["MEMCACHIER_PASSWORD"],
        "second"
    );
}

#[tokio::test]
async fn a_hanging_endpoint_does_nothing_until_the_caller_gives_up() {
    let world = World::new().await;
    let (app, addon) = world.ready_addon("shop").await;
    let (token, _) = world.tokens_of(&addon).await;
    world
        .sandbox
        .set_fault(EndpointGroup::Config, Some(Fault::Hang));
    let push = world
        .push(&addon, &token, "second")
        .timeout(Duration::from_millis(50));
    assert!(push.send().await.unwrap_err().is_timeout());
    assert_eq!(
        world.sandbox.config_vars(app)["MEMCACHIER_PASSWORD"],
        "first"
    );
    let unanswered = |market: &Market| {
        let last = market.requests().iter().next_back()?;
        (last.status.is_none() && last.fault == Some("hang")).then_some(())
    };
    world.sandbox.wait_for(SOON, unanswered).await.unwrap();
    world.sandbox.set_fault(EndpointGroup::Config, None);
    assert_eq!(status(world.push(&addon, &token, "second")).await, 200);
}

#[tokio::test]
async fn other_groups_go_on_while_one_fails() {
    let world = World::new().await;
    let (_, addon) = world.ready_addon("shop").await;
    world
        .sandbox
        .set_fault(EndpointGroup::Logs, Some(Fault::Unauthorized));
    let slow = Fault::Slow(Duration::from_millis(1));
    world.sandbox.set_fault(EndpointGroup::Token, Some(slow));
    let (url, password) = world.log_input_of(&addon);
    let post = world
        .http
        .post(url)
        .basic_auth("token", Some(password))
        .body(frame("x"));
    assert_eq!(status(post).await, 401);
    let (token, _) = world.tokens_of(&addon).await;
    assert_eq!(status(world.push(&addon, &token, "second")).await, 200);
    world.sandbox.expire_tokens();
    assert_eq!(status(world.push(&addon, &token, "third")).await, 401);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_order_open_for_a_repeat() {
    let world = World::new().await;
    let app = world.sandbox.create_app("shop").unwrap();
    let lose = CallFaults {
        lose_reply: true,
        ..CallFaults::default()
    };
    world.sandbox.set_call_faults(lose);
    let lost = world
        .sandbox
        .provision(app, "dev", Default::default())
        .await
        .unwrap_err();
    assert!(matches!(lost, ProviderError::NoAnswer { .. }));
    assert_eq!(lost.status(), None);
    let [addon] = world.sandbox.addons().try_into().unwrap();
    assert_eq!(addon.state, AddonState::Provisioning);

    world.sandbox.set_call_faults(CallFaults::default());
    assert_eq!(
        world
            .sandbox
            .repeat_provision(addon.id)
            .await
            .unwrap()
            .status,
        201
    );
    let seen = world.provider.seen();
    assert_eq!(seen[0].body, seen[1].body);
    assert_eq!(world.sandbox.releases(app).len(), 1);
}

#[tokio::test]
async fn duplicated_calls_are_sent_twice_and_count_once() {
    let world = World::new().await;
    let twice = CallFaults {
        duplicate: true,
        ..CallFaults::default()
    };
    world.sandbox.set_call_faults(twice);
    let (app, _) = world.ready_addon("shop").await;
    assert_eq!(world.provider.seen().len(), 2);
    assert_eq!(world.sandbox.releases(app).len(), 1);
}

#[tokio::test]
async fn a_held_call_is_overtaken_by_the_next() {
    let world = World::new().await;
    let (_, addon) = world.ready_addon("shop").await;
    let reorder = CallFaults {
        reorder: true,
        ..CallFaults::default()
    };
    world.sandbox.set_call_faults(reorder);
    let first = world.sandbox.change_plan(addon.id, "100");
    let second = world.sandbox.change_plan(addon.id, "dev");
    let (first, second) = tokio::join!(biased; first, second);
    assert!(first.is_ok() && second.is_ok());
    let plans: Vec<Value> = world
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
