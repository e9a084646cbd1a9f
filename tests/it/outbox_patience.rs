//! Config pushes over days: how long trouble is borne, and what a clock that jumps ahead sets off.

use larder::outbox::OutboxSettings;

use crate::outbox_bed::Bed;
use crate::support::db::on_each;

/// The provider answers 5xx for a day and longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_in_trouble_calls_a_person_after_a_day_and_goes_on_hourly() {
    on_each(async |db| {
        const HOUR: u64 = 3_600;
        let bed = Bed::start(db).await;
        let owner = bed.cache("r-1").await;
        bed.work().await;
        let promoted = bed.promote_new(&owner).await;
        bed.provider.fail_pushes(true);
        bed.work().await;
        for hour in 1..=24 {
            assert_eq!(bed.state(owner.cache()).await.dead_at, None, "{hour}");
            bed.pass(HOUR);
            assert_eq!(bed.work().await, 1);
        }
        let state = bed.state(owner.cache()).await;
        assert!(state.dead_at.is_some(), "a day is over");
        assert_eq!(state.last_error.as_deref(), Some("in trouble"));
        assert_eq!(bed.provider.pushes().len(), 25);

        bed.provider.fail_pushes(false);
        bed.pass(HOUR - 10);
        assert_eq!(bed.work().await, 0, "no more often than hourly");
        bed.pass(11);
        while bed.work().await > 0 {}
        assert_eq!(*bed.provider.effects.lock(), [promoted]);
        let state = bed.state(owner.cache()).await;
        assert_eq!((state.desired, state.applied), (2, 2));
        assert_eq!((state.dead_at, state.last_error), (None, None));
    })
    .await;
}

/// The clock jumps a month ahead while pushes wait: they are due together, and still go out by the cap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_jump_of_the_clock_makes_due_stays_within_the_cap() {
    on_each(async |db| {
        const CACHES: usize = 20;
        let bed = Bed::start(db).await;
        let mut owners = Vec::new();
        for count in 0..CACHES {
            owners.push(bed.cache(&format!("r-{count}")).await);
        }
        while bed.work().await > 0 {}
        let mut promoted = Vec::new();
        for owner in &owners {
            promoted.push(bed.promote_new(owner).await);
        }
        bed.pass(30 * 86_400);
        let cap = OutboxSettings::default().per_marketplace as usize;
        bed.work().await;
        assert_eq!(bed.provider.pushes().len(), cap);
        while bed.work().await > 0 {}
        let mut effects = bed.provider.effects.lock().clone();
        effects.sort();
        promoted.sort();
        assert_eq!(effects, promoted, "each of them once");
    })
    .await;
}
