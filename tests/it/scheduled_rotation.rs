//! Scheduled rotation, with a moved clock, on both databases: it does what *rotate now* does, once, and removes only
//! what nobody uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use larder::access::{Access, Owner};
use larder::domain::credential::LastUse;
use larder::domain::{Clock, Credential, Marketplace, RotationPeriod, Timestamp, Username};
use larder::outbox::ports::SendErrorKind;
use larder::store::uses::Use;

use crate::outbox_bed::Bed;
use crate::support::dashboard::{Dashboard, visible_text};
use crate::support::db::{Database, on_each};
use crate::support::on_both_databases;
use crate::support::scene::{PATIENCE, Scene, Wishes};
use crate::support::world::{TestClock, eventually, plans};

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

fn days(days: u16) -> Option<RotationPeriod> {
    Some(RotationPeriod::from_days(days).expect("within a year"))
}

async fn scheduled(bed: &Bed, every: u16) -> Owner {
    let owner = bed.cache("r-1").await;
    let set = bed.world.access.set_rotation(&owner, days(every)).await;
    set.expect("a schedule");
    bed.work().await;
    owner
}

/// Takes the turns that are due, and lets what they promise arrive.
async fn turn(bed: &Bed) -> usize {
    let taken = bed.world.access.rotate_due().await.expect("turns");
    while bed.work().await > 0 {}
    taken
}

async fn table(bed: &Bed, owner: &Owner) -> Vec<Credential> {
    let all = bed.world.access.credentials(owner).await.expect("a list");
    assert_eq!(all.iter().filter(|one| one.primary).count(), 1, "P1");
    all
}

async fn names(bed: &Bed, owner: &Owner) -> Vec<Username> {
    let table = table(bed, owner).await;
    table.into_iter().map(|one| one.username).collect()
}

/// A node reports a login.
async fn log_in(bed: &Bed, owner: &Owner, name: &Username) {
    let last = LastUse {
        at: bed.world.clock.now(),
        from: "10.0.4.17".to_owned(),
    };
    let mut tx = bed.world.store.begin().await.expect("a transaction");
    let seen = Use {
        cache: owner.cache(),
        username: name,
        last: &last,
    };
    tx.record_uses(&[seen]).await.expect("noted");
    tx.commit().await.expect("a commit");
}

async fn history_of(bed: &Bed, owner: &Owner, kind: &str) -> usize {
    let history = bed.world.history(owner.cache()).await;
    history.iter().filter(|entry| *entry == kind).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_off_until_it_is_switched_on_and_comes_every_so_many_days() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        bed.pass(400 * DAY);
        assert_eq!(turn(&bed).await, 0, "off by default");
        let access = &bed.world.access;
        access.set_rotation(&owner, days(30)).await.expect("on");
        let old = names(&bed, &owner).await;
        bed.pass(30 * DAY - 60);
        assert_eq!(turn(&bed).await, 0, "a minute early");
        // Saving the form again does not put it off.
        access.set_rotation(&owner, days(30)).await.expect("on");
        bed.pass(120);
        assert_eq!(turn(&bed).await, 1);
        let now = names(&bed, &owner).await;
        assert_eq!(now[1..], old, "the former primary stays");
        assert_eq!(bed.provider.pushes(), [now[0].to_string()]);
        assert_eq!(history_of(&bed, &owner, "credentials_promoted").await, 1);
        let promoted = format!(
            "event=credentials_promoted cache={} credential={}",
            old[0], now[0]
        );
        assert!(bed.provider.logs().concat().contains(&promoted));
        assert_eq!(turn(&bed).await, 0, "once");
        access.set_rotation(&owner, None).await.expect("off");
        bed.pass(400 * DAY);
        assert_eq!(turn(&bed).await, 0);
    })
    .await;
}

/// Counts how often somebody looks at the clock.
struct Looks(AtomicUsize, Arc<TestClock>);

impl Clock for Looks {
    fn now(&self) -> Timestamp {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.1.now()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_take_a_turn_once() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = scheduled(&bed, 1).await;
        bed.pass(DAY + 1);
        let another = db.opened_again().await;
        let looks = Arc::new(Looks(AtomicUsize::new(0), bed.world.clock.clone()));
        // All see the turn as due before the first can take it.
        let mut held = bed.world.store.begin().await.expect("a transaction");
        held.lock_resource(owner.cache()).await.expect("locked");
        let others = (0..6).map(|number| {
            let store = match number % 2 {
                0 => another.clone(),
                _ => bed.world.store.clone(),
            };
            let cluster = bed.world.cluster.clone();
            let access = Access::new(store, cluster, plans(), looks.clone());
            tokio::spawn(async move { access.rotate_due().await })
        });
        let others: Vec<_> = others.collect();
        eventually("all have looked at the clock", async || {
            looks.0.load(Ordering::SeqCst) >= 6
        })
        .await;
        // Their reads are on the way before these.
        let now = bed.world.clock.now();
        for store in [&bed.world.store, &another].repeat(8) {
            store.due_rotations(now, 9).await.expect("read");
        }
        drop(held);
        let mut taken = 0;
        for other in others {
            taken += other.await.expect("no panic").expect("turns");
        }
        assert_eq!(taken, 1);
        assert_eq!(history_of(&bed, &owner, "rotation_put_off").await, 0);
        assert_eq!(names(&bed, &owner).await.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_primary_goes_when_nobody_uses_it_any_more() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = scheduled(&bed, 30).await;
        let old = names(&bed, &owner).await.remove(0);
        bed.pass(30 * DAY + 1);
        turn(&bed).await;
        bed.pass(2 * HOUR - 60);
        turn(&bed).await;
        assert_eq!(names(&bed, &owner).await.len(), 2, "within the overlap");
        log_in(&bed, &owner, &old).await;
        bed.pass(HOUR);
        turn(&bed).await;
        assert_eq!(names(&bed, &owner).await.len(), 2, "somebody came back");
        let connected = &bed.world.plane.connected;
        connected.lock().insert(old.to_string(), 1);
        bed.pass(DAY);
        turn(&bed).await;
        assert_eq!(names(&bed, &owner).await.len(), 2, "a connection is open");
        connected.lock().clear();
        turn(&bed).await;
        let left = names(&bed, &owner).await;
        assert!(left.len() == 1 && left[0] != old);
        assert_eq!(history_of(&bed, &owner, "credentials_removed").await, 1);
        let names = bed.world.plane.clone();
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
        let bed = Bed::start(db).await;
        let owner = scheduled(&bed, 30).await;
        let first = names(&bed, &owner).await.remove(0);
        let (made, _) = bed.world.access.create(&owner).await.expect("one more");
        bed.pass(30 * DAY + 1);
        turn(&bed).await;
        let second = names(&bed, &owner).await.remove(0);
        // The owner takes the first one back, and later the schedule's own out again.
        bed.promote(&owner, first.as_str()).await;
        while bed.work().await > 0 {}
        bed.pass(10 * DAY);
        turn(&bed).await;
        let left = names(&bed, &owner).await;
        assert_eq!(left[0], first);
        assert!(left.contains(&made.username), "made by hand");
        assert!(left.contains(&second), "replaced by hand");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_and_nothing_turns_before_the_provider_has_the_values() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = scheduled(&bed, 1).await;
        bed.pass(DAY + 1);
        bed.provider
            .fail(std::iter::repeat_n(SendErrorKind::Refused, 3));
        turn(&bed).await;
        let two = names(&bed, &owner).await;
        assert_eq!(two.len(), 2);
        // Every push fails for days: the app still runs on the old values.
        for _ in 0..3 {
            bed.pass(DAY + 1);
            bed.provider
                .fail(std::iter::repeat_n(SendErrorKind::Refused, 9));
            assert_eq!(turn(&bed).await, 0);
            assert_eq!(names(&bed, &owner).await, two);
        }
        assert_eq!(history_of(&bed, &owner, "rotation_put_off").await, 1);
        bed.provider.script.lock().clear();
        bed.pass(2 * HOUR);
        while bed.work().await > 0 {}
        bed.pass(HOUR);
        assert_eq!(turn(&bed).await, 1, "an hour later it is taken after all");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_table_is_said_and_nothing_in_use_is_removed_for_room() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = scheduled(&bed, 1).await;
        for _ in 0..3 {
            bed.world.access.create(&owner).await.expect("one of four");
        }
        let four = names(&bed, &owner).await;
        for _ in 0..5 {
            bed.pass(DAY + HOUR);
            assert_eq!(turn(&bed).await, 0);
            assert_eq!(names(&bed, &owner).await, four);
        }
        assert_eq!(
            history_of(&bed, &owner, "rotation_put_off").await,
            1,
            "said once"
        );
        let why = bed.world.access.rotation(&owner).await.expect("read");
        let why = why.expect("on").last_error;
        assert_eq!(
            why.as_deref(),
            Some("all 4 credentials of the plan are in use")
        );
        let removed = bed.world.access.remove(&owner, &four[3]).await;
        removed.expect("room");
        bed.pass(HOUR + 1);
        assert_eq!(turn(&bed).await, 1, "tried every hour");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_on_for_a_year_within_the_plan() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = scheduled(&bed, 7).await;
        for week in 0..52 {
            bed.pass(7 * DAY + 1);
            assert_eq!(turn(&bed).await, 1, "week {week}");
            assert!(names(&bed, &owner).await.len() <= 2);
            bed.pass(3 * HOUR);
            turn(&bed).await;
        }
        assert_eq!(names(&bed, &owner).await.len(), 1);
        assert_eq!(bed.provider.pushes().len(), 52);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_jump_do_not_rotate_twice_or_never() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = scheduled(&bed, 30).await;
        // A year ahead by mistake: one turn, not twelve.
        bed.pass(365 * DAY);
        assert_eq!(turn(&bed).await, 1);
        assert_eq!(turn(&bed).await, 0);
        bed.go_back(365 * DAY);
        bed.outbox.tidy().await.expect("tidied");
        assert_eq!(turn(&bed).await, 0, "set back, it is no one's turn");
        assert_eq!(names(&bed, &owner).await.len(), 2);
        bed.pass(31 * DAY);
        assert_eq!(turn(&bed).await, 1, "and the next one comes in a month");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_cache_ends_its_schedule() {
    on_each(async |db| {
        let bed = Bed::start(db).await;
        let owner = scheduled(&bed, 1).await;
        let id = "r-1".parse().expect("an id");
        let provisioning = &bed.world.provisioning;
        let gone = provisioning.deprovision(Marketplace::Heroku, &id).await;
        gone.expect("it ends");
        bed.pass(2 * DAY);
        assert_eq!(turn(&bed).await, 0);
        let left = bed.world.store.rotation(owner.cache()).await.expect("read");
        assert!(left.is_none());
    })
    .await;
}

on_both_databases!(the_owner_sets_it_from_the_dashboard);

/// Shop's owner switches the schedule on without a script; when its day comes, the app gets new values.
async fn the_owner_sets_it_from_the_dashboard(database: Database) {
    let world = Scene::start(database, Wishes::default()).await;
    let shop = world.sandbox.create_app("shop").expect("a new name");
    let addon = world
        .sandbox
        .provision(shop, "dev", Default::default())
        .await;
    let addon = addon.expect("a cache").id;
    let mut owner = Dashboard::open(&world.sandbox, addon, &world.base).await;
    for bad in ["", "x", "366", "-1"] {
        let page = owner.act("rotation", &[("every_days", bad)]).await;
        assert_eq!(page.status.as_u16(), 403, "{bad}");
    }
    let set = owner.act("rotation", &[("every_days", "30")]).await;
    assert!(set.status.is_redirection());
    let page = owner.page().await;
    assert!(page.contains("<option value=\"30\" selected>"), "{page}");
    let text = visible_text(&page);
    assert!(
        text.contains("Next turn in 29 days") || text.contains("Next turn in 30 days"),
        "{text}"
    );
    let old = owner.usernames().await;

    // Its day comes.
    let cache = owner.path.trim_start_matches("/caches/").parse();
    let cache = larder::domain::CacheId(cache.expect("a number"));
    let store = world.store().await;
    let mut tx = store.begin().await.expect("a transaction");
    let then = larder::domain::Timestamp::from_secs(1);
    let due = tx.reschedule_rotation(cache, then, None, then).await;
    due.expect("written");
    tx.commit().await.expect("a commit");
    let arrived = world.sandbox.wait_for(PATIENCE, |market| {
        let vars = market.config_vars(shop, "MEMCACHIER");
        (vars["MEMCACHIER_USERNAME"] != old[0]).then(|| vars["MEMCACHIER_USERNAME"].clone())
    });
    let new = arrived.await.expect("the new values");
    assert_eq!(owner.usernames().await, [new.clone(), old[0].clone()]);
    let line = format!("credential={new}");
    let line = world
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
    world.stop().await;
}
