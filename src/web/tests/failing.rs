//! What is answered while the store cannot say who is there: nobody is let in (security.md G-4).

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::http::StatusCode;
use parking_lot::Mutex;

use super::browser::{Browser, FORM};
use super::fixture::{ORIGIN, WebFixture};
use crate::web::router::table;

#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Anybody may ask, as often as they like.
#[tokio::test]
async fn that_the_store_is_away_is_told_once_however_many_ask() {
    let printed = Printed::default();
    let into = printed.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || into.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let fixture = WebFixture::build().await;
    fixture.store.close().await;
    let mut balancer = Browser::new(&fixture.app);
    for _ in 0..100 {
        let answer = balancer.get("/readyz").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    let log = String::from_utf8(printed.0.lock().clone()).unwrap();
    assert_eq!(log.matches("not ready").count(), 1, "{log}");
}

#[tokio::test]
async fn without_the_store_nobody_is_let_in() {
    let fixture = WebFixture::build().await;
    let shop = fixture.provision("shop").await;
    let mut owner = Browser::signed_in(&fixture, &shop).await;
    let token = owner.token(shop.cache).await;
    let username = owner.usernames(shop.cache).await.remove(0);
    let link = fixture.store.sso_secret(shop.cache).await.unwrap().unwrap();
    let held = owner.cookies.clone();
    fixture.store.close().await;

    let mut asked = 0;
    for route in table() {
        let path = route
            .path
            .replace("{id}", &shop.cache.to_string())
            .replace("{username}", &username)
            .replace("{sso_hash}", link.expose());
        if path.contains('{')
            || !(path.contains("/caches/") || path.contains("/d/") || path == "/logout")
        {
            continue;
        }
        let form = Body::from(format!("csrf={token}&confirmed=yes"));
        let headers = [("content-type", FORM), ("origin", ORIGIN)];
        let answer = owner
            .send(route.method.clone(), &path, form, &headers)
            .await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(!answer.body.contains(&username), "{path}");
        assert!(!answer.headers.contains_key("set-cookie"), "{path}");
        assert_eq!(owner.cookies, held, "{path}");
        asked += 1;
    }
    assert!(asked > 10, "{asked} routes");
    let mut visitor = Browser::new(&fixture.app);
    let refused = visitor.sign_on(&fixture.sso_form(&shop.external_id)).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(visitor.cookies.is_empty());
}
