//! Scheduled rotation, with a moved clock, on both databases: it does what *rotate now* does, once, and removes only
//! what nobody uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use larder::access::{Access, Owner};
use larder::domain::credential::LastUse;
use larder::domain::{Clock, Credential, RotationPeriod, Timestamp, Username};
use larder::http::CallErrorKind;
use larder::store::caches::last_used::Use;

use crate::outbox_fixture::OutboxFixture;
use crate::support::HEROKU;
use crate::support::claims::heroku_can_all;
use crate::support::control_plane::{TestClock, eventually, plans};
use crate::support::dashboard::{Dashboard, visible_text};
use crate::support::db::{Database, on_each};
use crate::support::full_service::{FullService, PATIENCE, Wishes};
use crate::support::on_both_databases;

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

fn days(days: u16) -> Option<RotationPeriod> {
    Some(RotationPeriod::from_days(days).expect("within a year"))
}

async fn scheduled(fixture: &OutboxFixture, every: u16) -> Owner {
    let owner = fixture.cache("r-1").await;
    let set = fixture
        .control
        .access
        .set_rotation(&owner, days(every))
        .await;
    set.expect("a schedule");
    fixture.work().await;
    owner
}

/// Takes the steps that are due, and lets what they promise arrive.
async fn rotation_step(fixture: &OutboxFixture) -> usize {
    let taken = fixture.control.access.rotate_due().await.expect("steps");
    while fixture.work().await > 0 {}
    taken
}

async fn table(fixture: &OutboxFixture, owner: &Owner) -> Vec<Credential> {
    let all = fixture
        .control
        .access
        .credentials(owner)
        .await
        .expect("a list");
    assert_eq!(all.iter().filter(|one| one.primary).count(), 1, "P1");
    all
}

async fn names(fixture: &OutboxFixture, owner: &Owner) -> Vec<Username> {
    let table = table(fixture, owner).await;
    table.into_iter().map(|one| one.username).collect()
}

/// A node reports a login.
async fn log_in(fixture: &OutboxFixture, owner: &Owner, name: &Username) {
    let last = LastUse {
        at: fixture.control.clock.now(),
        from: "10.0.4.17".to_owned(),
    };
    let mut tx = fixture.control.store.begin().await.expect("a transaction");
    let seen = Use {
        cache: owner.cache(),
        username: name,
        last: &last,
    };
    tx.record_last_used(&[seen]).await.expect("noted");
    tx.commit().await.expect("a commit");
}

async fn history_of(fixture: &OutboxFixture, owner: &Owner, kind: &str) -> usize {
    let history = fixture.control.history(owner.cache()).await;
    history.iter().filter(|entry| *entry == kind).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_off_until_it_is_switched_on_and_comes_every_so_many_days() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.pass(400 * DAY);
        assert_eq!(rotation_step(&fixture).await, 0, "off by default");
        let access = &fixture.control.access;
        access.set_rotation(&owner, days(30)).await.expect("on");
        let old = names(&fixture, &owner).await;
        fixture.pass(30 * DAY - 60);
        assert_eq!(rotation_step(&fixture).await, 0, "a minute early");
        // Saving the form again does not put it off.
        access.set_rotation(&owner, days(30)).await.expect("on");
        fixture.pass(120);
        assert_eq!(rotation_step(&fixture).await, 1);
        let now = names(&fixture, &owner).await;
        assert_eq!(now[1..], old, "the former primary stays");
        assert_eq!(fixture.provider.pushes(), [now[0].to_string()]);
        assert_eq!(
            history_of(&fixture, &owner, "credentials_promoted").await,
            1
        );
        let promoted = format!(
            "event=credentials_promoted cache={} credential={}",
            old[0], now[0]
        );
        assert!(fixture.provider.logs().concat().contains(&promoted));
        assert_eq!(rotation_step(&fixture).await, 0, "once");
        access.set_rotation(&owner, None).await.expect("off");
        fixture.pass(400 * DAY);
        assert_eq!(rotation_step(&fixture).await, 0);
    })
    .await;
}

/// Counts how often the clock is read.
struct CountingClock(AtomicUsize, Arc<TestClock>);

impl Clock for CountingClock {
    fn now(&self) -> Timestamp {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.1.now()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_take_a_step_once() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = scheduled(&fixture, 1).await;
        fixture.pass(DAY + 1);
        let another = db.opened_again().await;
        let reads = Arc::new(CountingClock(
            AtomicUsize::new(0),
            fixture.control.clock.clone(),
        ));
        // All see the step as due before the first can take it.
        let mut held = fixture.control.store.begin().await.expect("a transaction");
        held.lock_resource(owner.cache()).await.expect("locked");
        let others = (0..6).map(|number| {
            let store = match number % 2 {
                0 => another.clone(),
                _ => fixture.control.store.clone(),
            };
            let cluster = fixture.control.cluster.clone();
            let access = Access::new(store, cluster, plans(), reads.clone())
                .with_abilities(heroku_can_all());
            tokio::spawn(async move { access.rotate_due().await })
        });
        let others: Vec<_> = others.collect();
        eventually("all have read the clock", async || {
            reads.0.load(Ordering::SeqCst) >= 6
        })
        .await;
        // Their reads are on the way before these.
        let now = fixture.control.clock.now();
        for store in [&fixture.control.store, &another].repeat(8) {
            store.due_rotations(now, 9).await.expect("read");
        }
        drop(held);
        let mut taken = 0;
        for other in others {
            taken += other.await.expect("no panic").expect("steps");
        }
        assert_eq!(taken, 1);
        assert_eq!(history_of(&fixture, &owner, "rotation_put_off").await, 0);
        assert_eq!(names(&fixture, &owner).await.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_primary_goes_when_nobody_uses_it_any_more() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = scheduled(&fixture, 30).await;
        let old = names(&fixture, &owner).await.remove(0);
        fixture.pass(30 * DAY + 1);
        rotation_step(&fixture).await;
        fixture.pass(2 * HOUR - 60);
        rotation_step(&fixture).await;
        assert_eq!(names(&fixture, &owner).await.len(), 2, "within the overlap");
        log_in(&fixture, &owner, &old).await;
        fixture.pass(HOUR);
        rotation_step(&fixture).await;
        assert_eq!(names(&fixture, &owner).await.len(), 2, "somebody came back");
        let connected = &fixture.control.plane.connected;
        connected.lock().insert(old.to_string(), 1);
        fixture.pass(DAY);
        rotation_step(&fixture).await;
        assert_eq!(
            names(&fixture, &owner).await.len(),
            2,
            "a connection is open"
        );
        connected.lock().clear();
        rotation_step(&fixture).await;
        let left = names(&fixture, &owner).await;
        assert!(left.len() == 1 && left[0] != old);
        assert_eq!(history_of(&fixture, &owner, "credential_removed").await, 1);
        let names = fixture.control.plane.clone();
        eventually("the node refuses it", async || {
            names.usernames(owner.cache()).len() == 1
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_owner_made_or_promoted_stays() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = scheduled(&fixture, 30).await;
        let first = names(&fixture, &owner).await.remove(0);
        let (made, _) = fixture
            .control
            .access
            .create(&owner)
            .await
            .expect("one more");
        fixture.pass(30 * DAY + 1);
        rotation_step(&fixture).await;
        let second = names(&fixture, &owner).await.remove(0);
        // The owner takes the first one back, and later the schedule's own out again.
        fixture.promote(&owner, first.as_str()).await;
        while fixture.work().await > 0 {}
        fixture.pass(10 * DAY);
        rotation_step(&fixture).await;
        let left = names(&fixture, &owner).await;
        assert_eq!(left[0], first);
        assert!(left.contains(&made.username), "made by hand");
        assert!(left.contains(&second), "replaced by hand");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_and_nothing_turns_before_the_provider_has_the_values() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = scheduled(&fixture, 1).await;
        fixture.pass(DAY + 1);
        fixture
            .provider
            .fail(std::iter::repeat_n(CallErrorKind::Refused, 3));
        rotation_step(&fixture).await;
        let two = names(&fixture, &owner).await;
        assert_eq!(two.len(), 2);
        // Every push fails for days: the app still runs on the old values.
        for _ in 0..3 {
            fixture.pass(DAY + 1);
            fixture
                .provider
                .fail(std::iter::repeat_n(CallErrorKind::Refused, 9));
            assert_eq!(rotation_step(&fixture).await, 0);
            assert_eq!(names(&fixture, &owner).await, two);
        }
        assert_eq!(history_of(&fixture, &owner, "rotation_put_off").await, 1);
        fixture.provider.script.lock().clear();
        fixture.pass(2 * HOUR);
        while fixture.work().await > 0 {}
        fixture.pass(HOUR);
        assert_eq!(
            rotation_step(&fixture).await,
            1,
            "an hour later it is taken after all"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_table_is_said_and_nothing_in_use_is_removed_for_room() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = scheduled(&fixture, 1).await;
        for _ in 0..3 {
            fixture
                .control
                .access
                .create(&owner)
                .await
                .expect("one of four");
        }
        let four = names(&fixture, &owner).await;
        for _ in 0..5 {
            fixture.pass(DAY + HOUR);
            assert_eq!(rotation_step(&fixture).await, 0);
            assert_eq!(names(&fixture, &owner).await, four);
        }
        assert_eq!(
            history_of(&fixture, &owner, "rotation_put_off").await,
            1,
            "said once"
        );
        let why = fixture.control.access.rotation(&owner).await.expect("read");
        let why = why.expect("on").last_error;
        assert_eq!(
            why.as_deref(),
            Some("all 4 credentials of the plan are in use")
        );
        let removed = fixture.control.access.remove(&owner, &four[3]).await;
        removed.expect("room");
        fixture.pass(HOUR + 1);
        assert_eq!(rotation_step(&fixture).await, 1, "tried every hour");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_plan_is_no_reason_to_remove_what_somebody_uses() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = scheduled(&fixture, 1).await;
        let former = names(&fixture, &owner).await.remove(0);
        fixture.pass(DAY + 1);
        assert_eq!(rotation_step(&fixture).await, 1);
        for _ in 0..2 {
            let made = fixture.control.access.create(&owner).await;
            made.expect("up to four");
        }
        let four = names(&fixture, &owner).await;
        fixture.pass(DAY - 60);
        log_in(&fixture, &owner, &former).await;
        fixture.pass(120);
        assert_eq!(rotation_step(&fixture).await, 0);
        assert_eq!(
            names(&fixture, &owner).await,
            four,
            "used within the overlap"
        );
        let connected = &fixture.control.plane.connected;
        connected.lock().insert(former.to_string(), 1);
        fixture.pass(DAY);
        assert_eq!(rotation_step(&fixture).await, 0);
        assert_eq!(names(&fixture, &owner).await, four, "a connection is open");
        connected.lock().clear();
        fixture.pass(HOUR + 1);
        assert_eq!(rotation_step(&fixture).await, 1);
        assert!(!names(&fixture, &owner).await.contains(&former));
    })
    .await;
}

/// Its connections are counted there, and cannot be asked for from here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_primary_on_a_node_of_another_process_counts_as_in_use() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = scheduled(&fixture, 30).await;
        fixture.pass(30 * DAY + 1);
        assert_eq!(rotation_step(&fixture).await, 1);
        let control = &fixture.control;
        let elsewhere = control
            .serving_node("node_elsewhere", "p2.example.net")
            .await;
        let mut tx = control.store.begin().await.expect("a transaction");
        tx.place(owner.cache(), &elsewhere).await.expect("placed");
        tx.commit().await.expect("a commit");
        fixture.pass(DAY);
        rotation_step(&fixture).await;
        assert_eq!(names(&fixture, &owner).await.len(), 2);
        for _ in 0..2 {
            let made = control.access.create(&owner).await;
            made.expect("up to four");
        }
        fixture.pass(30 * DAY);
        assert_eq!(rotation_step(&fixture).await, 0, "not even for room");
        assert_eq!(names(&fixture, &owner).await.len(), 4);
        let mut tx = control.store.begin().await.expect("a transaction");
        tx.unplace(owner.cache(), &elsewhere).await.expect("gone");
        tx.commit().await.expect("a commit");
        rotation_step(&fixture).await;
        assert_eq!(names(&fixture, &owner).await.len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_the_owner_took_back_does_not_go_by_itself_later() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = scheduled(&fixture, 30).await;
        let first = names(&fixture, &owner).await.remove(0);
        fixture.pass(30 * DAY + 1);
        assert_eq!(rotation_step(&fixture).await, 1);
        let second = names(&fixture, &owner).await.remove(0);
        for name in [&first, &second] {
            fixture.promote(&owner, name.as_str()).await;
            while fixture.work().await > 0 {}
        }
        fixture.pass(10 * DAY);
        rotation_step(&fixture).await;
        assert!(names(&fixture, &owner).await.contains(&first));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_on_for_a_year_within_the_plan() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = scheduled(&fixture, 7).await;
        for week in 0..52 {
            fixture.pass(7 * DAY + 1);
            assert_eq!(rotation_step(&fixture).await, 1, "week {week}");
            assert!(names(&fixture, &owner).await.len() <= 2);
            fixture.pass(3 * HOUR);
            rotation_step(&fixture).await;
        }
        assert_eq!(names(&fixture, &owner).await.len(), 1);
        assert_eq!(fixture.provider.pushes().len(), 52);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_jump_do_not_rotate_twice_or_never() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = scheduled(&fixture, 30).await;
        // A year ahead by mistake: one step, not twelve.
        fixture.pass(365 * DAY);
        assert_eq!(rotation_step(&fixture).await, 1);
        assert_eq!(rotation_step(&fixture).await, 0);
        fixture.go_back(365 * DAY);
        fixture.outbox.tidy().await.expect("tidied");
        assert_eq!(rotation_step(&fixture).await, 0, "set back, no step is due");
        assert_eq!(names(&fixture, &owner).await.len(), 2);
        fixture.pass(31 * DAY);
        assert_eq!(
            rotation_step(&fixture).await,
            1,
            "and the next one comes in a month"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_cache_ends_its_schedule() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = scheduled(&fixture, 1).await;
        let id = "r-1".parse().expect("an id");
        let provisioning = &fixture.control.provisioning;
        let gone = provisioning.deprovision(HEROKU, &id).await;
        gone.expect("it ends");
        fixture.pass(2 * DAY);
        assert_eq!(rotation_step(&fixture).await, 0);
        let left = fixture
            .control
            .store
            .rotation(owner.cache())
            .await
            .expect("read");
        assert!(left.is_none());
    })
    .await;
}

on_both_databases!(the_owner_sets_it_from_the_dashboard);

/// Shop's owner switches the schedule on without a script; when its day comes, the app gets new values.
async fn the_owner_sets_it_from_the_dashboard(database: Database) {
    let service = FullService::start(database, Wishes::default()).await;
    let shop = service.sandbox.create_app("shop").expect("a new name");
    let addon = service
        .sandbox
        .provision(shop, "dev", Default::default())
        .await;
    let addon = addon.expect("a cache").id;
    let mut owner = Dashboard::open(&service.sandbox, addon, &service.base).await;
    for bad in ["", "x", "366", "-1"] {
        let page = owner.act("rotation", &[("every_days", bad)]).await;
        assert_eq!(page.status.as_u16(), 403, "{bad}");
    }
    let set = owner.act("rotation", &[("every_days", "30")]).await;
    assert!(set.status.is_redirection());
    let page = owner.page().await;
    assert!(page.contains("<option value=\"30\" selected>"), "{page}");
    let text = visible_text(&page);
    assert!(text.contains("Next rotation in 30 days, on "), "{text}");
    let old = owner.usernames().await;

    // Its day comes.
    let cache = owner.path.trim_start_matches("/caches/").parse();
    let cache = larder::domain::CacheId(cache.expect("a number"));
    let store = service.store().await;
    let mut tx = store.begin().await.expect("a transaction");
    let then = larder::domain::Timestamp::from_secs(1);
    let due = tx.reschedule_rotation(cache, then, None, then).await;
    due.expect("written");
    tx.commit().await.expect("a commit");
    let arrived = service.sandbox.wait_for(PATIENCE, |market| {
        let vars = market.config_vars(shop, "MEMCACHIER");
        (vars["MEMCACHIER_USERNAME"] != old[0]).then(|| vars["MEMCACHIER_USERNAME"].clone())
    });
    let new = arrived.await.expect("the new values");
    assert_eq!(owner.usernames().await, [new.clone(), old[0].clone()]);
    let line = format!("credential={new}");
    let line = service
        .sandbox
        .wait_for_line(shop, &line, Duration::from_secs(30))
        .await;
    assert!(
        line.expect("a line")
            .text
            .starts_with("event=credentials_promoted")
    );
    let off = owner.act("rotation", &[("every_days", "0")]).await;
    assert!(off.status.is_redirection());
    assert!(visible_text(&owner.page().await).contains("Scheduled rotation is off"));
    store.close().await;
    service.stop().await;
}
