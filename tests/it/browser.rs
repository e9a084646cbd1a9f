//! The pages in a real browser: from the marketplace's console to the dashboard and through everything an owner does
//! there, on a desk and on a phone, without a complaint of the browser.

use larder::sandbox::{EndpointGroup, Fault};

use crate::certificates::tls_settings;
use crate::engine_tls::make_certificate;
use crate::support::browser::{Browser, chromedriver};
use crate::support::db::Database;
use crate::support::needs;
use crate::support::scene::{PATIENCE, Scene, Wishes, free_port};

const DESK: u32 = 1280;
const PHONE: u32 = 390;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_s_day_in_a_browser() {
    let Some(chromedriver) = needs(chromedriver(), "Chromium and its driver") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    make_certificate(folder.path(), "server");
    let wishes = Wishes {
        settings: tls_settings(folder.path(), free_port()),
        ..Wishes::default()
    };
    let world = Scene::start(Database::sqlite(), wishes).await;
    let browser = Browser::start(chromedriver).await;
    order(&world, &browser).await;
    rotate(&world, &browser).await;
    certify(&browser).await;
    restrict_and_flush(&browser).await;
    change_the_address(&world, &browser).await;
    watch_the_app(&world, &browser).await;
    browser.stop().await;
    world.stop().await;
}

/// Shop's developer makes an app, orders a cache for it, and opens its dashboard.
async fn order(world: &Scene, browser: &Browser) {
    browser.open(world.sandbox.url()).await;
    browser.reads("No apps yet").await;
    looks_right(browser, "console-empty").await;
    let name = browser.find("//input[@name='name']").await;
    name.send_keys("shop").await.expect("typed");
    browser.click("Create").await;
    browser.reads("App created.").await;
    looks_right(browser, "console-new-app").await;
    browser.click("Overview").await;
    browser.click("Provision").await;
    browser.reads("provisioned").await;
    browser.click("Overview").await;
    browser.reads("Recent calls").await;
    looks_right(browser, "console").await;
    browser.click("Manage").await;
    browser.reads("Attached apps").await;
    looks_right(browser, "console-addon").await;
    browser.click("Open dashboard").await;
    browser.newest_tab().await;
    browser.reads("Config vars: Applied").await;
    let address = browser.driver.current_url().await.expect("an address");
    assert_eq!(
        address.as_str(),
        format!("{}/caches/1", world.base),
        "nothing but a clean address"
    );
    looks_right(browser, "dashboard").await;
}

/// Adds a credential, looks at its password, and promotes it while the provider is in trouble.
async fn rotate(world: &Scene, browser: &Browser) {
    browser.click("Add new credentials").await;
    browser.reads("was added").await;
    looks_right(browser, "dashboard-added").await;
    browser.click("Show its password").await;
    let password = browser.find("//code[contains(@class, 'secret')]").await;
    assert_eq!(password.text().await.expect("text").len(), 32);
    looks_right(browser, "dashboard-revealed").await;

    let trouble = Some(Fault::ServerError);
    world.sandbox.set_fault(EndpointGroup::Config, trouble);
    let row = browser
        .find("//tr[not(contains(@class, 'is-primary')) and starts-with(@id, 'credential-')]")
        .await;
    let id = row.id().await.expect("an id").expect("an id");
    let new = id.trim_start_matches("credential-").to_owned();
    browser.click(&format!("Promote {new} to primary")).await;
    browser.reads(&format!("{new} is now the primary")).await;
    refresh_until(browser, "Reason: config update: 500").await;
    browser.reads("Config vars: Pending").await;
    looks_right(browser, "dashboard-pending").await;

    world.sandbox.set_fault(EndpointGroup::Config, None);
    let shop = world
        .sandbox
        .read(|market| market.app_named("shop").map(|app| app.id));
    let shop = shop.expect("the app");
    let pushed = world
        .sandbox
        .wait_for_var(shop, "MEMCACHIER_USERNAME", &new, PATIENCE);
    pushed.await.expect("the push arrives");
    refresh_until(browser, "Config vars: Applied").await;
    looks_right(browser, "dashboard-applied").await;
}

/// Issues a certificate to the primary, sees it once, and revokes it.
async fn certify(browser: &Browser) {
    let link = "//tr[contains(@class, 'is-primary')]//a";
    browser.find(link).await.click().await.expect("a page");
    browser.reads("There is none yet.").await;
    looks_right(browser, "certificates-none").await;
    browser.click("Issue certificate").await;
    browser.reads("A certificate was issued").await;
    let pem = browser.find("//pre[contains(@class, 'pem')]").await;
    let pem = pem.text().await.expect("text");
    assert!(pem.trim_end().ends_with("-----END PRIVATE KEY-----"));
    looks_right(browser, "certificates-issued").await;
    browser.click("Back to the dashboard").await;
    browser.reads("Certificates (1)").await;
    browser.find(link).await.click().await.expect("a page");
    browser.reads("1 of 5 in use.").await;
    assert!(!browser.text().await.contains("PRIVATE KEY"));
    browser.click("Revoke").await;
    browser.reads("was revoked").await;
}

/// Takes a right from the old credential, flushes after being asked, and deletes the old credential on a phone.
async fn restrict_and_flush(browser: &Browser) {
    let write = "//tr[not(contains(@class, 'is-primary'))]//input[@name='write']";
    browser.find(write).await.click().await.expect("unticked");
    let old = "//tr[not(contains(@class, 'is-primary'))]//button[normalize-space()='Save']";
    browser.find(old).await.click().await.expect("saved");
    browser.reads("Capabilities of").await;
    let write = browser.find(write).await;
    assert!(
        !write.is_selected().await.expect("a box"),
        "it stays without the right"
    );

    browser.click("Flush Cache").await;
    browser.reads("and cannot be undone").await;
    looks_right(browser, "flush-asked").await;
    browser.click("Keep everything").await;
    browser.reads("All-time counters").await;
    browser.click("Flush Cache").await;
    browser.reads("and cannot be undone").await;
    browser.click("Flush Cache").await;
    browser.reads("The cache was flushed").await;
    looks_right(browser, "dashboard-flushed").await;

    browser.set_width(PHONE).await;
    let delete =
        "//tr[not(contains(@class, 'is-primary'))]//button[starts-with(@aria-label, 'Delete')]";
    browser.find(delete).await.click().await.expect("asked");
    // an app may still use what was the primary a moment ago
    browser.reads("Too early?").await;
    looks_right(browser, "question-delete").await;
    let confirm = "//button[starts-with(normalize-space(), 'Delete ')]";
    browser.find(confirm).await.click().await.expect("deleted");
    browser.reads("was deleted").await;
    assert!(
        browser.text().await.contains("1 of "),
        "one credential is left"
    );
    browser.set_width(DESK).await;
}

/// Rotates the SSO secret: this window goes on, and whoever came in by the old one is out.
async fn change_the_address(world: &Scene, browser: &Browser) {
    let here = browser.driver.window().await.expect("this tab");
    browser.click("Rotate SSO secret").await;
    browser.reads("The SSO secret was rotated").await;
    let address = browser.driver.current_url().await.expect("an address");
    assert_eq!(
        address.as_str(),
        format!("{}/caches/1", world.base),
        "the secret stays in no address bar"
    );
    looks_right(browser, "dashboard-rotated").await;
    browser.click("Sign out").await;
    browser.reads("signed out").await;
    looks_right(browser, "signed-out").await;

    browser.open(&format!("{}/caches/1", world.base)).await;
    browser.reads("Please sign in").await;
    let complaints = browser.complaints().await;
    assert!(
        complaints
            .iter()
            .all(|text| text.contains("401 (Unauthorized)")),
        "{complaints:?}"
    );
    looks_right(browser, "sign-in-needed").await;
    browser
        .driver
        .switch_to_window(here)
        .await
        .expect("this tab");
}

/// The console shows what it came to: two releases and the flush in the app's log, without reloading.
async fn watch_the_app(world: &Scene, browser: &Browser) {
    browser.open(world.sandbox.url()).await;
    browser.click("shop").await;
    browser.reads("release v2").await;
    browser.reads("origin=\"web interface\"").await;
    looks_right(browser, "console-app").await;
    browser.click("Faults").await;
    browser.reads("When the provider calls the platform").await;
    looks_right(browser, "console-faults").await;
}

async fn refresh_until(browser: &Browser, text: &str) {
    browser
        .until(text, async || {
            browser.driver.refresh().await.expect("the page loads");
            browser.text().await.contains(text)
        })
        .await;
}

/// No complaint of the browser, and nothing to scroll sideways for, light and dark, on a desk and on a phone.
async fn looks_right(browser: &Browser, name: &str) {
    for (width, device) in [(PHONE, "phone"), (DESK, "desk")] {
        browser.set_width(width).await;
        assert_eq!(
            browser.overflow().await,
            0,
            "{name} is too wide for a {device}"
        );
        for dark in [true, false] {
            browser.set_dark(dark).await;
            let light = if dark { "dark" } else { "light" };
            browser.picture(&format!("{name}-{device}-{light}")).await;
        }
    }
    let complaints = browser.complaints().await;
    assert!(complaints.is_empty(), "{name}: {complaints:#?}");
}
