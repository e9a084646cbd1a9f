//! Whose address the audit has, whoever claims to come from elsewhere (security.md PA-14).

use std::net::IpAddr;

use larder::sandbox::{AddonId, AppId, ProvisionOptions, User};
use larder::store::Store;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};

use crate::support::control_plane::eventually;
use crate::support::dashboard::Dashboard;
use crate::support::db::Database;
use crate::support::full_service::{FullService, Wishes};
use crate::support::on_both_databases;

on_both_databases!(a_forged_address_reaches_no_audit_row);
on_both_databases!(behind_a_proxy_of_ours_the_audit_has_who_came_to_it);

const HERE: &str = "127.0.0.1";
/// What the proxy added, behind what its client had written.
const CHAIN: &str = "6.6.6.6, 203.0.113.9";
const CAME: &str = "203.0.113.9";

/// A browser that says that it comes from elsewhere, in each way that there is.
fn client() -> Client {
    let mut claims = HeaderMap::new();
    claims.insert("x-forwarded-for", HeaderValue::from_static(CHAIN));
    claims.insert("x-real-ip", HeaderValue::from_static("6.6.6.6"));
    claims.insert(
        "forwarded",
        HeaderValue::from_static("for=6.6.6.6;host=evil.example;proto=https"),
    );
    claims.insert("x-forwarded-host", HeaderValue::from_static("evil.example"));
    claims.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    let client = Client::builder().redirect(Policy::none()).no_proxy();
    client.default_headers(claims).build().expect("a client")
}

async fn a_forged_address_reaches_no_audit_row(database: Database) {
    all_rows_are_from(HERE, FullService::start(database, Wishes::default()).await).await;
}

async fn behind_a_proxy_of_ours_the_audit_has_who_came_to_it(database: Database) {
    let proxies = (
        "LARDER_TRUSTED_PROXIES".to_owned(),
        "10.0.0.0/8,127.0.0.1".to_owned(),
    );
    let wishes = Wishes {
        settings: vec![proxies],
        ..Wishes::default()
    };
    all_rows_are_from(CAME, FullService::start(database, wishes).await).await;
}

/// Comes in, changes something, fails to come in; and looks at who was noted.
async fn all_rows_are_from(address: &str, service: FullService) {
    let shop: AppId = service.sandbox.create_app("shop").expect("a new app");
    let made = service
        .sandbox
        .provision(shop, "dev", ProvisionOptions::default());
    let addon: AddonId = made.await.expect("a cache").id;
    let (url, form) = service
        .sandbox
        .sso_form(addon, &User::default())
        .expect("a form");
    let opened = Dashboard::enter_with(client(), &service.base, &url, &form).await;
    let mut owner = opened.expect("signed on");
    owner.add_credentials().await;
    let refused = client()
        .post(&url)
        .form(&[("resource_id", "x")])
        .send()
        .await;
    assert_eq!(refused.expect("answered").status(), StatusCode::FORBIDDEN);

    let store: Store = service.store().await;
    let cache = owner
        .path
        .trim_start_matches("/caches/")
        .parse()
        .expect("a number");
    let address: IpAddr = address.parse().expect("an address");
    let audit = store
        .audit_of(larder::domain::CacheId(cache), 100)
        .await
        .expect("an audit");
    let from = |action: &str| {
        let row = audit.iter().find(|row| row.entry.action == action);
        row.unwrap_or_else(|| panic!("{action} in {audit:?}"))
            .entry
            .actor
            .remote
    };
    assert_eq!(from("session.open.sso"), Some(address));
    assert_eq!(from("credential.create"), Some(address));
    eventually("the refusal is noted", async || {
        let rows = store.audit_of_none(10).await.expect("an audit");
        let row = rows
            .iter()
            .find(|row| row.entry.action == "sign_on.refused");
        row.is_some_and(|row| {
            assert_eq!(row.entry.actor.remote, Some(address));
            true
        })
    })
    .await;
    store.close().await;
    service.stop().await;
}
