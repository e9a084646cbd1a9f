//! A process that dies with calls under way: what it had leased holds nobody else up.

use larder::access::Owner;
use larder::outbox::{Outbox, OutboxSettings};
use larder::store::outbox::grants::GrantState;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::outbox_fixture::{Call, LOG_URL, OutboxFixture, outbox_in};
use crate::support::control_plane::eventually;
use crate::support::db::{TestDb, on_each};

/// As many as one marketplace may have under way at once.
const CAP: usize = 8;

async fn process(fixture: &OutboxFixture, db: &TestDb, place: Option<&str>) -> Outbox {
    let store = db.opened_again().await;
    let (clock, nodes) = (&fixture.control.clock, fixture.nodes.clone());
    outbox_in(place, &store, clock, nodes, fixture.provider.clone())
}

fn exchanges(fixture: &OutboxFixture) -> usize {
    fixture.provider.count(|call| *call == Call::Exchange)
}

/// A process with a full set of exchanges under way, which the provider does not answer.
async fn busy(fixture: &OutboxFixture, process: &Outbox) -> (Vec<Owner>, JoinHandle<()>) {
    let _never = fixture.provider.hold_exchange();
    let mut owners = Vec::new();
    for count in 0..CAP {
        owners.push(fixture.cache(&format!("old-{count}")).await);
    }
    let running = begin(process).await;
    eventually("all are under way", async || exchanges(fixture) == CAP).await;
    (owners, running)
}

/// Lets a process attempt what is due.
async fn begin(process: &Outbox) -> JoinHandle<()> {
    process.beat().await.expect("entered");
    let process = process.clone();
    tokio::spawn(async move {
        process.run_due().await.expect("the store answers");
    })
}

/// Caches whose grants are exchanged and whose lines are sent.
async fn settled(fixture: &OutboxFixture, count: usize) -> Vec<Owner> {
    let mut owners = Vec::new();
    for number in 0..count {
        owners.push(fixture.cache(&format!("r-{number}")).await);
    }
    while fixture.work().await > 0 {}
    owners
}

async fn is_pushed(fixture: &OutboxFixture, owner: &Owner) -> bool {
    let state = fixture.state(owner.cache()).await;
    state.applied == state.desired
}

async fn state(fixture: &OutboxFixture, owner: &Owner) -> GrantState {
    let grant = fixture.control.store.grant(owner.cache()).await;
    grant.expect("read").expect("a grant").state
}

async fn beats(process: &Outbox, count: u32) {
    for _ in 0..count {
        process.beat().await.expect("written");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_stops_beating_holds_up_only_what_it_had_under_way() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let dying = process(&fixture, db, Some("a")).await;
        let other = process(&fixture, db, Some("b")).await;
        let (old, running) = busy(&fixture, &dying).await;
        running.abort();
        fixture.provider.go_on();
        let new = fixture.cache("new").await;
        other.run_due().await.expect("the store answers");
        assert_eq!(state(&fixture, &new).await, GrantState::Pending, "no room");

        beats(&other, 7).await;
        other.run_due().await.expect("the store answers");
        assert_eq!(state(&fixture, &new).await, GrantState::Active);
        assert_eq!(
            exchanges(&fixture),
            CAP + 1,
            "the others' calls may still arrive"
        );

        fixture.pass(16);
        other.run_due().await.expect("the store answers");
        for owner in &old {
            assert_eq!(state(&fixture, owner).await, GrantState::Active);
        }
    })
    .await;
}

/// The same of pushes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_gone_holds_up_no_pushes_of_others() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let dying = process(&fixture, db, Some("a")).await;
        let other = process(&fixture, db, Some("b")).await;
        let mut owners = settled(&fixture, CAP + 1).await;
        let new = owners.pop().expect("one more than the cap");
        let _never = fixture.provider.hold();
        for owner in &owners {
            fixture.promote_new(owner).await;
        }
        let running = begin(&dying).await;
        let pushes = || fixture.provider.pushes().len();
        eventually("all are under way", async || pushes() == CAP).await;
        running.abort();
        fixture.provider.go_on();
        fixture.promote_new(&new).await;
        other.run_due().await.expect("the store answers");
        assert!(!is_pushed(&fixture, &new).await, "no room");

        beats(&other, 7).await;
        other.run_due().await.expect("the store answers");
        assert!(is_pushed(&fixture, &new).await);
        assert_eq!(pushes(), CAP + 1, "the others' calls may still arrive");

        fixture.pass(16);
        other.run_due().await.expect("the store answers");
        for owner in &owners {
            assert!(is_pushed(&fixture, owner).await);
        }
    })
    .await;
}

/// The same of lines to one host of log inputs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_gone_holds_up_no_log_lines_of_others() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let dying = process(&fixture, db, Some("a")).await;
        let other = process(&fixture, db, Some("b")).await;
        let per_host = OutboxSettings::default().per_log_host as usize;
        let mut owners = settled(&fixture, per_host + 1).await;
        let new = owners.pop().expect("one more than the cap");
        let before = fixture.provider.logs().len();
        let sent = || fixture.provider.logs().len() - before;
        let _never = fixture.provider.hold_log(LOG_URL);
        for owner in &owners {
            fixture.flush(owner, "p1").await;
        }
        let running = begin(&dying).await;
        eventually("all are under way", async || sent() == per_host).await;
        running.abort();
        fixture.provider.go_on();
        fixture.flush(&new, "p1").await;
        other.run_due().await.expect("the store answers");
        assert_eq!(sent(), per_host, "no room");

        beats(&other, 7).await;
        other.run_due().await.expect("the store answers");
        assert_eq!(sent(), per_host + 1, "the others' calls may still arrive");

        fixture.pass(16);
        other.run_due().await.expect("the store answers");
        assert_eq!(sent(), 2 * per_host + 1);
    })
    .await;
}

/// The loops themselves, after a restart in the same data folder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_in_the_same_place_knows_at_once_that_the_one_before_is_gone() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let dying = process(&fixture, db, Some("a")).await;
        let (_, running) = busy(&fixture, &dying).await;
        running.abort();
        fixture.provider.go_on();
        let new = fixture.cache("new").await;

        let (again, stop) = (
            process(&fixture, db, Some("a")).await,
            CancellationToken::new(),
        );
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { again.run(stop).await }
        });
        eventually("the new one is exchanged", async || {
            state(&fixture, &new).await == GrantState::Active
        })
        .await;
        // The clock stands still, so the leases have not ended by themselves.
        assert_eq!(exchanges(&fixture), CAP + 1);
        stop.cancel();
        running.await.expect("the worker ends");
        let left = fixture.control.store.worker_beats().await.expect("read");
        assert_eq!(left, [], "whoever stops takes its leave");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_beats_keeps_its_leases_however_slow_its_calls_are() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let slow = process(&fixture, db, Some("a")).await;
        let other = process(&fixture, db, Some("b")).await;
        let (old, running) = busy(&fixture, &slow).await;
        for _ in 0..20 {
            beats(&slow, 1).await;
            beats(&other, 1).await;
        }
        let new = fixture.cache("new").await;
        other.run_due().await.expect("the store answers");
        assert_eq!(exchanges(&fixture), CAP, "the cap holds");
        assert_eq!(state(&fixture, &new).await, GrantState::Pending);
        running.abort();
        drop(old);
    })
    .await;
}

/// A process was only asleep: it comes back, and its late record changes nothing that another has done meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_wakes_up_again_is_taken_back() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let asleep = process(&fixture, db, Some("a")).await;
        let other = process(&fixture, db, Some("b")).await;
        let gate = fixture.provider.hold_exchange();
        let owner = fixture.cache("r-1").await;
        asleep.beat().await.expect("entered");
        let running = tokio::spawn({
            let asleep = asleep.clone();
            async move { asleep.run_due().await }
        });
        eventually("it is under way", async || exchanges(&fixture) == 1).await;
        beats(&other, 7).await;
        gate.add_permits(1);
        running.await.expect("no panic").expect("recorded");
        assert_eq!(state(&fixture, &owner).await, GrantState::Active);
        beats(&asleep, 1).await;
        let beats = fixture.control.store.worker_beats().await.expect("read");
        assert_eq!(beats.len(), 2);
    })
    .await;
}
