//! Log inputs that refuse their token, and those of apps that leave.

use larder::http::CallErrorKind;
use larder::outbox::ports::AttachedApp;

use crate::outbox_fixture::{Call, LOG_URL, OutboxFixture};
use crate::support::db::on_each;

fn apps(names: &[&str]) -> Vec<AttachedApp> {
    let app = |name: &&str| AttachedApp {
        app: (*name).to_owned(),
        owns: *name == "mine",
        log_url: Some(LOG_URL.replace("1.us", &format!("{name}.us")).into()),
    };
    names.iter().map(app).collect()
}

/// Where a provider in trouble cannot say whether there is a fresh input, the old one is not closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_is_not_closed_while_its_provider_cannot_be_asked() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        while fixture.work().await > 0 {}
        *fixture.provider.apps.lock() = apps(&["mine"]);
        fixture.flush(&owner, "p1").await;
        let trouble = CallErrorKind::Retry { after: None };
        fixture
            .provider
            .fail([CallErrorKind::Unauthorized, trouble]);
        fixture.work().await;
        let waiting = async || fixture.control.store.lines_waiting().await.expect("read");
        assert_eq!(waiting().await, 1, "kept until the provider can be asked");

        // It is refused once more, and this time the provider answers.
        fixture.pass(60);
        fixture.provider.fail([CallErrorKind::Unauthorized]);
        while fixture.work().await > 0 {}
        assert_eq!(waiting().await, 0);
        let calls = fixture.provider.calls.lock();
        let last = calls.iter().rev().find_map(|call| match call {
            Call::Log { url, lines } => Some((url.clone(), lines.len())),
            _ => None,
        });
        let fresh = LOG_URL.replace("1.us", "mine.us");
        assert_eq!(last, Some((fresh, 1)), "the line, by the fresh input");
    })
    .await;
}

/// Lines on their way to an app end with its attachment: they are no backlog, and no second app gets them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_to_an_app_that_leaves_are_withdrawn() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        *fixture.provider.apps.lock() = apps(&["mine", "other"]);
        while fixture.work().await > 0 {}
        assert_eq!(fixture.outbox.reconcile_due().await.expect("read"), 1);
        fixture.flush(&owner, "p1").await;
        let waiting = async || fixture.control.store.lines_waiting().await.expect("read");
        assert_eq!(waiting().await, 2, "one for each app");

        *fixture.provider.apps.lock() = apps(&["mine"]);
        fixture.pass(86_400);
        fixture.provider.calls.lock().clear();
        assert_eq!(fixture.outbox.reconcile_due().await.expect("read"), 1);
        assert_eq!(waiting().await, 1, "the other app's line is withdrawn");
    })
    .await;
}
