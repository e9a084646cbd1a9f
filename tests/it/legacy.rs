//! Marketplaces of the first generation, as Heroku's old tester plays one: behind a switch, and only there.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use larder::domain::secret::hex_lower;
use reqwest::header::SET_COOKIE;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::support::db::Database;
use crate::support::full_service::{FullService, PASSWORD, SALT, Wishes};
use crate::support::on_both_databases;

on_both_databases!(the_first_generation_is_served_behind_its_switch);
on_both_databases!(without_the_switch_there_is_no_such_way_in);

const ID: &str = "app123@kensa.heroku.com";
const NAV_DATA: &str = "eyJhZGRvbiI6IllvdXIgQWRkb24ifQ";

fn client() -> Client {
    let client = Client::builder().redirect(Policy::none()).no_proxy();
    client.build().expect("a client")
}

async fn start_service(database: Database, legacy: &str) -> FullService {
    let settings = vec![("LARDER_HEROKU_LEGACY".to_owned(), legacy.to_owned())];
    let wishes = Wishes {
        settings,
        ..Wishes::default()
    };
    FullService::start(database, wishes).await
}

fn token(timestamp: &str) -> String {
    let joined = format!("{ID}:{SALT}:{timestamp}");
    hex_lower(digest(&SHA1_FOR_LEGACY_USE_ONLY, joined.as_bytes()).as_ref())
}

fn now() -> String {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
    now.expect("after 1970").as_secs().to_string()
}

/// A marketplace provisions, its customer signs in by link and by form, and the add-on is removed.
async fn the_first_generation_is_served_behind_its_switch(database: Database) {
    let service = start_service(database, "on").await;
    let http = client();
    let collection = format!("{}/heroku/resources", service.base);
    let order = json!({"heroku_id": ID, "plan": "dev", "callback_url": "http://localhost:7779/callback/999",
        "logplex_token": null, "options": {}});
    let made = http.post(&collection).basic_auth("larder", Some(PASSWORD));
    let made = made.json(&order).send().await.expect("an answer");
    assert_eq!(made.status(), StatusCode::CREATED);
    let made: Value = made.json().await.expect("JSON");
    assert_eq!(made["id"], ID);

    let address = format!("{collection}/{ID}");
    let timestamp = now();
    let visit = |method: Method, token: &str| {
        let fields = [
            ("token", token),
            ("timestamp", &timestamp),
            ("nav-data", NAV_DATA),
            ("email", "username@example.com"),
        ];
        let url = reqwest::Url::parse_with_params(&address, fields);
        http.request(method, url.expect("an address")).send()
    };
    let forged = visit(Method::GET, &"0".repeat(40)).await;
    assert_eq!(forged.expect("an answer").status(), StatusCode::FORBIDDEN);
    // Programs that try out a link ask by HEAD. That must not use up the proof in it.
    let tried = visit(Method::HEAD, &token(&timestamp)).await;
    let tried = tried.expect("an answer");
    assert_eq!(tried.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(!tried.headers().contains_key(SET_COOKIE));
    let entered = visit(Method::GET, &token(&timestamp)).await;
    let entered = entered.expect("an answer");
    assert_eq!(entered.status(), StatusCode::SEE_OTHER);
    let cookies: Vec<String> = entered
        .headers()
        .get_all(SET_COOKIE)
        .iter()
        .map(|cookie| cookie.to_str().expect("text").to_owned())
        .collect();
    let nav_data = format!("heroku-nav-data={NAV_DATA};");
    assert!(cookies.iter().any(|cookie| cookie.starts_with(&nav_data)));
    let twice = visit(Method::GET, &token(&timestamp)).await;
    let twice = twice.expect("an answer");
    assert_eq!(twice.status(), StatusCode::FORBIDDEN, "good once");

    let pairs = cookies
        .iter()
        .map(|cookie| cookie.split(';').next().expect("a pair"));
    let cookie = pairs.collect::<Vec<_>>().join("; ");
    let page = entered.headers()["location"].to_str().expect("a path");
    let page = http
        .get(format!("{}{page}", service.base))
        .header("cookie", cookie);
    let page = page
        .send()
        .await
        .expect("an answer")
        .text()
        .await
        .expect("a page");
    assert!(page.contains("<div id=\"heroku-header\"></div>"));

    let gone = http.delete(&address).basic_auth("larder", Some(PASSWORD));
    let gone = gone.send().await.expect("an answer");
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    service.stop().await;
}

async fn without_the_switch_there_is_no_such_way_in(database: Database) {
    let service = start_service(database, "off").await;
    let http = client();
    let timestamp = now();
    let url = format!(
        "{}/heroku/resources/{ID}?token={}&timestamp={timestamp}",
        service.base,
        token(&timestamp)
    );
    let refused = http.get(url).send().await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let form = [
        ("id", ID),
        ("token", &token(&timestamp)),
        ("timestamp", &timestamp),
    ];
    let refused = http
        .post(format!("{}/heroku/sso", service.base))
        .form(&form);
    let refused = refused.send().await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    service.stop().await;
}
