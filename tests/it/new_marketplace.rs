//! A marketplace that can only order and end caches, registered from outside: no room knows of it, and its customers
//! have everything that those of others have, but for values pushed to their apps.

use std::sync::Arc;

use larder::config::{Config, Environment};
use larder::domain::Marketplace;
use larder::domain::secret::digest_hex;
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
on_both_databases!(odd_texts_of_a_marketplace_refuse_nobody);
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

/// Longer than what an index of PostgreSQL takes, and not to be compressed.
fn long_text() -> String {
    (0..200)
        .map(|n: u32| digest_hex(&n.to_be_bytes()))
        .collect()
}

/// The adapter passes on what its marketplace sends. SQLite takes any text, PostgreSQL no NUL and no long one in an index:
/// the answers are the same.
async fn odd_texts_of_a_marketplace_refuse_nobody(database: Database) {
    let wishes = Wishes {
        marketplaces: vec![Arc::new(CornerMarket)],
        ..Wishes::default()
    };
    let service = FullService::start(database, wishes).await;
    let http = reqwest::Client::builder().no_proxy();
    let http = http.build().expect("a client");
    let store = service.store().await;
    let long = long_text();
    let long = long.as_str();
    for (id, name, shown) in [
        ("loaf-1", "ba\0ke\u{85}ry\n", "bakery"),
        ("loaf-2", long, &long[..128]),
        ("loaf-3", "", "loaf-3"),
        ("loaf-4", " \t\0", "loaf-4"),
    ] {
        let url = format!("https://corner.example/{name}");
        let body = json!({"id": id, "name": name, "plan": "dev", "callback_url": url});
        let orders = format!("{}/corner/orders", service.base);
        let made = http.post(orders).json(&body).send().await;
        let made = made.expect("an answer");
        assert_eq!(made.status(), StatusCode::CREATED, "{id}");
        let id = id.parse().expect("an id");
        let resource = store.resource_by_external(Marketplace::named("corner"), &id);
        let resource = resource.await.expect("read").expect("a resource");
        assert_eq!(resource.name, shown);
    }
    for (ticket, person, app) in [
        ("a\0b", "ada\0@example.com\n", "sh\0op"),
        (long, long, long),
        ("c", " ", ""),
    ] {
        let fields = [
            ("id", "loaf-1"),
            ("passphrase", PASSPHRASE),
            ("ticket", ticket),
            ("person", person),
            ("context_app", app),
        ];
        let form = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let url = format!("{}/corner/enter", service.base);
        let entered = Dashboard::enter(&service.base, &url, &form).await;
        let mut ada = entered.unwrap_or_else(|page| panic!("{ticket:?}: {}", page.status));
        let text = visible_text(&ada.page().await);
        assert!(text.contains("bakery"), "{text}");
        if ticket == "a\0b" {
            assert!(text.contains("ada@example.com"), "{text}");
            assert!(text.contains("opened from shop"), "{text}");
        }
        let replayed = Dashboard::enter(&service.base, &url, &form).await;
        let status = replayed.map(|_| ()).unwrap_err().status;
        assert_eq!(status, StatusCode::FORBIDDEN, "good once: {ticket:?}");
    }
    store.close().await;
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
