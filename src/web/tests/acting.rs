//! What an owner does on the dashboard.

use axum::http::StatusCode;

use super::browser::{Browser, between};
use super::house::House;
use crate::domain::CacheId;

async fn shop(house: &House) -> (CacheId, Browser) {
    let resource = house.provision("shop").await;
    (resource.cache, Browser::signed_in(house, &resource).await)
}

/// Passwords on a page: words of 32 hexadecimal characters.
fn passwords(page: &str) -> Vec<String> {
    let hex = |word: &&str| {
        word.len() == 32
            && word
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte))
    };
    let words = page.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(hex).map(str::to_owned).collect()
}

fn row<'a>(page: &'a str, username: &str) -> &'a str {
    between(page, &format!("<tr id=\"credential-{username}\""), "</tr>")
}

#[tokio::test]
async fn a_new_credential_shows_its_password_only_when_asked() {
    let house = House::build().await;
    let (cache, mut owner) = shop(&house).await;
    let before = owner.usernames(cache).await;
    let answer = owner.act(cache, "credentials", "").await;
    assert_eq!(answer.location(), format!("/caches/{cache}"));
    let page = owner.page(cache).await;
    let after = owner.usernames(cache).await;
    let new = after.iter().find(|name| !before.contains(name)).unwrap();
    assert!(page.contains(&format!("Credential {new} was added")));
    assert!(passwords(&page).is_empty());
    let reloaded = owner.page(cache).await;
    assert!(!reloaded.contains("was added"), "a notice is shown once");

    let shown = owner
        .act(cache, &format!("credentials/{new}/reveal"), "")
        .await;
    assert_eq!(shown.status, StatusCode::OK);
    assert_eq!(shown.headers["cache-control"], "no-store");
    let found = passwords(&shown.body);
    let username = new.parse().unwrap();
    let expected = house.store.password(cache, &username);
    assert_eq!(found, [expected.await.unwrap().unwrap().expose()]);
    assert!(row(&shown.body, new).contains(&found[0]));
    assert!(passwords(&owner.page(cache).await).is_empty());
}

#[tokio::test]
async fn a_full_plan_adds_no_more() {
    let house = House::build().await;
    let (cache, mut owner) = shop(&house).await;
    for _ in 0..2 {
        owner.act(cache, "credentials", "").await;
    }
    let page = owner.page(cache).await;
    assert!(page.contains("<button class=\"primary\" disabled"));
    let answer = owner.act(cache, "credentials", "").await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert!(answer.body.contains("It has room for 3."));
    assert_eq!(owner.usernames(cache).await.len(), 3);
}

#[tokio::test]
async fn ticked_boxes_are_what_a_credential_may_do() {
    let house = House::build().await;
    let (cache, mut owner) = shop(&house).await;
    let name = owner.usernames(cache).await.remove(0);
    let action = format!("credentials/{name}/capabilities");
    let answer = owner.act(cache, &action, "flush=on").await;
    assert_eq!(answer.location(), format!("/caches/{cache}"));
    let page = owner.page(cache).await;
    assert!(page.contains(&format!("Capabilities of {name} were saved")));
    let row = row(&page, &name);
    assert!(row.contains("name=\"flush\" value=\"on\" checked"));
    assert!(row.contains("name=\"write\" value=\"on\">"));
    assert!(row.contains("name=\"api\" value=\"on\">"));
    assert!(
        page.contains("write=false flush=true api=false"),
        "an event"
    );
}

#[tokio::test]
async fn promotion_moves_the_mark_and_waits_for_the_provider() {
    let house = House::build().await;
    let (cache, mut owner) = shop(&house).await;
    let old = owner.usernames(cache).await.remove(0);
    owner.act(cache, "credentials", "").await;
    let new = owner.usernames(cache).await.pop().unwrap();
    let action = format!("credentials/{new}/promote");
    let answer = owner.act(cache, &action, "").await;
    assert_eq!(answer.location(), format!("/caches/{cache}"));
    let page = owner.page(cache).await;
    assert!(page.contains(&format!("{new} is now the primary")));
    assert!(page.contains("Config vars: Pending"));
    assert!(page.contains("Heroku is being given the new values"));
    assert!(row(&page, &new).contains("Primary"));
    assert!(!row(&page, &old).contains("Primary"));
    assert_eq!(owner.usernames(cache).await, [new, old]);
}

#[tokio::test]
async fn rotating_takes_one_click_and_deleting_the_old_one_too_early_asks() {
    let house = House::build().await;
    let (cache, mut owner) = shop(&house).await;
    let old = owner.usernames(cache).await.remove(0);
    let action = format!("credentials/{old}/rotate");
    for _double_click in 0..2 {
        let answer = owner.act(cache, &action, "").await;
        assert_eq!(answer.location(), format!("/caches/{cache}"));
    }
    let page = owner.page(cache).await;
    let names = owner.usernames(cache).await;
    assert_eq!(names[1..], [old.as_str()]);
    assert!(page.contains(&format!("{} is the new primary", names[0])));
    assert!(row(&page, &old).contains("Keep it: Heroku has not taken the new values yet."));

    let action = format!("credentials/{old}/delete");
    let answer = owner.act(cache, &action, "").await;
    let question = format!("/caches/{cache}/{action}");
    assert_eq!(answer.location(), question);
    assert!(owner.get(&question).await.body.contains("Too early?"));
    owner.act(cache, &action, "confirmed=yes").await;
    assert_eq!(owner.usernames(cache).await, names[..1]);
}

#[tokio::test]
async fn deleting_asks_when_something_is_connected() {
    let house = House::build().await;
    let (cache, mut owner) = shop(&house).await;
    let primary = owner.usernames(cache).await.remove(0);
    owner.act(cache, "credentials", "").await;
    let name = owner.usernames(cache).await.pop().unwrap();
    let action = format!("credentials/{name}/delete");

    house.plane.connect(cache, &name, 12);
    let answer = owner.act(cache, &action, "").await;
    let question = format!("/caches/{cache}/{action}");
    assert_eq!(answer.location(), question);
    let asked = owner.get(&question).await;
    assert!(asked.body.contains("12 live connections"));
    assert_eq!(owner.usernames(cache).await.len(), 2);

    owner.act(cache, &action, "confirmed=yes").await;
    let page = owner.page(cache).await;
    assert!(page.contains(&format!("Credential {name} was deleted")));
    assert_eq!(owner.usernames(cache).await, vec![primary.clone()]);
    let again = owner.act(cache, &action, "confirmed=yes").await;
    assert_eq!(again.location(), format!("/caches/{cache}"));

    let action = format!("credentials/{primary}/delete");
    let answer = owner.act(cache, &action, "confirmed=yes").await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(answer.body.contains(&format!("href=\"/caches/{cache}\"")));
}

#[tokio::test]
async fn an_idle_credential_is_deleted_at_once() {
    let house = House::build().await;
    let (cache, mut owner) = shop(&house).await;
    owner.act(cache, "credentials", "").await;
    let name = owner.usernames(cache).await.pop().unwrap();
    let action = format!("credentials/{name}/delete");
    let answer = owner.act(cache, &action, "").await;
    assert_eq!(answer.location(), format!("/caches/{cache}"));
    assert_eq!(owner.usernames(cache).await.len(), 1);
}

#[tokio::test]
async fn flushing_names_the_items_first_and_is_listed_once() {
    let house = House::build().await;
    let (cache, mut owner) = shop(&house).await;
    house.plane.fill(cache, 18_233, 7_340_032);
    let asked = owner.get(&format!("/caches/{cache}/flush")).await;
    assert!(asked.body.contains("18,233 items (7 MiB)"));
    let answer = owner.act(cache, "flush", "").await;
    assert_eq!(answer.location(), format!("/caches/{cache}"));
    let page = owner.page(cache).await;
    assert!(page.contains("The cache was flushed"));
    assert!(page.contains("18,233 items are gone, 7 MiB free again."));
    assert_eq!(page.matches("<strong>Flushed</strong>").count(), 1);
}

#[tokio::test]
async fn words_of_others_stay_words() {
    let house = House::build().await;
    let sly = "<script>alert(1)</script>\"><img src=x onerror=alert(1)>'";
    let resource = house.provision(sly).await;
    let mut owner = Browser::signed_in(&house, &resource).await;
    let page = owner.page(resource.cache).await;
    assert!(!page.contains("<script>alert") && !page.contains("<img"));
    assert!(page.contains("&#60;script&#62;alert(1)"));
    let asked = owner
        .get(&format!("/caches/{}/flush", resource.cache))
        .await;
    assert!(!asked.body.contains("<script>alert"));
}

#[tokio::test]
async fn balancers_and_browsers_get_what_they_ask_for() {
    let house = House::build().await;
    let mut anyone = Browser::new(&house.app);
    assert_eq!(anyone.get("/healthz").await.body, "ok\n");
    assert_eq!(anyone.get("/readyz").await.body, "ready\n");
    let page = anyone.get("/nowhere").await.body;
    for (start, kind) in [
        ("rel=\"stylesheet\" href=\"", "text/css; charset=utf-8"),
        ("<script src=\"", "text/javascript; charset=utf-8"),
        ("rel=\"icon\" href=\"", "image/svg+xml"),
    ] {
        let file = anyone.get(between(&page, start, "\"")).await;
        assert_eq!(file.status, StatusCode::OK);
        assert_eq!(file.headers["content-type"], kind);
        assert!(
            file.headers["cache-control"]
                .to_str()
                .unwrap()
                .contains("immutable")
        );
    }
}

#[tokio::test]
async fn a_certificate_is_issued_once_for_each_page_and_its_key_shown_once() {
    let house = House::build().await;
    let (cache, mut owner) = shop(&house).await;
    let name = owner.usernames(cache).await.remove(0);
    let action = format!("credentials/{name}/certificates");
    let page = format!("/caches/{cache}/{action}");
    assert!(owner.get(&page).await.body.contains("There is none yet."));

    let issued = owner.act(cache, &action, "after=").await;
    assert_eq!(issued.status, StatusCode::OK);
    assert_eq!(issued.headers["cache-control"], "no-store");
    assert_eq!(issued.body.matches("BEGIN PRIVATE KEY").count(), 1);
    let again = owner.act(cache, &action, "after=").await;
    assert_eq!(again.location(), page, "the same form sent twice");
    let list = owner.get(&page).await.body;
    assert!(list.contains("1 of 5 in use.") && !list.contains("PRIVATE KEY"));

    let newest = between(&list, "name=\"after\" value=\"", "\"").to_owned();
    let file = owner
        .act(cache, &action, &format!("after={newest}&file=pem"))
        .await;
    assert_eq!(file.headers["content-type"], "application/x-pem-file");
    assert_eq!(file.headers["cache-control"], "no-store");
    let expected = format!("attachment; filename=\"{name}.pem\"");
    assert_eq!(file.headers["content-disposition"], expected);
    assert!(file.body.starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(file.body.trim_end().ends_with("-----END PRIVATE KEY-----"));
    let dashboard = owner.page(cache).await;
    assert!(row(&dashboard, &name).contains("Certificates (2)"));

    let revoke = format!("{action}/revoke");
    let nonsense = owner.act(cache, &revoke, "fingerprint=zz").await;
    assert_eq!(nonsense.status, StatusCode::FORBIDDEN);
    let fingerprint = format!("fingerprint={newest}");
    let revoked = owner.act(cache, &revoke, &fingerprint).await;
    assert_eq!(revoked.location(), format!("/caches/{cache}"));
    let dashboard = owner.page(cache).await;
    assert!(dashboard.contains(&format!("A certificate of {name} was revoked")));
    assert!(row(&dashboard, &name).contains("Certificates (1)"));
    let unknown = owner
        .get(&format!("/caches/{cache}/credentials/ABCDEF/certificates"))
        .await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}
