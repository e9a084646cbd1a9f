//! A process that dies with calls under way: what it had leased holds nobody else up.

use larder::access::Owner;
use larder::outbox::Outbox;
use larder::store::outbox::grants::GrantState;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::outbox_fixture::{Call, OutboxFixture, outbox_in};
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
    process.beat().await.expect("entered");
    let process = process.clone();
    let running = tokio::spawn(async move {
        process.run_due().await.expect("the store answers");
    });
    eventually("all are under way", async || exchanges(fixture) == CAP).await;
    (owners, running)
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
