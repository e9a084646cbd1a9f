//! Ways in and out.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode};

use super::browser::{Browser, between};
use super::house::House;
use crate::domain::{CacheId, ExternalId};

#[tokio::test]
async fn a_sign_on_opens_the_dashboard_of_its_cache() {
    let house = House::build().await;
    let shop = house.provision("shop-cache").await;
    let mut ada = Browser::new(&house.app);
    let answer = ada.sign_on(&house.sso_form(&shop.external_id)).await;
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
        "Heroku",
        "p1.example.net:11211",
    ] {
        assert!(page.contains(shown), "{shown}");
    }
}

#[tokio::test]
async fn every_refused_sign_on_looks_the_same() {
    let house = House::build().await;
    let shop = house.provision("shop").await;
    let gone = house.provision("gone").await;
    house.deprovision(&gone.external_id).await;
    let used = house.sso_form(&shop.external_id);
    let mut ada = Browser::new(&house.app);
    ada.sign_on(&used).await;
    let mut eve = Browser::new(&house.app);
    let replayed = eve.sign_on(&used).await;
    assert_eq!(replayed.status, StatusCode::FORBIDDEN);
    let forged = |id: &ExternalId| house.sso_form(id).replace("token=", "token=0");
    for form in [
        String::new(),
        "%%%".to_owned(),
        forged(&shop.external_id),
        forged(&gone.external_id),
        forged(&never_seen()),
        house.sso_form(&shop.external_id).replace("ada@", "eve@"),
    ] {
        let answer = eve.sign_on(&form).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{form}");
        assert_eq!(answer.body, replayed.body, "{form}");
    }
    let as_json = eve.send(Method::POST, "/heroku/sso", Body::from("{}"), &[]);
    assert_eq!(as_json.await.body, replayed.body);
    assert!(eve.cookies.is_empty());
}

#[tokio::test]
async fn only_a_valid_proof_is_told_that_a_cache_is_gone() {
    let house = House::build().await;
    let gone = house.provision("gone").await;
    house.deprovision(&gone.external_id).await;
    let mut ada = Browser::new(&house.app);
    for id in [gone.external_id, never_seen()] {
        let answer = ada.sign_on(&house.sso_form(&id)).await;
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
    let house = House::build().await;
    let shop = house.provision("shop").await;
    let mut ada = Browser::signed_in(&house, &shop).await;
    let link = dashboard_url(&mut ada, shop.cache).await;
    let mut bob = Browser::new(&house.app);
    let answer = bob.get(&link).await;
    assert_eq!(answer.location(), format!("/caches/{}", shop.cache));
    assert_eq!(answer.headers["referrer-policy"], "no-referrer");
    assert_eq!(answer.headers["cache-control"], "no-store");
    bob.page(shop.cache).await;
}

#[tokio::test]
async fn rotation_ends_the_old_address_and_every_other_sign_in() {
    let house = House::build().await;
    let shop = house.provision("shop").await;
    let mut ada = Browser::signed_in(&house, &shop).await;
    let old = dashboard_url(&mut ada, shop.cache).await;
    let mut bob = Browser::new(&house.app);
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

    let page = format!("/caches/{}", shop.cache);
    assert_eq!(bob.get(&page).await.status, StatusCode::UNAUTHORIZED);
    let mut eve = Browser::new(&house.app);
    let by_old = eve.get(&old).await;
    let never = eve.get(&format!("/d/{}", "x".repeat(43))).await;
    assert_eq!(by_old.status, StatusCode::NOT_FOUND);
    assert_eq!(by_old.body, never.body);
    Browser::signed_in(&house, &shop).await;
}

#[tokio::test]
async fn signing_out_ends_the_session_on_the_server() {
    let house = House::build().await;
    let (shop, blog) = (house.provision("shop").await, house.provision("blog").await);
    let mut ada = Browser::signed_in(&house, &shop).await;
    ada.sign_in(&house, &blog).await;
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
    let house = House::build().await;
    let shop = house.provision("shop").await;
    let path = format!("/caches/{}", shop.cache);
    let mut idle = Browser::signed_in(&house, &shop).await;
    house.clock.forward(Duration::from_secs(29 * 60));
    assert_eq!(idle.get(&path).await.status, StatusCode::OK);
    house.clock.forward(Duration::from_secs(31 * 60));
    assert_eq!(idle.get(&path).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn two_dashboards_live_side_by_side() {
    let house = House::build().await;
    let (shop, blog) = (house.provision("shop").await, house.provision("blog").await);
    let mut ada = Browser::signed_in(&house, &shop).await;
    ada.sign_in(&house, &blog).await;
    assert!(ada.page(shop.cache).await.contains("<h1>shop</h1>"));
    assert!(ada.page(blog.cache).await.contains("<h1>blog</h1>"));
}

#[tokio::test]
async fn a_new_login_replaces_the_former_one() {
    let house = House::build().await;
    let shop = house.provision("shop").await;
    let name = format!("__Host-larder-{}", shop.cache);
    let mut ada = Browser::new(&house.app);
    ada.cookies.insert(name.clone(), "planted".to_owned());
    ada.sign_in(&house, &shop).await;
    assert_ne!(ada.cookies[&name], "planted");
    let mut former = ada.clone();
    ada.sign_in(&house, &shop).await;
    assert_ne!(ada.cookies[&name], former.cookies[&name]);
    ada.page(shop.cache).await;
    let path = format!("/caches/{}", shop.cache);
    assert_eq!(former.get(&path).await.status, StatusCode::UNAUTHORIZED);
}
