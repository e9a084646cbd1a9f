//! Looks at what the provider knows: what is taken over, what is asked once, and what is only told of.

use larder::domain::{Clock as _, Marketplace, Timestamp};
use larder::outbox::ports::{AttachedApp, SendErrorKind};
use larder::provisioning::Provisioned;
use larder::store::claims::Caps;

use crate::outbox_bed::{Bed, Call, LOG_URL, code};
use crate::support::db::on_each;
use crate::support::world::request;

const DAY: u64 = 86_400;
const RETRY: SendErrorKind = SendErrorKind::Retry { after: None };

fn app(app: &str, owns: bool, url: &str) -> AttachedApp {
    AttachedApp {
        app: app.to_owned(),
        owns,
        log_url: Some(url.to_owned().into()),
    }
}

fn urls(bed: &Bed) -> Vec<String> {
    let calls = bed.provider.calls.lock();
    let url = |call: &Call| match call {
        Call::Log { url, .. } => Some(url.clone()),
        _ => None,
    };
    let mut urls: Vec<String> = calls.iter().filter_map(url).collect();
    urls.sort();
    urls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exchange_is_followed_by_a_look_and_lines_go_to_every_app() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        let second = "https://token:t.2@2.us.logplex.io/logs";
        *bed.provider.apps.lock() = vec![
            app("mine", true, LOG_URL),
            app("other", false, second),
            // the same app under a second name has one log
            app("other", false, second),
        ];
        *bed.provider.name.lock() = "new\nname".to_owned();
        assert_eq!(bed.outbox.look_due().await.unwrap(), 0, "no token yet");
        bed.work().await;
        assert_eq!(bed.outbox.look_due().await.unwrap(), 1);
        let apps = bed.world.store.attached_apps(owner.cache()).await.unwrap();
        assert_eq!(apps, ["mine", "other"]);
        let id = "r-1".parse().unwrap();
        let found = bed
            .world
            .store
            .resource_by_external(Marketplace::Heroku, &id)
            .await;
        assert_eq!(found.unwrap().unwrap().name, "newname");

        bed.flush(&owner, "p1").await;
        bed.work().await;
        assert_eq!(urls(&bed), [LOG_URL, second]);

        // The second app leaves with a line waiting: nothing more is sent to it.
        bed.flush(&owner, "p2").await;
        bed.provider.apps.lock().truncate(1);
        bed.pass(DAY);
        assert_eq!(bed.outbox.look_due().await.unwrap(), 1);
        bed.provider.calls.lock().clear();
        bed.flush(&owner, "p3").await;
        while bed.work().await > 0 {}
        assert!(
            urls(&bed).iter().all(|url| url == LOG_URL),
            "{:?}",
            urls(&bed)
        );
        assert!(!urls(&bed).is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_is_asked_for_once_unless_the_way_was_bad() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        bed.cache("r-1").await;
        bed.work().await;
        let asked = || bed.provider.count(|call| *call == Call::AskForNews);
        // Trouble on the way: the rest of the look counts, and it is asked again soon.
        *bed.provider.apps.lock() = vec![app("mine", true, LOG_URL)];
        bed.provider.fail_after(1, RETRY);
        bed.outbox.look_due().await.unwrap();
        assert_eq!(asked(), 1);
        bed.pass(5);
        // Refused: never again.
        bed.provider.fail_after(1, SendErrorKind::Refused);
        assert_eq!(bed.outbox.look_due().await.unwrap(), 1);
        assert_eq!(asked(), 2);
        for _ in 0..3 {
            bed.pass(DAY);
            assert_eq!(bed.outbox.look_due().await.unwrap(), 1);
        }
        assert_eq!(asked(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_that_is_missed_for_a_day_is_told_of_and_left_alone() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        bed.work().await;
        let candidates = async || bed.world.store.candidates().await.unwrap();
        bed.provider.fail([SendErrorKind::Gone]);
        bed.outbox.look_due().await.unwrap();
        assert_eq!(candidates().await, 0, "one miss is no miss");
        bed.pass(DAY + 1);
        // the token is refreshed first
        bed.provider.fail_after(1, SendErrorKind::Gone);
        bed.outbox.look_due().await.unwrap();
        assert_eq!(candidates().await, 1);
        let alive = bed.world.store.resource(owner.cache()).await.unwrap();
        assert!(alive.unwrap().state.is_live());
        // It is there again.
        bed.pass(DAY + 1);
        *bed.provider.apps.lock() = vec![app("mine", true, LOG_URL)];
        bed.outbox.look_due().await.unwrap();
        assert_eq!(candidates().await, 0);
    })
    .await;
}

/// Only a look can tell whether it was deprovisioned without our hearing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_to_a_resource_that_is_not_known_is_tried_for_five_minutes_and_asks_for_a_look() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        bed.work().await;
        let look = async || bed.outbox.look_due().await.unwrap();
        while look().await > 0 {}
        let miss = async |after: u64| {
            bed.pass(after);
            bed.provider.fail([SendErrorKind::Gone]);
            bed.work().await;
            bed.state(owner.cache()).await.dead_at.is_some()
        };
        bed.promote_new(&owner).await;
        assert!(!miss(0).await, "it may not be known yet");
        assert_eq!(look().await, 1, "at once");
        assert!(miss(301).await, "a person is called");
        assert_eq!(look().await, 1);
        assert!(miss(3_601).await);
        assert_eq!(bed.provider.pushes().len(), 3);
        assert_eq!(look().await, 0, "from here on daily");
    })
    .await;
}

/// What the provider has not been told is ready may well be unknown there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_on_its_way_is_not_looked_for() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let mut ask = request("r-1");
        ask.plan = "slow".to_owned();
        ask.grant = Some(code("code-1", &bed.world.clock));
        let ordered = bed.world.provisioning.provision(ask).await.unwrap();
        assert!(matches!(ordered, Provisioned::Pending(_)));
        // after the exchange
        bed.provider.fail_after(1, SendErrorKind::Gone);
        bed.work().await;
        while bed.outbox.look_due().await.unwrap() > 0 {}
        bed.pass(2);
        bed.provider.fail([SendErrorKind::Gone]);
        bed.work().await;
        assert_eq!(bed.provider.pushes().len(), 2);
        assert_eq!(bed.outbox.look_due().await.unwrap(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_during_a_look_asks_for_another_one_and_a_lost_lease_writes_nothing() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        bed.work().await;
        let (store, cache) = (&bed.world.store, owner.cache());
        let caps = Caps {
            take: 8,
            per_destination: 8,
        };
        let now = bed.world.clock.now();
        let later = |secs| Timestamp::from_secs(now.secs() + secs);
        let mut tx = store.begin().await.unwrap();
        let claim = tx
            .claim_watches(now, later(60), caps)
            .await
            .unwrap()
            .remove(0);
        tx.want_look(cache, now).await.unwrap();
        assert!(
            tx.record_look(&claim, None, later(86_400), now)
                .await
                .unwrap()
        );
        tx.commit().await.unwrap();
        assert_eq!(store.watches_backlog(later(1)).await.unwrap().due, 1);

        let mut tx = store.begin().await.unwrap();
        let slow = tx
            .claim_watches(later(1), later(60), caps)
            .await
            .unwrap()
            .remove(0);
        let quick = tx
            .claim_watches(later(61), later(90), caps)
            .await
            .unwrap()
            .remove(0);
        let next = later(86_400);
        assert!(!tx.record_look(&slow, None, next, later(62)).await.unwrap());
        assert!(tx.record_look(&quick, None, next, later(62)).await.unwrap());
        tx.commit().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_census_tells_of_installs_known_to_one_side_and_touches_none() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let store = &bed.world.store;
        let (kept, lost) = (bed.cache("r-1").await, bed.cache("r-2").await);
        let gone = bed.cache("r-3").await;
        let id = |text: &str| text.parse::<larder::domain::ExternalId>().unwrap();
        let provisioning = &bed.world.provisioning;
        let deprovisioned = provisioning
            .deprovision(Marketplace::Heroku, &id("r-3"))
            .await;
        deprovisioned.unwrap();
        bed.work().await;
        *bed.provider.apps.lock() = vec![app("mine", true, LOG_URL)];

        // A marketplace without a list, and one that does not answer.
        bed.outbox.census_due().await.unwrap();
        bed.outbox.census_due().await.unwrap();
        assert_eq!(
            bed.provider.count(|call| *call == Call::Installs),
            1,
            "once a day"
        );
        bed.pass(DAY);
        bed.provider.fail([RETRY]);
        bed.outbox.census_due().await.unwrap();
        bed.pass(3_600);

        // r-2 is missing over there, r-3 and r-4 do not live here.
        let list = ["r-1", "r-3", "r-4"].map(id);
        *bed.provider.installs.lock() = Some(list.to_vec());
        bed.outbox.census_due().await.unwrap();
        assert_eq!(bed.provider.count(|call| *call == Call::Installs), 3);
        assert_eq!(store.strangers().await.unwrap(), 2);
        assert_eq!(store.candidates().await.unwrap(), 0);

        // Looking finds it after all.
        bed.outbox.look_due().await.unwrap();
        bed.pass(DAY + 1);
        bed.outbox.census_due().await.unwrap();
        assert_eq!(
            store.candidates().await.unwrap(),
            0,
            "it was found in between"
        );

        // Now it cannot be looked at, and is missing again a day later.
        bed.pass(DAY + 1);
        bed.outbox.census_due().await.unwrap();
        assert_eq!(store.candidates().await.unwrap(), 1);
        for (owner, live) in [(kept, true), (lost, true), (gone, false)] {
            let resource = store.resource(owner.cache()).await.unwrap().unwrap();
            assert_eq!(resource.state.is_live(), live);
        }
        assert!(
            store
                .resource_by_external(Marketplace::Heroku, &id("r-4"))
                .await
                .unwrap()
                .is_none()
        );
        *bed.provider.installs.lock() = Some(vec![id("r-1"), id("r-2")]);
        bed.pass(DAY + 1);
        bed.outbox.census_due().await.unwrap();
        assert_eq!(store.strangers().await.unwrap(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_census_is_taken_by_one_of_several_processes() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        *bed.provider.installs.lock() = Some(Vec::new());
        let mut taking = Vec::new();
        for _ in 0..4 {
            let outbox = bed.another_worker(db).await;
            taking.push(tokio::spawn(async move { outbox.census_due().await }));
        }
        for taken in taking {
            taken.await.expect("no panic").expect("a census");
        }
        assert_eq!(bed.provider.count(|call| *call == Call::Installs), 1);
    })
    .await;
}
