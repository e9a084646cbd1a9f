//! The very instant at which something ends: it is over then, not one microsecond before.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use larder::access::{Access, NewSession};
use larder::domain::{Clock, Timestamp, WorkerId};
use larder::store::Tx;
use larder::store::outbox::claims::Terms;

use crate::outbox_fixture::{OutboxFixture, code};
use crate::support::claims::terms;
use crate::support::control_plane::{ControlPlane, plans, request};
use crate::support::db::{START, on_each};

const MICRO: Duration = Duration::from_micros(1);

/// How many rows of each kind can be claimed: pushes, codes, lanes, reconciles, asynchronous provisions.
async fn claimed(tx: &mut Tx, terms: &Terms) -> [usize; 5] {
    [
        tx.claim_config(terms).await.expect("claims").len(),
        tx.claim_codes(terms).await.expect("claims").len(),
        tx.claim_lanes(terms, 99).await.expect("claims").len(),
        tx.claim_reconciles(terms).await.expect("claims").len(),
        tx.claim_async_provisions(terms)
            .await
            .expect("claims")
            .len(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_over_at_its_end_and_not_before() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.promote_new(&owner).await;
        fixture.flush(&owner, "p1").await;
        let mut slow = request("r-2");
        slow.plan = "slow".to_owned();
        slow.grant = Some(code("c", &fixture.control.clock));
        let made = fixture.control.provisioning.provision(slow).await;
        made.expect("ordered");

        let end = fixture.control.clock.now().plus(Duration::from_secs(600));
        let claim = async |now: Timestamp| {
            let mut tx = fixture.control.store.begin().await.expect("a transaction");
            let claimed = claimed(&mut tx, &terms(now, end, 10, 8)).await;
            (tx, claimed)
        };
        let (tx, all) = claim(end.minus(Duration::from_secs(300))).await;
        assert!(all.iter().all(|rows| *rows > 0), "{all:?}");
        tx.commit().await.expect("a commit");
        let (_, early) = claim(end.minus(MICRO)).await;
        assert_eq!(early, [0; 5]);
        let (_, again) = claim(end).await;
        assert_eq!(again, all);
    })
    .await;
}

/// A token is renewed by one worker at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_of_a_renewal_is_over_at_its_end_and_not_before() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        let end = fixture.control.clock.now().plus(Duration::from_secs(60));
        let lease = async |now: Timestamp| {
            let grant = fixture.control.store.grant(owner.cache()).await;
            let fence = grant.expect("the store answers").expect("a grant").fence;
            let mut tx = fixture.control.store.begin().await.expect("a transaction");
            let worker = WorkerId::generate(now);
            let leased = tx.lease_grant(owner.cache(), fence, now, end, worker).await;
            tx.commit().await.expect("a commit");
            leased.expect("the store answers").is_some()
        };
        assert!(lease(end.minus(Duration::from_secs(60))).await);
        assert!(!lease(end.minus(MICRO)).await);
        assert!(lease(end).await);
    })
    .await;
}

/// Both ways in which a line expires: when its lane is claimed, and where nobody claims it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_expires_a_quarter_of_an_hour_after_its_event_and_not_before() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        while fixture.work().await > 0 {}
        let store = &fixture.control.store;
        fixture.flush(&owner, "p1").await;
        let promised = store.events(owner.cache(), 1).await.expect("events")[0].at;
        let end = promised.plus(Duration::from_secs(15 * 60));

        let claim = async |now: Timestamp| {
            let mut tx = store.begin().await.expect("a transaction");
            let until = now.plus(Duration::from_secs(60));
            let claims = tx.claim_lanes(&terms(now, until, 10, 8), 99).await;
            claims
                .expect("claims")
                .iter()
                .map(|lane| lane.lines.len())
                .sum::<usize>()
        };
        assert_eq!(claim(end.minus(MICRO)).await, 1);
        assert_eq!(claim(end).await, 0);

        let left_waiting = async |now: Timestamp| {
            let mut tx = store.begin().await.expect("a transaction");
            tx.expire_waiting_lines(now).await.expect("expired");
            tx.commit().await.expect("a commit");
            store.lines_waiting().await.expect("read")
        };
        assert_eq!(left_waiting(end.minus(MICRO)).await, 1);
        assert_eq!(left_waiting(end).await, 0);
    })
    .await;
}

/// A clock that stands still.
struct StillClock(AtomicI64);

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Half an hour after its last use, and twelve hours after it was opened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_over_at_its_end_and_not_before() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let cache = control.provision("r-1").await.resource.cache;
        let clock = Arc::new(StillClock(AtomicI64::new(START.micros())));
        let (store, cluster) = (control.store.clone(), control.cluster.clone());
        let access = Access::new(store, cluster, plans(), clock.clone());
        let hash = control.store.sso_secret(cache).await;
        let hash = hash.expect("answers").expect("a hash");
        let alive = async |session: &NewSession, at: Timestamp| {
            clock.0.store(at.micros(), Ordering::SeqCst);
            let signed_in = access.signed_in(&session.cookie, cache, None).await;
            signed_in.expect("answers").is_some()
        };
        let minutes = |count: u64| START.plus(Duration::from_secs(60 * count));
        for (uses, end) in [(vec![], 30), ((1..36).map(|n| 20 * n).collect(), 12 * 60)] {
            clock.0.store(START.micros(), Ordering::SeqCst);
            let opened = access.open_by_link(&hash, |_| None, None).await;
            let session = opened.expect("answers").expect("a session");
            for at in uses {
                assert!(alive(&session, minutes(at)).await, "after {at} minutes");
            }
            assert!(!alive(&session, minutes(end)).await, "after {end} minutes");
            assert!(
                alive(&session, minutes(end).minus(MICRO)).await,
                "just before"
            );
        }
    })
    .await;
}
