//! The pages and their buttons, over HTTP.

use super::support::*;
use crate::sandbox::*;

async fn page(fixture: &SandboxFixture, path: &str) -> String {
    let response = fixture.http.get(fixture.url(path)).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(!policy.contains("unsafe"), "{policy}");
    response.text().await.unwrap()
}

/// Presses a button and follows to the page behind it.
async fn press(fixture: &SandboxFixture, path: &str, fields: &[(&str, &str)]) -> String {
    let form = fixture.http.post(fixture.url(path)).form(fields);
    let response = form.send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.text().await.unwrap()
}

#[tokio::test]
async fn a_customer_can_do_everything_by_form() {
    let fixture = SandboxFixture::new().await;
    assert!(page(&fixture, "/").await.contains("No add-ons yet"));
    let shop = press(&fixture, "/console/apps", &[("name", "shop")]).await;
    assert!(shop.contains("App created."));
    press(&fixture, "/console/apps", &[("name", "jobs")]).await;
    let [shop, jobs] = ["shop", "jobs"].map(|name| {
        let id = fixture
            .sandbox
            .read(|market| market.app_named(name).map(|app| app.id));
        id.unwrap().to_string()
    });
    let order = [
        ("app", shop.as_str()),
        ("plan", "dev"),
        ("region", "us"),
        ("name", ""),
    ];
    let ordered = press(&fixture, "/console/addons", &order).await;
    assert!(ordered.contains("Your cache is ready."), "{ordered}");
    let addon = fixture.sandbox.addons().remove(0);
    let at = |action: &str| format!("/console/addons/{}/{action}", addon.id);

    let changed = press(&fixture, &at("plan"), &[("plan", "100")]).await;
    assert!(changed.contains("The plan is now 100."));
    let attached = press(
        &fixture,
        &at("attach"),
        &[("app", &jobs), ("name", "SECOND")],
    )
    .await;
    assert!(attached.contains("SECOND"));
    let app = page(&fixture, &format!("/console/apps/{jobs}")).await;
    assert!(app.contains("SECOND_PASSWORD") && app.contains("<summary>Reveal</summary>first"));
    press(&fixture, &at("detach"), &[("app", &jobs)]).await;
    let sign_on = press(&fixture, &at("sso"), &[]).await;
    assert!(sign_on.contains("data-auto-submit") && sign_on.contains("user_scoped_resource_token"));
    let renewed = press(&fixture, &at("log-inputs"), &[]).await;
    assert!(renewed.contains("The old log inputs take nothing any more."));
    press(&fixture, &at("repeat"), &[]).await;
    let gone = press(&fixture, &at("deprovision"), &[]).await;
    assert!(gone.contains("The provider answered 204."));
    assert!(
        page(&fixture, &format!("/console/addons/{}", addon.id))
            .await
            .contains("deprovisioned")
    );
}

#[tokio::test]
async fn the_panel_switches_faults() {
    let fixture = SandboxFixture::new().await;
    let once = [
        ("group", "config"),
        ("fault", "500"),
        ("seconds", "5"),
        ("once", "on"),
    ];
    press(&fixture, "/console/faults/endpoints", &once).await;
    let standing = [("group", "logs"), ("fault", "429"), ("seconds", "9")];
    press(&fixture, "/console/faults/endpoints", &standing).await;
    let switches = [("slow_secs", "2"), ("duplicate", "on")];
    let shown = press(&fixture, "/console/faults/calls", &switches).await;
    assert!(shown.contains("1 queued"));
    fixture.sandbox.read(|market| {
        let faults = market.faults();
        let limited = Fault::TooManyRequests {
            retry_after_secs: 9,
        };
        assert_eq!(faults.queued(EndpointGroup::Config), 1);
        assert_eq!(faults.standing(EndpointGroup::Logs), Some(limited));
        assert!(faults.calls.duplicate && !faults.calls.lose_reply);
    });
    press(&fixture, "/console/faults/clear", &[]).await;
    assert!(!fixture.sandbox.read(|market| market.faults().any()));
    press(&fixture, "/console/tokens/expire", &[]).await;
}

#[tokio::test]
async fn every_fault_has_its_switch() {
    let fixture = SandboxFixture::new().await;
    let seconds = std::time::Duration::from_secs(7);
    for fault in [
        Fault::Slow(seconds),
        Fault::ServerError,
        Fault::TooManyRequests {
            retry_after_secs: 7,
        },
        Fault::Hang,
        Fault::LostReply,
        Fault::Unauthorized,
        Fault::Forbidden,
    ] {
        let form = [("group", "logs"), ("fault", fault.name()), ("seconds", "7")];
        press(&fixture, "/console/faults/endpoints", &form).await;
        let standing = |market: &Market| market.faults().standing(EndpointGroup::Logs);
        assert_eq!(fixture.sandbox.read(standing), Some(fault));
    }
    let off = CallFaults::default();
    for (switch, wanted) in [
        (
            ("slow_secs", "7"),
            CallFaults {
                slow: Some(seconds),
                ..off
            },
        ),
        (
            ("lose_reply", "on"),
            CallFaults {
                lose_reply: true,
                ..off
            },
        ),
        (
            ("duplicate", "on"),
            CallFaults {
                duplicate: true,
                ..off
            },
        ),
        (
            ("reorder", "on"),
            CallFaults {
                reorder: true,
                ..off
            },
        ),
    ] {
        press(&fixture, "/console/faults/calls", &[switch]).await;
        let calls = fixture.sandbox.read(|market| market.faults().calls);
        assert_eq!(calls, wanted, "{switch:?}");
    }
}

#[tokio::test]
async fn the_panel_ends_access_tokens() {
    let fixture = SandboxFixture::new().await;
    let (_, addon) = fixture.ready_addon("shop").await;
    let (token, _) = fixture.tokens_of(&addon).await;
    assert_eq!(status(fixture.push(&addon, &token, "first")).await, 200);
    press(&fixture, "/console/tokens/expire", &[]).await;
    assert_eq!(status(fixture.push(&addon, &token, "second")).await, 401);
}

#[tokio::test]
async fn what_others_say_is_shown_as_text() {
    let fixture = SandboxFixture::new().await;
    let markup = "<script>alert(1)</script>";
    let body = serde_json::json!({ "id": "x", "message": markup, "config": full_config(markup) });
    fixture.provider.answers(201, body);
    let (app, addon) = fixture.ready_addon("shop").await;
    let (url, password) = fixture.log_input_of(&addon);
    let post = fixture.http.post(url).basic_auth("token", Some(password));
    let post = post
        .header("content-type", "application/logplex-1")
        .body(frame(markup));
    assert_eq!(status(post).await, 204);
    for path in [
        format!("/console/apps/{app}"),
        format!("/console/addons/{}", addon.id),
    ] {
        let html = page(&fixture, &path).await;
        assert!(
            !html.contains("<script>alert") && html.contains("alert(1)"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn other_sites_cannot_press_buttons() {
    let fixture = SandboxFixture::new().await;
    let form = || {
        fixture
            .http
            .post(fixture.url("/console/apps"))
            .form(&[("name", "shop")])
    };
    assert_eq!(
        status(form().header("origin", "http://evil.example")).await,
        403
    );
    assert_eq!(
        status(form().header("sec-fetch-site", "cross-site")).await,
        403
    );
    assert_eq!(status(form().header("host", "evil.example")).await, 421);
    assert!(fixture.sandbox.read(|market| market.apps().is_empty()));
    let missing = fixture
        .http
        .get(fixture.url(&format!("/console/apps/{}", AppId::generate())));
    assert_eq!(status(missing).await, 404);
}

#[tokio::test]
async fn the_live_log_sends_what_comes_after_the_page() {
    let fixture = SandboxFixture::new().await;
    let (app, addon) = fixture.ready_addon("shop").await;
    let seen = fixture.sandbox.log_lines(app).last().unwrap().seq;
    let url = fixture.url(&format!("/console/apps/{app}/log?after={seen}"));
    let mut stream = fixture.http.get(url).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let (token, _) = fixture.tokens_of(&addon).await;
    assert_eq!(status(fixture.push(&addon, &token, "second")).await, 200);
    let mut text = String::new();
    while !text.contains("event: release") {
        let chunk = stream.chunk().await.unwrap().unwrap();
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(
        text.contains("Release v2 created") && !text.contains("Release v1 created"),
        "{text}"
    );
}
