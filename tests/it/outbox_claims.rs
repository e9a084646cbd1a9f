//! Claims: each row to one worker, whatever the number of workers, and no destination takes all the slots.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use larder::domain::Clock as _;
use larder::store::Store;

use crate::outbox_fixture::{LOG_URL, OutboxFixture, code};
use crate::support::claims::terms;
use crate::support::control_plane::{TestClock, ready, request};
use crate::support::db::on_each;

/// What one worker gets until nothing is left: of pushes, codes and lanes.
async fn take_all(store: Store, clock: Arc<TestClock>) -> Vec<(&'static str, i64)> {
    let mut taken = Vec::new();
    loop {
        let now = clock.now();
        let few = terms(now, now.plus(Duration::from_secs(60)), 3, 1_000);
        let before = taken.len();
        let mut tx = store.begin().await.expect("a transaction");
        let pushes = tx.claim_config(&few).await.expect("claims");
        taken.extend(pushes.iter().map(|claim| ("push", claim.cache.0)));
        tx.commit().await.expect("a commit");
        let mut tx = store.begin().await.expect("a transaction");
        let codes = tx.claim_codes(&few).await.expect("claims");
        taken.extend(codes.iter().map(|claim| ("code", claim.cache.0)));
        tx.commit().await.expect("a commit");
        let mut tx = store.begin().await.expect("a transaction");
        let lanes = tx.claim_lanes(&few, 99).await.expect("claims");
        taken.extend(lanes.iter().map(|claim| ("lane", claim.cache.0)));
        tx.commit().await.expect("a commit");
        if taken.len() == before {
            return taken;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_workers_take_each_row_once() {
    on_each(async |db| {
        const CACHES: usize = 41;
        let fixture = OutboxFixture::start(db).await;
        for count in 0..CACHES {
            let owner = fixture.cache(&format!("r-{count}")).await;
            fixture.promote_new(&owner).await;
        }
        let workers: Vec<_> = (0..8)
            .map(|_| {
                let (store, clock) = (
                    fixture.control.store.clone(),
                    Arc::clone(&fixture.control.clock),
                );
                tokio::spawn(take_all(store, clock))
            })
            .collect();
        let mut taken = Vec::new();
        for worker in workers {
            taken.extend(worker.await.expect("no panic"));
        }
        let different: HashSet<_> = taken.iter().collect();
        assert_eq!(taken.len(), 3 * CACHES);
        assert_eq!(different.len(), taken.len());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_claims_count_against_their_destination() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let mut busy = Vec::new();
        for count in 0..5 {
            busy.push(fixture.cache(&format!("busy-{count}")).await);
        }
        let mut ask = request("quiet");
        ask.grant = Some(code("c", &fixture.control.clock));
        ask.log_url = Some(LOG_URL.replace("1.us", "2.us").into());
        let made = fixture.control.provisioning.provision(ask).await;
        let made = ready(made.expect("a cache"));
        let quiet = fixture.control.owner(made.resource.cache, "quiet").await;
        for owner in busy.iter().chain([&quiet]) {
            fixture.flush(owner, "p1").await;
        }
        let claim = async || {
            let now = fixture.control.clock.now();
            let mut tx = fixture.control.store.begin().await.expect("a transaction");
            let until = now.plus(Duration::from_secs(60));
            let claims = tx
                .claim_lanes(&terms(now, until, 100, 2), 99)
                .await
                .expect("claims");
            tx.commit().await.expect("a commit");
            claims
        };
        let first = claim().await;
        assert_eq!(first.len(), 3, "two of the busy host and the quiet one");
        assert!(first.iter().any(|lane| lane.cache == quiet.cache()));
        assert!(claim().await.is_empty());
        let now = fixture.control.clock.now();
        let mut tx = fixture.control.store.begin().await.expect("a transaction");
        let done = first.iter().find(|lane| lane.cache != quiet.cache());
        tx.record_lines_delivered(done.expect("a busy one"), now)
            .await
            .expect("recorded");
        tx.commit().await.expect("a commit");
        assert_eq!(claim().await.len(), 1);
    })
    .await;
}

/// The loops themselves: work that was there before, work that comes, and a stop that waits for what is under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_runs_until_stopped_and_finishes_what_it_began() {
    use crate::support::control_plane::eventually;
    use tokio_util::sync::CancellationToken;
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let (outbox, stop) = (fixture.outbox.clone(), stop.clone());
            async move { outbox.run(stop).await }
        });
        let first = fixture.promote_new(&owner).await;
        eventually("the push arrives", async || {
            fixture.provider.effects.lock().contains(&first)
        })
        .await;
        let gate = fixture.provider.hold();
        let second = fixture.promote_new(&owner).await;
        eventually("the second is on the wire", async || {
            fixture.provider.pushes().contains(&second)
        })
        .await;
        stop.cancel();
        gate.add_permits(1);
        running.await.expect("the worker ends");
        let state = fixture.state(owner.cache()).await;
        assert_eq!((state.desired, state.applied), (3, 3));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_set_back_holds_nothing_up() {
    use larder::http::CallErrorKind;
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        // Written an hour ahead of the clock that the rest of the test runs by.
        fixture.pass(3_600);
        fixture.promote_new(&owner).await;
        fixture
            .provider
            .fail([CallErrorKind::Retry { after: None }; 2]);
        assert_eq!(fixture.work().await, 2, "a push and a line, both failed");
        fixture.go_back(3_600);
        assert_eq!(fixture.work().await, 0, "due in an hour by their rows");
        fixture.outbox.tidy().await.expect("tidied");
        assert_eq!(fixture.work().await, 2);
        assert_eq!(fixture.provider.effects.lock().len(), 1);
        assert_eq!(
            fixture.control.store.lines_waiting().await.expect("read"),
            0
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finished_lines_are_kept_for_thirty_days() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.flush(&owner, "p1").await;
        while fixture.work().await > 0 {}
        let pruned = async |days: u64| {
            let before = fixture.control.clock.now();
            let before = before.plus(Duration::from_secs(days * 86_400));
            let before = before.minus(Duration::from_secs(30 * 86_400));
            let mut tx = fixture.control.store.begin().await.expect("a transaction");
            let pruned = tx.prune_deliveries(before).await.expect("pruned");
            tx.commit().await.expect("a commit");
            pruned
        };
        assert_eq!(pruned(29).await, 0);
        assert_eq!(pruned(31).await, 1);
    })
    .await;
}
