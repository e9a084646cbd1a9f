//! Ways in and out.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode};

use super::browser::{Browser, between};
use super::fixture::WebFixture;
use crate::cluster::DataPlane as _;
use crate::domain::{CacheId, Clock as _, ExternalId};
use crate::store::fleet::nodes::NodeRecord;

#[tokio::test]
async fn a_sign_on_opens_the_dashboard_of_its_cache() {
    let fixture = WebFixture::build().await;
    let shop = fixture.provision("shop-cache").await;
    let mut ada = Browser::new(&fixture.app);
    let answer = ada.sign_on(&fixture.sso_form(&shop.external_id)).await;
    assert_eq!(answer.location(), format!("/caches/{}", shop.cache));
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with(&format!("__Host-larder-{}=", shop.cache)));
    for guard in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
        assert!(cookie.contains(guard), "{cookie}");
    }
    let page = ada.page(shop.cache).await;
    for shown in [
        "shop-cache",
        "ada@example.com",
        "Acme Market",
        "p1.example.net:11211",
    ] {
        assert!(page.contains(shown), "{shown}");
    }
}

#[tokio::test]
async fn every_refused_sign_on_looks_the_same() {
    let fixture = WebFixture::build().await;
    let shop = fixture.provision("shop").await;
    let used = fixture.sso_form(&shop.external_id);
    let mut ada = Browser::new(&fixture.app);
    ada.sign_on(&used).await;
    let mut eve = Browser::new(&fixture.app);
    let replayed = eve.sign_on(&used).await;
    assert_eq!(replayed.status, StatusCode::FORBIDDEN);
    let forged = used.replace("proof=proof-", "proof=guess-");
    let refused = eve.sign_on(&forged).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(refused.body, replayed.body);
    assert!(eve.cookies.is_empty());
}

#[tokio::test]
async fn only_a_valid_proof_is_told_that_a_cache_is_gone() {
    let fixture = WebFixture::build().await;
    let gone = fixture.provision("gone").await;
    fixture.deprovision(&gone.external_id).await;
    let mut ada = Browser::new(&fixture.app);
    for id in [gone.external_id, never_seen()] {
        let answer = ada.sign_on(&fixture.sso_form(&id)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    assert!(ada.cookies.is_empty());
}

fn never_seen() -> ExternalId {
    "01234567-89ab-cdef-0123-456789abcdef".parse().unwrap()
}

async fn dashboard_url(owner: &mut Browser, cache: CacheId) -> String {
    let answer = owner.act(cache, "dashboard-url/reveal", "").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let hash = between(&answer.body, "https://cache.example.com/d/", "<");
    assert_eq!(hash.len(), 43);
    format!("/d/{hash}")
}

#[tokio::test]
async fn the_long_lived_address_leads_to_a_clean_one() {
    let fixture = WebFixture::build().await;
    let shop = fixture.provision("shop").await;
    let mut ada = Browser::signed_in(&fixture, &shop).await;
    let link = dashboard_url(&mut ada, shop.cache).await;
    let mut bob = Browser::new(&fixture.app);
    let answer = bob.get(&link).await;
    assert_eq!(answer.location(), format!("/caches/{}", shop.cache));
    assert_eq!(answer.headers["referrer-policy"], "no-referrer");
    assert_eq!(answer.headers["cache-control"], "no-store");
    bob.page(shop.cache).await;
}

#[tokio::test]
async fn rotation_ends_the_old_address_and_every_other_sign_in() {
    let fixture = WebFixture::build().await;
    let shop = fixture.provision("shop").await;
    let mut ada = Browser::signed_in(&fixture, &shop).await;
    let old = dashboard_url(&mut ada, shop.cache).await;
    let mut bob = Browser::new(&fixture.app);
    bob.get(&old).await;
    bob.page(shop.cache).await;

    let answer = ada.act(shop.cache, "sso-secret/rotate", "").await;
    let new = answer.location().to_owned();
    assert!(new.starts_with("/d/") && new != old);
    let clean = ada.get(&new).await;
    assert_eq!(clean.location(), format!("/caches/{}", shop.cache));
    let page = ada.page(shop.cache).await;
    assert!(page.contains("The SSO secret was rotated"));
    assert!(!page.contains(&new[3..]));
    assert!(
        page.contains("ada@example.com") && page.contains("shop-staging"),
        "who she is and where she came from stay known"
    );
    assert!(page.contains("Show the new address"));
    assert_eq!(dashboard_url(&mut ada, shop.cache).await, new);

    let page = format!("/caches/{}", shop.cache);
    let ended = bob.get(&page).await;
    assert_eq!(ended.status, StatusCode::UNAUTHORIZED);
    assert!(ended.body.contains("Your sign-in has ended"));
    assert!(ended.body.contains("rotates the cache&#39;s SSO secret"));
    let mut eve = Browser::new(&fixture.app);
    let by_old = eve.get(&old).await;
    let never = eve.get(&format!("/d/{}", "x".repeat(43))).await;
    assert_eq!(by_old.status, StatusCode::NOT_FOUND);
    assert_eq!(by_old.body, never.body);
    Browser::signed_in(&fixture, &shop).await;
}

#[tokio::test]
async fn signing_out_ends_the_session_on_the_server() {
    let fixture = WebFixture::build().await;
    let (shop, blog) = (
        fixture.provision("shop").await,
        fixture.provision("blog").await,
    );
    let mut ada = Browser::signed_in(&fixture, &shop).await;
    ada.sign_in(&fixture, &blog).await;
    let before = ada.clone();
    let refused = ada.post("/logout", "csrf=wrong", &[]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let form = format!("csrf={}", ada.token(shop.cache).await);
    let answer = ada.post("/logout", &form, &[]).await;
    assert!(answer.body.contains("You are signed out"));
    assert!(ada.cookies.is_empty(), "{:?}", ada.cookies);
    let mut thief = before;
    for cache in [shop.cache, blog.cache] {
        let answer = thief.get(&format!("/caches/{cache}")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    let again = thief.post("/logout", "csrf=any", &[]).await;
    assert_eq!(again.status, StatusCode::OK, "nothing is left to end");
}

#[tokio::test]
async fn a_session_ends_by_itself() {
    let fixture = WebFixture::build().await;
    let shop = fixture.provision("shop").await;
    let path = format!("/caches/{}", shop.cache);
    let mut idle = Browser::signed_in(&fixture, &shop).await;
    fixture.clock.forward(Duration::from_secs(29 * 60));
    assert_eq!(idle.get(&path).await.status, StatusCode::OK);
    fixture.clock.forward(Duration::from_secs(31 * 60));
    assert_eq!(idle.get(&path).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn two_dashboards_live_side_by_side() {
    let fixture = WebFixture::build().await;
    let (shop, blog) = (
        fixture.provision("shop").await,
        fixture.provision("blog").await,
    );
    let mut ada = Browser::signed_in(&fixture, &shop).await;
    ada.sign_in(&fixture, &blog).await;
    assert!(ada.page(shop.cache).await.contains("<h1>shop</h1>"));
    assert!(ada.page(blog.cache).await.contains("<h1>blog</h1>"));
}

#[tokio::test]
async fn a_new_login_replaces_the_former_one() {
    let fixture = WebFixture::build().await;
    let shop = fixture.provision("shop").await;
    let name = format!("__Host-larder-{}", shop.cache);
    let mut ada = Browser::new(&fixture.app);
    ada.cookies.insert(name.clone(), "planted".to_owned());
    ada.sign_in(&fixture, &shop).await;
    assert_ne!(ada.cookies[&name], "planted");
    let mut former = ada.clone();
    ada.sign_in(&fixture, &shop).await;
    assert_ne!(ada.cookies[&name], former.cookies[&name]);
    ada.page(shop.cache).await;
    let path = format!("/caches/{}", shop.cache);
    assert_eq!(former.get(&path).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_address_says_nothing_of_who_follows_it() {
    let fixture = WebFixture::build().await;
    let (shop, blog) = (
        fixture.provision("shop").await,
        fixture.provision("blog").await,
    );
    let mut ada = Browser::signed_in(&fixture, &shop).await;
    let link = dashboard_url(&mut ada, shop.cache).await;
    let mut bob = Browser::new(&fixture.app);
    bob.sign_in(&fixture, &blog).await;
    bob.get(&link).await;
    let page = bob.page(shop.cache).await;
    assert!(
        !page.contains("ada@example.com"),
        "he proved it for another cache only"
    );
}

#[tokio::test]
async fn whoever_has_only_the_service_s_address_finds_a_way() {
    let fixture = WebFixture::build().await;
    let shop = fixture.provision("shop <b>").await;
    let mut anyone = Browser::new(&fixture.app);
    let home = anyone.get("/").await;
    assert_eq!(home.status, StatusCode::OK);
    let console = "href=\"https://market.example/\"";
    assert!(home.body.contains(console) && !home.body.contains("Open in this browser"));
    let head = anyone.send(Method::HEAD, "/", Body::empty(), &[]).await;
    assert_eq!(head.status, StatusCode::OK);

    let page = format!("/caches/{}", shop.cache);
    let refused = anyone.get(&page).await;
    assert!(refused.body.contains("not signed in") && refused.body.contains(console));

    let mut ada = Browser::signed_in(&fixture, &shop).await;
    let home = ada.get("/").await.body;
    assert!(home.contains(&format!("<a href=\"{page}\">shop &#60;b&#62;</a>")));
    let form = format!("csrf={}", ada.token(shop.cache).await);
    let out = ada.post("/logout", &form, &[]).await;
    assert!(out.body.contains("You signed out") && out.body.contains(console));
}

/// Each session cookie costs a read of the database, and the head of a request has room for hundreds.
#[tokio::test]
async fn of_hundreds_of_session_cookies_a_few_are_looked_up() {
    let fixture = WebFixture::build().await;
    let shop = fixture.provision("shop").await;
    let mut ada = Browser::signed_in(&fixture, &shop).await;
    let link = format!("<a href=\"/caches/{}\">shop</a>", shop.cache);
    for (forged, is_found) in [(31, true), (32, false), (500, false)] {
        for number in 1..=forged {
            let name = format!("__Host-larder-{}", shop.cache.0 + number);
            ada.cookies.insert(name, "forged".to_owned());
        }
        let home = ada.get("/").await;
        assert_eq!(home.status, StatusCode::OK);
        assert_eq!(home.body.contains(&link), is_found, "{forged}");
    }
    // Its own dashboard is found by its own cookie, whatever else is there.
    ada.page(shop.cache).await;
}

/// Programs that try out a link, mail scanners and monitors, ask by HEAD.
#[tokio::test]
async fn trying_out_the_link_opens_no_session() {
    let fixture = WebFixture::build().await;
    let shop = fixture.provision("shop").await;
    let hash = fixture.store.sso_secret(shop.cache).await.unwrap().unwrap();
    let link = format!("/d/{}", hash.expose());
    let mut scanner = Browser::new(&fixture.app);
    for _ in 0..3 {
        let answer = scanner.send(Method::HEAD, &link, Body::empty(), &[]).await;
        assert_eq!(answer.location(), format!("/caches/{}", shop.cache));
        let options = scanner.send(Method::OPTIONS, &link, Body::empty(), &[]);
        assert_eq!(options.await.status, StatusCode::METHOD_NOT_ALLOWED);
    }
    assert!(scanner.cookies.is_empty());
    let unknown = scanner.send(Method::HEAD, "/d/unknown", Body::empty(), &[]);
    assert_eq!(unknown.await.status, StatusCode::NOT_FOUND);
    let audit = fixture.store.audit_of(shop.cache, 10).await.unwrap();
    let actions: Vec<_> = audit.iter().map(|row| row.entry.action.as_str()).collect();
    assert_eq!(actions, ["resource.provision"]);
}

/// The database says that the cache is there; whoever uses it gets no answer.
#[tokio::test]
async fn a_cache_whose_node_is_away_is_not_called_enabled() {
    let fixture = WebFixture::build().await;
    let shop = fixture.provision("shop").await;
    let mut ada = Browser::signed_in(&fixture, &shop).await;
    assert!(ada.page(shop.cache).await.contains("Enabled"));
    let gone = NodeRecord {
        id: "node_gone".parse().unwrap(),
        cluster: shop.cluster.clone(),
        region: "us".to_owned(),
        proxy_hostname: "gone.example.net".to_owned(),
        proxy_port: 11211,
        memory_bytes: 1 << 30,
        home_id: "m:1:2".to_owned(),
        home_path: "/var/lib/larder".to_owned(),
    };
    let here = fixture.store.nodes_of(shop.cache).await.unwrap().remove(0);
    let mut tx = fixture.store.begin().await.unwrap();
    let now = fixture.clock.now();
    tx.register_node(&gone, now).await.unwrap();
    tx.place(shop.cache, &gone.id).await.unwrap();
    tx.unplace(shop.cache, &here.id).await.unwrap();
    tx.commit().await.unwrap();
    fixture.plane.forget(shop.cache);
    fixture.clock.forward(Duration::from_secs(60));
    let page = ada.page(shop.cache).await;
    assert!(page.contains("Unreachable"));
    assert!(!page.contains("Enabled"));
    assert!(page.contains("gone.example.net:11211 was last heard of"));
}
