//! What an owner does on the dashboard.

use axum::http::StatusCode;

use super::browser::{Browser, between};
use super::fixture::WebFixture;
use crate::domain::{CacheId, Capabilities};

async fn shop(fixture: &WebFixture) -> (CacheId, Browser) {
    let resource = fixture.provision("shop").await;
    (resource.cache, Browser::signed_in(fixture, &resource).await)
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
    let fixture = WebFixture::build().await;
    let (cache, mut owner) = shop(&fixture).await;
    let before = owner.usernames(cache).await;
    let answer = owner.act(cache, "credentials", "").await;
    assert_eq!(answer.location(), format!("/caches/{cache}"));
    let page = owner.page(cache).await;
    let after = owner.usernames(cache).await;
    let new = after.iter().find(|name| !before.contains(name)).unwrap();
    assert!(page.contains(&format!("Credential {new} was added")));
    assert!(passwords(&page).is_empty());
    let reloaded = owner.page(cache).await;
    assert!(!reloaded.contains("was added"), "a flash is shown once");

    let shown = owner
        .act(cache, &format!("credentials/{new}/reveal"), "")
        .await;
    assert_eq!(shown.status, StatusCode::OK);
    assert_eq!(shown.headers["cache-control"], "no-store");
    let found = passwords(&shown.body);
    let username = new.parse().unwrap();
    let expected = fixture.store.password(cache, &username);
    assert_eq!(found, [expected.await.unwrap().unwrap().expose()]);
    assert!(row(&shown.body, new).contains(&found[0]));
    assert!(passwords(&owner.page(cache).await).is_empty());
}

#[tokio::test]
async fn after_a_hundred_credentials_a_day_the_owner_is_told_when_to_go_on() {
    let fixture = WebFixture::build().await;
    let (cache, mut owner) = shop(&fixture).await;
    let me = fixture.access.for_operator(cache).await.unwrap();
    for _ in 2..=100 {
        let (made, _) = fixture.access.create(&me).await.unwrap();
        fixture.access.remove(&me, &made.username).await.unwrap();
    }
    let refused = owner.act(cache, "credentials", "").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    // The clock of these tests stands at half past six.
    let told = "Try again at 2026-11-23 18:30:01 UTC or later.";
    assert!(refused.body.contains(told), "{}", refused.body);
    assert!(refused.body.contains("Back to the dashboard"));
    assert_eq!(owner.usernames(cache).await.len(), 1);
}

#[tokio::test]
async fn a_full_plan_adds_no_more() {
    let fixture = WebFixture::build().await;
    let (cache, mut owner) = shop(&fixture).await;
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
    let fixture = WebFixture::build().await;
    let (cache, mut owner) = shop(&fixture).await;
    let name = owner.usernames(cache).await.remove(0);
    let action = format!("credentials/{name}/capabilities");
    let answer = owner.act(cache, &action, "flush=on").await;
    assert_eq!(answer.location(), format!("/caches/{cache}"));
    let page = owner.page(cache).await;
    assert!(page.contains(&format!("Capabilities of {name} were saved")));
    let row = row(&page, &name);
    assert!(row.contains("name=\"flush\" value=\"on\" checked"));
    assert!(row.contains("name=\"write\" value=\"on\">"));
    assert!(!page.contains("name=\"api\""), "there is no API to allow");
    assert!(page.contains("write=false flush=true"), "{page}");
    assert!(!page.contains("api="), "nor one to tell of");
    let rights = rights(&fixture, cache, &name).await;
    let without_write = Capabilities::ALL.with(Capabilities::WRITE, false);
    assert_eq!(rights, without_write, "what has no box stays as it is");
}

async fn rights(fixture: &WebFixture, cache: CacheId, username: &str) -> Capabilities {
    let all = fixture.store.credentials(cache).await.unwrap();
    let mut named = all
        .into_iter()
        .filter(|credential| credential.username.as_str() == username);
    named.next().unwrap().capabilities
}

/// The rights that have no box are those of the credential itself, not of another one.
#[tokio::test]
async fn boxes_leave_the_other_rights_of_that_credential() {
    let fixture = WebFixture::build().await;
    let (cache, mut owner) = shop(&fixture).await;
    owner.act(cache, "credentials", "").await;
    let second = owner.usernames(cache).await.pop().unwrap();
    let mut tx = fixture.store.begin().await.unwrap();
    let found = tx.credential(cache, &second.parse().unwrap()).await;
    let held = found.unwrap().unwrap();
    let without_api = held.capabilities.with(Capabilities::API, false);
    tx.set_capabilities(held.id, without_api).await.unwrap();
    tx.commit().await.unwrap();
    let action = format!("credentials/{second}/capabilities");
    owner.act(cache, &action, "write=on").await;
    let page = owner.page(cache).await;
    assert!(page.contains("write=true flush=false"), "{page}");
    let write_only = Capabilities::NONE.with(Capabilities::WRITE, true);
    assert_eq!(rights(&fixture, cache, &second).await, write_only);
}

#[tokio::test]
async fn a_push_that_was_asked_for_is_said_to_be_under_way() {
    let fixture = WebFixture::build().await;
    let (cache, mut owner) = shop(&fixture).await;
    let answer = owner.act(cache, "config-vars/push", "").await;
    assert_eq!(answer.location(), format!("/caches/{cache}"));
    let page = owner.page(cache).await;
    assert!(page.contains("The config vars are being pushed"));
}

#[tokio::test]
async fn promotion_moves_the_mark_and_waits_for_the_provider() {
    let fixture = WebFixture::build().await;
    let (cache, mut owner) = shop(&fixture).await;
    let old = owner.usernames(cache).await.remove(0);
    owner.act(cache, "credentials", "").await;
    let new = owner.usernames(cache).await.pop().unwrap();
    let action = format!("credentials/{new}/promote");
    let answer = owner.act(cache, &action, "").await;
    assert_eq!(answer.location(), format!("/caches/{cache}"));
    let page = owner.page(cache).await;
    assert!(page.contains(&format!("{new} is now the primary")));
    assert!(page.contains("Config vars: Pending"));
    assert!(page.contains("Acme Market is being given the new values"));
    assert!(row(&page, &new).contains("Primary"));
    assert!(!row(&page, &old).contains("Primary"));
    assert_eq!(owner.usernames(cache).await, [new, old]);
}

#[tokio::test]
async fn rotating_takes_one_click_and_deleting_the_old_one_too_early_asks() {
    let fixture = WebFixture::build().await;
    let (cache, mut owner) = shop(&fixture).await;
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
    assert!(row(&page, &old).contains("Keep it: Acme Market has not taken the new values yet."));

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
    let fixture = WebFixture::build().await;
    let (cache, mut owner) = shop(&fixture).await;
    let primary = owner.usernames(cache).await.remove(0);
    owner.act(cache, "credentials", "").await;
    let name = owner.usernames(cache).await.pop().unwrap();
    let action = format!("credentials/{name}/delete");

    fixture.plane.connect(cache, &name, 12);
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
    let fixture = WebFixture::build().await;
    let (cache, mut owner) = shop(&fixture).await;
    owner.act(cache, "credentials", "").await;
    let name = owner.usernames(cache).await.pop().unwrap();
    let action = format!("credentials/{name}/delete");
    let answer = owner.act(cache, &action, "").await;
    assert_eq!(answer.location(), format!("/caches/{cache}"));
    assert_eq!(owner.usernames(cache).await.len(), 1);
}

#[tokio::test]
async fn flushing_names_the_items_first_and_is_listed_once() {
    let fixture = WebFixture::build().await;
    let (cache, mut owner) = shop(&fixture).await;
    fixture.plane.fill(cache, 18_233, 7_340_032);
    let asked = owner.get(&format!("/caches/{cache}/flush")).await;
    assert!(asked.body.contains("<strong>18,233 items</strong>"));
    let answer = owner.act(cache, "flush", "").await;
    assert_eq!(answer.location(), format!("/caches/{cache}"));
    let page = owner.page(cache).await;
    assert!(page.contains("The cache was flushed"));
    assert!(page.contains("18,233 items are gone."));
    assert!(!page.contains("free again"), "the panel has the figure");
    assert_eq!(page.matches("<strong>Flushed</strong>").count(), 1);
}

#[tokio::test]
async fn words_of_others_stay_words() {
    let fixture = WebFixture::build().await;
    let sly = "<script>alert(1)</script>\"><img src=x onerror=alert(1)>'";
    let resource = fixture.provision(sly).await;
    let mut owner = Browser::signed_in(&fixture, &resource).await;
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
    let fixture = WebFixture::build().await;
    let mut anyone = Browser::new(&fixture.app);
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
    let fixture = WebFixture::build().await;
    let (cache, mut owner) = shop(&fixture).await;
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

    let left = owner.get(&page).await.body;
    let left = between(&left, "name=\"after\" value=\"", "\"").to_owned();
    fixture.plane.connect_by_certificate(cache, &left, 3);
    let fingerprint = format!("fingerprint={left}");
    let asked = owner.act(cache, &revoke, &fingerprint).await;
    let question = format!("/caches/{cache}/{revoke}?{fingerprint}");
    assert_eq!(asked.location(), question, "it would close connections");
    let asked = owner.get(&question).await.body;
    assert!(asked.contains("closes <strong>3 live connections</strong>"));
    assert!(row(&owner.page(cache).await, &name).contains("Certificates (1)"));
    let of_nobody = format!("/caches/{cache}/{revoke}?fingerprint=zz");
    let of_nobody = owner.get(&of_nobody).await;
    assert!(of_nobody.body.contains("1 of 5 in use."), "which there are");
    let confirmed = format!("{fingerprint}&confirmed=yes");
    owner.act(cache, &revoke, &confirmed).await;
    let dashboard = owner.page(cache).await;
    assert!(row(&dashboard, &name).contains("Issue certificate"));
    let unknown = owner
        .get(&format!("/caches/{cache}/credentials/ABCDEF/certificates"))
        .await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}
