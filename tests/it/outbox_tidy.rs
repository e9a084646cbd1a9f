//! What the worker does every minute beside its promises: what it must end, and what it must leave alone.

use std::time::Duration;

use larder::domain::Clock as _;

use crate::outbox_fixture::OutboxFixture;
use crate::support::HEROKU;
use crate::support::claims::terms;
use crate::support::control_plane::eventually;
use crate::support::db::on_each;

/// A lease is ended only when it lasts longer than any can: one that is good keeps others away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tidying_leaves_a_good_lease_to_its_holder() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        while fixture.work().await > 0 {}
        let gate = fixture.provider.hold();
        let first = fixture.promote_new(&owner).await;
        let outbox = fixture.outbox.clone();
        let pushing = tokio::spawn(async move { outbox.run_due().await });
        let on_the_wire = async || fixture.provider.pushes() == [first.clone()];
        eventually("the push is on the wire", on_the_wire).await;

        fixture.outbox.tidy().await.expect("tidied");
        let now = fixture.control.clock.now();
        let until = now.plus(Duration::from_secs(60));
        let mut tx = fixture.control.store.begin().await.expect("a transaction");
        let claimed = tx.claim_config(&terms(now, until, 1, 8)).await;
        assert!(claimed.expect("claims").is_empty());
        drop(tx);
        fixture.provider.go_on();
        gate.add_permits(1);
        pushing.await.expect("no panic").expect("recorded");
        assert_eq!(fixture.provider.pushes(), [first], "one push");
        let state = fixture.state(owner.cache()).await;
        assert_eq!(state.applied, state.desired);
    })
    .await;
}

/// Providers repeat an event for seven days. All that time it is known, and a day later it is forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_event_is_known_for_as_long_as_it_may_be_repeated() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        let id = owner.resource().external_id.clone();
        let tell = async || {
            let told = fixture
                .control
                .provisioning
                .on_event(HEROKU, &id, "event-1");
            told.await.expect("taken")
        };
        assert!(tell().await, "new");
        for day in 1..=7 {
            fixture.pass(86_400);
            fixture.outbox.tidy().await.expect("tidied");
            assert!(!tell().await, "known on day {day}");
        }
        fixture.pass(86_400 + 60);
        fixture.outbox.tidy().await.expect("tidied");
        let now = fixture.control.clock.now();
        let mut tx = fixture.control.store.begin().await.expect("a transaction");
        let again = tx.is_new_event("event-1", now).await.expect("written");
        assert!(
            again,
            "forgotten after {:?}",
            Duration::from_secs(8 * 86_400)
        );
    })
    .await;
}
