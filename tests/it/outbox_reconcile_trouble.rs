//! Reconciles that come too late, and providers in trouble.

use larder::http::CallErrorKind;
use larder::outbox::ports::AttachedApp;

use crate::outbox_fixture::{Call, OutboxFixture};
use crate::support::control_plane::eventually;
use crate::support::db::on_each;

const DAY: u64 = 86_400;

fn app(app: &str) -> AttachedApp {
    AttachedApp {
        app: app.to_owned(),
        owns: true,
        log_url: None,
    }
}

/// A worker reads the list of apps and sleeps through its lease. Another one reads a newer list meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_list_does_not_replace_a_newer_one() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let other = fixture.another_worker(db).await;
        let owner = fixture.cache("r-1").await;
        while fixture.work().await > 0 {}
        *fixture.provider.apps.lock() = vec![app("older")];
        let gate = fixture.provider.hold_list();
        let outbox = fixture.outbox.clone();
        let asleep = tokio::spawn(async move { outbox.reconcile_due().await });
        let read = async || fixture.provider.count(|call| *call == Call::Attachments) == 1;
        eventually("the older list is read", read).await;

        fixture.provider.go_on();
        *fixture.provider.apps.lock() = vec![app("newer")];
        fixture.pass(61);
        assert_eq!(other.reconcile_due().await.expect("read"), 1);
        gate.add_permits(1);
        assert_eq!(asleep.await.expect("no panic").expect("read"), 1);
        let apps = fixture.control.store.attached_apps(owner.cache()).await;
        assert_eq!(apps.expect("apps"), ["newer"]);
    })
    .await;
}

/// Only a provider that says that it does not know a resource makes it a case for a person.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_in_trouble_loses_no_resource() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        fixture.cache("r-1").await;
        while fixture.work().await > 0 {}
        let candidates = async || fixture.control.store.candidates().await.expect("a count");
        // From the second day on the token is refreshed first.
        let fail = |day: usize, kind| fixture.provider.fail_after(day.min(1), kind);
        for day in 0..3 {
            fail(day, CallErrorKind::Retry { after: None });
            assert_eq!(fixture.outbox.reconcile_due().await.expect("read"), 1);
            fixture.pass(DAY + 1);
        }
        assert_eq!(candidates().await, 0);
        for day in 3..5 {
            fail(day, CallErrorKind::Gone);
            assert_eq!(fixture.outbox.reconcile_due().await.expect("read"), 1);
            fixture.pass(DAY + 1);
        }
        assert_eq!(candidates().await, 1, "twice, a day apart");
    })
    .await;
}
