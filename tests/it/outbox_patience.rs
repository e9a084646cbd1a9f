//! Config pushes over days: how long trouble is borne, and what a clock that jumps ahead sets off.

use larder::outbox::OutboxSettings;

use crate::outbox_fixture::OutboxFixture;
use crate::support::db::on_each;

/// The provider answers 5xx for a day and longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_in_trouble_calls_a_person_after_a_day_and_goes_on_hourly() {
    on_each(async |db| {
        const HOUR: u64 = 3_600;
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        fixture.work().await;
        let promoted = fixture.promote_new(&owner).await;
        fixture.provider.fail_pushes(true);
        fixture.work().await;
        for hour in 1..=24 {
            assert_eq!(fixture.state(owner.cache()).await.dead_at, None, "{hour}");
            fixture.pass(HOUR);
            assert_eq!(fixture.work().await, 1);
        }
        let state = fixture.state(owner.cache()).await;
        assert!(state.dead_at.is_some(), "a day is over");
        assert_eq!(state.last_error.as_deref(), Some("in trouble"));
        assert_eq!(fixture.provider.pushes().len(), 25);

        fixture.provider.fail_pushes(false);
        fixture.pass(HOUR - 10);
        assert_eq!(fixture.work().await, 0, "no more often than hourly");
        fixture.pass(11);
        while fixture.work().await > 0 {}
        assert_eq!(*fixture.provider.effects.lock(), [promoted]);
        let state = fixture.state(owner.cache()).await;
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
        let fixture = OutboxFixture::start(db).await;
        let mut owners = Vec::new();
        for count in 0..CACHES {
            owners.push(fixture.cache(&format!("r-{count}")).await);
        }
        while fixture.work().await > 0 {}
        let mut promoted = Vec::new();
        for owner in &owners {
            promoted.push(fixture.promote_new(owner).await);
        }
        fixture.pass(30 * 86_400);
        let cap = OutboxSettings::default().per_marketplace as usize;
        fixture.work().await;
        assert_eq!(fixture.provider.pushes().len(), cap);
        while fixture.work().await > 0 {}
        let mut effects = fixture.provider.effects.lock().clone();
        effects.sort();
        promoted.sort();
        assert_eq!(effects, promoted, "each of them once");
    })
    .await;
}
