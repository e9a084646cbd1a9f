//! Every route of the table against everybody who should not use it.

use axum::body::Body;
use axum::http::{Method, StatusCode};

use super::browser::{Browser, FORM};
use super::fixture::{ORIGIN, WebFixture};
use crate::domain::secret::BearerSecret;
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
async fn shop(fixture: &WebFixture) -> (Resource, Browser, String) {
    let resource = fixture.provision("shop").await;
    let mut owner = Browser::signed_in(fixture, &resource).await;
    owner.act(resource.cache, "credentials", "").await;
    owner.page(resource.cache).await;
    let secondary = owner.usernames(resource.cache).await.pop().unwrap();
    (resource, owner, secondary)
}

#[tokio::test]
async fn without_a_login_every_cache_looks_the_same() {
    let fixture = WebFixture::build().await;
    let (resource, _, username) = shop(&fixture).await;
    let mut anonymous = Browser::new(&fixture.app);
    for route in routes(&[Who::OwnerLooks, Who::OwnerActs]) {
        for method in [Method::GET, Method::POST] {
            let mut ask = async |cache| {
                let headers = [("content-type", FORM)];
                let path = at(&route, cache, &username);
                let answer = anonymous.send(method.clone(), &path, Body::empty(), &headers);
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
    let fixture = WebFixture::build().await;
    let (resource, mut owner, username) = shop(&fixture).await;
    let blog = fixture.provision("blog").await;
    let mut eve = Browser::signed_in(&fixture, &blog).await;
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

/// Where a browser is sent next never comes from what it sent.
#[tokio::test]
async fn no_request_chooses_where_it_is_sent_next() {
    let fixture = WebFixture::build().await;
    let (resource, _, username) = shop(&fixture).await;
    let outside = [
        "//evil.example",
        "/\\evil.example",
        "https:evil.example",
        "%0d%0aLocation:%20//evil.example",
    ];
    let mut sent_on = 0;
    for route in table() {
        for place in outside {
            let mut owner = Browser::signed_in(&fixture, &resource).await;
            let token = owner.token(resource.cache).await;
            let asks = ["next", "return", "return_to", "url", "redirect"]
                .map(|name| format!("{name}={place}"));
            let asks = asks.join("&");
            let path = format!("{}?{asks}", at(&route, resource.cache.0, &username));
            let form = Body::from(format!("csrf={token}&confirmed=yes&{asks}"));
            let headers = [
                ("content-type", FORM),
                ("origin", ORIGIN),
                ("host", "evil.example"),
                ("x-forwarded-host", "evil.example"),
                ("x-forwarded-proto", "http"),
                ("forwarded", "host=evil.example;proto=http"),
            ];
            let answer = owner
                .send(route.method.clone(), &path, form, &headers)
                .await;
            if let Some(next) = answer.headers.get("location") {
                let next = next.to_str().unwrap();
                assert!(
                    next.starts_with("/caches/") || next.starts_with("/d/") || next == "/",
                    "{next}"
                );
                sent_on += 1;
            }
            assert!(!answer.body.contains("evil.example"), "{}", route.path);
        }
    }
    assert!(sent_on > 0);
}

#[tokio::test]
async fn a_session_opens_no_other_cache_under_its_name() {
    let fixture = WebFixture::build().await;
    let (resource, _, _) = shop(&fixture).await;
    let blog = fixture.provision("blog").await;
    let mut eve = Browser::signed_in(&fixture, &blog).await;
    let own = eve.cookies.values().next().unwrap().clone();
    let forged = format!("__Host-larder-{}", resource.cache);
    eve.cookies.insert(forged, own);
    let answer = eve.get(&format!("/caches/{}", resource.cache)).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn nothing_changes_without_token_and_source() {
    let fixture = WebFixture::build().await;
    let (resource, mut owner, username) = shop(&fixture).await;
    let cache = resource.cache;
    let token = owner.token(cache).await;
    let mut other_login = Browser::signed_in(&fixture, &resource).await;
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
    let fixture = WebFixture::build().await;
    let (resource, mut owner, username) = shop(&fixture).await;
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
    let fixture = WebFixture::build().await;
    let (resource, mut owner, username) = shop(&fixture).await;
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
    let fixture = WebFixture::build().await;
    let (resource, mut owner, _) = shop(&fixture).await;
    let CacheId(id) = resource.cache;
    for path in [
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
    let fixture = WebFixture::build().await;
    let (resource, mut owner, username) = shop(&fixture).await;
    let mut anonymous = Browser::new(&fixture.app);
    for route in table() {
        let path = at(&route, resource.cache.0, &username)
            .replace("{sso_hash}", "unknown")
            .replace("{file}", "unknown");
        for browser in [&mut owner, &mut anonymous] {
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
    let mut market = Browser::new(&fixture.app);
    let answer = market.post("/market/resources", "", &[]).await;
    assert_eq!(answer.body, "{}", "marketplaces' routes are mounted");
    assert!(answer.headers.contains_key("content-security-policy"));
}

/// Whoever is turned away by the guard is noted, as often as it happens (security.md OP-2).
#[tokio::test]
async fn what_the_guard_refuses_is_audited() {
    let fixture = WebFixture::build().await;
    let (resource, mut owner, _) = shop(&fixture).await;
    let blog = fixture.provision("blog").await;
    let mut eve = Browser::signed_in(&fixture, &blog).await;
    let mut guesser = Browser::new(&fixture.app);
    guesser.cookies = owner.cookies.clone();
    guesser
        .cookies
        .values_mut()
        .for_each(|value| *value = "guess".to_owned());
    for _ in 0..3 {
        for (visitor, status) in [
            (&mut eve, StatusCode::NOT_FOUND),
            (&mut guesser, StatusCode::UNAUTHORIZED),
        ] {
            let page = visitor.get(&format!("/caches/{}", resource.cache)).await;
            assert_eq!(page.status, status);
        }
        let flush = format!("/caches/{}/flush", resource.cache);
        let forged = owner.post(&flush, "csrf=guess&confirmed=yes", &[]).await;
        assert_eq!(forged.status, StatusCode::FORBIDDEN);
        let foreign = [("origin", "https://evil.example")];
        let forged = owner
            .post(&flush, "csrf=guess&confirmed=yes", &foreign)
            .await;
        assert_eq!(forged.status, StatusCode::FORBIDDEN);
        for headers in [&[][..], &foreign] {
            let forged = owner.post("/logout", "csrf=guess", headers).await;
            assert_eq!(forged.status, StatusCode::FORBIDDEN);
        }
    }
    // Nobody is told of who has no sign-in at all or one that has ended, and of who acts as they may.
    let page = format!("/caches/{}", resource.cache);
    Browser::new(&fixture.app).get(&page).await;
    let ended = BearerSecret::generate();
    guesser
        .cookies
        .values_mut()
        .for_each(|value| *value = ended.expose().to_owned());
    assert_eq!(guesser.get(&page).await.status, StatusCode::UNAUTHORIZED);
    owner.page(resource.cache).await;
    fixture.access.record_last_refused_calls().await.unwrap();
    let audit = fixture.store.audit_of_none(100).await.unwrap();
    let times = |action: &str| {
        let rows = audit.iter().filter(|row| row.entry.action == action);
        rows.map(|row| row.times).sum::<u64>()
    };
    assert_eq!((times("session.refused"), times("form.refused")), (6, 12));
    assert!(
        audit
            .iter()
            .all(|row| row.entry.action.ends_with(".refused")),
        "{audit:?}"
    );
}
