//! Sign-ons as the marketplace sends them, whole and with parts missing: which token counts, and who gets a session.

use std::time::Duration;

use larder::sandbox::{ProvisionOptions, User};
use reqwest::header::{COOKIE, HeaderName, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};

use crate::support::dashboard::visible_text;
use crate::support::db::Database;
use crate::support::on_both_databases;
use crate::support::scene::{Scene, Wishes};

on_both_databases!(the_stronger_token_decides_and_a_removed_cache_has_no_session);

const STRONGER: &str = "user_scoped_resource_token";

/// The cache belongs to Shop; its owner comes from Jobs, which it is attached to as well.
async fn the_stronger_token_decides_and_a_removed_cache_has_no_session(database: Database) {
    let world = Scene::start(database, Wishes::default()).await;
    let shop = world.sandbox.create_app("shop").expect("a new app");
    let jobs = world.sandbox.create_app("jobs").expect("a new app");
    let options = ProvisionOptions::default();
    let made = world.sandbox.provision(shop, "dev", options).await;
    let addon = made.expect("a cache").id;
    world.sandbox.attach(addon, jobs).expect("attached");
    // A proof is good once per cache and second, so each form is of a second of its own.
    let form = || {
        world.sandbox.advance_clock(Duration::from_secs(2));
        let form = world
            .sandbox
            .sso_form_from(addon, &User::default(), Some(jobs));
        form.expect("a form").1
    };

    let mut wrong = form();
    let (_, token) = field(&mut wrong, STRONGER);
    *token = "0".repeat(token.len());
    let refused = post(&world, &wrong).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN, "no falling back");
    assert!(!refused.headers().contains_key(SET_COOKIE));
    // The same form without the wrong token: its weaker one was right all the time, and is not used up.
    wrong.retain(|(name, _)| name != STRONGER);
    let weaker = post(&world, &wrong).await;
    assert_eq!(weaker.status(), StatusCode::SEE_OTHER);

    let whole = post(&world, &form()).await;
    assert_eq!(whole.status(), StatusCode::SEE_OTHER);
    let page = visible_text(&follow(&world, &whole).await);
    assert!(page.contains("opened from jobs"), "{page}");

    let removed = world.sandbox.deprovision(addon).await;
    assert_eq!(removed.expect("an answer").status, 204);
    let late = post(&world, &form()).await;
    assert_eq!(late.status(), StatusCode::NOT_FOUND);
    assert!(!late.headers().contains_key(SET_COOKIE));
    world.stop().await;
}

fn field<'a>(form: &'a mut [(String, String)], name: &str) -> &'a mut (String, String) {
    let mut fields = form.iter_mut();
    fields.find(|(field, _)| field == name).expect("the field")
}

fn client() -> Client {
    let builder = Client::builder().redirect(Policy::none()).no_proxy();
    builder.build().expect("a client")
}

async fn post(world: &Scene, form: &[(String, String)]) -> Response {
    let url = format!("{}/heroku/sso", world.base);
    let sent = client().post(url).form(form).send().await;
    sent.expect("an answer")
}

/// The page that a sign-on leads to, with the cookie that it gave.
async fn follow(world: &Scene, signed_on: &Response) -> String {
    let header = |name: HeaderName| {
        let value = signed_on.headers().get(name).expect("the header");
        value.to_str().expect("ASCII").to_owned()
    };
    let cookie = header(SET_COOKIE);
    let cookie = cookie.split(';').next().expect("a value").to_owned();
    let url = format!("{}{}", world.base, header(LOCATION));
    let page = client().get(url).header(COOKIE, cookie).send().await;
    let page = page.expect("an answer");
    assert_eq!(page.status(), StatusCode::OK);
    page.text().await.expect("a body")
}
