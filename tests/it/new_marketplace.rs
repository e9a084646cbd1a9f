//! A marketplace that can only order and end caches, registered from outside: no room knows of it, and its customers
//! have everything that those of others have, but for values pushed to their apps.

use std::sync::Arc;

use larder::config::{Config, Environment};
use larder::marketplace::{Adapter, registry};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::corner_market::{CornerMarket, PASSPHRASE};
use crate::support::dashboard::{Dashboard, Page, visible_text};
use crate::support::db::Database;
use crate::support::full_service::{FullService, Wishes};
use crate::support::on_both_databases;
use crate::support::plain::Plain;

on_both_databases!(a_marketplace_needs_no_change_in_any_room);
on_both_databases!(two_marketplaces_of_one_name_are_refused);

async fn a_marketplace_needs_no_change_in_any_room(database: Database) {
    let wishes = Wishes {
        marketplaces: vec![Arc::new(CornerMarket)],
        settings: [
            ("LARDER_PRODUCT_NAME", "Pantry"),
            ("LARDER_VARIABLES_PREFIX", "PANTRY"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec(),
        ..Wishes::default()
    };
    let service = FullService::start(database, wishes).await;
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let orders = format!("{}/corner/orders", service.base);
    let order = async |id: &str, plan: &str| {
        let body = json!({"id": id, "name": "bakery", "plan": plan});
        http.post(&orders)
            .json(&body)
            .send()
            .await
            .expect("an answer")
    };
    let refused = order("loaf-0", "100").await;
    assert_eq!(
        refused.status(),
        StatusCode::UNPROCESSABLE_ENTITY,
        "its catalogue has one plan"
    );
    let far = json!({"id": "loaf-0", "name": "bakery", "plan": "dev", "region": "eu"});
    let far = http.post(&orders).json(&far).send().await;
    assert_eq!(
        far.expect("an answer").status(),
        StatusCode::UNPROCESSABLE_ENTITY,
        "its catalogue has one region, and that of the product has two"
    );
    let made = order("loaf-1", "dev").await;
    assert_eq!(made.status(), StatusCode::CREATED);
    let config: Value = made.json().await.expect("JSON");
    let value = |name: &str| config[name].as_str().expect("a text").to_owned();
    let (servers, username) = (value("PANTRY_SERVERS"), value("PANTRY_USERNAME"));
    let password = value("PANTRY_PASSWORD");

    let mut client = Plain::connect(&servers).await;
    assert_eq!(client.login(&username, &password).await, "STORED");

    let mut ada = enter(&service, "ticket-1").await.expect("a dashboard");
    let page = ada.page().await;
    let text = visible_text(&page);
    for shown in [
        "bakery",
        "Corner Market",
        "ada@example.com",
        "Thank you for shopping",
        "Pantry",
        "PANTRY_SERVERS",
        "Corner Market takes no new values from us",
    ] {
        assert!(text.contains(shown), "{shown} in {text}");
    }
    let replayed = enter(&service, "ticket-1").await.map(|_| ());
    assert_eq!(
        replayed.unwrap_err().status,
        StatusCode::FORBIDDEN,
        "good once"
    );

    let added = ada.add_credentials().await;
    let promoted = ada.promote(&added).await;
    assert_eq!(promoted.status, StatusCode::SEE_OTHER, "{}", promoted.body);
    let text = visible_text(&ada.page().await);
    assert!(text.contains("Corner Market"), "{text}");
    let shown = ada.reveal(&added).await;
    let mut second = Plain::connect(&servers).await;
    assert_eq!(
        second.login(&added, &shown).await,
        "STORED",
        "shown for its owner to copy"
    );

    let ended = http.delete(format!("{orders}/loaf-1")).send().await;
    assert_eq!(ended.expect("an answer").status(), StatusCode::NO_CONTENT);
    assert_eq!(client.rest().await, "", "its connection is closed");
    let mut late = Plain::connect(&servers).await;
    assert_ne!(late.login(&username, &password).await, "STORED");
    let gone = enter(&service, "ticket-2").await.map(|_| ());
    assert_eq!(gone.unwrap_err().status, StatusCode::NOT_FOUND);
    service.stop().await;
}

async fn enter(service: &FullService, ticket: &str) -> Result<Dashboard, Page> {
    let fields = [
        ("id", "loaf-1"),
        ("passphrase", PASSPHRASE),
        ("ticket", ticket),
        ("person", "ada@example.com"),
    ];
    let form = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let url = format!("{}/corner/enter", service.base);
    Dashboard::enter(&service.base, &url, &form).await
}

/// Both would claim the same resources.
async fn two_marketplaces_of_one_name_are_refused(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let environment = Environment {
        environment: service.settings().to_vec(),
        ..Environment::default()
    };
    let config = Config::read(environment).expect("sound settings");
    let store = service.store().await;
    let twice: Vec<Arc<dyn Adapter>> =
        [registry::built_in(&config), registry::built_in(&config)].concat();
    let now = larder::domain::Timestamp::from_secs(1);
    let refused = larder::marketplace::Registry::open(twice, &config, &store, now).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "two marketplaces are called heroku"
    );
    store.close().await;
    service.stop().await;
}
