//! Limits that an operator sets are those that callers meet (security.md G-5).

use larder::sandbox::ProvisionOptions;
use reqwest::{Client, StatusCode};

use crate::support::control_plane::eventually;
use crate::support::dashboard::Dashboard;
use crate::support::db::Database;
use crate::support::full_service::{FullService, Wishes};
use crate::support::plain::Plain;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_set_bounds_callers() {
    let set = [
        ("LARDER_HTTP_BODY_BYTES", "4096"),
        ("LARDER_SESSION_SECS", "3"),
        ("LARDER_MEMCACHED_LOGIN_SECS", "1"),
        ("LARDER_MEMCACHED_LINE_BYTES", "1024"),
        ("LARDER_MEMCACHED_REQUEST_SECS", "1"),
    ];
    let wishes = Wishes {
        settings: set
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        ..Wishes::default()
    };
    let service = FullService::start(Database::sqlite(), wishes).await;
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let made = service
        .sandbox
        .provision(shop, "dev", ProvisionOptions::default());
    let addon = made.await.expect("a cache").id;

    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    let path = owner.path.clone();
    eventually("the session is over", async || {
        owner.get(&path).await.status == StatusCode::UNAUTHORIZED
    })
    .await;
    let page = owner.get(&path).await.body;
    let told = "A sign-in lasts 3 seconds at most and ends after 30 minutes without use";
    assert!(page.contains(told), "{page}");

    let client = Client::new();
    for (bytes, too_large) in [
        (4_095, false),
        (4_096, false),
        (4_097, true),
        (40_960, true),
    ] {
        let url = format!("{}/logout", service.base);
        let form = client
            .post(url)
            .header("origin", &service.base)
            .header("sec-fetch-site", "same-origin");
        let form = form.header("content-type", "application/x-www-form-urlencoded");
        let answer = form
            .body(format!("csrf={}", "x".repeat(bytes - 5)))
            .send()
            .await
            .expect("answered");
        assert_eq!(
            answer.status() == StatusCode::PAYLOAD_TOO_LARGE,
            too_large,
            "{bytes}: {}",
            answer.status()
        );
    }

    let vars = service.sandbox.config_vars(shop);
    let servers = &vars["MEMCACHIER_SERVERS"];
    assert_eq!(
        Plain::connect(servers).await.rest().await,
        "",
        "nobody logs in"
    );
    let login = async || {
        let mut client = Plain::connect(servers).await;
        let told = client
            .login(&vars["MEMCACHIER_USERNAME"], &vars["MEMCACHIER_PASSWORD"])
            .await;
        assert_eq!(told, "STORED");
        client
    };
    let mut half = login().await;
    half.say("set k 0 0 5\r\nhal").await;
    assert_eq!(half.rest().await, "", "a request that does not end");
    let mut client = login().await;
    client.say(&format!("{}\r\n", "x".repeat(1_000))).await;
    assert_eq!(client.line().await, "ERROR");
    client.say(&format!("{}\r\n", "x".repeat(1_100))).await;
    assert!(client.rest().await.contains("too long"), "and closed");
    service.stop().await;
}
