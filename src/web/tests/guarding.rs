//! Every route of the table against everybody who should not use it.

use axum::body::Body;
use axum::http::{Method, StatusCode};

use super::browser::{Browser, FORM};
use super::house::{House, ORIGIN};
use crate::domain::{CacheId, Resource};
use crate::web::router::{Route, Who, table};

fn routes(who: &[Who]) -> Vec<Route> {
    let chosen: Vec<Route> = table()
        .into_iter()
        .filter(|route| who.contains(&route.who))
        .collect();
    assert!(!chosen.is_empty());
    chosen
}

fn at(route: &Route, cache: i64, username: &str) -> String {
    route
        .path
        .replace("{id}", &cache.to_string())
        .replace("{username}", username)
}

/// A cache with a secondary, so that every action has something to act on.
async fn shop(house: &House) -> (Resource, Browser, String) {
    let resource = house.provision("shop").await;
    let mut owner = Browser::signed_in(house, &resource).await;
    owner.act(resource.cache, "credentials", "").await;
    owner.page(resource.cache).await;
    let secondary = owner.usernames(resource.cache).await.pop().unwrap();
    (resource, owner, secondary)
}

#[tokio::test]
async fn without_a_login_every_cache_looks_the_same() {
    let house = House::build().await;
    let (resource, _, username) = shop(&house).await;
    let mut stranger = Browser::new(&house.app);
    for route in routes(&[Who::OwnerLooks, Who::OwnerActs]) {
        for method in [Method::GET, Method::POST] {
            let mut ask = async |cache| {
                let headers = [("content-type", FORM)];
                let path = at(&route, cache, &username);
                let answer = stranger.send(method.clone(), &path, Body::empty(), &headers);
                answer.await
            };
            let (known, unknown) = (ask(resource.cache.0).await, ask(999).await);
            assert_eq!(known.status, unknown.status, "{method} {}", route.path);
            assert!(known.status.is_client_error());
            if method == route.method {
                assert_eq!(known.status, StatusCode::UNAUTHORIZED, "{}", route.path);
                assert_eq!(known.body, unknown.body);
            }
        }
    }
}

#[tokio::test]
async fn another_cache_looks_like_none() {
    let house = House::build().await;
    let (resource, mut owner, username) = shop(&house).await;
    let blog = house.provision("blog").await;
    let mut eve = Browser::signed_in(&house, &blog).await;
    let token = eve.token(blog.cache).await;
    let before = owner.page(resource.cache).await;
    for route in routes(&[Who::OwnerLooks, Who::OwnerActs]) {
        let mut ask = async |cache| {
            let form = Body::from(format!("csrf={token}&confirmed=yes"));
            let headers = [("content-type", FORM), ("origin", ORIGIN)];
            let path = at(&route, cache, &username);
            eve.send(route.method.clone(), &path, form, &headers).await
        };
        let (known, unknown) = (ask(resource.cache.0).await, ask(999).await);
        assert_eq!(known.status, StatusCode::NOT_FOUND, "{}", route.path);
        assert_eq!(known.body, unknown.body, "{}", route.path);
    }
    assert_eq!(owner.page(resource.cache).await, before);
}

#[tokio::test]
async fn a_session_opens_no_other_cache_under_its_name() {
    let house = House::build().await;
    let (resource, _, _) = shop(&house).await;
    let blog = house.provision("blog").await;
    let mut eve = Browser::signed_in(&house, &blog).await;
    let own = eve.cookies.values().next().unwrap().clone();
    let forged = format!("__Host-larder-{}", resource.cache);
    eve.cookies.insert(forged, own);
    let answer = eve.get(&format!("/caches/{}", resource.cache)).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn nothing_changes_without_token_and_source() {
    let house = House::build().await;
    let (resource, mut owner, username) = shop(&house).await;
    let cache = resource.cache;
    let token = owner.token(cache).await;
    let mut other_login = Browser::signed_in(&house, &resource).await;
    let other_token = other_login.token(cache).await;
    assert_ne!(token, other_token);
    let before = owner.page(cache).await;

    let ours = format!("csrf={token}&confirmed=yes");
    let attempts = [
        ("no form", String::new(), &[][..]),
        ("no token", "confirmed=yes".to_owned(), &[]),
        ("empty token", "csrf=&confirmed=yes".to_owned(), &[]),
        ("another login's", format!("csrf={other_token}"), &[]),
        ("two tokens", format!("csrf={token}&csrf={token}"), &[]),
        (
            "foreign",
            ours.clone(),
            &[("origin", "https://evil.example")],
        ),
        ("null", ours.clone(), &[("origin", "null")]),
        (
            "cross-site",
            ours.clone(),
            &[("sec-fetch-site", "cross-site")],
        ),
        ("same-site", ours, &[("sec-fetch-site", "same-site")]),
    ];
    for route in routes(&[Who::OwnerActs]) {
        let path = at(&route, cache.0, &username);
        for (what, form, headers) in &attempts {
            let answer = owner.post(&path, form, headers).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {what}");
        }
        assert_eq!(owner.page(cache).await, before, "{path}");
    }
}

#[tokio::test]
async fn actions_cannot_be_opened_like_pages() {
    let house = House::build().await;
    let (resource, mut owner, username) = shop(&house).await;
    let cache = resource.cache;
    let token = owner.token(cache).await;
    let before = owner.page(cache).await;
    for route in routes(&[Who::OwnerActs]) {
        let path = at(&route, cache.0, &username);
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
            let with_token = format!("{path}?csrf={token}&confirmed=yes");
            let answer = owner.send(method.clone(), &with_token, Body::empty(), &[]);
            let status = answer.await.status;
            let also_a_page = table()
                .iter()
                .any(|other| other.path == route.path && other.method == method);
            if also_a_page {
                assert_eq!(status, StatusCode::OK, "{method} {path} only asks");
            } else {
                assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            }
        }
        assert_eq!(owner.page(cache).await, before, "{path}");
    }
}

#[tokio::test]
async fn broken_bodies_are_refused_and_change_nothing() {
    let house = House::build().await;
    let (resource, mut owner, username) = shop(&house).await;
    let cache = resource.cache;
    let token = owner.token(cache).await;
    let before = owner.page(cache).await;
    let large = format!("csrf={token}&x={}", "x".repeat(65_536));
    let json = format!("{{\"csrf\":\"{token}\"}}");
    for route in routes(&[Who::OwnerActs]) {
        let path = at(&route, cache.0, &username);
        let answer = owner.post(&path, &large, &[]).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        let headers = [("content-type", "application/json")];
        let body = Body::from(json.clone());
        let answer = owner.send(Method::POST, &path, body, &headers).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        let answer = owner.post(&path, "csrf=%ff%fe&=&&%", &[]).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(owner.page(cache).await, before);
}

#[tokio::test]
async fn odd_addresses_are_not_found() {
    let house = House::build().await;
    let (resource, mut owner, _) = shop(&house).await;
    let CacheId(id) = resource.cache;
    for path in [
        "/",
        "/caches",
        "/caches/0",
        "/caches/-1",
        "/caches/x",
        "/caches/%ff",
        "/caches/99999999999999999999",
        "/d",
        "/d/",
        "/d/%ff",
        "/assets/other.css",
        "/assets/..%2f..%2fCargo.toml",
        &format!("/caches/{id}/nothing"),
        &format!("/caches/{id}/credentials/<b>/delete"),
        &format!("/caches/{id}/credentials/ABCDEF/delete"),
    ] {
        let path = path.replace('<', "%3C").replace('>', "%3E");
        let answer = owner.get(&path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.body.starts_with("<!doctype html>"), "{path}");
    }
}

/// What a login sees is never kept, whatever the route answers.
#[tokio::test]
async fn every_answer_of_every_route_carries_the_headers() {
    let house = House::build().await;
    let (resource, mut owner, username) = shop(&house).await;
    let mut stranger = Browser::new(&house.app);
    for route in table() {
        let path = at(&route, resource.cache.0, &username)
            .replace("{sso_hash}", "unknown")
            .replace("{file}", "unknown");
        for browser in [&mut owner, &mut stranger] {
            let answer = browser.send(route.method.clone(), &path, Body::empty(), &[]);
            let answer = answer.await;
            assert!(answer.status.as_u16() < 500, "{path}: {}", answer.status);
            let policy = &answer.headers["content-security-policy"];
            assert!(policy.to_str().unwrap().contains("frame-ancestors 'none'"));
            assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
            assert_eq!(answer.headers["referrer-policy"], "no-referrer");
            assert!(answer.headers.contains_key("strict-transport-security"));
        }
    }
    let mut heroku = Browser::new(&house.app);
    let answer = heroku.post("/heroku/resources", "", &[]).await;
    assert_eq!(answer.body, "{}", "marketplaces' routes are mounted");
    assert!(answer.headers.contains_key("content-security-policy"));
}
