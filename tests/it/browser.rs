//! The pages in a real browser: from the marketplace's console to the dashboard and through everything an owner does
//! there, on a desk and on a phone, without a complaint of the browser.

use larder::sandbox::{EndpointGroup, Fault};

use crate::certificates::tls_settings;
use crate::engine_tls::make_certificate;
use crate::support::browser::{Browser, chromedriver};
use crate::support::db::Database;
use crate::support::full_service::{FullService, PATIENCE, Wishes, free_port};
use crate::support::needs;

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
    let service = FullService::start(Database::sqlite(), wishes).await;
    let browser = Browser::start(chromedriver).await;
    order(&service, &browser).await;
    rotate(&service, &browser).await;
    certify(&browser).await;
    restrict_and_flush(&browser).await;
    change_the_address(&service, &browser).await;
    watch_the_app(&service, &browser).await;
    browser.stop().await;
    service.stop().await;
}

/// Shop's developer makes an app, orders a cache for it, and opens its dashboard.
async fn order(service: &FullService, browser: &Browser) {
    browser.open(service.sandbox.url()).await;
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
    assert!(
        !browser.text().await.contains("API"),
        "no right for what is not there"
    );
    let address = browser.driver.current_url().await.expect("an address");
    assert_eq!(
        address.as_str(),
        format!("{}/caches/1", service.base),
        "nothing but a clean address"
    );
    looks_right(browser, "dashboard").await;
}

/// Adds a credential, looks at its password, and promotes it while the provider is in trouble.
async fn rotate(service: &FullService, browser: &Browser) {
    browser.click("Add new credentials").await;
    browser.reads("was added").await;
    looks_right(browser, "dashboard-added").await;
    browser.click("Show its password").await;
    let password = browser.find("//code[contains(@class, 'secret')]").await;
    assert_eq!(password.text().await.expect("text").len(), 32);
    looks_right(browser, "dashboard-revealed").await;

    let trouble = Some(Fault::ServerError);
    service.sandbox.set_fault(EndpointGroup::Config, trouble);
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

    service.sandbox.set_fault(EndpointGroup::Config, None);
    let shop = service
        .sandbox
        .read(|market| market.app_named("shop").map(|app| app.id));
    let shop = shop.expect("the app");
    let pushed = service
        .sandbox
        .wait_for_var(shop, "MEMCACHIER_USERNAME", &new, PATIENCE);
    pushed.await.expect("the push arrives");
    refresh_until(browser, "Config vars: Applied").await;
    // Advice for the former primary, and a password in the same table: the widest it gets.
    browser.reads("Safe to delete from").await;
    browser
        .click(&format!("Reveal the password of {new}"))
        .await;
    browser.reads("Safe to delete from").await;
    looks_right(browser, "dashboard-applied").await;
    keyboard_reaches(browser).await;
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
    browser.click("Issue and download").await;
    // The download leaves the page as it is: its buttons work on, and the next one shows the list as it is now.
    let again = browser
        .find("//button[normalize-space()='Issue certificate']")
        .await;
    assert!(again.is_enabled().await.expect("a button"));
    again.click().await.expect("clicked");
    browser.reads("2 of 5 in use.").await;
    looks_right(browser, "certificates-two").await;
    for _ in 0..2 {
        browser
            .find("//button[normalize-space()='Revoke']")
            .await
            .click()
            .await
            .expect("revoked");
        browser.reads("was revoked").await;
        browser.find(link).await.click().await.expect("a page");
        browser.reads("in use.").await;
    }
    browser.click("Back to the dashboard").await;
    browser.reads("Config vars").await;
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

/// Rotates the SSO secret: this window goes on, as the same person, and whoever came in by the old one is out.
async fn change_the_address(service: &FullService, browser: &Browser) {
    let here = browser.driver.window().await.expect("this tab");
    let person = browser.find("//span[@class='person']").await;
    let person = person.text().await.expect("text");
    browser.click("Rotate SSO secret").await;
    browser.reads("The SSO secret was rotated").await;
    let text = browser.text().await;
    assert!(
        text.contains(&person) && text.contains("opened from shop"),
        "{text}"
    );
    let address = browser.driver.current_url().await.expect("an address");
    assert_eq!(
        address.as_str(),
        format!("{}/caches/1", service.base),
        "the secret stays in no address bar"
    );
    looks_right(browser, "dashboard-rotated").await;
    browser.click("Show the new address").await;
    browser.reads(&format!("{}/d/", service.base)).await;
    looks_right(browser, "dashboard-new-address").await;
    browser.open(&service.base).await;
    browser.reads("Open in this browser").await;
    looks_right(browser, "home").await;
    browser.open(&format!("{}/caches/1", service.base)).await;
    browser.click("Sign out").await;
    browser.reads("signed out").await;
    browser.reads("Go to Heroku").await;
    looks_right(browser, "signed-out").await;

    browser.open(&format!("{}/caches/1", service.base)).await;
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
async fn watch_the_app(service: &FullService, browser: &Browser) {
    browser.open(service.sandbox.url()).await;
    browser.click("shop").await;
    browser.reads("release v2").await;
    browser.reads("origin=\"web interface\"").await;
    looks_right(browser, "console-app").await;
    browser.click("Faults").await;
    browser.reads("When the provider calls the platform").await;
    looks_right(browser, "console-faults").await;
}

/// Everything an owner can do is a stop of the tab key.
async fn keyboard_reaches(browser: &Browser) {
    let stops = browser.tab_stops().await;
    for name in [
        "Sign out",
        "Flush Cache",
        "Rotate now",
        "Add new credentials",
        "Rotate SSO secret",
        "write",
        "every_days",
    ] {
        let found = stops.iter().any(|stop| stop.contains(name));
        assert!(found, "{name} is not among {stops:#?}");
    }
}

async fn refresh_until(browser: &Browser, text: &str) {
    browser
        .until(text, async || {
            browser.driver.refresh().await.expect("the page loads");
            browser.text().await.contains(text)
        })
        .await;
}

/// No complaint of the browser, nothing to scroll sideways for, and no barrier, light and dark, from the smallest phone
/// to a large desk.
async fn looks_right(browser: &Browser, name: &str) {
    for width in [320, PHONE, 768, 1024, 1181, DESK, 1600] {
        browser.set_width(width).await;
        let over = browser.overflow().await;
        assert_eq!(over, 0, "{name} is too wide for {width}");
        assert_eq!(browser.bursts().await, [""; 0], "{name} at {width}");
    }
    let barriers = browser.barriers().await;
    assert!(barriers.is_empty(), "{name}: {barriers:#?}");
    for (width, device) in [(PHONE, "phone"), (DESK, "desk")] {
        browser.set_width(width).await;
        for dark in [true, false] {
            browser.set_dark(dark).await;
            let light = if dark { "dark" } else { "light" };
            browser.picture(&format!("{name}-{device}-{light}")).await;
        }
    }
    let complaints = browser.complaints().await;
    assert!(complaints.is_empty(), "{name}: {complaints:#?}");
}
