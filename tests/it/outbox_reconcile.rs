//! Reconciles with what the provider knows: what is taken over, what is asked once, and what is only reported.

use larder::domain::{Clock as _, Timestamp};
use larder::http::CallErrorKind;
use larder::outbox::ports::AttachedApp;
use larder::provisioning::Provisioned;

use crate::outbox_fixture::{Call, LOG_URL, OutboxFixture, code};
use crate::support::HEROKU;
use crate::support::claims::{heroku, terms};
use crate::support::control_plane::request;
use crate::support::db::on_each;

const DAY: u64 = 86_400;
const RETRY: CallErrorKind = CallErrorKind::Retry { after: None };

fn app(app: &str, owns: bool, url: &str) -> AttachedApp {
    AttachedApp {
        app: app.to_owned(),
        owns,
        log_url: Some(url.to_owned().into()),
    }
}

fn urls(fixture: &OutboxFixture) -> Vec<String> {
    let calls = fixture.provider.calls.lock();
    let url = |call: &Call| match call {
        Call::Log { url, .. } => Some(url.clone()),
        _ => None,
    };
    let mut urls: Vec<String> = calls.iter().filter_map(url).collect();
    urls.sort();
    urls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exchange_is_followed_by_a_reconcile_and_lines_go_to_every_app() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        let second = "https://token:t.2@2.us.logplex.io/logs";
        *fixture.provider.apps.lock() = vec![
            app("mine", true, LOG_URL),
            app("other", false, second),
            // the same app under a second name has one log
            app("other", false, second),
        ];
        *fixture.provider.name.lock() = "new\nname".to_owned();
        assert_eq!(
            fixture.outbox.reconcile_due().await.unwrap(),
            0,
            "no token yet"
        );
        fixture.work().await;
        assert_eq!(fixture.outbox.reconcile_due().await.unwrap(), 1);
        let apps = fixture
            .control
            .store
            .attached_apps(owner.cache())
            .await
            .unwrap();
        assert_eq!(apps, ["mine", "other"]);
        let id = "r-1".parse().unwrap();
        let found = fixture
            .control
            .store
            .resource_by_external(HEROKU, &id)
            .await;
        assert_eq!(found.unwrap().unwrap().name, "newname");

        fixture.flush(&owner, "p1").await;
        fixture.work().await;
        assert_eq!(urls(&fixture), [LOG_URL, second]);

        // The second app leaves with a line waiting: nothing more is sent to it.
        fixture.flush(&owner, "p2").await;
        fixture.provider.apps.lock().truncate(1);
        fixture.pass(DAY);
        assert_eq!(fixture.outbox.reconcile_due().await.unwrap(), 1);
        fixture.provider.calls.lock().clear();
        fixture.flush(&owner, "p3").await;
        while fixture.work().await > 0 {}
        assert!(
            urls(&fixture).iter().all(|url| url == LOG_URL),
            "{:?}",
            urls(&fixture)
        );
        assert!(!urls(&fixture).is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_subscribed_to_once_unless_the_call_failed() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        fixture.cache("r-1").await;
        fixture.work().await;
        let asked = || fixture.provider.count(|call| *call == Call::Subscribe);
        // Trouble on the way: the rest of the reconcile counts, and the subscription is tried again soon.
        *fixture.provider.apps.lock() = vec![app("mine", true, LOG_URL)];
        fixture.provider.fail_after(1, RETRY);
        fixture.outbox.reconcile_due().await.unwrap();
        assert_eq!(asked(), 1);
        fixture.pass(5);
        // Refused: never again.
        fixture.provider.fail_after(1, CallErrorKind::Refused);
        assert_eq!(fixture.outbox.reconcile_due().await.unwrap(), 1);
        assert_eq!(asked(), 2);
        for _ in 0..3 {
            fixture.pass(DAY);
            assert_eq!(fixture.outbox.reconcile_due().await.unwrap(), 1);
        }
        assert_eq!(asked(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_that_is_missed_for_a_day_is_reported_and_left_alone() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        let candidates = async || fixture.control.store.candidates().await.unwrap();
        fixture.provider.fail([CallErrorKind::Gone]);
        fixture.outbox.reconcile_due().await.unwrap();
        assert_eq!(candidates().await, 0, "one miss is no miss");
        fixture.pass(DAY + 1);
        // the token is refreshed first
        fixture.provider.fail_after(1, CallErrorKind::Gone);
        fixture.outbox.reconcile_due().await.unwrap();
        assert_eq!(candidates().await, 1);
        let alive = fixture.control.store.resource(owner.cache()).await.unwrap();
        assert!(alive.unwrap().state.is_live());
        // It is there again.
        fixture.pass(DAY + 1);
        *fixture.provider.apps.lock() = vec![app("mine", true, LOG_URL)];
        fixture.outbox.reconcile_due().await.unwrap();
        assert_eq!(candidates().await, 0);
    })
    .await;
}

/// Only a reconcile can tell whether it was deprovisioned without our hearing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_to_a_resource_that_is_not_known_is_tried_for_five_minutes_and_asks_for_a_reconcile()
{
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        let reconcile = async || fixture.outbox.reconcile_due().await.unwrap();
        while reconcile().await > 0 {}
        let miss = async |after: u64| {
            fixture.pass(after);
            fixture.provider.fail([CallErrorKind::Gone]);
            fixture.work().await;
            fixture.state(owner.cache()).await.dead_at.is_some()
        };
        fixture.promote_new(&owner).await;
        assert!(!miss(0).await, "it may not be known yet");
        assert_eq!(reconcile().await, 1, "at once");
        assert!(miss(301).await, "a person is called");
        assert_eq!(reconcile().await, 1);
        assert!(miss(3_601).await);
        assert_eq!(fixture.provider.pushes().len(), 3);
        assert_eq!(reconcile().await, 0, "from here on daily");
    })
    .await;
}

/// What the provider has not been told is ready may well be unknown there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_on_its_way_is_not_missed() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let mut ask = request("r-1");
        ask.plan = "slow".to_owned();
        ask.grant = Some(code("code-1", &fixture.control.clock));
        let ordered = fixture.control.provisioning.provision(ask).await.unwrap();
        assert!(matches!(ordered, Provisioned::Pending(_)));
        // after the exchange
        fixture.provider.fail_after(1, CallErrorKind::Gone);
        fixture.work().await;
        while fixture.outbox.reconcile_due().await.unwrap() > 0 {}
        fixture.pass(2);
        fixture.provider.fail([CallErrorKind::Gone]);
        fixture.work().await;
        assert_eq!(fixture.provider.pushes().len(), 2);
        assert_eq!(fixture.outbox.reconcile_due().await.unwrap(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_during_a_reconcile_asks_for_another_one_and_a_lost_lease_writes_nothing() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        let (store, cache) = (&fixture.control.store, owner.cache());
        let now = fixture.control.clock.now();
        let later = |secs| Timestamp::from_secs(now.secs() + secs);
        let mut tx = store.begin().await.unwrap();
        let claim = tx
            .claim_reconciles(&terms(now, later(60), 8, 8))
            .await
            .unwrap()
            .remove(0);
        tx.request_reconcile(cache, now).await.unwrap();
        assert!(
            tx.record_reconciled(&claim, None, later(86_400), now)
                .await
                .unwrap()
        );
        tx.commit().await.unwrap();
        let backlog = store.reconciles_backlog(&heroku(), later(1)).await;
        assert_eq!(backlog.unwrap().due, 1);

        let mut tx = store.begin().await.unwrap();
        let slow = tx
            .claim_reconciles(&terms(later(1), later(60), 8, 8))
            .await
            .unwrap()
            .remove(0);
        let quick = tx
            .claim_reconciles(&terms(later(61), later(90), 8, 8))
            .await
            .unwrap()
            .remove(0);
        let next = later(86_400);
        assert!(
            !tx.record_reconciled(&slow, None, next, later(62))
                .await
                .unwrap()
        );
        assert!(
            tx.record_reconciled(&quick, None, next, later(62))
                .await
                .unwrap()
        );
        tx.commit().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inventory_reports_installs_known_to_one_side_and_touches_none() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let store = &fixture.control.store;
        let (kept, lost) = (fixture.cache("r-1").await, fixture.cache("r-2").await);
        let gone = fixture.cache("r-3").await;
        let id = |text: &str| text.parse::<larder::domain::ExternalId>().unwrap();
        let provisioning = &fixture.control.provisioning;
        let deprovisioned = provisioning.deprovision(HEROKU, &id("r-3")).await;
        deprovisioned.unwrap();
        fixture.work().await;
        *fixture.provider.apps.lock() = vec![app("mine", true, LOG_URL)];

        // A marketplace without a list, and one that does not answer.
        fixture.outbox.take_inventory_due().await.unwrap();
        fixture.outbox.take_inventory_due().await.unwrap();
        assert_eq!(
            fixture.provider.count(|call| *call == Call::Installs),
            1,
            "once a day"
        );
        fixture.pass(DAY);
        fixture.provider.fail([RETRY]);
        fixture.outbox.take_inventory_due().await.unwrap();
        fixture.pass(3_600);

        // r-2 is missing over there, r-3 and r-4 do not live here.
        let list = ["r-1", "r-3", "r-4"].map(id);
        *fixture.provider.installs.lock() = list.to_vec();
        fixture.outbox.take_inventory_due().await.unwrap();
        assert_eq!(fixture.provider.count(|call| *call == Call::Installs), 3);
        assert_eq!(store.unknown_installs().await.unwrap(), 2);
        assert_eq!(store.candidates().await.unwrap(), 0);

        // The reconcile finds it after all.
        fixture.outbox.reconcile_due().await.unwrap();
        fixture.pass(DAY + 1);
        fixture.outbox.take_inventory_due().await.unwrap();
        assert_eq!(
            store.candidates().await.unwrap(),
            0,
            "it was found in between"
        );

        // Now it cannot be read, and is missing again a day later.
        fixture.pass(DAY + 1);
        fixture.outbox.take_inventory_due().await.unwrap();
        assert_eq!(store.candidates().await.unwrap(), 1);
        for (owner, live) in [(kept, true), (lost, true), (gone, false)] {
            let resource = store.resource(owner.cache()).await.unwrap().unwrap();
            assert_eq!(resource.state.is_live(), live);
        }
        assert!(
            store
                .resource_by_external(HEROKU, &id("r-4"))
                .await
                .unwrap()
                .is_none()
        );
        *fixture.provider.installs.lock() = vec![id("r-1"), id("r-2")];
        fixture.pass(DAY + 1);
        fixture.outbox.take_inventory_due().await.unwrap();
        assert_eq!(store.unknown_installs().await.unwrap(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inventory_is_taken_by_one_of_several_processes() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        *fixture.provider.installs.lock() = Vec::new();
        let mut taking = Vec::new();
        for _ in 0..4 {
            let outbox = fixture.another_worker(db).await;
            taking.push(tokio::spawn(
                async move { outbox.take_inventory_due().await },
            ));
        }
        for taken in taking {
            taken.await.expect("no panic").expect("an inventory");
        }
        let taken = || fixture.provider.count(|call| *call == Call::Installs);
        assert_eq!(taken(), 1);

        // Of another machine, whose clock is somewhat behind.
        fixture.go_back(10);
        fixture.outbox.take_inventory_due().await.expect("not due");
        assert_eq!(taken(), 1);
        // A clock that is set back by hours does not put it off.
        fixture.go_back(3_600);
        fixture.outbox.take_inventory_due().await.expect("due");
        assert_eq!(taken(), 2);
    })
    .await;
}

/// An id of some kilobytes does not fit into an index of PostgreSQL, and into one of SQLite it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_s_id_is_cut_where_it_is_too_long() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        let digest = |n: u32| larder::domain::secret::digest_hex(&n.to_be_bytes());
        let id: String = (0..200).map(digest).collect();
        *fixture.provider.apps.lock() = vec![app("mine", true, LOG_URL), app(&id, false, LOG_URL)];
        assert_eq!(fixture.outbox.reconcile_due().await.expect("read"), 1);
        let store = &fixture.control.store;
        let apps = store.attached_apps(owner.cache()).await.expect("read");
        let mut expected = [&id[..128], "mine"];
        expected.sort_unstable();
        assert_eq!(apps, expected);
        let backlog = store
            .reconciles_backlog(&heroku(), fixture.control.clock.now())
            .await;
        assert_eq!(backlog.expect("read").due, 0, "it is done");
    })
    .await;
}

/// Whatever a provider's texts hold, both databases take the same of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_characters_in_a_provider_s_texts_are_left_out() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        *fixture.provider.name.lock() = "na\0me\u{9b}".to_owned();
        *fixture.provider.apps.lock() = vec![AttachedApp {
            app: "ap\0p\n".to_owned(),
            owns: false,
            log_url: Some(
                "https://token:t.7@7.us\0.logplex.io/lo\0gs"
                    .to_owned()
                    .into(),
            ),
        }];
        assert_eq!(fixture.outbox.reconcile_due().await.expect("read"), 1);
        let store = &fixture.control.store;
        let resource = store.resource(owner.cache()).await.expect("read");
        assert_eq!(resource.expect("a row").name, "name");
        let apps = store.attached_apps(owner.cache()).await.expect("read");
        assert_eq!(apps, ["app"]);

        fixture.promote_new(&owner).await;
        fixture.provider.fail_pushes_with("no\0 such\r\n add-on");
        fixture.work().await;
        let state = fixture.state(owner.cache()).await;
        assert_eq!(state.last_error.as_deref(), Some("no such add-on"));
    })
    .await;
}
