//! Sign-ons as the marketplace sends them, whole and with parts missing: which token counts, and who gets a session.

use std::time::Duration;

use larder::sandbox::{AddonId, ProvisionOptions, User};
use reqwest::header::{COOKIE, HeaderName, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};

use crate::support::dashboard::visible_text;
use crate::support::db::Database;
use crate::support::full_service::{FullService, Wishes};
use crate::support::on_both_databases;

on_both_databases!(the_stronger_token_decides_and_a_removed_cache_has_no_session);
on_both_databases!(one_form_is_one_login);
on_both_databases!(a_form_of_another_generation_is_no_other_form);

const STRONGER: &str = "user_scoped_resource_token";
const WEAKER: &str = "resource_token";

/// The cache belongs to Shop; its owner comes from Jobs, which it is attached to as well.
async fn the_stronger_token_decides_and_a_removed_cache_has_no_session(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let jobs = service.sandbox.create_app("jobs").expect("a new app");
    let options = ProvisionOptions::default();
    let made = service.sandbox.provision(shop, "dev", options).await;
    let addon = made.expect("a cache").id;
    service.sandbox.attach(addon, jobs).expect("attached");
    // A proof is good once per cache and second, so each form is of a second of its own.
    let form = || {
        service.sandbox.advance_clock(Duration::from_secs(2));
        let form = service
            .sandbox
            .sso_form_from(addon, &User::default(), Some(jobs));
        form.expect("a form").1
    };

    let mut wrong = form();
    let (_, token) = field(&mut wrong, STRONGER);
    *token = "0".repeat(token.len());
    let refused = post(&service, &wrong).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN, "no falling back");
    assert!(!refused.headers().contains_key(SET_COOKIE));
    // The same form without the wrong token: its weaker one was right all the time, and is not used up.
    wrong.retain(|(name, _)| name != STRONGER);
    let weaker = post(&service, &wrong).await;
    assert_eq!(weaker.status(), StatusCode::SEE_OTHER);

    // One form, one login: the whole form, of which a part was used already, opens nothing more.
    let cut_and_whole = form();
    let cut: Vec<_> = cut_and_whole
        .iter()
        .filter(|(name, _)| name != STRONGER)
        .cloned()
        .collect();
    assert_eq!(post(&service, &cut).await.status(), StatusCode::SEE_OTHER);
    let again = post(&service, &cut_and_whole).await;
    assert_eq!(again.status(), StatusCode::FORBIDDEN);

    // The app is shown and no token covers it, so it refuses nobody.
    for app in ["", "a b", "é", "\u{1}", &"x".repeat(300)] {
        let mut odd = form();
        let (_, shown) = field(&mut odd, "context_app");
        *shown = app.to_owned();
        let entered = post(&service, &odd).await;
        assert_eq!(entered.status(), StatusCode::SEE_OTHER, "{app:?}");
    }

    // Nor do the other fields that no token covers: PostgreSQL takes no zero byte, and SQLite does.
    for name in ["nav-data", "app", "context_app"] {
        let mut odd = form();
        odd.retain(|(known, _)| known != name);
        odd.push((name.to_owned(), "a\0b".to_owned()));
        let entered = post(&service, &odd).await;
        assert_eq!(entered.status(), StatusCode::SEE_OTHER, "{name}");
    }

    // A link is no sign-on: what a browser follows by itself opens nothing, and uses nothing up.
    let linked = form();
    let url = format!("{}/heroku/sso", service.base);
    let followed = client().get(url).query(&linked).send().await;
    let followed = followed.expect("an answer");
    assert_eq!(followed.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(!followed.headers().contains_key(SET_COOKIE));
    let whole = post(&service, &linked).await;
    assert_eq!(whole.status(), StatusCode::SEE_OTHER);
    let page = visible_text(&follow(&service, &whole).await);
    assert!(page.contains("opened from jobs"), "{page}");

    // What is no form proves nothing, like any other bad proof.
    let url = format!("{}/heroku/sso", service.base);
    let text = client().post(url).body("no form").send().await;
    let text = text.expect("an answer");
    assert_eq!(text.status(), StatusCode::FORBIDDEN);
    assert!(!text.headers().contains_key(SET_COOKIE));

    let removed = service.sandbox.deprovision(addon).await;
    assert_eq!(removed.expect("an answer").status, 204);
    let late = post(&service, &form()).await;
    assert_eq!(late.status(), StatusCode::NOT_FOUND);
    assert!(!late.headers().contains_key(SET_COOKIE));
    service.stop().await;
}

/// Whatever is cut from a form, and whichever part comes first.
async fn one_form_is_one_login(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let addon = provision(&service).await;
    let statuses = async |forms: &[Vec<(String, String)>]| {
        let mut statuses = Vec::new();
        for form in forms {
            statuses.push(post(&service, form).await.status().as_u16());
        }
        statuses
    };
    let whole = new_form(&service, addon);
    let forms = [
        whole.clone(),
        without(&whole, STRONGER),
        without(&whole, WEAKER),
    ];
    assert_eq!(statuses(&forms).await, [303, 403, 403]);
    let whole = new_form(&service, addon);
    let forms = [
        without(&whole, WEAKER),
        whole.clone(),
        without(&whole, STRONGER),
    ];
    assert_eq!(statuses(&forms).await, [303, 403, 403]);
    let whole = new_form(&service, addon);
    let forms = [without(&whole, STRONGER), without(&whole, WEAKER), whole];
    assert_eq!(statuses(&forms).await, [303, 403, 403]);
    service.stop().await;
}

/// Where marketplaces of the first generation are served, a form of the third can be written as one of the first: their
/// tokens are of the same parts.
async fn a_form_of_another_generation_is_no_other_form(database: Database) {
    let wishes = Wishes {
        settings: vec![("LARDER_HEROKU_LEGACY".to_owned(), "on".to_owned())],
        ..Wishes::default()
    };
    let service = FullService::start(database, wishes).await;
    let addon = provision(&service).await;
    let linked = async |form: &[(String, String)]| {
        let url = format!("{}/heroku/resources/{addon}", service.base);
        let form = without(form, "id");
        let sent = client().get(url).query(&form).send().await;
        sent.expect("an answer").status().as_u16()
    };
    let posted = async |form: &[(String, String)]| post(&service, form).await.status().as_u16();

    let third = new_form(&service, addon);
    assert_eq!(posted(&third).await, 303);
    assert_eq!(posted(&as_first(&third)).await, 403);
    assert_eq!(linked(&as_first(&third)).await, 403);

    let third = new_form(&service, addon);
    assert_eq!(
        linked(&as_first(&third)).await,
        303,
        "it is a form of the first generation"
    );
    assert_eq!(posted(&as_first(&third)).await, 403);
    assert_eq!(posted(&third).await, 403);
    assert_eq!(posted(&without(&third, STRONGER)).await, 403);
    service.stop().await;
}

/// The same proof in the words of the first generation.
fn as_first(third: &[(String, String)]) -> Vec<(String, String)> {
    let kept = third.iter().filter_map(|(name, value)| {
        let name = match name.as_str() {
            "resource_id" => "id",
            WEAKER => "token",
            known @ ("timestamp" | "nav-data" | "email") => known,
            _ => return None,
        };
        Some((name.to_owned(), value.clone()))
    });
    kept.collect()
}

fn without(form: &[(String, String)], name: &str) -> Vec<(String, String)> {
    let others = form.iter().filter(|(known, _)| known != name);
    others.cloned().collect()
}

async fn provision(service: &FullService) -> AddonId {
    let shop = service.sandbox.create_app("shop").expect("a new app");
    let options = ProvisionOptions::default();
    let made = service.sandbox.provision(shop, "dev", options).await;
    made.expect("a cache").id
}

/// A proof is good once per cache and second, so each form is of a second of its own.
fn new_form(service: &FullService, addon: AddonId) -> Vec<(String, String)> {
    service.sandbox.advance_clock(Duration::from_secs(2));
    let form = service.sandbox.sso_form(addon, &User::default());
    form.expect("a form").1
}

fn field<'a>(form: &'a mut [(String, String)], name: &str) -> &'a mut (String, String) {
    let mut fields = form.iter_mut();
    fields.find(|(field, _)| field == name).expect("the field")
}

fn client() -> Client {
    let builder = Client::builder().redirect(Policy::none()).no_proxy();
    builder.build().expect("a client")
}

async fn post(service: &FullService, form: &[(String, String)]) -> Response {
    let url = format!("{}/heroku/sso", service.base);
    let sent = client().post(url).form(form).send().await;
    sent.expect("an answer")
}

/// The page that a sign-on leads to, with the cookie that it gave.
async fn follow(service: &FullService, signed_on: &Response) -> String {
    let header = |name: HeaderName| {
        let value = signed_on.headers().get(name).expect("the header");
        value.to_str().expect("ASCII").to_owned()
    };
    let cookie = header(SET_COOKIE);
    let cookie = cookie.split(';').next().expect("a value").to_owned();
    let url = format!("{}{}", service.base, header(LOCATION));
    let page = client().get(url).header(COOKIE, cookie).send().await;
    let page = page.expect("an answer");
    assert_eq!(page.status(), StatusCode::OK);
    page.text().await.expect("a body")
}
