//! A process that is cut off from its database: it says so, its caches serve on, and the other process carries on.

use larder::sandbox::{AddonId, ProvisionOptions};
use reqwest::{Client, StatusCode};
use serde_json::json;

use crate::support::control_plane::eventually;
use crate::support::dashboard::Dashboard;
use crate::support::database_wire::DatabaseWire;
use crate::support::db::Database;
use crate::support::full_service::{
    FullService, PASSWORD, PATIENCE, Wishes, free_port, serve, setting,
};
use crate::support::needs;
use crate::support::plain::Plain;

async fn readiness(base: &str) -> StatusCode {
    let answer = Client::new().get(format!("{base}/readyz")).send().await;
    answer.expect("an answer").status()
}

async fn becomes(base: &str, wanted: StatusCode) {
    eventually(wanted.as_str(), async || readiness(base).await == wanted).await;
}

/// Logs in anew and asks for what was stored before.
async fn serves(servers: &str, username: &str, password: &str) {
    let mut client = Plain::connect(servers).await;
    assert_eq!(client.login(username, password).await, "STORED");
    client.say("get kept\r\n").await;
    assert_eq!(client.line().await, "VALUE kept 0 3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_its_database_fails_its_readiness_and_another_carries_on() {
    let Some(database) = needs(Database::postgres().await, "PostgreSQL") else {
        return;
    };
    let wire = DatabaseWire::to(database.url()).await;
    let wishes = Wishes {
        settings: vec![("LARDER_DATABASE_URL".to_owned(), wire.url.clone())],
        ..Wishes::default()
    };
    let one = FullService::start(database, wishes).await;
    let shop = one.sandbox.create_app("shop").expect("a new name");
    let options = ProvisionOptions::default();
    let addon = one.sandbox.provision(shop, "dev", options).await;
    let addon = addon.expect("a cache").id;
    let vars = one.sandbox.config_vars(shop);
    let var = |name: &str| vars[&format!("MEMCACHIER_{name}")].clone();
    let (servers, username, password) = (var("SERVERS"), var("USERNAME"), var("PASSWORD"));
    let mut client = Plain::connect(&servers).await;
    assert_eq!(client.login(&username, &password).await, "STORED");
    client.say("set kept 0 0 3\r\nyes\r\n").await;
    assert_eq!(client.line().await, "STORED");

    let other = format!("http://127.0.0.1:{}", free_port());
    let data = tempfile::tempdir().expect("a folder");
    let mut settings = one.settings().to_vec();
    for (name, value) in [
        ("LARDER_DATABASE_URL", one.database.url()),
        ("LARDER_DATA_DIR", &data.path().display().to_string()),
        ("LARDER_HTTP_ADDR", other.trim_start_matches("http://")),
        (
            "LARDER_MEMCACHED_ADDR",
            &format!("127.0.0.1:{}", free_port()),
        ),
        ("LARDER_PUBLIC_URL", &other),
    ] {
        settings = setting(&settings, name, value);
    }
    let second = serve(&(settings, None)).await;

    wire.cut();
    becomes(&one.base, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(readiness(&other).await, StatusCode::OK);
    let order = json!({"uuid": AddonId::generate(), "plan": "dev", "region": "us"});
    let refused = Client::new().post(format!("{}/heroku/resources", one.base));
    let refused = refused.basic_auth("larder", Some(PASSWORD)).json(&order);
    let refused = refused.send().await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "5");
    serves(&servers, &username, &password).await;
    let guess = Client::new().post(format!("{}/heroku/resources", one.base));
    let guess = guess.basic_auth("larder", Some("guess")).body("{}").send();
    let guess = guess.await.expect("an answer");
    assert_eq!(guess.status(), StatusCode::UNAUTHORIZED);
    let audited = async || {
        let rows = "SELECT count(*) FROM audit WHERE action = 'api.refused'";
        one.database.number(rows).await
    };

    // The balancer sends everything to the other one.
    let (resources, sso) = (
        format!("{other}/heroku/resources"),
        format!("{other}/heroku/sso"),
    );
    one.sandbox.set_provider(&resources, &sso);
    let changed = one.sandbox.change_plan(addon, "100").await;
    assert_eq!(changed.expect("changed").plan, "100");
    let mut owner = Dashboard::open(&one.sandbox, addon, &other).await;
    let new = owner.add_credentials().await;

    assert_eq!(audited().await, 0);
    wire.mend();
    eventually("the guess is audited", async || audited().await == 1).await;
    becomes(&one.base, StatusCode::OK).await;
    // What was changed meanwhile arrives: the new credential works on the node that was cut off.
    assert!(owner.promote(&new).await.status.is_redirection());
    let name = "MEMCACHIER_USERNAME";
    let pushed = one.sandbox.wait_for_var(shop, name, &new, PATIENCE);
    pushed.await.expect("the push arrives");
    let password = one.sandbox.config_vars(shop)["MEMCACHIER_PASSWORD"].clone();
    serves(&servers, &new, &password).await;
    second.stop().await;
    one.stop().await;
}
